"""The search's side of a run on Ray: proposes where the cluster has room, accepts results, and restarts trials.

Tune itself never retries: a retry waits for room, and for memory, like any other trial.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from piip_search.architecture.design import Design
from piip_search.errors import ClusterError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.search.search import Search
from piip_workers.jobs.job import FULL_TEXTS, Work
from piip_workers.runners.ray_cluster import Nodes, gpus, head_answers, is_client, rooms, too_small
from piip_workers.runners.ray_deaths import MemoryKill, TrialLimit, memory_kill

RETRIES = 3
"""Restarts of a trial after its process died; it continues from its checkpoint."""
FRESH = 5.0
"""Seconds for which a measured cluster size is valid, and before a trial restarts on a node that may be dead."""
LONGEST_WAIT = 60.0
"""Longest wait in seconds before a restart of a trial that the memory monitor kills repeatedly."""
GONE = "Ray's head is gone; start the cluster again, then run the same command again"
VAIN = 20
"""Times that a trial may end before its process began."""
STARTS_NOTHING = (
    f"Ray gave a trial up {VAIN} times before its processes began; look at the nodes (ray status) and at their "
    "logs (/tmp/ray/session_latest/logs), then run the same command again: it goes on where it stopped"
)
MOST_MEMORY_KILLS = 10
"""Restarts of a trial that the memory monitor killed because of other processes."""
NO_MEMORY = (
    f"Ray ended a trial {MOST_MEMORY_KILLS} times as a machine's memory ran out ({{}}); end other programs on it, or "
    "ask for a machine with more memory, then run the same command again: it goes on where it stopped"
)
FEWER = (
    "note: a machine's memory ran out ({}), and Ray ended trials; they start again from their checkpoints, fewer at a "
    "time. Ask for more resources.cpu a trial, or a smaller training.cache_mib"
)
TOO_LARGE = (
    "the worker process ended {} times, as it filled the machine's memory ({}); a smaller training.batch_size or "
    "training.cache_mib takes less"
)
DISK = (
    "a disk of a machine is full (Ray: {}); free some space and run the same command again: it goes on where it stopped"
)
NO_TRIAL = "nothing"
"""Answer to a request for a trial: none for now."""
NO_MORE_TRIALS = "over"
"""Answer to a request for a trial: no more trials."""


@dataclass(frozen=True)
class TrialResources:
    """The resources of a trial and the use of its processes; the fields are those of `piip_search.config.Resources`.

    Attributes:
        cpu: CPUs of one trial.
        gpu: GPUs of one trial of a design.
        least_gpu: GPUs of the smallest trial.
        custom: Custom resources of the cluster.
        at_once: Most trials at a time; None for as many as the cluster holds.
        retries: Restarts of a trial after the death of its process or node.
        reuse: Whether a process measures several trials, one after the other.
    """

    cpu: float = 1.0
    gpu: Callable[[Design], float] = lambda design: 0.0
    least_gpu: float = 0.0
    custom: Mapping[str, float] = field(default_factory=dict)
    at_once: int | None = None
    retries: int = RETRIES
    reuse: bool = True

    def need(self, gpu: float) -> dict[str, float]:
        """The resources of a trial with so many GPUs, by Ray's names."""
        amounts = {"CPU": self.cpu, "GPU": gpu, **self.custom}
        return {name: amount for name, amount in amounts.items() if amount}

    @property
    def least(self) -> dict[str, float]:
        """The resources of the smallest trial."""
        return self.need(self.least_gpu)

    def concurrency(self) -> int:
        """Approximate number of trials that run at once.

        Raises:
            ClusterError: No node has room for a trial, and the cluster is not known to grow.
        """
        room = rooms(self.least)
        if self.at_once is None and not room:
            raise ClusterError(too_small(self.least))
        return self.at_once or room


@dataclass(frozen=True)
class _PostponedTrial:
    """A candidate that restarts later.

    Attributes:
        candidate: Candidate to measure again.
        until: Time of the restart, in seconds of the monotonic clock.
        memory: Whether it waits for memory: then nothing new begins in its place.
    """

    candidate: Candidate
    until: float
    memory: bool


class TrialDriver:
    """Proposes trials to Tune and accepts their results."""

    def __init__(
        self,
        search: Search,
        work: Work,
        on_change: Callable[[], None],
        placement: TrialResources,
        nodes: Nodes | None = None,
        notify: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares the driver; the arguments are those of `ray_tune.run`, and a clock of seconds."""
        self._search = search
        self._work, self._text = work, json.dumps(work.to_dict())
        self._on_change = on_change
        self._notify = notify
        self._clock = clock
        self._placement = placement
        self._nodes = nodes
        self._candidates: dict[str, Candidate] = {}
        self._gpus: dict[str, float] = {}
        self._held: list[_PostponedTrial] = []
        self._begun: dict[Candidate, int] = {}
        self._deaths: Counter[Candidate] = Counter()
        self._excused: Counter[Candidate] = Counter()
        self._limit = TrialLimit(clock)
        self._rooms, self._gpus_there, self._looked_at = 0, 0.0, float("-inf")

    def suggest(self, trial: str) -> Any:
        """The assignment of a trial, `NO_TRIAL` for now, or `NO_MORE_TRIALS`."""
        self._postpone_held()
        if not self._has_room():
            return NO_TRIAL
        candidate = self._search.propose()
        self._on_change()
        if candidate is None:
            # Results of running trials may promote another to the next rung, so Tune asks again.
            return NO_TRIAL if self._search.running else NO_MORE_TRIALS
        gpu = self._placement.gpu(candidate.design)
        self._candidates[trial], self._gpus[trial] = candidate, gpu
        if not is_client():  # a driver outside the cluster does not see its files
            self._begun.setdefault(candidate, self._work.begun(candidate) or 0)
        need = self._placement.need(gpu)
        return {"candidate": json.dumps(candidate.to_dict()), "work": self._text, "need": need}

    def complete(self, trial: str, result: Mapping[str, Any], error: bool, cause: str = "") -> None:
        """Accepts the end of a trial.

        Args:
            trial: Name of the trial.
            result: Contains `evaluation` or `halt`; neither if the trial was interrupted.
            error: Whether its process died.
            cause: Ray's text for the death.
        """
        candidate = self._candidates.pop(trial, None)
        self._gpus.pop(trial, None)
        if candidate is None:
            return
        answer, halt = result.get("evaluation"), result.get("halt")
        if halt is not None:
            self._search.halt(candidate, str(halt))
        elif answer is not None:
            self._search.accept(Evaluation.from_dict(json.loads(answer)))
        elif error:
            self._died(candidate, cause)
        # Neither: Tune was interrupted. The ledger has the candidate as running, and the next sitting resumes it.
        self._on_change()

    def leave(self, why: str) -> None:
        """Halts the search: running candidates stay unfinished, and the next sitting resumes them."""
        self._search.stop(why)
        for candidate in (*self._candidates.values(), *(held.candidate for held in self._held)):
            self._search.halt(candidate, why)
        self._candidates.clear()
        self._held.clear()

    def _postpone_held(self) -> None:
        """Returns candidates to the search after they have waited long enough."""
        now = self._clock()
        for held in [held for held in self._held if held.until <= now]:
            self._held.remove(held)
            self._search.postpone(held.candidate)

    def _died(self, candidate: Candidate, cause: str) -> None:
        """Handles a trial whose process ended without an answer."""
        self._deaths[candidate] += 1
        killed = memory_kill(cause)
        if not head_answers():  # every trial fails now: this is no fault of the candidate
            self._search.halt(candidate, GONE)
        elif killed is not None:
            self._out_of_memory(candidate, killed, cause)
        elif cause.startswith("OutOfDisk") or any(text in cause for text in FULL_TEXTS):
            self._search.halt(candidate, DISK.format(" ".join(cause.split())[:100]))
        elif problems := self._new_problems():
            self._search.halt(candidate, "; ".join(problems))
        else:
            self._once_more(candidate, "the worker process ended {} times; its log names the cause (often memory)")

    def _out_of_memory(self, candidate: Candidate, killed: MemoryKill, event: str) -> None:
        """Handles a trial that Ray's memory monitor ended, for its own use of memory or for that of others."""
        if not self._limit.lowered:
            self._notify(FEWER.format(killed))
        self._limit.lower(len(self._candidates), event)
        if killed.own_fault:
            self._once_more(candidate, TOO_LARGE.format("{}", killed))
            return
        self._excused[candidate] += 1
        times = self._excused[candidate]
        if times >= MOST_MEMORY_KILLS:
            self._search.halt(candidate, NO_MEMORY.format(killed))
            return
        self._hold(candidate, min(FRESH * 2 ** (times - 1), LONGEST_WAIT), memory=True)

    def _once_more(self, candidate: Candidate, why: str) -> None:
        """Restarts a trial, unless its process began as often as it may."""
        tried = self._tried(candidate)
        if tried > self._placement.retries:
            self._search.accept(Evaluation(candidate, "failed", error=why.format(tried)))
        elif self._deaths[candidate] - self._excused[candidate] - tried >= VAIN:
            self._search.halt(candidate, STARTS_NOTHING)
        else:
            self._hold(candidate, FRESH)

    def _hold(self, candidate: Candidate, seconds: float, memory: bool = False) -> None:
        self._held.append(_PostponedTrial(candidate, self._clock() + seconds, memory))

    def _tried(self, candidate: Candidate) -> int:
        """Number of times that a process began with it in this sitting and ended by its own fault, as far as is known.

        A trial may also end before its process begins: on a dead node that Ray still takes for alive.
        """
        begun = self._work.begun(candidate)
        if begun is None or candidate not in self._begun:
            return self._deaths[candidate] - self._excused[candidate]
        return max(0, begun - self._begun[candidate] - self._excused[candidate])

    def _has_room(self) -> bool:
        """Whether one more trial may begin; the cluster's size is read again from time to time."""
        placement, now = self._placement, self._clock()
        count = len(self._candidates) + sum(held.memory for held in self._held)
        if placement.at_once is not None:
            return count < self._limit.of(placement.at_once)
        if now - self._looked_at > FRESH:
            self._rooms, self._gpus_there, self._looked_at = rooms(placement.least), gpus(placement.least), now
        taken = sum(self._gpus.values()) + placement.least_gpu
        return count < self._limit.of(self._rooms) and taken <= self._gpus_there + 1e-6

    def _new_problems(self) -> list[str]:
        """Problems of nodes that joined since the search began."""
        return [] if self._nodes is None else self._nodes.problems()
