"""What takes seconds to work out, worked out again only once enough has come in."""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Generic, TypeVar

from piip_dashboards.runs.run_snapshot import RunSnapshot

_T = TypeVar("_T")
EVALUATIONS_BETWEEN = 5
"""Evaluations of a search that runs from one time to the next."""


class CachedValue(Generic[_T]):
    """Keeps the last of each run."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, _T]] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def of(self, reading: RunSnapshot, make: Callable[[], _T]) -> _T:
        """What was made of a run, or what is made of it now; two that ask at once wait for one answer."""
        count = len(reading.evaluations)
        with self._locks[reading.name]:
            kept = self._kept.get(reading.name)
            # A search that ended is looked at in its last state.
            patience = EVALUATIONS_BETWEEN if reading.unfinished else 1
            if kept is None or count >= kept[0] + patience:
                kept = self._kept[reading.name] = (count, make())
            return kept[1]
