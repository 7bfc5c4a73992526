"""Which MLflow stores are refused before anything is trained, and which a search is mirrored into."""

import os
import sqlite3
from pathlib import Path

import pytest

from piip_search.api.mlflow_store import check_store
from piip_search.api.stores import mlflow_uri
from piip_search.errors import UserError
from support.typed import Cli

FOLDER = "it is a folder, and MLflow keeps runs only in databases and servers"


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("file:///data/mlruns", FOLDER),
        ("file:mlruns", FOLDER),
        ("mlruns", FOLDER),
        ("./mlruns", FOLDER),
        ("/data/mlruns", FOLDER),
        ("~/mlruns", FOLDER),
        ("  ", FOLDER),
        ("localhost:5000", "it names no scheme; a server is http://localhost:5000"),
        ("10.0.0.1:5000/mlflow", "it names no scheme; a server is http://10.0.0.1:5000/mlflow"),
        ("s3://bucket/mlruns", "MLflow knows no scheme 's3'"),
        ("ftp://host/x", "MLflow knows no scheme 'ftp'"),
        ("postgres://host/mlflow", "MLflow knows no scheme 'postgres'"),
        ("http://", "it names no host"),
        ("http://:5000", "it names no host"),
        ("http://host:port", "its port is no number from 1 to 65535"),
        ("http://host:0", "its port is no number from 1 to 65535"),
        ("https://[::1", "it names no host"),
        ("http://two words", "it names no host"),
        ("https://host:99999", "its port is no number from 1 to 65535"),
        ("sqlite:mlflow.db", "it is no database URL; a file is sqlite:/// and its path"),
        ("sqlite:/data/mlflow.db", "it is no database URL"),
        ("sqlite://", "it names no file"),
        ("sqlite:///:memory:", "it names no file: a store in memory is gone with its process"),
        ("sqlite://mlflow.db", "a SQLite URL has three slashes before the path, as in sqlite:////"),
        ("sqlite:///mlflow.db?mode=ro", "mode is no option of a SQLite URL"),
        ("sqlite:///a%00b", "a path must not have a null byte"),
        ("postgresql+asyncpg://host/mlflow", "postgresql+asyncpg is no supported database"),
        ("sqlite+none:///mlflow.db", "SQLAlchemy knows no such database driver"),
        ("postgresql://host:port/mlflow", "it is no database URL"),
        ("mysql://host/mlflow", "its driver MySQLdb is not installed"),
        ("://", "MLflow knows no scheme ''"),
    ],
)
def test_what_mlflow_could_not_use_is_refused(uri: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        check_store(uri)
    assert str(caught.value).startswith(f"the MLflow store {uri} cannot be used: ")
    assert problem in str(caught.value)
    assert "give --mlflow or MLFLOW_TRACKING_URI a database such as sqlite:////shared/mlflow.db" in str(caught.value)


def test_files_that_are_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database, though it is long enough to be one", encoding="utf-8")
    for path, problem in [
        (tmp_path / "notes.txt", "is no SQLite database"),
        (tmp_path, "is no file"),
        (tmp_path / "notes.txt" / "mlflow.db", "nothing can be written into"),
    ]:
        with pytest.raises(UserError, match=problem):
            check_store(f"sqlite:///{path}")


def test_what_mlflow_can_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite3.connect(tmp_path / "old.db").executescript("CREATE TABLE one (a)")
    (tmp_path / "empty.db").touch()
    for uri in [
        f"sqlite:///{tmp_path}/new.db",
        f"sqlite:///{tmp_path}/new/folder/mlflow.db",
        f"sqlite:///{tmp_path}/old.db",
        f"sqlite:///{tmp_path}/empty.db",
        "http://mlflow:5000",
        "https://me:secret@mlflow/path",
        "HTTP://mlflow",
        "http://[::1]:5000",
        "databricks",
        "databricks://profile",
    ]:
        check_store(uri)
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check_store(f"file://{tmp_path}/mlruns")
    assert mlflow_uri("none", tmp_path) is None
    assert mlflow_uri("sqlite:///mlflow.db", tmp_path) == f"sqlite:///{Path.cwd()}/mlflow.db"
    assert mlflow_uri("", tmp_path) == mlflow_uri(None, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_file_that_may_only_be_read(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch(mode=0o400)
    with pytest.raises(UserError, match="is not writable"):
        check_store(f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "mlflow.db").chmod(0o600)
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="nothing can be written into"):
        check_store(f"sqlite:///{tmp_path}/mlflow.db")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    "command",
    [
        ["run", "quickstart", "--on", "local"],
        ["audit", "small"],
        ["mirror", "small"],
        ["export", "small", "best", "--out", "exported"],
    ],
)
def test_a_variable_that_names_a_folder_is_refused_at_once(
    run_cli: Cli, tmp_path: Path, finished: list[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlruns")
    ended = run_cli(*command, *finished)
    assert ended.code == 2
    assert FOLDER in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "exported").exists()
    assert not (tmp_path / "runs" / "quickstart").exists()


def test_passwords_are_not_shown(run_cli: Cli, finished: list[str]) -> None:
    ended = run_cli("mirror", "small", "--mlflow", "ftp://me:hunter2@host", *finished)
    assert ended.code == 2
    assert "hunter2" not in ended.err


def test_a_full_training_is_not_begun_with_a_store_that_is_none(run_cli: Cli) -> None:
    ended = run_cli("train", "exported", "--mlflow", "mlruns")
    assert ended.code == 2
    assert FOLDER in ended.err


def test_a_cluster_is_sent_no_store_that_is_none(run_cli: Cli) -> None:
    ended = run_cli("submit", "quickstart", "--home", "/shared/runs", "--mlflow", "file:///shared/mlruns")
    assert ended.code == 2
    assert FOLDER in ended.err
