"""Simulates workers with a clock that jumps: a search of months takes seconds."""

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
"""Greatest factor of a straggler's duration."""
SLOW = 3.0
"""Least factor of a straggler's duration."""


@dataclass(frozen=True)
class Cluster:
    """The simulated workers.

    Attributes:
        workers: Number of evaluations at a time.
        failures: Probability that an evaluation fails.
        stragglers: Probability that an evaluation takes 3 to 10 times as long.
        preemptions: Probability that an evaluation loses its worker; it restarts on any worker.
        seed: Seed of all random draws.
    """

    workers: int = 1
    failures: float = 0.0
    stragglers: float = 0.0
    preemptions: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UserError(f"workers must be at least 1, got {self.workers}")
        for name in ("failures", "stragglers", "preemptions"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} is a share of evaluations: give a number from 0 to below 1")


@dataclass
class Clock:
    """A clock whose time is set.

    Attributes:
        now: Time in seconds.
    """

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class SimulationResult:
    """The result of a simulation.

    Attributes:
        seconds: Time until the last evaluation ended.
        busy: Worker seconds in use, including those lost by preemption.
        preempted: Number of interrupted attempts.
        stragglers: Number of attempts that took longer.
    """

    seconds: float = 0.0
    busy: float = 0.0
    preempted: int = 0
    stragglers: int = 0


@dataclass(order=True)
class _Attempt:
    """One candidate on one worker, until it ends or is interrupted."""

    end: float
    number: int
    candidate: Candidate = field(compare=False)
    taken: float = field(compare=False)
    outcome: str = field(compare=False)


def run(
    search: Search, simulation: Simulation, cluster: Cluster, clock: Clock, on_change: Callable[[], None] = lambda: None
) -> SimulationResult:
    """Measures the search's proposals until there are no more.

    A design that goes on to the next rung takes only the time from the last rung on. Draws depend on the seed and the
    candidate, and so not on the order of ends.

    Args:
        search: Proposes candidates and accepts evaluations; its clock is `clock`.
        simulation: Gives results and durations.
        cluster: The workers.
        clock: Clock that the simulation advances.
        on_change: Called after each end.
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
        on_change()
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
        return Evaluation(candidate, "failed", error="the table has no loss for this design", seconds=attempt.taken)
    return Evaluation(candidate, "done", metrics, seconds=attempt.taken)
