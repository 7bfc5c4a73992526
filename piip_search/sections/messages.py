"""Parts of messages about a wrong value."""

import difflib
import reprlib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest or all known words."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(words)}"


_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlong = 3, 60, 60, 60


def shortened(value: object) -> str:
    """A value in the form for messages, shortened."""
    text = _REPR.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
