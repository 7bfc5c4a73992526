"""Reads lists of images: CSV in the forms that programs write, and Parquet."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piip_search.errors import DataError
from piip_search.sections import closest, shortened
from piip_search.tasks.classification.section import ClassPart
from piip_workers.tasks.classification.image_sets.names import few, shown

SEPARATORS = (",", ";", "\t", "|", " ")
"""Separators of columns that are recognised, the usual one first."""
LOOKED_AT = 50
"""Rows that decide on the separator."""
MOST_COLUMNS = 30
"""Most columns that a message names."""
MOST_LETTERS = 60
"""Most letters of a column's name in a message."""

_STARTS = {
    b"PK\x03\x04": "is a ZIP archive or an Excel workbook; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook; save the sheet as CSV",
    b"\x1f\x8b": "is a gzip archive; unpack it",
    b"{": "is JSON; write a CSV file with one row an image",
    b"[": "is JSON; write a CSV file with one row an image",
    b"<": "is a page or an XML file; write a CSV file with one row an image",
    b"version https://git-lfs": "is a Git LFS pointer in the place of the file; fetch the file with git lfs pull",
}
_COLUMNS = "a list has a column of images and a column of classes"


@dataclass(frozen=True, slots=True)
class ListRow:
    """One image of a list.

    Attributes:
        number: Number of the row, as a spreadsheet counts; without a header for Parquet.
        file: Name of the image as it is written; empty without one.
        label: Name of the class; empty without one.
    """

    number: int
    file: str
    label: str


@dataclass(frozen=True, slots=True)
class ImageList:
    """The rows of a list.

    Attributes:
        rows: The rows without empty ones.
        notices: Ways in which it was read that a user may not expect.
    """

    rows: tuple[ListRow, ...]
    notices: tuple[str, ...] = ()


def read_list(file: Path, part: ClassPart, is_image: Callable[[str], bool]) -> ImageList:
    """Reads a list, CSV or Parquet by its content.

    Names and classes are texts: leading zeros stay, and numbers are names of classes.

    Args:
        file: The list.
        part: The part, with the names of columns.
        is_image: Whether a text names an image that is there; it tells a first row from a header.

    Raises:
        DataError: It cannot be read; the message has one line for each reason.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error})") from None
    if content.startswith(b"PAR1") or file.suffix.lower() in (".parquet", ".pq"):
        return _parquet(file, part)
    head = content[:200].lstrip()
    for start, what in _STARTS.items():
        if head.startswith(start):
            raise DataError(f"{file} {what}")
    try:
        return _csv(file, _text(content), part, is_image)
    except csv.Error as error:
        raise DataError(f"{file} must be a table of separated values ({error}); save it as CSV again") from None


def _text(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # Excel's "Unicode text"
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"a list must be text in UTF-8, got byte {content[error.start]:#04x} in row {row:,}; save it as CSV UTF-8"
        ) from None


def _csv(file: Path, text: str, part: ClassPart, is_image: Callable[[str], bool]) -> ImageList:
    skipped = 0
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own line
        separator, text, skipped = first.strip()[4], rest, 1
    else:
        separator = _separator(text)
    rows = [
        (number, [cell.strip() for cell in row])
        for number, row in enumerate(_rows(text, separator), skipped + 1)
        if any(cell.strip() for cell in row)
    ]
    if not rows:
        raise DataError(f"{file} is empty; write one row an image")
    header = rows[0][1]
    if len(header) < 2:
        raise DataError(f"{file} has one column, {shortened(header[0])}; {_COLUMNS}, separated by , ; | or a tab")
    notices = []
    unnamed = not part.file_column and not part.label_column
    # Names of columns have no digits and no dots; to look for such an image would read the whole folder.
    if unnamed and any(letter.isdigit() or letter == "." for letter in header[0]) and is_image(header[0]):
        notices.append(f"{file} has no header: its first row names an image, and is read as one")
        files, labels = 0, 1
    else:
        files, labels = _columns(file, header, part)
        rows = rows[1:]
        notices += _taken(file, header, (files, labels), part)
    _refuse_ragged(file, rows, len(header))
    return ImageList(tuple(ListRow(number, row[files], row[labels]) for number, row in rows), tuple(notices))


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=separator != " ")


def _separator(text: str) -> str:
    """The separator by which the first rows have the same number of columns, more than one."""
    best, most = SEPARATORS[0], (0.0, 0)
    for separator in SEPARATORS:
        widths = []
        try:
            for row in _rows(text, separator):
                if any(row):
                    widths.append(len(row))
                if len(widths) == LOOKED_AT:
                    break
        except csv.Error:
            continue
        if widths and widths[0] > 1:
            fits = (sum(width == widths[0] for width in widths) / len(widths), widths[0])
            # Spaces are in texts, too: they separate columns only where nothing else does.
            if fits > most and (separator != " " or most == (0.0, 0)):
                best, most = separator, fits
    return best


def _columns(file: Path, header: Sequence[str], part: ClassPart) -> tuple[int, int]:
    """Places of the columns of images and of classes."""
    if not header[0] and not part.file_column:
        raise DataError(
            f"{file}: the first column has no name, as that of row numbers; name the columns in file_column and "
            f"label_column; known: {few(name for name in header if name)}"
        )
    known = [shown(name)[:MOST_LETTERS] for name in header[:MOST_COLUMNS]]
    places, problems = [], []
    for field, name, usual in (("file_column", part.file_column, 0), ("label_column", part.label_column, 1)):
        if name is not None and header.count(name) != 1:
            what = "no column" if name not in header else "more than one column"
            problems.append(f"{field}: {file} has {what} {shortened(name)}{closest(name, known)}")
        places.append(header.index(name) if name in header and name is not None else usual)
    if not problems and header[places[0]] == header[places[1]]:
        problems.append(
            f"{file}: images and classes must be two columns, got {shortened(header[places[0]])} for both; give "
            "file_column and label_column"
        )
    if problems:
        raise DataError("\n".join(problems))
    return places[0], places[1]


def _taken(file: Path, header: Sequence[str], places: tuple[int, int], part: ClassPart) -> list[str]:
    """A notice on the columns that are taken, if there are others."""
    if len(header) == 2 or (part.file_column and part.label_column):
        return []
    images, classes = (shortened(header[place]) for place in places)
    return [
        f"{file}: images are read from column {images} and classes from {classes} of {len(header)} columns; "
        "file_column and label_column name others"
    ]


def _refuse_ragged(file: Path, rows: list[tuple[int, list[str]]], width: int) -> None:
    """Refuses rows with more or fewer cells than the header has; empty cells at the end are cut off.

    Raises:
        DataError: There are such rows.
    """
    wrong = []
    for number, row in rows:
        while len(row) > width and not row[-1]:
            row.pop()
        if len(row) != width:
            wrong.append(f"row {number:,} has {len(row)}")
    if wrong:
        more = f" and {len(wrong) - 3:,} more" if len(wrong) > 3 else ""
        raise DataError(
            f"{file}: each row must have {width} cells as the first one has, and {', '.join(wrong[:3])}{more}; put "
            "texts that hold a separator into quotes"
        )


def _parquet(file: Path, part: ClassPart) -> ImageList:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            f"{file} is a Parquet file, and pyarrow is not installed; this needs an extra: pip install "
            '"piip-search[parquet]"'
        ) from None
    try:
        with parquet.ParquetFile(file) as opened:
            header = list(opened.schema_arrow.names)
            if len(header) < 2:
                raise DataError(f"{file} has the columns {shortened(header)}; {_COLUMNS}")
            places = _columns(file, header, part)
            taken = [header[place] for place in places]
            columns = opened.read(taken).to_pydict()  # categories are read as their names
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file} cannot be read as Parquet ({reason}); write it again") from None
    files, labels = (_texts(file, name, columns[name]) for name in taken)
    rows = (ListRow(number, *row) for number, row in enumerate(zip(files, labels, strict=True), 1))
    return ImageList(tuple(rows), tuple(_taken(file, header, places, part)))


def _texts(file: Path, column: str, values: Sequence[Any]) -> list[str]:
    """The values of a column as names; empty for missing ones.

    Raises:
        DataError: A value is no name.
    """
    return [_name(file, column, number, value) for number, value in enumerate(values, 1)]


def _name(file: Path, column: str, number: int, value: Any) -> str:
    if value is None or value != value:  # a missing number is not equal to itself
        return ""
    if isinstance(value, float) and value.is_integer():  # whole numbers with missing ones among them
        return str(int(value))
    if isinstance(value, str | int):
        return str(value).strip()
    raise DataError(
        f"{file}: column {shortened(column)} must hold texts or whole numbers, got {shortened(value)} in row "
        f"{number:,}; write names of files and of classes"
    )
