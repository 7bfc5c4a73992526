"""The hash chain shows rows that were changed, removed or put in."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from piip_search.config import SearchSpec
from piip_search.ledger import Ledger
from piip_search.ledger.copies import merge
from support import small_ledger
from support.typed import Cli


@pytest.fixture
def home(spec: SearchSpec, tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    small_ledger.fill(folder, spec, trials=3).close()
    return folder


def edited(home: Path, *statements: str) -> None:
    with closing(sqlite3.connect(home / "ledger.db")) as connection, connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(statement)


def problems(home: Path, earlier: str | None = None) -> tuple[str, ...]:
    with closing(Ledger(f"sqlite:///{home}/ledger.db", reading=True)) as ledger:
        return ledger.verify("small", earlier).problems


def test_what_nobody_touched_is_whole(home: Path) -> None:
    with closing(Ledger(f"sqlite:///{home}/ledger.db", reading=True)) as ledger:
        report, log = ledger.verify("small"), ledger.verify_log()
    assert (report.problems, log.problems) == ((), ())
    assert report.rows > 3 * 2
    assert log.rows == 1


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE evaluation SET metrics = '{\"bbox_mAP\": 0.999}' WHERE position = 4", "evaluation 4 was changed"),
        ("UPDATE sitting SET owner_user = 'mallory'", "sitting 1 was changed"),
        ("UPDATE evaluation SET metrics = metrics || 'x' WHERE position = 4", "evaluation 4 was changed"),
        ("UPDATE evaluation SET error = CAST(X'fffe' AS TEXT) WHERE position = 4", "evaluation 4 was changed"),
        ("UPDATE evaluation SET finished_at = 'yesterday' WHERE position = 4", "evaluation 4 was changed"),
        ("DELETE FROM evaluation WHERE position = 4", "evaluation 4 is missing"),
        ("DELETE FROM link WHERE number = 3", "link 3 is missing"),
        (
            "INSERT INTO front (search_id, position, tier, members, hypervolume, found_at) "
            "VALUES (1, 99, 1.0, '[]', 0.5, '2026-01-01 00:00:00')",
            "front 99 1.0 is not in the chain",
        ),
    ],
)
def test_an_edit_is_seen(home: Path, statement: str, said: str) -> None:
    edited(home, statement)
    assert any(said in problem for problem in problems(home))


@pytest.mark.parametrize("statement", ["DELETE FROM search", "UPDATE search SET spec = '{'"])
def test_a_search_that_is_gone_is_seen_in_the_log(home: Path, run_cli: Cli, statement: str) -> None:
    edited(home, statement)
    seen = run_cli("ledger", "verify", "--home", str(home))
    assert (seen.code, "is missing, or cannot be read: its chain is there" in seen.out) == (1, True)


def test_a_chain_that_was_written_anew_is_seen_by_an_earlier_head(home: Path, spec: SearchSpec, tmp_path: Path) -> None:
    with closing(Ledger(f"sqlite:///{home}/ledger.db", reading=True)) as ledger:
        head = ledger.verify("small").head
    assert problems(home, head) == ()
    end = "(SELECT max(position) FROM evaluation)"
    edited(
        home,
        "DELETE FROM link WHERE number = (SELECT max(number) FROM link WHERE search != '') AND search != ''",
        f"DELETE FROM front WHERE position = {end}",
        f"DELETE FROM evaluation WHERE position = {end}",
    )
    assert any("the chain has no digest" in problem for problem in problems(home, head))


def test_a_copy_has_the_chain_of_its_original_and_goes_on_with_it(home: Path, spec: SearchSpec, tmp_path: Path) -> None:
    with (
        closing(Ledger(f"sqlite:///{home}/ledger.db")) as source,
        closing(Ledger(f"sqlite:///{tmp_path}/copy.db")) as target,
    ):
        merge(source, target)
        assert target.verify("small") == source.verify("small")
        small_ledger.fill(home, spec, trials=5).close()
        merge(source, target)
        assert target.verify("small") == source.verify("small")
        assert target.verify("small").problems == ()
        assert [act.what for act in target.actions("small")] == ["merged", "merged"]


def test_the_command_ends_with_1_after_an_edit_and_compares_with_what_it_printed(
    home: Path, tmp_path: Path, run_cli: Cli
) -> None:
    where = ["--home", str(home)]
    printed = run_cli("ledger", "verify", "--json", *where)
    heads = tmp_path / "heads.json"
    heads.write_text(printed.out, encoding="utf-8")
    assert printed.code == 0
    assert {report["run"] for report in json.loads(printed.out).values()} == {"small", ""}
    assert run_cli("ledger", "verify", "--against", str(heads), *where).code == 0
    edited(home, "UPDATE evaluation SET seconds = 1 WHERE position = 4")
    changed = run_cli("ledger", "verify", "small", "--against", str(heads), *where)
    assert (changed.code, "evaluation 4 was changed" in changed.out) == (1, True)
    heads.write_text("[]", encoding="utf-8")
    wrong = run_cli("ledger", "verify", "--against", str(heads), *where)
    assert (wrong.code, "must hold what piip-search ledger verify --json printed" in wrong.err) == (2, True)
