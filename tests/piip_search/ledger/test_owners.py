"""Whose a search is, who did what to it, and what the last process was asked for."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.ledger import Circumstances, Ledger, LedgerError
from piip_search.ledger.roles import statements
from piip_search.owner import Owner
from support import second_user
from support.typed import Cli

ALICE, BOB = Owner("alice", "a"), Owner("bob", "b")
CANDIDATE = Candidate(0, Architecture.parse("vit_nano@64:g"), Fidelity(epochs=3), seed=5)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


def test_a_run_is_its_owners(url: str) -> None:
    with closing(Ledger(url, owner=ALICE)) as alice:
        alice.start("coco", "question", "recipe", {})
    with closing(Ledger(url, owner=Owner("alice", "another machine"))) as alice:
        alice.start("coco", "question", "recipe", {})
    with closing(Ledger(url, owner=BOB)) as bob:
        with pytest.raises(LedgerError, match=r"run 'coco' belongs to alice@a, and this is bob@b; .*--take-over"):
            bob.start("coco", "question", "recipe", {})
        bob.start("coco", "question", "recipe", {}, take_over=True)
        assert bob.search("coco").owner == ALICE
        assert [sitting.owner.user for sitting in bob.sittings("coco")] == ["alice", "alice", "bob"]
        assert [(str(act.owner), act.what) for act in bob.actions("coco")] == [
            ("alice@a", "began"),
            ("alice@another machine", "resumed"),
            ("bob@b", "took over"),
            ("bob@b", "resumed"),
        ]


def test_a_run_of_an_earlier_version_is_everybodys(url: str) -> None:
    with closing(Ledger(url, owner=Owner())) as nobody:
        nobody.start("coco", "question", "recipe", {})
    with closing(Ledger(url, owner=BOB)) as bob:
        bob.start("coco", "question", "recipe", {})


def test_what_a_process_was_asked_for_is_shown_and_its_change_is_logged(url: str) -> None:
    with closing(Ledger(url)) as ledger:
        ledger.start("coco", "question", "recipe", {"budget": {"trials": 4}, "resources": {"gpu": 1}, "seed": 3})
        ledger.start("coco", "question", "recipe", {"budget": {"trials": 12}, "resources": {"gpu": 1}, "seed": 3})
        assert ledger.search("coco").spec == {"budget": {"trials": 12}, "resources": {"gpu": 1}, "seed": 3}
        assert [sitting.budget for sitting in ledger.sittings("coco")] == [{"trials": 4}, {"trials": 12}]
        (changed,) = [act for act in ledger.actions("coco") if act.what == "changed"]
        assert changed.detail == {"section": "budget", "before": {"trials": 4}, "now": {"trials": 12}}


def measured(url: str, owner: Owner, run: str, versions: dict[str, str] | None = None) -> None:
    with closing(Ledger(url, owner=owner)) as ledger:
        ledger.start(run, "question", "recipe", {}, circumstances=Circumstances("h", 1, "", versions or {}))
        ledger.propose(run, CANDIDATE, "recipe")
        ledger.accept(run, Evaluation(CANDIDATE, "done", {"bbox_mAP": 0.01}), "recipe")


def test_answers_come_from_ones_own_searches_or_from_named_ones(url: str) -> None:
    measured(url, BOB, "bobs")
    key = CANDIDATE.key("recipe")
    with closing(Ledger(url, owner=ALICE)) as alice:
        assert alice.find(key, "own") is None
        assert alice.find(key, ("another",)) is None
        assert [found and found[0] for found in (alice.find(key, "all"), alice.find(key, ("bobs",)))] == ["bobs"] * 2
    measured(url, ALICE, "alices")
    with closing(Ledger(url, owner=ALICE)) as alice:
        found = alice.find(key, "own")
        assert found is not None
        assert found[0] == "alices"


def test_answers_of_other_versions_are_none(url: str) -> None:
    measured(url, ALICE, "one", {"torch": "2.11.0+cu130", "numpy": "1"})
    key = CANDIDATE.key("recipe")
    with closing(Ledger(url, owner=ALICE)) as ledger:
        assert ledger.find(key, "own", {"torch": "2.11.1", "numpy": "2"}) is not None
        assert ledger.find(key, "own", {"torch": "2.13.0"}) is None
        assert ledger.find(key, "own", {"timm": "1.0"}) is not None


@pytest.fixture
def shared_home() -> Iterator[Path]:
    """A home that everybody may write, with a search of this user."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with closing(Ledger(f"sqlite:///{home}/ledger.db")) as ledger:
            ledger.start("coco", "question", "recipe", {})
        home.chmod(0o777)
        (home / "ledger.db").chmod(0o666)
        yield home


START = """
import sys
from piip_search.ledger import Ledger
ledger = Ledger(sys.argv[1])
ledger.start(sys.argv[2], "question", "recipe", {})
print("begun")
"""


def test_a_second_user_is_somebody_else(shared_home: Path) -> None:
    url = f"sqlite:///{shared_home}/ledger.db"
    refused = second_user.run_python(START, url, "coco")
    assert "LedgerError: run 'coco' belongs to" in refused.stderr
    assert second_user.run_python(START, url, "another").stdout == "begun\n"
    with closing(Ledger(url, reading=True)) as ledger:
        assert ledger.search("another").owner.user == str(second_user.SECOND_USER)
        assert not ledger.driven("another")


def test_a_second_user_who_looks_is_in_nobodys_way(shared_home: Path) -> None:
    before = {path.name: path.read_bytes() for path in shared_home.iterdir()}
    for words in (["show"], ["ledger", "list"], ["ledger", "log"], ["ledger", "verify"]):
        ended = second_user.run_command(*words, "--home", str(shared_home))
        assert (ended.returncode, ended.stderr) == (0, ""), words
    assert {path.name: path.read_bytes() for path in shared_home.iterdir()} == before
    with closing(Ledger(f"sqlite:///{shared_home}/ledger.db")) as ledger:
        ledger.start("coco", "question", "recipe", {})
        ledger.propose("coco", CANDIDATE, "recipe")


def test_a_refusal_is_not_waited_for(shared_home: Path) -> None:
    """It would not pass by itself: waiting for an outage takes ten minutes."""
    with closing(Ledger(f"sqlite:///{shared_home}/ledger.db", reading=True)) as reader:
        with pytest.raises(LedgerError, match=r"refuses \(it belongs to .*, mode 0666\): .*readonly database"):
            reader.note("exported", "coco")
        with pytest.raises(LedgerError, match="refuses"), reader.claim("coco", "mirror"):
            pass


def test_a_table_that_is_missing_is_not_waited_for(shared_home: Path) -> None:
    with closing(Ledger(f"sqlite:///{shared_home}/ledger.db")) as ledger:
        with closing(sqlite3.connect(shared_home / "ledger.db")) as connection, connection:
            connection.execute("DROP TABLE kept_file")
        with pytest.raises(LedgerError, match="no such table: kept_file"):
            ledger.kept_files("coco")


def test_the_command_prints_the_roles_of_a_shared_database(run_cli: Cli) -> None:
    printed = run_cli("ledger", "roles", "--prefix", "team")
    assert printed.out.splitlines() == statements("public", "team")
    wrong = run_cli("ledger", "roles", "--schema", "a;b")
    assert (wrong.code, "must be small letters" in wrong.err) == (2, True)
