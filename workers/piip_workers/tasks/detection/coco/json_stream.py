"""Reads a JSON file of a few long lists entry by entry.

An annotation file of COCO's size takes gigabytes as Python objects, and a person who waits wants to see how far it is.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from json import scanner
from pathlib import Path
from typing import Any

import orjson

from piip_search.errors import NotJsonError

CHUNK_CHARACTERS = 1 << 22
"""Characters read at a time."""
SLICE = 1 << 18
"""Characters of entries that are read at once."""
_BETWEEN = ("}, {", "},{", "},\n", "},\r\n", "} ,")
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class JsonPart:
    """A piece of a JSON document: a value, or entries of a list that follow each other.

    Attributes:
        key: Key in the outer object; empty where the outer value is no object.
        first: Position of the first entry in the list under the key; None for a value that is no list.
        values: The value, or the entries; none of an empty list.
    """

    key: str
    first: int | None
    values: list[Any]


def parts(file: Path, told: Callable[[int, int], None] = lambda done, total: None) -> Iterator[JsonPart]:
    """The pieces of a document, in its order: the values of the outer object, lists among them entry by entry.

    A byte-order mark is passed over, as YAML does. An outer list is given entry by entry too. Whole numbers of more
    than 64 bits may become floats.

    Args:
        file: JSON in UTF-8.
        told: Is told how many of how many bytes were read, after each chunk.

    Raises:
        NotJsonError: It is none.
        OSError: It cannot be read.
    """
    total = file.stat().st_size
    with file.open("rb") as raw:
        text = _Text(raw, lambda: told(min(raw.tell(), total), total))
        try:
            yield from _outer(text)
        except UnicodeDecodeError as error:
            raise NotJsonError(f"byte {error.object[error.start : error.start + 1]!r} is no UTF-8") from None
        except RecursionError:
            raise NotJsonError("it is nested too deeply") from None


def _outer(text: "_Text") -> Iterator[JsonPart]:
    opening = text.peek()
    if opening == "[":
        yield from _entries(text, "")
    elif opening == "{":
        yield from _values(text)
    else:
        yield JsonPart("", None, [text.value()])
    if text.peek():
        raise text.error("more after the document's end")


def _values(text: "_Text") -> Iterator[JsonPart]:
    text.expect("{")
    if text.peek() == "}":
        text.expect("}")
        return
    seen = set()
    while True:
        key = text.value()
        if not isinstance(key, str):
            raise text.error("a key must be a text in double quotes")
        if key in seen:
            raise text.error(f"the key {key[:60]!r} stands twice")
        seen.add(key)
        text.expect(":")
        if text.peek() == "[":
            yield from _entries(text, key)
        else:
            yield JsonPart(key, None, [text.value()])
        if text.expect(",}") == "}":
            return


def _entries(text: "_Text", key: str) -> Iterator[JsonPart]:
    text.expect("[")
    if text.peek() == "]":
        text.expect("]")
        yield JsonPart(key, 0, [])
        return
    index = 0
    while True:
        values = text.objects() or [text.value()]
        yield JsonPart(key, index, values)
        index += len(values)
        if text.expect(",]") == "]":
            return


def _listed(text: str) -> list[Any]:
    """A list of objects; empty where the text is none."""
    try:
        found: list[Any] = orjson.loads(text)
        return found
    except ValueError:  # also what json alone takes, such as NaN
        pass
    try:
        found = json.loads(text)
        return found
    except (ValueError, RecursionError):
        return []


class _Text:
    """What was read of a file and is not used up, and where in it the reader is."""

    def __init__(self, raw: Any, told: Callable[[], None]) -> None:
        self._raw = raw
        self._told = told
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer = ""
        self._at = 0
        self._before = 0  # characters that were used up and dropped
        self._ended = False
        self._single = 0  # up to here entries are read one by one

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            match = _SPACE.match(self._buffer, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def expect(self, wanted: str) -> str:
        """Steps over one of some characters.

        Raises:
            NotJsonError: Another comes.
        """
        found = self.peek()
        if not found or found not in wanted:
            raise self.error(f"expected {' or '.join(wanted)}, got {found or 'the end'}")
        self._at += 1
        return found

    def value(self) -> Any:
        """Reads a whole value.

        Raises:
            NotJsonError: None comes.
        """
        self.peek()
        wanted = CHUNK_CHARACTERS
        while True:
            try:
                found, end = scan(self._buffer, self._at)
            except StopIteration:
                problem = "expected a value"
            except ValueError as error:
                problem = str(error).partition(": line")[0]
            else:
                if end < len(self._buffer) or self._ended or not self._more(wanted):
                    self._at = end
                    return found
                wanted *= 2  # a number may go on in what comes
                continue
            # Twice as much each time, so that a long value, or a mistake, is looked through a few times only.
            if self._ended or not self._more(wanted):
                raise self.error(problem)
            wanted *= 2

    def objects(self) -> list[Any]:
        """Objects that follow each other, as many as are whole in what was read; none where that is not easy to see.

        What lies before the last `}, {` is read at once, as a list. Where that place is inside a text or an inner list,
        quotes or brackets do not match, and nothing is taken.
        """
        if len(self._buffer) - self._at < SLICE:
            self._more()
        if self.peek() != "{" or self._before + self._at < self._single:
            return []
        end = max(self._buffer.rfind(mark, self._at, self._at + SLICE) for mark in _BETWEEN)
        if end < 0:
            self._single = self._before + self._at + SLICE // 2
            return []
        found = _listed(f"[{self._buffer[self._at : end + 1]}]")
        if found:
            self._at = end + 1
        else:
            self._single = self._before + end + 1
        return found

    def error(self, problem: str) -> NotJsonError:
        return NotJsonError(f"{problem} at character {self._before + self._at + 1:,}")

    def _more(self, wanted: int = CHUNK_CHARACTERS) -> bool:
        """Reads on; False at the end."""
        if self._ended:
            return False
        content = self._raw.read(wanted)
        self._ended = not content
        self._before += self._at
        self._buffer = self._buffer[self._at :] + self._decoder.decode(content, final=self._ended)
        self._at = 0
        self._told()
        return not self._ended


scan: Callable[[str, int], tuple[Any, int]] = scanner.make_scanner(_DECODER)  # type: ignore[arg-type]
"""json's own reading of the value at a place of a text, and where it ends."""
