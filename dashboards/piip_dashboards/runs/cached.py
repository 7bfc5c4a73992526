"""Caches slow results of a run until enough new evaluations have ended."""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Generic, TypeVar

from piip_dashboards.runs.run_snapshot import RunSnapshot

_T = TypeVar("_T")
EVALUATIONS_BETWEEN = 5
"""Evaluations of a running search between two computations."""


class CachedValue(Generic[_T]):
    """Caches the last value of each run."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, _T]] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def of(self, reading: RunSnapshot, make: Callable[[], _T]) -> _T:
        """The cached value of a run, or a new one; simultaneous callers share one computation."""
        count = len(reading.evaluations)
        with self._locks[reading.name]:
            kept = self._kept.get(reading.name)
            # A search that ended needs one more computation in its final state.
            patience = EVALUATIONS_BETWEEN if reading.unfinished else 1
            if kept is None or count >= kept[0] + patience:
                kept = self._kept[reading.name] = (count, make())
            return kept[1]
