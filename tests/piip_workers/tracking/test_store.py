"""MLflow's store in a file: made by one process, told when it is broken and built anew, found where it was moved to."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from piip_search.api.stores import mlflow_uri
from piip_search.config import SearchSpec
from piip_search.errors import BrokenStoreError, StoreError
from piip_search.ledger import Ledger, sqlite_url, url_text
from piip_search.search.search import open_search
from piip_workers.tracking.background import InBackground
from support import fakes, small_ledger
from support.typed import Cli

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
search_run = pytest.importorskip("piip_workers.tracking.search_run", exc_type=ImportError)
EXPERIMENT, MlflowTracker = search_run.EXPERIMENT, search_run.MlflowTracker

NAMES = ["a%20b", "feature%2Fabc", "a?b=c#d", 'it\'s "q" {a}', "new\nline", "жé☃", "é" * 120]
OPEN = """
import logging, sys, time
from piip_workers.tracking.search_run import MlflowTracker
logging.disable(logging.CRITICAL)
print("ready", flush=True)
sys.stdin.readline()
MlflowTracker(sys.argv[1])
print("opened", flush=True)
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds nothing: its tables take MLflow seconds to make."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowTracker(url_text(sqlite_url(file)))
    return file


@pytest.fixture
def home(tables: Path, tmp_path: Path, spec: SearchSpec) -> Path:
    """A home with two finished runs, and a store that knows neither."""
    for run in ("one", "two"):
        small_ledger.fill(tmp_path / "runs", spec, run, trials=2).close()
    shutil.copy(tables, tmp_path / "runs")
    return tmp_path / "runs"


def uri_of(home: Path) -> str:
    return str(mlflow_uri(None, home))


def runs_in(home: Path) -> dict[str, list[Any]]:
    """The searches that a store knows, and the trainings of each."""
    client = MlflowTracker(uri_of(home))._client
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    names = {run.info.run_id: run.data.tags["piip.run"] for run in runs if run.data.tags["piip.role"] == "search"}
    found: dict[str, list[Any]] = {name: [] for name in names.values()}
    for run in runs:
        if run.info.run_id not in names:
            found[names[run.data.tags["mlflow.parentRunId"]]].append(run)
    return found


def begun(uri: str) -> "subprocess.Popen[str]":
    """A process that opens a store once it is told to."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_processes_that_begin_at_once_share_one_store(tmp_path: Path) -> None:
    uri = uri_of(tmp_path)
    processes = [begun(uri) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in processes] == ["opened\n"] * 3
    assert runs_in(tmp_path) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db-lock"]


def test_a_process_that_is_killed_while_it_makes_the_store_is_in_nobodys_way(tmp_path: Path) -> None:
    process = begun(uri_of(tmp_path))
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    while not any(tmp_path.glob("mlflow.db-draft-*")):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (tmp_path / "mlflow.db").exists()
    assert runs_in(tmp_path) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db-lock"]


def no_database(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])


def half_migrated(file: Path) -> None:
    """As two processes left it: a table is missing, and columns are there already."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '7ac759974ad8'")
        connection.execute("DROP TABLE logged_model_tags")


def cut_off(file: Path) -> None:
    """As a process left it that was killed."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '7ac759974ad8'")
        connection.execute("CREATE TABLE _alembic_tmp_runs (id INTEGER)")


def without_revision(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DROP TABLE alembic_version")


BREAKS: list[Callable[[Path], None]] = [no_database, truncated, half_migrated, cut_off, without_revision]


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.__name__)
def test_a_broken_store_is_told_kept_and_built_anew(run_cli: Cli, home: Path, broken: Callable[[Path], None]) -> None:
    broken(home / "mlflow.db")
    before = (home / "mlflow.db").read_bytes()
    with pytest.raises(BrokenStoreError, match=r"mlflow.db is broken \(.*\); piip-search mirror RUN"):
        MlflowTracker(uri_of(home))
    assert (home / "mlflow.db").read_bytes() == before
    ended = run_cli("mirror", "one")
    assert (ended.code, "Traceback" in ended.err) == (0, False)
    assert ended.out == "one: 2 evaluations are in MLflow\ntwo: 2 evaluations are in MLflow\n"
    (aside,) = home.glob("mlflow.db.broken-*")
    assert aside.name in ended.err.replace("\n", "")
    assert aside.read_bytes() == before
    assert {name: len(runs) for name, runs in runs_in(home).items()} == {"one": 2, "two": 2}


def foreign(file: Path) -> None:
    file.unlink()
    Ledger(sqlite_url(file)).close()


def newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")


@pytest.mark.parametrize(("change", "said"), [(foreign, "database of another program"), (newer, "a newer MLflow")])
def test_a_store_that_is_not_broken_is_left_alone(
    run_cli: Cli, home: Path, change: Callable[[Path], None], said: str
) -> None:
    change(home / "mlflow.db")
    before = (home / "mlflow.db").read_bytes()
    ended = run_cli("mirror", "one")
    assert (ended.code, ended.out, "Traceback" in ended.err) == (2, "", False)
    assert said in ended.err
    assert (home / "mlflow.db").read_bytes() == before
    assert not list(home.glob("*broken*"))


def test_a_search_does_not_wait_for_a_store_that_is_broken(spec: SearchSpec, home: Path) -> None:
    no_database(home / "mlflow.db")
    told: list[str] = []
    mirror = InBackground(lambda: MlflowTracker(uri_of(home)), told.append, 600.0, " --home elsewhere")
    search = open_search("three", spec, Ledger(sqlite_url(home / "ledger.db")), "other recipe", mirror)
    candidate = search.propose()
    assert candidate is not None
    search.accept(fakes.measure(candidate))
    while not told:
        time.sleep(0.01)
    search.finish()
    assert "is broken (file is not a database)" in told[0]
    assert told[-1].endswith(
        "MLflow misses 1 of 1 evaluations; to write them: piip-search mirror three --home elsewhere"
    )


def front_of(home: Path, run: str) -> dict[str, Any]:
    """What the store finds of a run's front."""
    client = MlflowTracker(uri_of(home))._client
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    (found,) = client.search_runs([experiment], f"tags.`piip.run` = '{run}' and tags.`piip.role` = 'search'")
    content: dict[str, Any] = json.loads(
        Path(client.download_artifacts(found.info.run_id, "front.json")).read_text(encoding="utf-8")
    )
    return content


@pytest.mark.parametrize("copied", [False, True], ids=["moved", "copied"])
def test_what_runs_keep_is_found_where_the_home_is_now(run_cli: Cli, home: Path, copied: bool) -> None:
    assert run_cli("mirror", "one").code == 0
    front = front_of(home, "one")
    now = home.with_name("somewhere") / "else %20é"
    now.parent.mkdir()
    if copied:
        shutil.copytree(home, now)
        shutil.rmtree(home / "mlartifacts")
    else:
        home.rename(now)
    assert run_cli("mirror", "two", "--home", str(now)).code == 0
    assert front_of(now, "one") == front
    assert front_of(now, "two")["front"]
    assert not (home / "mlartifacts").exists()
    with closing(sqlite3.connect(now / "mlflow.db")) as connection:
        places = [place for (place,) in connection.execute("SELECT artifact_uri FROM runs")]
    assert all(place.startswith(f"{(now / 'mlartifacts').as_uri()}/") for place in places)


@pytest.mark.parametrize("name", NAMES)
def test_a_store_lies_in_its_home_whatever_that_is_called(run_cli: Cli, home: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    home.rename(place / name)
    assert run_cli("mirror", "one", "--home", str(place / name)).code == 0
    assert front_of(place / name, "one")["front"]
    assert [path.name for path in place.iterdir()] == [name]
    inside = {path.name.partition("-")[0] for path in (place / name).iterdir()}
    assert inside == {"ledger.db", "mlflow.db", "mlartifacts", "one"}


def test_a_store_that_may_only_be_read_is_told_at_once(tables: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everything")
    shutil.copy(tables, tmp_path)
    tmp_path.chmod(0o555)
    with pytest.raises(StoreError, match="may only be read here; name another one with --mlflow"):
        MlflowTracker(uri_of(tmp_path))
