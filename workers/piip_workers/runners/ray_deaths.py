"""Deaths of trial processes on Ray, and how Tune handles them.

Tune retries an actor whose death is a `RayActorError`. It takes any other error of Ray's for a bug: it raises, and all
trials end. But some deaths have errors of other classes, such as `OutOfMemoryError` when Ray's memory monitor kills a
process. Within `deaths_are_retried` they reach Tune as `RayActorError`.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.execution import tune_controller

from piip_search.units import quantity

MEMORY_MESSAGE = re.compile(r"running low on memory.*?was ([\d.]+)GB used / ([\d.]+)GB", re.DOTALL)
"""Text in which the memory monitor gives a node's used and total memory."""
VICTIM = re.compile(r"Selected to kill:.*?actual memory used=([\d.]+)GB")
"""Text in which it gives the memory of each process that it killed."""
FILLED_SHARE = 0.5
"""Share of the used memory from which a process that was killed alone filled the memory itself."""
CALM = 120.0
"""Seconds without a kill after which one more trial may run at a time; doubled by each kill."""
LONGEST_CALM = 3600.0
"""Most seconds that doubling reaches."""

_cause: ContextVar[str] = ContextVar("cause of death", default="")


class _ActorManager(RayActorManager):
    """Tune's actor manager, which sees each death as the death of an actor."""

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
        with _died_of(exception):
            super()._actor_task_failed(tracked_actor_task, exception)

    def _actor_start_failed(self, tracked_actor: Any, exception: Exception) -> None:
        with _died_of(exception):
            super()._actor_start_failed(tracked_actor, exception)


@contextmanager
def _died_of(exception: Exception) -> Iterator[None]:
    token = _cause.set(f"{type(exception).__name__}: {exception}")
    try:
        yield
    finally:
        _cause.reset(token)


@contextmanager
def deaths_are_retried() -> Iterator[None]:
    """Makes Tune, if started within, retry a trial whatever its process died of."""
    module: Any = tune_controller
    own, module.RayActorManager = module.RayActorManager, _ActorManager
    try:
        yield
    finally:
        module.RayActorManager = own


def cause_of_death() -> str:
    """Ray's text for a trial's death while Tune reports the death to its searcher; empty at any other time."""
    return _cause.get()


@dataclass(frozen=True)
class MemoryKill:
    """The memory monitor's report of killed trial processes.

    Attributes:
        used: Used memory of a node in GB.
        total: Total memory of the node in GB.
        victims: GB of each killed process.
    """

    used: float
    total: float
    victims: tuple[float, ...]

    @property
    def own_fault(self) -> bool:
        """Whether a single trial filled the memory, and not all trials together or other programs."""
        return len(self.victims) == 1 and self.victims[0] >= FILLED_SHARE * self.used

    def __str__(self) -> str:
        trials = quantity(sum(self.victims), "GB", 2)
        return f"{self.used:g} of {quantity(self.total, 'GB')} were in use, {trials} of it by trials"


def memory_kill(cause: str) -> MemoryKill | None:
    """The memory monitor's report in a cause of death; None for any other cause."""
    found = MEMORY_MESSAGE.search(cause)
    if found is None:
        return None
    return MemoryKill(float(found[1]), float(found[2]), tuple(map(float, VICTIM.findall(cause))))


class TrialLimit:
    """Most trials at a time after memory ran out: the surviving ones, and one more after each calm time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._most: int | None = None
        self._event = ""
        self._calm, self._since = CALM / 2, 0.0

    @property
    def lowered(self) -> bool:
        """Whether memory has run out."""
        return self._most is not None

    def lower(self, running: int, event: str) -> None:
        """Lowers the limit after the memory monitor killed a trial.

        Args:
            running: Trials that still run.
            event: Text of the kill, equal for all processes that are killed together.
        """
        if event != self._event:
            self._calm = min(2 * self._calm, LONGEST_CALM)
        self._event, self._most, self._since = event, max(1, running), self._clock()

    def of(self, rooms: int) -> int:
        """Number of trials that may run at a time, given the number that there is room for."""
        if self._most is None:
            return rooms
        steps = int((self._clock() - self._since) / self._calm)
        self._most, self._since = self._most + steps, self._since + steps * self._calm
        return min(rooms, self._most)
