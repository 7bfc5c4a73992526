"""The results of a search so far: its state, the best of each tier, its rungs, its workers and its failures."""

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.runs.run_state import RunState, expected_evaluations, running_since, state_of
from piip_dashboards.views.parents import ParentView, parent_views
from piip_search.analysis.baselines import Baseline, TierComparison, compare
from piip_search.cost import CostLabel
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import ParetoFront
from piip_search.ledger import PreparationSummary

MOST_FAILURES = 50
"""Most failures that are listed; counts include all."""
MOST_RUNNING = 50
MOST_LEFT_OUT = 20
"""Most rows that cannot be read and are listed; counts include all."""


@dataclass(frozen=True)
class FrontMember:
    """A design on a front.

    Attributes:
        trial: Number of its first full training.
        fingerprint: Fingerprint of the architecture.
        architecture: Short form.
        value: Metric, the mean over seeds.
        deviation: Standard deviation between seeds; None for one seed.
        seeds: Number of seeds.
        cost: Cost on the axis of the tiers.
        mparams: Parameters in millions, under the search's convention.
    """

    trial: int
    fingerprint: str
    architecture: str
    value: float
    deviation: float | None
    seeds: int
    cost: float
    mparams: float


@dataclass(frozen=True)
class TierRow:
    """A tier with its results.

    Attributes:
        cost: Highest cost.
        hypervolume: Dominated share, in [0, 1].
        designs: Number of finished designs within it.
        best: Best design within it; None without one.
        left: Expected gain of the best; None without an estimate.
        front: Front, cheapest first.
    """

    cost: float
    hypervolume: float
    designs: int
    best: FrontMember | None
    left: float | None
    front: list[FrontMember]


@dataclass(frozen=True)
class Rung:
    """A rung of the schedule.

    Attributes:
        epochs: Epochs of training, from the start.
        name: What is measured there.
        begun: Number of trainings towards it.
        measured: Number of trainings that reached it.
        failed: Number of trainings that failed on the way.
        running: Number of trainings on the way.
        promoted: Number of trainings promoted from it.
        best: Best metric there.
    """

    epochs: int
    name: str
    begun: int
    measured: int
    failed: int
    running: int
    promoted: int
    best: float | None


@dataclass(frozen=True)
class Worker:
    """A machine with its evaluations.

    Attributes:
        host: Name of the machine.
        done: Number of its successful evaluations.
        failed: Number of its failed evaluations.
        hours: Hours of its evaluations.
        last_at: Time of its last answer.
    """

    host: str
    done: int
    failed: int
    hours: float
    last_at: datetime


@dataclass(frozen=True)
class Running:
    """A running trial."""

    trial: int
    fingerprint: str
    architecture: str
    epochs: int
    cost: float
    seconds: float


@dataclass(frozen=True)
class Failure:
    """A failed evaluation."""

    trial: int
    fingerprint: str
    architecture: str
    epochs: int
    host: str
    error: str


@dataclass(frozen=True)
class FailureKind:
    """Errors that differ only in numbers."""

    error: str
    count: int


@dataclass(frozen=True)
class SittingLine:
    """A process that drove the search."""

    number: int
    began_at: datetime
    host: str
    process: int
    revision: str
    owner: str


@dataclass(frozen=True)
class Overview:
    """A search.

    Attributes:
        run: Name of the run.
        audit: Whether the run is an audit of another run's proxies.
        state: State of the run.
        metric: Metric of the search.
        gained: What a lead in the metric counts: the metric, or the reduction of one that falls.
        convention: Counting convention of multiply-accumulates.
        axis: Axis of the tiers.
        metrics: Names of all searched metrics.
        titles: Titles of the metrics that the task knows, by name.
        costs: Titles of all searched costs.
        created_at: Start in UTC.
        last_at: Time of the last event in UTC.
        position: Last position that was read.
        trials: Budget of designs.
        designs: Number of started designs.
        done: Number of successful evaluations.
        failures: Number of failed evaluations.
        under_way: Number of running evaluations.
        expected: Approximate number of evaluations in all.
        hours: GPU-hours, the preparation's included, or hours of trials, so far.
        gpu: Whether the hours are GPU-hours.
        noise: Standard deviation between seeds, the median over designs.
        tiers: Tiers, cheapest first.
        rungs: Rungs, lowest first; a single one without a schedule.
        workers: Machines by name.
        running: Running trials, longest first.
        failed: Failures, latest first, at most `MOST_FAILURES`.
        kinds: Kinds of errors with their counts.
        sittings: Processes that drove the search.
        sampler: Name of the sampler.
        preparation: The preparation of the evaluator; None for one that prepares nothing.
        parents: What the parents learnt, for the evaluator `shared`.
        left_out: Number of rows of the ledger that cannot be read.
        unreadable: The first of them, each with the reason.
        baselines: Baselines of the search, cheapest first.
        compared: The best design of each tier against the best baseline within it; empty without baselines.
    """

    run: str
    audit: bool
    state: RunState
    metric: str
    gained: str
    convention: str
    axis: CostLabel
    metrics: list[str]
    titles: dict[str, str]
    costs: list[str]
    created_at: datetime
    last_at: datetime
    position: int
    trials: int
    designs: int
    done: int
    failures: int
    under_way: int
    expected: int
    hours: float
    gpu: bool
    noise: float | None
    tiers: list[TierRow]
    rungs: list[Rung]
    workers: list[Worker]
    running: list[Running]
    failed: list[Failure]
    kinds: list[FailureKind]
    sittings: list[SittingLine]
    sampler: str
    preparation: PreparationSummary | None
    parents: list[ParentView]
    left_out: int = 0
    unreadable: list[str] = field(default_factory=list)
    baselines: list[Baseline] = field(default_factory=list)
    compared: list[TierComparison] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Share of the expected evaluations that have ended."""
        return min(1.0, (self.done + self.failures) / max(self.expected, 1))


def overview(reading: RunSnapshot, driven: bool | None, now: datetime, baselines: Sequence[Baseline] = ()) -> Overview:
    """The results of a search at a time in UTC, beside those of its baselines."""
    failed = reading.history.failed
    return Overview(
        run=reading.name,
        audit=reading.record.is_audit,
        state=state_of(reading, driven, now),
        metric=reading.objectives.metric,
        gained=reading.objectives.metrics[0].gained,
        convention=reading.spec.limit.convention,
        axis=reading.objectives.axis.label,
        metrics=[metric.name for metric in reading.objectives.metrics],
        titles=reading.titles,
        costs=[axis.label.title for axis in reading.objectives.costs],
        created_at=reading.record.created_at,
        last_at=reading.last_at,
        position=reading.position,
        trials=reading.spec.budget.trials,
        designs=len(reading.designs),
        done=len(reading.evaluations) - len(failed),
        failures=len(failed),
        under_way=len(reading.unfinished),
        expected=expected_evaluations(reading),
        hours=reading.hours_in_all,
        gpu=reading.gpu,
        noise=reading.noise,
        tiers=tiers_of(reading),
        rungs=_rungs(reading),
        workers=_workers(reading),
        running=_running(reading, now),
        failed=[_failure(evaluation) for evaluation in failed[: -MOST_FAILURES - 1 : -1]],
        kinds=_kinds(failed),
        sittings=[
            SittingLine(
                s.number,
                s.began_at,
                s.circumstances.host,
                s.circumstances.process,
                s.circumstances.revision,
                str(s.owner),
            )
            for s in reading.sittings
        ],
        sampler=reading.spec.sampler,
        preparation=PreparationSummary.of(reading.preparations, driven),
        parents=parent_views(reading.preparations),
        left_out=len(reading.unreadable),
        unreadable=[str(row) for row in reading.unreadable[:MOST_LEFT_OUT]],
        baselines=list(baselines),
        compared=list(compare(reading.history, baselines)),
    )


@lru_cache(maxsize=8)
def tiers_of(reading: RunSnapshot) -> list[TierRow]:
    """The front of each tier."""
    left = reading.history.left
    costs = reading.costs
    return [
        TierRow(
            front.tier,
            front.hypervolume,
            bisect_right(costs, front.tier),
            None if front.best is None else member_of(reading, front.best),
            left.get(front.tier),
            _members(reading, front),
        )
        for front in reading.fronts
    ]


def _members(reading: RunSnapshot, front: ParetoFront) -> list[FrontMember]:
    return [member_of(reading, evaluation) for evaluation in front.evaluations]


def member_of(reading: RunSnapshot, evaluation: Evaluation) -> FrontMember:
    """A design as a member of a front."""
    architecture, metric = evaluation.candidate.architecture, reading.objectives.metric
    design = reading.designs[architecture.fingerprint]
    cost = reading.cost(architecture)
    return FrontMember(
        evaluation.candidate.number,
        design.fingerprint,
        architecture.name,
        evaluation.metrics[metric],
        design.deviation(metric),
        len(design.values(metric)),
        cost,
        reading.spec.pricing.price(architecture).mparams,
    )


@lru_cache(maxsize=8)
def _rungs(reading: RunSnapshot) -> list[Rung]:
    begun = Counter(candidate.fidelity.epochs for candidate in reading.history.candidates)
    running = Counter(candidate.fidelity.epochs for candidate in reading.unfinished)
    ended: dict[int, list[Evaluation]] = defaultdict(list)
    for evaluation in reading.evaluations:
        ended[evaluation.candidate.fidelity.epochs].append(evaluation)
    sent_to = Counter(c.fidelity.epochs for c in reading.history.candidates if c.reason.source == "promotion")
    rungs = []
    for place, epochs in enumerate(reading.history.epochs):
        failed = sum(evaluation.status == "failed" for evaluation in ended[epochs])
        values = [value for e in ended[epochs] if (value := reading.objectives.value(e)) is not None]
        promoted = sent_to[reading.history.epochs[place + 1]] if place + 1 < len(reading.history.epochs) else 0
        rungs.append(
            Rung(
                epochs,
                reading.spec.rung_name(epochs),
                begun[epochs],
                len(ended[epochs]) - failed,
                failed,
                running[epochs],
                promoted,
                max(values, key=reading.objectives.metrics[0].merit, default=None),
            )
        )
    return rungs


@lru_cache(maxsize=8)
def _workers(reading: RunSnapshot) -> list[Worker]:
    found: dict[str, list[tuple[Evaluation, datetime]]] = defaultdict(list)
    for evaluation, at in zip(reading.evaluations, reading.ended_at, strict=True):
        if not evaluation.facts.answered_from:
            found[evaluation.facts.host or "unknown"].append((evaluation, at))
    return [
        Worker(
            host,
            sum(e.status == "done" for e, _ in rows),
            sum(e.status == "failed" for e, _ in rows),
            sum(e.seconds for e, _ in rows) / 3600,
            max(at for _, at in rows),
        )
        for host, rows in sorted(found.items())
    ]


def _running(reading: RunSnapshot, now: datetime) -> list[Running]:
    since = sorted(running_since(reading, now).items(), key=lambda pair: -pair[1])
    return [
        Running(
            c.number,
            c.architecture.fingerprint,
            c.architecture.name,
            c.fidelity.epochs,
            reading.cost(c.architecture),
            seconds,
        )
        for c, seconds in since[:MOST_RUNNING]
    ]


def _failure(evaluation: Evaluation) -> Failure:
    candidate = evaluation.candidate
    return Failure(
        candidate.number,
        candidate.design.fingerprint,
        candidate.design.name,
        candidate.fidelity.epochs,
        evaluation.facts.host,
        evaluation.error,
    )


def _kinds(failed: list[Evaluation]) -> list[FailureKind]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for evaluation in failed:
        kinds[re.sub(r"\d+(\.\d+)?", "#", evaluation.error)].append(evaluation.error)
    ordered = sorted(kinds.values(), key=lambda errors: -len(errors))
    return [FailureKind(errors[0], len(errors)) for errors in ordered]
