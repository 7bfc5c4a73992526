"""How Ray ends the process of a trial, and what Tune makes of it.

Tune retries an actor whose death is a `RayActorError`, and takes any other error of Ray's for a bug: it raises, and all
trials end. But Ray has errors of other classes for some deaths, such as `OutOfMemoryError` where its memory monitor
killed the process. Within `deaths_are_retried` they reach Tune as what they are.
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

MEMORY_MESSAGE = re.compile(r"running low on memory.*?was ([\d.]+)GB(?: used)? / ([\d.]+)GB", re.DOTALL)
"""What the memory monitor says of a node: memory that is used, and memory that there is."""
VICTIM = re.compile(r"Selected to kill:.*?actual memory used=([\d.]+)GB")
"""What it says of each process that it killed."""
FILLED_SHARE = 0.5
"""A process that used this share of what is used, and was the only one that was killed, filled the memory itself."""
CALM = 120.0
"""Seconds without a kill after which one more trial runs at a time; they double with each kill."""
LONGEST_CALM = 3600.0
"""Most seconds that they grow to."""

_cause: ContextVar[str] = ContextVar("cause of death", default="")


class _ActorManager(RayActorManager):
    """Tune's own, told of each death as the death of an actor."""

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
    """Tune that starts within retries a trial whatever its process died of."""
    module: Any = tune_controller
    own, module.RayActorManager = module.RayActorManager, _ActorManager
    try:
        yield
    finally:
        module.RayActorManager = own


def cause_of_death() -> str:
    """Ray's own words for what ended a trial, while Tune tells its searcher of it; empty at any other time."""
    return _cause.get()


@dataclass(frozen=True)
class MemoryKill:
    """What Ray's memory monitor said when it killed processes of trials.

    Attributes:
        used: GB of a node that were used.
        total: GB that the node has.
        victims: GB that each of the processes used; empty where Ray does not say.
    """

    used: float
    total: float
    victims: tuple[float, ...]

    @property
    def own_fault(self) -> bool:
        """Whether the one trial that was killed filled the memory, and not all trials together, or other programs."""
        return len(self.victims) == 1 and self.victims[0] >= FILLED_SHARE * self.used

    def __str__(self) -> str:
        trials = f", {sum(self.victims):.2g} GB of it by trials" if self.victims else ""
        return f"{self.used:g} of {self.total:g} GB were in use{trials}"


def memory_kill(cause: str) -> MemoryKill | None:
    """What the memory monitor said; None where it was not what ended a process."""
    found = MEMORY_MESSAGE.search(cause)
    if found is None:
        return None
    return MemoryKill(float(found[1]), float(found[2]), tuple(map(float, VICTIM.findall(cause))))


class TrialLimit:
    """Most trials at a time, once memory ran out: as many as were left, and one more after each calm time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._most: int | None = None
        self._event = ""
        self._calm, self._since = CALM / 2, 0.0

    @property
    def lowered(self) -> bool:
        """Whether memory ran out so far."""
        return self._most is not None

    def lower(self, running: int, event: str) -> None:
        """The memory monitor killed a trial.

        Args:
            running: Trials that run on.
            event: What it said, equal for all that it killed at once.
        """
        if event != self._event:
            self._calm = min(2 * self._calm, LONGEST_CALM)
        self._event, self._most, self._since = event, max(1, running), self._clock()

    def of(self, rooms: int) -> int:
        """How many may run at a time, of as many as there is room for."""
        if self._most is None:
            return rooms
        steps = int((self._clock() - self._since) / self._calm)
        self._most, self._since = self._most + steps, self._since + steps * self._calm
        return min(rooms, self._most)
