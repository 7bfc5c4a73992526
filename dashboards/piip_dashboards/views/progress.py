"""The results of a search over its evaluations and hours."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_search.evaluation.objectives import ParetoFront
from piip_search.search.history import RunHistory


@dataclass(frozen=True)
class TierProgress:
    """One tier over time; a point for each evaluation that changed it, and for the last.

    Attributes:
        cost: Highest cost.
        title: Highest cost with its unit.
        evaluations: Number of evaluations at each point.
        hours: GPU-hours, or hours of trials, at each point.
        hypervolume: Dominated share of loss and cost, in [0, 1].
        best: Best metric within the tier; None without one.
    """

    cost: float
    title: str
    evaluations: list[int]
    hours: list[float]
    hypervolume: list[float]
    best: list[float | None]


@dataclass(frozen=True)
class Progress:
    """All tiers of a search over time.

    Attributes:
        run: Name of the run.
        metric: Metric of the search.
        gpu: Whether hours are GPU-hours.
        tiers: Tiers, cheapest first.
    """

    run: str
    metric: str
    gpu: bool
    tiers: list[TierProgress]


@lru_cache(maxsize=16)
def progress_of(reading: RunSnapshot) -> Progress:
    """Follows the fronts of a search: a point for the beginning, one for each change, one for the end."""
    tiers = [TierProgress(tier, reading.objectives.axis.format(tier), [], [], [], []) for tier in reading.tiers]
    before = RunHistory(reading.spec).fronts
    _note(reading, before, tiers, 0)
    for count, fronts in reading.history.moves:
        if any(now.hypervolume != then.hypervolume for now, then in zip(fronts, before, strict=True)):
            _note(reading, fronts, tiers, count)
        before = fronts
    if tiers and tiers[0].evaluations[-1] != len(reading.evaluations):
        _note(reading, before, tiers, len(reading.evaluations))
    return Progress(reading.name, reading.objectives.metric, reading.gpu, tiers)


def _note(reading: RunSnapshot, fronts: Sequence[ParetoFront], tiers: list[TierProgress], count: int) -> None:
    for tier, front in zip(tiers, fronts, strict=True):
        tier.evaluations.append(count)
        tier.hours.append(round(reading.hours[count - 1], 5) if count else 0.0)
        tier.hypervolume.append(front.hypervolume)
        tier.best.append(None if front.best is None else reading.objectives.value(front.best))


def sparkline(tier: TierProgress, width: float, height: float) -> str:
    """Points of an SVG polyline of the hypervolume over evaluations, as steps."""
    top, last = max(tier.hypervolume, default=0.0) or 1.0, max(tier.evaluations[-1:], default=0) or 1
    points: list[str] = []
    before = height
    for count, volume in zip(tier.evaluations, tier.hypervolume, strict=True):
        x, y = count / last * width, height - volume / top * height
        points += [f"{x:.1f},{before:.1f}", f"{x:.1f},{y:.1f}"]
        before = y
    return " ".join(points)
