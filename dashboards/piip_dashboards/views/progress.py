"""What a search found, over its evaluations and over the hours that they took."""

from dataclasses import dataclass
from functools import lru_cache

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import RunningFronts


@dataclass(frozen=True)
class TierProgress:
    """One tier over time; a point for each evaluation that changed something, and the last.

    Attributes:
        gmacs: The tier's tier.
        evaluations: How many evaluations had ended.
        hours: GPU-hours, or hours of trials, that they had taken.
        hypervolume: Share of the loss and cost that is dominated, in [0, 1].
        best: Highest metric within the tier; None while there is none.
    """

    gmacs: float
    evaluations: list[int]
    hours: list[float]
    hypervolume: list[float]
    best: list[float | None]


@dataclass(frozen=True)
class Progress:
    """All tiers of a search over time.

    Attributes:
        run: Name of the run.
        metric: What is raised.
        gpu: Whether hours are those of GPUs.
        tiers: The cheapest first.
    """

    run: str
    metric: str
    gpu: bool
    tiers: list[TierProgress]


@lru_cache(maxsize=16)
def progress_of(reading: RunSnapshot) -> Progress:
    """Follows the fronts of a search. A design counts with the mean of its seeds from when the first was measured."""
    tiers = [TierProgress(tier, [], [], [], []) for tier in reading.tiers]
    standing = {evaluation.candidate.number: evaluation for evaluation in reading.representatives}
    fronts = RunningFronts(reading.objectives, reading.tiers)
    _note(reading, fronts, tiers, 0)
    for count, evaluation in enumerate(reading.evaluations, 1):
        whole = standing.get(evaluation.candidate.number)
        if whole is not None and not _is_dominated(reading, fronts, whole) and fronts.add(whole):
            _note(reading, fronts, tiers, count)
    if tiers and tiers[0].evaluations[-1] != len(reading.evaluations):
        _note(reading, fronts, tiers, len(reading.evaluations))
    return Progress(reading.name, reading.objectives.metric, reading.gpu, tiers)


def _note(reading: RunSnapshot, fronts: RunningFronts, tiers: list[TierProgress], count: int) -> None:
    for tier, front in zip(tiers, fronts.fronts, strict=True):
        tier.evaluations.append(count)
        tier.hours.append(round(reading.hours[count - 1], 5) if count else 0.0)
        tier.hypervolume.append(front.hypervolume)
        tier.best.append(None if front.best is None else reading.objectives.value(front.best))


def _is_dominated(reading: RunSnapshot, fronts: RunningFronts, evaluation: Evaluation) -> bool:
    """Whether the widest front holds something as good and no dearer: then no tier's front can be moved."""
    value, cost = reading.objectives.value(evaluation), reading.gmacs(evaluation.candidate.architecture)
    return value is None or any(
        (other := reading.objectives.value(member)) is not None
        and other >= value
        and reading.gmacs(member.candidate.architecture) <= cost
        for member in fronts.fronts[-1].evaluations
    )


def sparkline(tier: TierProgress, width: float, height: float) -> str:
    """Points of a polyline of the hypervolume over evaluations, in SVG's units, as steps."""
    top, last = max(tier.hypervolume, default=0.0) or 1.0, max(tier.evaluations[-1:], default=0) or 1
    points: list[str] = []
    before = height
    for count, volume in zip(tier.evaluations, tier.hypervolume, strict=True):
        x, y = count / last * width, height - volume / top * height
        points += [f"{x:.1f},{before:.1f}", f"{x:.1f},{y:.1f}"]
        before = y
    return " ".join(points)
