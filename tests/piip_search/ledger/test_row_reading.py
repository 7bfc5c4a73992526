"""Rows that cannot be read are left out and counted, and cost nobody the others."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from piip_search.config import SearchSpec
from piip_search.ledger import Ledger, LedgerError, unreadable_note
from piip_search.ledger.row_reading import LONGEST_TEXT
from piip_search.search.search import open_search
from support import damage, ledgers


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small ledger with rungs, failures, a promotion and sittings, as a file."""
    path = tmp_path_factory.mktemp("filled") / "ledger.db"
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        ledgers.fill(ledger, ledgers.published_spec(6), failing=0.2)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    return path.read_bytes()


@pytest.fixture
def path(filled: bytes, tmp_path: Path) -> Path:
    (tmp_path / "ledger.db").write_bytes(filled)
    return tmp_path / "ledger.db"


@pytest.fixture
def book(path: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{path}", reading=True)) as ledger:
        yield ledger


def part_of(kept: str, **changes: Any) -> str:
    """Plain data with changed parts; a dotted name is a part of a part."""
    data = json.loads(kept)
    for name, value in changes.items():
        *outer, last = name.split("__")
        place = data
        for key in outer:
            place = place[key]
        place[last] = value
    return json.dumps(data)


CANDIDATES: dict[str, tuple[dict[str, Any], str]] = {
    "another field of a fidelity": ({"fidelity__resolution": 2}, "fidelity must have only"),
    "an estimate that is a text": ({"why__left": "y"}, "why.left must be a mapping"),
    "an estimate that is no number": ({"why__left": {"250": "much"}}, "why.left must be a number"),
    "a reason that is a list": ({"why": [1]}, "why must be a mapping"),
    "another number": ({"number": 77}, "number must be that of its row"),
    "a large image": ({"architecture__branches": [{"backbone": "vit_t", "resolution": 16 * 10**9}]}, "resolution must"),
    "a deep model": ({"architecture__branches": [{"backbone": "vit_w16_d999999999_h1", "resolution": 16}]}, "blocks"),
    "an unknown model": ({"architecture__branches": [{"backbone": "vit_zz", "resolution": 16}]}, "unknown backbone"),
    "an image of text": (
        {"architecture__branches": [{"backbone": "vit_t", "resolution": "16"}]},
        "an architecture needs",
    ),
    "no architecture": ({"architecture": None}, "architecture must be a mapping"),
    "a seed of text": ({"seed": "one"}, "seed must be a whole number"),
}


@pytest.mark.parametrize("case", CANDIDATES)
def test_a_candidate_that_cannot_be_read_is_left_out(path: Path, book: Ledger, case: str) -> None:
    changes, said = CANDIDATES[case]
    whole = book.happened("big")
    number = damage.edit(path, "proposal", "candidate", lambda kept: part_of(kept, **changes))
    rows = book.rows("big")
    (problem,) = rows.unreadable
    assert (problem.table, problem.id) == ("proposal", number)
    assert said in problem.reason
    left_out = {event.position for event in whole} - {event.position for event in rows.events}
    assert len(left_out) == 2  # with its evaluation, which nobody else has
    assert [event for event in whole if event.position not in left_out] == list(rows.events)
    assert book.happened("big", after=whole[-2].position) == whole[-1:]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("facts", "[1]", "facts must be a mapping"),
        ("facts", "{", "cannot be decoded"),
        ("facts", json.dumps({"x": [[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]}), "levels"),
        ("seconds", "abc", "seconds must be a number"),
        ("seconds", -1.0, "seconds must not be negative"),
        ("gpu_seconds", 1e300, "gpu_seconds must be a number between"),
        ("status", "lost", "status must be done or failed"),
        ("metrics", "[]", "metrics must be a mapping"),
        ("metrics", '{"bbox_mAP": Infinity}', "bbox_mAP must be a number"),
        ("metrics", "{}", "finite metrics"),
        ("history", '{"epoch": 1}', "history must be a list"),
        ("history", "[3]", "history must be a mapping"),
        ("finished_at", "yesterday", "cannot be decoded"),
        ("error", b"\xff\xfe", "error must be a text"),
        ("position", "abc", "position must be a whole number"),
        ("position", 0, "position must come after"),
        ("number", -3, "number must be a whole number"),
    ],
)
def test_an_evaluation_that_cannot_be_read_is_left_out(
    path: Path, book: Ledger, column: str, value: Any, said: str
) -> None:
    whole = book.happened("big")
    number = damage.edit(path, "evaluation", column, lambda _: value, where="status = 'done'")
    rows = book.rows("big")
    (problem,) = rows.unreadable
    assert (problem.table, problem.id) == ("evaluation", number)
    assert said in problem.reason
    assert len(rows.events) == len(whole) - 1
    assert book.evaluations("big")
    assert "big" in book.positions()


def test_a_text_with_invalid_bytes_costs_one_row(path: Path, book: Ledger) -> None:
    damage.edit(path, "evaluation", "host", "CAST(X'fffe' AS TEXT)")
    (problem,) = book.rows("big").unreadable
    assert "no UTF-8" in problem.reason


def test_long_texts_are_cut(path: Path, book: Ledger) -> None:
    damage.edit(path, "evaluation", "error", lambda _: "x" * 10**6, where="status = 'failed'")
    damage.edit(path, "evaluation", "facts", lambda _: json.dumps({"host": "h" * 10**6, "own": ["y" * 10**6]}))
    rows = book.evaluations("big")
    longest = max(rows, key=lambda one: len(one.error)).error
    assert longest.startswith("xxx")
    assert longest.endswith("(1,000,000 characters)")
    assert len(longest) < LONGEST_TEXT + 40
    assert all(len(str(one.facts)) < 4 * LONGEST_TEXT for one in rows)


@pytest.mark.parametrize(
    ("column", "value"), [("uid", "no digits"), ("spec", "[1]"), ("spec", "{"), ("created_at", "then"), ("name", b"\0")]
)
def test_a_search_that_cannot_be_read_hides_no_other(path: Path, column: str, value: Any) -> None:
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        ledger.start("fine", "question", "recipe", {})
    damage.edit(path, "search", column, lambda _: value, where="name = 'big'")
    with closing(Ledger(f"sqlite:///{path}", reading=True)) as book:
        assert [record.name for record in book.searches()] == ["fine"]
        assert book.positions() == {"fine": 0}
        assert [row.table for row in book.unreadable_searches()] == ["search"]
        with pytest.raises(LedgerError, match="no run 'big'"):
            book.happened("big")


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("sitting", "versions", "[1]"),
        ("sitting", "began_at", "then"),
        ("front", "members", '["a"]'),
        ("promotion", "rung", "top"),
    ],
)
def test_other_rows_that_cannot_be_read(path: Path, book: Ledger, table: str, column: str, value: Any) -> None:
    events = book.happened("big")
    damage.edit(path, table, column, lambda _: value)
    assert book.happened("big") == events
    assert [row.table for row in book.rows("big").unreadable] == ["sitting"] * (table == "sitting")
    assert len(book.sittings("big")) == (table != "sitting")
    assert book.front_snapshots("big")
    book.promotions("big")


def test_an_answer_that_cannot_be_read_is_none(path: Path, book: Ledger) -> None:
    key = book.evaluations("big")[0].candidate.key(ledgers.RECIPE)
    assert book.find(key) is not None
    damage.edit(path, "proposal", "candidate", lambda _: "{}")
    assert book.find(key) is None


def test_a_search_does_not_go_on_over_rows_that_it_cannot_read(path: Path) -> None:
    spec: SearchSpec = ledgers.published_spec(6)
    damage.edit(path, "evaluation", "facts", lambda _: "[1]")
    with (
        closing(Ledger(f"sqlite:///{path}")) as ledger,
        pytest.raises(LedgerError, match=r"run 'big' cannot go on: 1 row cannot be read .* choose another --name"),
    ):
        open_search("big", spec, ledger, ledgers.RECIPE)


def test_rows_are_counted_in_one_line(path: Path, book: Ledger) -> None:
    assert unreadable_note(book.rows("big").unreadable) == ""
    damage.edit(path, "evaluation", "facts", lambda _: "[1]")
    assert unreadable_note(book.rows("big").unreadable).startswith("1 row cannot be read and is left out (evaluation ")
    damage.edit(path, "evaluation", "facts", lambda _: "[1]", every=True)
    count = len(book.rows("big").unreadable)
    assert unreadable_note(book.rows("big").unreadable).startswith(f"{count} rows cannot be read")
    assert book.evaluations("big") == []
