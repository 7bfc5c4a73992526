import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

import piip_search.ledger.migrations
from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.evaluation.facts import Facts
from piip_search.evaluation.reason import Reason
from piip_search.ledger import Circumstances, FrontSnapshot, Ledger, LedgerError, PreparationRecord
from piip_search.ledger.sqlite import is_local
from piip_search.ledger.tables import APPEND_ONLY, NEWEST, LedgerTable
from support import ROOT
from support.postgres import Postgres

CANDIDATE = Candidate(0, Architecture.parse("vit_nano@64:g+vit_pico@128:w4*2"), Fidelity(epochs=3), seed=5)
DONE = Evaluation(
    CANDIDATE, "done", {"bbox_mAP": 0.25}, seconds=2.5, history=({"epoch": 1.0, "loss": 3.0},), facts=Facts(host="here")
)


POSTGRES = pytest.param("postgresql", marks=[pytest.mark.slow, pytest.mark.xdist_group("postgres")])


@pytest.fixture(params=["sqlite", POSTGRES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/folder/ledger.db"
    return str(request.getfixturevalue("postgres").database())


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    book = Ledger(url)
    book.start("one", "question", "recipe", {"metric": "bbox_mAP"})
    yield book
    book.close()


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def migrate(url: str, to: str) -> None:
    config = Config()
    config.set_main_option("script_location", "piip_search.ledger:migrations")
    with connected(url) as connection:
        config.attributes["connection"] = connection
        (command.downgrade if to in ("base", "0001", "0002") else command.upgrade)(config, to)


def test_what_is_written_is_read_back_in_order(ledger: Ledger) -> None:
    second = Candidate(1, Architecture.parse("vit_pico@32:g"), Fidelity())
    failed = Evaluation(second, "failed", error="out of memory")
    ledger.propose("one", CANDIDATE, "recipe")
    ledger.propose("one", second, "recipe")
    ledger.accept("one", failed, "recipe")
    ledger.accept("one", DONE, "recipe")
    with closing(Ledger(ledger.url)) as reader:
        assert list(reader.events("one")) == [CANDIDATE, second, failed, DONE]
    record = ledger.search("one")
    assert (record.proposals, record.evaluations) == (2, 2)


def test_the_unfinished_and_since_when(ledger: Ledger) -> None:
    second = Candidate(1, Architecture.parse("vit_pico@32:g"), Fidelity())
    ledger.propose("one", CANDIDATE, "recipe")
    ledger.propose("one", second, "recipe")
    ledger.accept("one", DONE, "recipe")
    ((candidate, seconds),) = ledger.unfinished("one").items()
    assert candidate == second
    assert 0 <= seconds < 60
    with pytest.raises(LedgerError, match="it holds: one"):
        ledger.unfinished("two")


def test_readers_go_on_from_where_they_were(ledger: Ledger) -> None:
    second = Candidate(1, Architecture.parse("vit_pico@32:g"), Fidelity())
    assert ledger.positions() == {"one": 0}
    ledger.propose("one", CANDIDATE, "recipe")
    ledger.propose("one", second, "recipe")
    ledger.accept("one", DONE, "recipe")
    whole = ledger.happened("one")
    assert [event.position for event in whole] == [1, 2, 3]
    assert [event.item for event in whole] == [CANDIDATE, second, DONE]
    assert ledger.happened("one", after=1) == whole[1:]
    assert ledger.happened("one", after=2) == whole[2:]
    assert ledger.happened("one", after=3) == []
    assert ledger.positions() == {"one": 3}


def test_readers_see_whether_a_search_is_driven(url: str) -> None:
    code = (
        "import sys\nfrom piip_search.ledger import Ledger\n"
        f"book = Ledger({url!r}); book.start('one', 'q', 'r', {{}}); print('begun', flush=True); sys.stdin.read()"
    )
    book = Ledger(url)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "begun\n"
        assert book.driven("one") is True
        with pytest.raises(LedgerError, match="drives run 'one'"):
            book.start("one", "q", "r", {})
        driver.communicate("")
    assert book.driven("one") is False
    assert book.driven("two") is None
    book.start("one", "q", "r", {})  # asking was in nobody's way
    book.close()


def test_only_successes_of_the_same_measurement_are_found(ledger: Ledger) -> None:
    ledger.propose("one", CANDIDATE, "recipe")
    assert ledger.find(CANDIDATE.key("recipe")) is None
    ledger.accept("one", DONE, "recipe")
    assert ledger.find(CANDIDATE.key("recipe")) == ("one", DONE)
    assert ledger.find(CANDIDATE.key("other recipe")) is None
    other_seed = Candidate(0, CANDIDATE.architecture, CANDIDATE.fidelity, seed=6)
    assert ledger.find(other_seed.key("recipe")) is None


def test_a_run_cannot_change_its_question(ledger: Ledger) -> None:
    ledger.start("one", "question", "recipe", {"metric": "bbox_mAP"})
    with pytest.raises(LedgerError, match=r"changed since: metric.*--name"):
        ledger.start("one", "another", "recipe", {"metric": "bbox_mAP_50"})
    with pytest.raises(LedgerError, match="changed since: data"):
        ledger.start("one", "question", "other data", {"metric": "bbox_mAP"})


def test_an_unknown_run_names_the_known(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="it holds: one"):
        ledger.evaluations("two")


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////proc/none/ledger.db", "oracle+nosuch://x"])
def test_a_ledger_that_cannot_be_opened(url: str) -> None:
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(url)


def test_a_ledger_on_a_disk_of_its_own_writes_ahead(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"disk / ext4 rw 0 0\nhost:/x {tmp_path}/far\\040away nfs4 rw 0 0\n", encoding="utf-8")
    assert is_local(tmp_path / "ledger.db", mounts)
    assert not is_local(tmp_path / "far away" / "runs" / "ledger.db", mounts)
    assert not is_local(tmp_path / "ledger.db", tmp_path / "nowhere")


def test_passwords_are_not_shown() -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger("postgresql+nosuchdriver://user:secret@localhost/x")
    assert "secret" not in str(caught.value)


def test_migrations_make_the_tables_that_the_code_expects(ledger: Ledger) -> None:
    with connected(ledger.url) as connection:
        assert compare_metadata(MigrationContext.configure(connection), LedgerTable.metadata) == []
    assert ScriptDirectory(str(Path(piip_search.ledger.migrations.__file__).parent)).get_current_head() == NEWEST


def test_migrations_go_both_ways(ledger: Ledger) -> None:
    ledger.close()
    migrate(ledger.url, "base")
    with connected(ledger.url) as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    migrate(ledger.url, "head")
    with connected(ledger.url) as connection:
        assert compare_metadata(MigrationContext.configure(connection), LedgerTable.metadata) == []


def test_an_old_ledger_is_brought_up_to_date_with_all_it_holds(ledger: Ledger) -> None:
    ledger.propose("one", CANDIDATE, "recipe")
    ledger.accept("one", DONE, "recipe")
    ledger.close()
    migrate(ledger.url, "0001")
    with connected(ledger.url) as connection:
        assert "sitting" not in inspect(connection).get_table_names()
        assert "uid" not in {column["name"] for column in inspect(connection).get_columns("search")}
    book = Ledger(ledger.url)
    assert list(book.events("one")) == [CANDIDATE, DONE]
    assert len(book.search("one").uid) == 32
    assert book.sittings("one") == []
    book.start("one", "question", "recipe", {"metric": "bbox_mAP"})
    book.propose("one", Candidate(1, CANDIDATE.architecture, Fidelity(epochs=9)), "recipe")
    assert book.search("one").proposals == 2
    book.close()


def test_audits_of_an_old_ledger_are_known_by_their_run(url: str) -> None:
    """A merge may have renamed an audit or its run, and a search may be called like an audit."""
    rows = {
        "one": ("question-of-one", "r1", {"metric": "a"}),
        "one.audit-0a1b2c": ("0a1b2c", "r1", {"metric": "a", "budget": {"trials": 3}}),
        "one-ffeedd": ("question-of-one", "r2", {"metric": "a"}),
        "one.audit-0a1b2c-ffeedd": ("0a1b2c", "r2", {"metric": "a"}),
        "gone.audit-aaaaaa": ("aaaaaa", "r3", {"metric": "a"}),
        "one.audit-mine": ("question-of-one", "r1", {"metric": "a"}),
    }
    book = Ledger(url)
    for name, (question, recipe, spec) in rows.items():
        book.start(name, question, recipe, spec)
    book.close()
    migrate(url, "0002")
    book = Ledger(url)
    uids = {record.name: record.uid for record in book.searches()}
    assert {record.name: record.audit_of for record in book.searches()} == {
        "one": None,
        "one.audit-0a1b2c": uids["one"],
        "one-ffeedd": None,
        "one.audit-0a1b2c-ffeedd": uids["one-ffeedd"],
        "gone.audit-aaaaaa": "",
        "one.audit-mine": None,
    }
    assert [record.name for record in book.searches() if record.is_audit] == [
        "one.audit-0a1b2c",
        "one.audit-0a1b2c-ffeedd",
        "gone.audit-aaaaaa",
    ]
    for statement in ("UPDATE search SET name = 'x'", "DELETE FROM search"):
        with pytest.raises(DBAPIError, match="append-only"), connected(url) as connection:
            connection.execute(text(statement))  # still guarded
    book.close()


def test_the_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    database = tmp_path / "ledger.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript((Path(__file__).parent / "ledger_0001.sql").read_text(encoding="utf-8"))
    book = Ledger(f"sqlite:///{database}")
    assert [evaluation.metrics["bbox_mAP"] for evaluation in book.evaluations("small")] == [0.25, 0.5]
    assert book.find(book.evaluations("small")[0].candidate.key("recipe")) is not None
    book.close()


def test_a_ledger_of_a_newer_version_says_so(url: str) -> None:
    Ledger(url).close()
    with connected(url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerError, match=r"a newer version wrote it.*pip install --upgrade"):
        Ledger(url)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("change", ["UPDATE {} SET id = id + 1", "DELETE FROM {}"])
def test_no_row_is_ever_changed(ledger: Ledger, table: str, change: str) -> None:
    promotion = Reason("promotion", first=0, rung=1)
    ledger.propose("one", CANDIDATE, "recipe")
    ledger.accept("one", DONE, "recipe", 1.0, [FrontSnapshot(0.5, (0,), 0.25)])
    ledger.propose("one", Candidate(1, CANDIDATE.architecture, Fidelity(epochs=9), reason=promotion), "recipe")
    ledger.prepare("one", PreparationRecord("supernet", "digest", "running"))
    ledger.keep_file("one", "model.py", "model = 1")
    with pytest.raises(DBAPIError, match="append-only"), connected(ledger.url) as connection:
        connection.execute(text(change.format(table)))


def test_steps_of_a_preparation_are_rows_of_their_own(ledger: Ledger) -> None:
    assert ledger.preparations("one") == []
    steps = [
        PreparationRecord("supernet", "digest", "running"),
        PreparationRecord("supernet", "digest", "failed", "a1", "out of memory", 1.5, 0.5),
        PreparationRecord("supernet", "digest", "done", "a1", seconds=2.5, gpu_seconds=1.0, facts={"steps": 9}),
    ]
    for step in steps:
        ledger.prepare("one", step)
    found = ledger.preparations("one")
    assert [replace(step, number=0, sitting=0, at=None) for step in found] == steps
    assert [(step.number, step.sitting) for step in found] == [(1, 1), (2, 1), (3, 1)]
    assert all(step.at is not None for step in found)
    assert list(ledger.events("one")) == []
    with closing(Ledger(ledger.url)) as reader, pytest.raises(LedgerError, match="was not started here"):
        reader.prepare("one", steps[0])


def test_who_measured_what_where(ledger: Ledger) -> None:
    here = Circumstances("host", 7, "abc+", {"python": "3.11"})
    uid = ledger.start("one", "question", "recipe", {"metric": "bbox_mAP"}, circumstances=here)
    promotion = Reason("promotion", first=0, rung=1)
    ledger.propose("one", CANDIDATE, "recipe")
    ledger.accept("one", DONE, "recipe", 1.25, [FrontSnapshot(0.5, (0,), 0.25), FrontSnapshot(1.0, (0,), 0.5)])
    ledger.propose("one", Candidate(1, CANDIDATE.architecture, Fidelity(epochs=9), reason=promotion), "recipe")
    assert uid == ledger.search("one").uid
    assert [sitting.circumstances for sitting in ledger.sittings("one")] == [Circumstances(), here]
    ((promoted),) = ledger.promotions("one")
    assert (promoted.number, promoted.first, promoted.rung) == (1, 0, 1)
    assert [(f.tier, f.members, f.hypervolume) for f in ledger.front_snapshots("one")] == [
        (0.5, (0,), 0.25),
        (1.0, (0,), 0.5),
    ]
    with connected(ledger.url) as connection:
        row = connection.execute(text("SELECT host, gpu_seconds, sitting FROM evaluation")).one()
    assert tuple(row) == ("here", 1.25, 2)


OTHER_PROCESS = """
import sys
from piip_search.ledger import Ledger, LedgerError
try:
    Ledger(sys.argv[1]).start("one", "question", "recipe", {"metric": "bbox_mAP"})
except LedgerError as error:
    print(error)
"""


def test_a_second_process_is_refused_until_the_first_ends(ledger: Ledger) -> None:
    def tried() -> str:
        command = [sys.executable, "-c", OTHER_PROCESS, ledger.url]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert "drives run 'one' at this moment" in tried()
    ledger.close()
    assert tried() == ""


def test_a_writer_that_was_overtaken_stops(url: str) -> None:
    first, second = Ledger(url), Ledger(url)
    first.start("one", "question", "recipe", {})
    with connected(url) as connection:  # as when the first one's machine was taken for dead
        connection.execute(text("UPDATE claim SET token = ''"))
    second.start("one", "question", "recipe", {})
    second.propose("one", CANDIDATE, "recipe")
    with pytest.raises(LedgerError, match=r"another process .* has gone on with this search"):
        first.propose("one", Candidate(0, Architecture.parse("vit_pico@32:g"), Fidelity()), "recipe")
    assert list(second.events("one")) == [CANDIDATE]
    first.close()
    second.close()


def test_two_searches_write_one_database_at_once(url: str) -> None:
    books = [Ledger(url) for _ in range(2)]
    for book, name in zip(books, ("one", "two"), strict=True):
        book.start(name, "question", "recipe", {})

    def write(book: Ledger, name: str) -> None:
        for number in range(20):
            candidate = Candidate(number, CANDIDATE.architecture, Fidelity(epochs=number))
            book.propose(name, candidate, "recipe")
            book.accept(name, Evaluation(candidate, "done", {"bbox_mAP": 0.5}), "recipe")

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, books, ("one", "two")))
    for book, name in zip(books, ("one", "two"), strict=True):
        assert [e.candidate.number for e in book.evaluations(name)] == list(range(20))
        book.close()


def test_a_locked_database_is_waited_for(tmp_path: Path) -> None:
    told: list[str] = []
    book = Ledger(f"sqlite:///{tmp_path}/ledger.db?timeout=0", told.append, patience=0.3)
    book.start("one", "question", "recipe", {})
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match=r"cannot be reached: database is locked; nothing measured is lost"):
            book.propose("one", CANDIDATE, "recipe")
        released = threading.Timer(0.2, lambda: other.execute("COMMIT"))
        other.execute("COMMIT")
        other.execute("BEGIN EXCLUSIVE")
        released.start()
        book.propose("one", CANDIDATE, "recipe")
        released.join()
    assert list(book.events("one")) == [CANDIDATE]
    assert told[0].startswith("the ledger is away (database is locked)")
    assert told[-1] == "the ledger is back"


@pytest.mark.slow
@pytest.mark.xdist_group("postgres")
def test_connections_that_are_cut_and_a_server_that_crashes_lose_nothing(postgres: Postgres) -> None:
    told: list[str] = []
    url = postgres.database()
    book = Ledger(url, told.append)
    book.start("one", "question", "recipe", {})
    candidates = [Candidate(number, CANDIDATE.architecture, Fidelity(epochs=number)) for number in range(4)]
    book.propose("one", candidates[0], "recipe")
    postgres.cut_connections(url)
    book.propose("one", candidates[1], "recipe")
    postgres.crash()
    later = threading.Timer(1.0, postgres.restart)
    later.start()
    book.propose("one", candidates[2], "recipe")
    later.join()
    book.propose("one", candidates[3], "recipe")
    assert list(book.events("one")) == candidates
    assert told[-1] == "the ledger is back"
    book.close()


def test_processes_that_begin_at_once_make_one_ledger(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom piip_search.ledger import Ledger\nprint('ready', flush=True); sys.stdin.readline()\n"
        "book = Ledger(sys.argv[1]); book.start(sys.argv[2], 'q', 'r', {}); book.close()"
    )
    url = f"sqlite:///{tmp_path}/new/ledger.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, url, f"run-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[1] for process in processes] == [""] * 4
    with closing(Ledger(url)) as book:
        assert sorted(record.name for record in book.searches()) == [f"run-{number}" for number in range(4)]
