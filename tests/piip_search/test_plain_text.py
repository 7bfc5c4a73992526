import csv
import io

import pytest

from piip_search.plain_text import csv_text, printable

MARKS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
"""Marks of direction."""


@pytest.mark.parametrize(
    "letter", [*MARKS, "\x1b", "\x00", "\x7f", "\x9b", "\r", "\n", "\t", "\u2028", "\ud800", "\ufeff"]
)
def test_what_controls_a_terminal_is_escaped(letter: str) -> None:
    shown = printable(f"a{letter}b")
    assert shown.isprintable()
    assert shown[0] + shown[-1] == "ab"
    assert "\\" in shown


@pytest.mark.parametrize("text", ["Läufer", "検索", "خط", "a b", "vit_b@672:w14", "क्‍ष", "≤ 250 G"])
def test_words_stay(text: str) -> None:
    assert printable(text) == text


def test_lines_stay_where_they_are_wanted() -> None:
    assert printable("a\n\tb\x1b[2J", lines=True) == "a\n\tb\\x1b[2J"
    assert printable("a\nb") == "a\\nb"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start: str) -> None:
    text = csv_text([{"error": f"{start}HYPERLINK(1)", "gain": -1.5}, {f"{start}cmd": 1}])
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[1][0].startswith("'")
    assert rows[0][2].startswith("'")
    assert rows[1][1] == "-1.5"


@pytest.mark.parametrize("text", ["-1.5", "+3", "-inf", "1e-4"])
def test_numbers_stay_numbers(text: str) -> None:
    assert csv_text([{"a": text, "b": None}]) == f"a,b\n{text},\n"


def test_no_rows_are_no_table() -> None:
    assert csv_text([]) == ""
