"""Foreign text without effect on what shows it: terminals, reports, pages, spreadsheets.

Names, errors, owners and hosts come from ledgers, checkpoints and clusters that others may write.
"""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Categories of letters that control what shows them: control characters, marks of direction, halves of letters."""
_JOINERS = "\u200c\u200d"
"""Letters of that kind that words of some languages, and emoji, are written with."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First letters of a cell that spreadsheets take for a formula."""


def printable(text: str, lines: bool = False) -> str:
    r"""The text with control characters and marks of direction as escapes, such as `\x1b`.

    Args:
        text: Text of anybody.
        lines: Whether line feeds and tabulators stay, for a text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(letter if _is_seen(letter, lines) else _escape(letter) for letter in text)


def _is_seen(letter: str, lines: bool) -> bool:
    if letter in "\n\t":
        return lines
    return letter in _JOINERS or unicodedata.category(letter) not in _UNSEEN


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV (`write_csv`)."""
    text = io.StringIO()
    write_csv(rows, text)
    return text.getvalue()


def write_csv(rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """Writes rows as CSV with a header; a missing value is empty, and no spreadsheet takes a text for a formula.

    Args:
        rows: Rows, which may have different columns.
        file: File that does not translate line ends.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if not columns:
        return
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_cells(columns))
    writer.writerows(_cells(row.get(column) for column in columns) for row in rows)


def _cells(values: Iterable[Any]) -> list[Any]:
    return [_cell(value) if isinstance(value, str) else value for value in values]


def _cell(text: str) -> str:
    shown = printable(text)
    return f"'{shown}" if text.startswith(FORMULA) and not _is_number(text) else shown


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
