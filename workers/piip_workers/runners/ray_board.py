"""An actor on which processes of a preparation leave what their caller reads."""

from collections.abc import Mapping
from typing import Any


class Board:
    """Keeps the last report until it is read, and how processes ended."""

    def __init__(self) -> None:
        self._last: tuple[float, str] | None = None
        self._ended = False
        self._facts: Mapping[str, Any] = {}
        self._errors: dict[int, str] = {}

    def put(self, share: float, text: str) -> None:
        """Keeps a report."""
        self._last = share, text

    def take(self) -> tuple[float, str] | None:
        """The last report, once."""
        last, self._last = self._last, None
        return last

    def end(self, facts: Mapping[str, Any]) -> None:
        """Keeps the facts of the finished preparation."""
        self._ended, self._facts = True, facts

    def fail(self, rank: int, error: str) -> None:
        """Keeps the error of a process."""
        self._errors[rank] = error

    def outcome(self) -> tuple[bool, Mapping[str, Any], dict[int, str]]:
        """Whether it was finished, its facts, and errors by process."""
        return self._ended, self._facts, self._errors
