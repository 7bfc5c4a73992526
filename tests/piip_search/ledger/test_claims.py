"""Claims: seen by everybody, held by one process, ended with it, or taken over on purpose."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from piip_search.ledger import Ledger, LedgerError
from piip_search.ledger.claims import CLAIM_LIFE
from support import ROOT
from support.damage import edit

POSTGRES = pytest.param("postgresql", marks=[pytest.mark.slow, pytest.mark.xdist_group("postgres")])
HOLD = """
import sys
from piip_search.ledger import Ledger, LedgerError
ledger = Ledger(sys.argv[1])
ledger.start("one", "question", "recipe", {})
print("begun", flush=True)
sys.stdin.readline()
try:
    ledger.note("exported", "one")
    ledger.keep_file("one", "model.py", "x = 1")
except LedgerError as error:
    print(error, flush=True)
"""


@pytest.fixture(params=["sqlite", POSTGRES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return str(request.getfixturevalue("postgres").database())


@contextmanager
def holder(url: str) -> "Iterator[subprocess.Popen[str]]":
    """Another process that drives the search."""
    command = [sys.executable, "-c", HOLD, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            yield process
        finally:
            process.kill()


def changed(url: str, **values: object) -> None:
    """Changes the claim, as it would look after the process had run elsewhere, or long ago."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for name, value in values.items():
            connection.execute(text(f"UPDATE claim SET {name} = :value"), {"value": value})
    engine.dispose()


def test_a_claim_shows_who_holds_it(url: str) -> None:
    with closing(Ledger(url)) as ledger, holder(url) as process:
        claim = ledger.claim_of("one")
        assert claim is not None
        assert (claim.process, claim.alive, claim.owner) == (process.pid, True, ledger.owner)
        assert claim.age < CLAIM_LIFE
        with pytest.raises(LedgerError, match=rf"process {process.pid}, last sign of life .* --take-over"):
            ledger.start("one", "question", "recipe", {})


def test_a_killed_process_holds_nothing(url: str) -> None:
    with closing(Ledger(url)) as ledger:
        with holder(url) as process:
            process.send_signal(signal.SIGKILL)
            process.wait()
            claim = ledger.claim_of("one")
            assert claim is not None
            assert not claim.alive
        ledger.start("one", "question", "recipe", {})


def test_a_claim_is_taken_over_on_purpose_and_the_earlier_process_stops(url: str) -> None:
    with closing(Ledger(url)) as ledger, holder(url) as process:
        ledger.start("one", "question", "recipe", {}, take_over=True)
        assert [act.what for act in ledger.actions("one")] == ["began", "took over", "resumed"]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert f"process {os.getpid()}" in process.stdout.readline()
        assert ledger.kept_files("one") == {}
        ledger.keep_file("one", "model.py", "x = 2")


def test_a_claim_of_another_machine_counts_while_it_beats(url: str) -> None:
    """The processes of another machine cannot be seen from here."""
    with closing(Ledger(url)) as ledger, holder(url):
        changed(url, machine="another-boot pid:[1] 77 9")
        assert ledger.driven("one")
        changed(url, beat_at=datetime.now(UTC) - timedelta(seconds=2 * CLAIM_LIFE))
        assert not ledger.driven("one")
        ledger.start("one", "question", "recipe", {})


@pytest.mark.parametrize(("column", "value"), [("beat_at", "'soon'"), ("machine", "'x'"), ("process", "'none'")])
def test_a_claim_that_cannot_be_read_is_nobodys(tmp_path: Path, column: str, value: str) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger(url)) as ledger, holder(url):
        edit(tmp_path / "ledger.db", "claim", column, value)
        assert ledger.driven("one") is False
        ledger.start("one", "question", "recipe", {})
        assert ledger.driven("one") is True


def test_each_kind_of_work_has_a_claim_of_its_own(url: str) -> None:
    with closing(Ledger(url)) as ledger, holder(url):
        with ledger.claim("one", "mirror"):
            claim = ledger.claim_of("one", "mirror")
            assert claim is not None
            assert claim.process == os.getpid()
        assert ledger.claim_of("one", "mirror") is None
        with pytest.raises(LedgerError, match="drives run 'one'"), ledger.claim("one", "drive"):
            pass
