"""Health checks of a search as plain data; they fit a surrogate, which takes a second."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from piip_dashboards.runs.cached import CachedValue
from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.runs.run_state import running_since
from piip_search.analysis.health import Health, Ranking
from piip_search.analysis.rank_correlation import Interval
from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.objectives import Objectives

Examine = Callable[[SearchSpec, Objectives, list[Evaluation], Mapping[Candidate, float]], Health]


@dataclass(frozen=True)
class FindingView:
    """A problem of a search, with the way out."""

    check: str
    message: str
    action: str


@dataclass(frozen=True)
class Tau:
    """Kendall's tau with its 90 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RungTau:
    """Rank correlation between two neighbouring rungs."""

    lower: int
    upper: int
    tau: Tau


@dataclass(frozen=True)
class RankingView:
    """How one metric ranks designs.

    Attributes:
        metric: Name of the metric.
        surrogate: Rank correlation of the surrogate on unseen designs; None for too few designs.
        cost: Rank correlation of the cost alone.
        rungs: Rank correlations between neighbouring rungs.
    """

    metric: str
    surrogate: Tau | None
    cost: Tau | None
    rungs: list[RungTau]


@dataclass(frozen=True)
class HealthView:
    """The results of the health checks.

    Attributes:
        applies: Whether the run is checked; an audit is not.
        evaluations: Number of evaluations at the time of the checks.
        findings: Problems of the search.
        rankings: Ranking of each searched metric; empty if the run is not checked.
        cost: What the axis of the tiers counts, in a sentence.
    """

    applies: bool
    evaluations: int
    findings: list[FindingView]
    rankings: list[RankingView]
    cost: str


class Examination:
    """Caches the last health checks of each run."""

    def __init__(self, examine: Examine) -> None:
        self._examine = examine
        self._kept: CachedValue[HealthView] = CachedValue()

    def of(self, reading: RunSnapshot, driven: bool | None, now: datetime) -> HealthView:
        """The results of a run's health checks."""
        count = len(reading.evaluations)
        if not reading.record.is_search:
            return HealthView(False, count, [], [], reading.objectives.axis.label.noun)
        return self._kept.of(reading, lambda: self._view(reading, driven, now))

    def _view(self, reading: RunSnapshot, driven: bool | None, now: datetime) -> HealthView:
        # Candidates of a run without a driver are not late.
        running = {} if driven is False else running_since(reading, now)
        found = self._examine(reading.spec, reading.objectives, reading.evaluations, running)
        return HealthView(
            True,
            len(reading.evaluations),
            [FindingView(finding.check, finding.message, finding.action) for finding in found.findings],
            [_ranking(ranking) for ranking in found.rankings],
            found.cost,
        )


def _ranking(ranking: Ranking) -> RankingView:
    score = ranking.score
    return RankingView(
        ranking.metric,
        None if score is None else _tau(score.surrogate),
        None if score is None else _tau(score.cost),
        [RungTau(lower, upper, _tau(tau)) for lower, upper, tau in ranking.rungs],
    )


def _tau(interval: Interval) -> Tau:
    return Tau(interval.value, interval.low, interval.high)
