"""Home folders of any name, moved and copied ones: everything of a home lies in it, and is found there."""

import json
import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piip_search.api.stores import keep_store, kept_store, mlflow_uri
from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import (
    Candidate,
    Evaluation,
    Fidelity,
    folder_facts,
    training_folders,
    trials_folder,
)
from piip_search.evaluation.facts import Facts
from piip_search.file_paths import escaped, escaped_url
from piip_search.ledger import (
    Ledger,
    LedgerError,
    database_url,
    shell_command,
    sqlite_file,
    sqlite_url,
    url_text,
    without_password,
)
from support import fakes
from support.typed import Cli

NAMES = [
    "a%20b",
    "feature%2Fabc",
    "100%25",
    "%",
    "a?b=c",
    "a#b",
    "two words",
    " lead",
    "dot.",
    "-dash",
    "~",
    "$HOME",
    "file:x",
    'it\'s "q"',
    "back\\slash",
    "new\nline",
    "a:b@c",
    "[1]*{2}",
    "a&timeout=3;x|y",
    "жé☃",
    "x" * 240,
    "é" * 120,
]
NAME = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60)
CANDIDATE = Candidate(0, Architecture.parse("vit_nano@64:g+vit_pico@128:w4*2"), Fidelity(epochs=3))


@given(st.lists(NAME.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3))
def test_a_path_goes_through_a_url_unchanged(names: list[str]) -> None:
    path = Path("/nowhere", *names, "ledger.db")
    url = sqlite_url(path)
    assert Path(str(url.database)) == path
    for text in (url_text(url), without_password(url)):
        assert database_url(text) == url
        assert sqlite_file(text) == path
        assert "\n" not in text


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a ledger with a small search in it."""
    file = tmp_path_factory.mktemp("filled") / "ledger.db"
    with closing(Ledger(sqlite_url(file))) as book:
        book.start("small", "question", "recipe", {"metric": "bbox_mAP"})
        book.propose("small", CANDIDATE, "recipe")
        book.accept("small", fakes.measure(CANDIDATE), "recipe")
    return file


@pytest.mark.parametrize("name", NAMES)
def test_everything_of_a_home_lies_in_it(run_cli: Cli, filled: Path, tmp_path: Path, name: str) -> None:
    home = Path(name)
    home.mkdir()
    shutil.copy(filled, home)
    typed = f"./{name}" if name == "-dash" else escaped(name)
    there = ["--home", name if name == "-dash" else typed]
    assert run_cli("show", *there).out.startswith("small: 1 of 1 proposals measured")
    assert json.loads(run_cli("ledger", "list", "--json", *there).out)[0]["name"] == "small"
    assert run_cli("ledger", "export", "-o", f"{typed}/table.csv", *there).code == 0
    assert run_cli("ledger", "merge", typed, "--home", f"{typed}/other").out == "small: 2 rows added\n"
    other = escaped_url(url_text(sqlite_url(home / "other" / "ledger.db")))
    assert run_cli("ledger", "merge", f"{typed}/ledger.db", "--ledger", other).out == "small: 0 rows added\n"
    assert (home / "other" / "ledger.db").is_file()
    assert {path.name.partition("-")[0] for path in home.iterdir()} == {"ledger.db", "other", "table.csv"}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_home_is_where_the_system_finds_it(run_cli: Cli, filled: Path, tmp_path: Path) -> None:
    """`..` behind a link leads to where the link leads, for every part of a home alike."""
    (tmp_path / "far" / "inside").mkdir(parents=True)
    shutil.copytree(filled.parent, tmp_path / "far" / "home")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "inside")
    assert "small" in run_cli("show", "--home", "link/../home").out
    assert mlflow_uri(None, tmp_path / "link" / ".." / "home") == f"sqlite:///{tmp_path}/far/home/mlflow.db"


def test_a_tilde_is_the_users_home_folder(
    run_cli: Cli, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(filled.parent, tmp_path / "runs")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "small" in run_cli("show", "--home", "~/runs").out
    assert "small" in run_cli("show", "--ledger", "sqlite:///~/runs/ledger.db").out
    unknown = run_cli("show", "--home", "~nobody-of-this-name/runs")
    assert (unknown.code, "or ./~nobody-of-this-name/runs for a folder" in unknown.err) == (2, True)
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ledger.db", "such as sqlite:////"),
        ("sqlite://ledger.db", "three slashes before the path"),
        ("sqlite:///ledger.db?mode=ro", "mode is no option of a SQLite URL"),
        ("sqlite:///ledger.db?timeout=soon", "timeout must be a number of seconds, got 'soon'"),
        ("sqlite:///file:ledger.db?uri=true", "uri is no option"),
        ("sqlite:///a%00b", "null byte"),
        ("sqlite:///" + "long/" * 120 + "ledger.db", "SQLite opens paths of up to"),
        ("sqlite+aiosqlite:///ledger.db", "no supported database"),
        ("postgresql+asyncpg://host/piip", "no supported database"),
        ("postgresql://host:port/piip", "it is no database URL"),
        ("mysql://host/piip", "SQLite or PostgreSQL, got mysql"),
        ("http://host/piip", "SQLite or PostgreSQL, got http"),
        ("://", "it is no database URL"),
    ],
)
def test_a_url_that_is_no_ledgers_is_one_message(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(LedgerError, match="cannot be opened") as caught:
        Ledger(url)
    assert said in str(caught.value)


def test_reading_makes_no_ledger(run_cli: Cli, tmp_path: Path) -> None:
    ended = run_cli("show", "--ledger", f"sqlite:///{tmp_path}/new/ledger.db")
    assert (ended.code, f"no ledger at {tmp_path}/new/ledger.db" in ended.err) == (2, True)
    assert run_cli("audit", "small", "--ledger", f"sqlite:///{tmp_path}/new/ledger.db").code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["runs", "a%20b", "new\nline"])
def test_a_store_in_the_home_moves_with_it(tmp_path: Path, name: str) -> None:
    home, moved = tmp_path / name, tmp_path / f"{name} moved"
    (home / "run").mkdir(parents=True)
    (home / "mlflow.db").touch()
    keep_store(str(mlflow_uri(None, home)), home, "run")
    (home / "early").mkdir()
    (home / "early" / "mlflow.txt").write_text(
        f"{mlflow_uri(None, home)}\n", encoding="utf-8"
    )  # as earlier versions wrote it
    shutil.copytree(home, moved)
    assert kept_store(moved, "run") == mlflow_uri(None, moved)
    shutil.rmtree(home)
    assert kept_store(moved, "early") == kept_store(moved, "run") == mlflow_uri(None, moved)


def test_a_store_outside_of_the_home_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mlflow.db").touch()
    keep_store(f"sqlite:///{tmp_path}/shared/mlflow.db", tmp_path / "home", "run")
    assert kept_store(tmp_path / "home", "run") == f"sqlite:///{tmp_path}/shared/mlflow.db"


def test_a_command_of_mlflow_is_one_that_a_shell_and_mlflow_understand() -> None:
    assert shell_command("mlflow ui --uri", "sqlite:////runs/mlflow.db") == "mlflow ui --uri sqlite:////runs/mlflow.db"
    assert shell_command("mlflow ui --uri", url_text(sqlite_url(Path("/it's 1%/mlflow.db")))) == (
        "cd '/it'\"'\"'s 1%' && mlflow ui --uri sqlite:///mlflow.db"
    )


def done(folder: Path) -> Evaluation:
    return replace(fakes.measure(CANDIDATE), facts=Facts(**folder_facts(folder)))


@pytest.mark.parametrize("half", ["", "halves"])
def test_checkpoints_are_found_in_the_home_as_it_is_now(tmp_path: Path, half: str) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    own = trials_folder(before, "run", "recipe") / CANDIDATE.training / half
    evaluation = done(own)
    assert training_folders(trials_folder(before, "run", "recipe"), evaluation)[0] == own
    moved = trials_folder(now, "run", "recipe") / CANDIDATE.training / half
    assert training_folders(trials_folder(now, "run", "recipe"), evaluation)[0] == moved
    early = replace(evaluation, facts=Facts(folder=str(own)))  # as earlier versions kept it
    assert training_folders(trials_folder(now, "run", "recipe"), early)[0] == moved
    # A run that the ledger answered has its checkpoints in the folder of the other one.
    assert moved in training_folders(trials_folder(now, "answered", "recipe"), evaluation)
    assert moved in training_folders(trials_folder(now, "answered", "recipe"), early)


@pytest.mark.parametrize(
    "folder",
    ["../../etc/trials/x", "/a/trials/../b", "/", "..", "a", "trials", "run/trials/r\0/t", "r/trials/r/" + "t" * 300],
)
def test_a_folder_that_a_ledger_tells_never_leads_out_of_the_home(tmp_path: Path, folder: str) -> None:
    evaluation = replace(fakes.measure(CANDIDATE), facts=Facts(folder=folder))
    places = training_folders(trials_folder(tmp_path, "run", "recipe"), evaluation)
    assert all(os.path.realpath(place).startswith(f"{tmp_path}/run/trials/recipe/") for place in places)
