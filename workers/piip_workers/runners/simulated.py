"""Runs a simulation on workers that are not there, by a clock that jumps: a search of months in seconds."""

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from piip_search.errors import UserError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.search.search import Search
from piip_search.simulation.simulation import Simulation

SLOWEST = 10.0
"""Greatest factor by which a straggler takes longer."""
SLOW = 3.0
"""Least factor by which a straggler takes longer."""


@dataclass(frozen=True)
class Cluster:
    """What the workers are like.

    Attributes:
        workers: Evaluations at a time.
        failures: Chance that an evaluation fails on its way.
        stragglers: Chance that it takes 3 to 10 times as long.
        preemptions: Chance that its worker is taken away on its way; it is begun again, on any worker.
        seed: Seed of all chances.
    """

    workers: int = 1
    failures: float = 0.0
    stragglers: float = 0.0
    preemptions: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UserError(f"there is at least one worker, got {self.workers}")
        for name in ("failures", "stragglers", "preemptions"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} are a share of evaluations, at least 0 and less than 1")


@dataclass
class Clock:
    """A clock that says what it is told.

    Attributes:
        now: Seconds.
    """

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class SimulationResult:
    """What came of a simulation.

    Attributes:
        seconds: Until the last evaluation ended.
        busy: Worker seconds in use, those lost by preemption included.
        preempted: Attempts that were cut short.
        stragglers: Attempts that took longer.
    """

    seconds: float = 0.0
    busy: float = 0.0
    preempted: int = 0
    stragglers: int = 0


@dataclass(order=True)
class _Attempt:
    """One candidate on one worker, until it ends or is cut short."""

    end: float
    number: int
    candidate: Candidate = field(compare=False)
    taken: float = field(compare=False)
    outcome: str = field(compare=False)


def run(
    search: Search, simulation: Simulation, cluster: Cluster, clock: Clock, changed: Callable[[], None] = lambda: None
) -> SimulationResult:
    """Measures what the search proposes until it proposes nothing more.

    A design that goes on to the next rung takes the time from the last one on. Chances are drawn from the seed and the
    candidate, so that they do not depend on who ends first.

    Args:
        search: Proposes and accepts; its clock is `clock`.
        simulation: Knows results and times.
        cluster: The workers.
        clock: Is moved on.
        changed: Called whenever something ended.
    """
    played = SimulationResult()
    going: list[_Attempt] = []
    cut: deque[Candidate] = deque()
    reached: dict[str, int] = {
        e.candidate.training: e.candidate.fidelity.epochs for e in search.evaluations if e.status == "done"
    }
    attempts: dict[int, int] = {}
    while True:
        while len(going) < cluster.workers:
            candidate = cut.popleft() if cut else search.propose()
            if candidate is None:
                break
            number = attempts[candidate.number] = attempts.get(candidate.number, -1) + 1
            began = reached.get(candidate.training, 0)
            heapq.heappush(going, _attempt(simulation, cluster, candidate, number, began, clock.now, played))
        if not going:
            break
        done = heapq.heappop(going)
        clock.now = max(clock.now, done.end)
        played.busy += done.taken
        if done.outcome == "preempted":
            played.preempted += 1
            cut.append(done.candidate)
            continue
        evaluation = _evaluation(simulation, done)
        if evaluation.status == "done":
            reached[done.candidate.training] = done.candidate.fidelity.epochs
        search.accept(evaluation)
        changed()
    played.seconds = clock.now
    search.finish()
    return played


def _attempt(
    simulation: Simulation,
    cluster: Cluster,
    candidate: Candidate,
    number: int,
    began: int,
    now: float,
    played: SimulationResult,
) -> _Attempt:
    seed = hashlib.sha256(f"{cluster.seed} {candidate.key('')} {number}".encode()).digest()
    random = np.random.default_rng(np.frombuffer(seed, dtype=np.uint32))
    slow, cut, fails, when, factor = random.random(5)
    design, epochs = candidate.design, candidate.fidelity.epochs
    taken = simulation.seconds_until(design, epochs)
    if 0 < began < epochs:
        taken -= simulation.seconds_until(design, began)
    taken *= candidate.fidelity.seeds
    if slow < cluster.stragglers:
        taken *= SLOW + (SLOWEST - SLOW) * factor
        played.stragglers += 1
    outcome = "preempted" if cut < cluster.preemptions else "failed" if fails < cluster.failures else "done"
    taken *= 1.0 if outcome == "done" else when
    return _Attempt(now + taken, candidate.number, candidate, taken, outcome)


def _evaluation(simulation: Simulation, attempt: _Attempt) -> Evaluation:
    candidate = attempt.candidate
    if attempt.outcome == "failed":
        return Evaluation(candidate, "failed", error="simulated failure", seconds=attempt.taken)
    metrics = simulation.metrics_after(candidate.design, candidate.fidelity)
    if metrics is None:
        return Evaluation(candidate, "failed", error="the table has no loss of it", seconds=attempt.taken)
    return Evaluation(candidate, "done", metrics, seconds=attempt.taken)
