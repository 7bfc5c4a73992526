"""Reads a JSON file with a few long lists entry by entry.

An annotation file of COCO's size takes gigabytes as Python objects, and a waiting user wants to see the progress.
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
"""Characters of entries that are parsed together."""
_BETWEEN = ("}, {", "},{", "},\n", "},\r\n", "} ,")
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class JsonPart:
    """A piece of a JSON document: a value, or consecutive entries of a list.

    Attributes:
        key: Key in the outer object; empty if the outer value is no object.
        first: Position of the first entry in its list; None for a value that is no list.
        values: The value or the entries; empty for an empty list.
    """

    key: str
    first: int | None
    values: list[Any]


def parts(file: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[JsonPart]:
    """The pieces of a document in order: the values of the outer object, and lists entry by entry.

    A byte-order mark is skipped, as in YAML. An outer list is also given entry by entry. Whole numbers of more than 64
    bits may become floats.

    Args:
        file: JSON in UTF-8.
        progress: Called after each chunk with the number of bytes read and of all bytes.

    Raises:
        NotJsonError: The file is not JSON.
        OSError: The file cannot be read.
    """
    total = file.stat().st_size
    with file.open("rb") as raw:
        text = _Text(raw, lambda: progress(min(raw.tell(), total), total))
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
            raise text.error(f"the key {key[:60]!r} is a duplicate")
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
    """A list of objects; empty if the text is none."""
    try:
        found: list[Any] = orjson.loads(text)
        return found
    except ValueError:  # also for values that only json accepts, such as NaN
        pass
    try:
        found = json.loads(text)
        return found
    except (ValueError, RecursionError):
        return []


class _Text:
    """The unconsumed text of a file and the reader's place in it."""

    def __init__(self, raw: Any, progress: Callable[[], None]) -> None:
        self._raw = raw
        self._progress = progress
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer = ""
        self._at = 0
        self._before = 0  # number of consumed and dropped characters
        self._ended = False
        self._single = 0  # place up to which entries are read one by one

    def peek(self) -> str:
        """The next character that is not a space; empty at the end."""
        while True:
            match = _SPACE.match(self._buffer, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def expect(self, wanted: str) -> str:
        """Consumes one of some characters.

        Raises:
            NotJsonError: The next character is another one.
        """
        found = self.peek()
        if not found or found not in wanted:
            raise self.error(f"expected {' or '.join(wanted)}, got {found or 'the end'}")
        self._at += 1
        return found

    def value(self) -> Any:
        """Reads a whole value.

        Raises:
            NotJsonError: No value follows.
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
                wanted *= 2  # a number may continue in the next text
                continue
            # Doubled each time, so that a long value or a mistake is scanned only a few times.
            if self._ended or not self._more(wanted):
                raise self.error(problem)
            wanted *= 2

    def objects(self) -> list[Any]:
        """The consecutive objects that are complete in the text read so far; none if that is hard to tell.

        The text before the last `}, {` is parsed as one list. If that place is inside a text or an inner list, quotes
        or brackets do not match, and nothing is taken.
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
        """Reads more text; False at the end."""
        if self._ended:
            return False
        content = self._raw.read(wanted)
        self._ended = not content
        self._before += self._at
        self._buffer = self._buffer[self._at :] + self._decoder.decode(content, final=self._ended)
        self._at = 0
        self._progress()
        return not self._ended


scan: Callable[[str, int], tuple[Any, int]] = scanner.make_scanner(_DECODER)  # type: ignore[arg-type]
"""json's own parser of a value at a place of a text, which also returns the value's end."""
