"""Effects of single choices, and the importance of each kind of choice."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_search.analysis.effects import Effect, importance, matched_effects
from piip_search.analysis.effects.matched import multiple, plus_minus
from piip_search.analysis.rank_correlation import Interval
from piip_search.evaluation.evaluation import Evaluation

MOST_PAIRS = 8
MOST_MATCHED = 4000
"""Most designs that are compared: pairs grow faster than designs, and intervals are narrow long before."""


@dataclass(frozen=True)
class Estimate:
    """A lead in the metric, positive if it is better, with its 90 % interval if it has one.

    Attributes:
        value: Mean.
        low: Lower end; None for a single setting.
        high: Upper end.
        words: Text of the estimate.
    """

    value: float
    low: float | None
    high: float | None
    words: str


@dataclass(frozen=True)
class PairView:
    """Two designs that differ only in one choice."""

    less: int
    more: int
    less_fingerprint: str
    more_fingerprint: str
    gain: float
    costs: float


@dataclass(frozen=True)
class EffectView:
    """The effect of a choice on the metric, over all pairs of designs that differ only in it.

    Attributes:
        choice: Kind of the choice.
        title: Comparison in words.
        broad: Whether pairs of any two values count.
        gain: Lead in the metric.
        equal_cost: The gain at equal cost; None if unknown.
        costs: Factor on the cost, in words.
        count: Number of pairs.
        sure: Whether the interval of the gain excludes zero.
        pairs: Some of the pairs.
    """

    choice: str
    title: str
    broad: bool
    gain: Estimate
    equal_cost: Estimate | None
    costs: str
    count: int
    sure: bool
    pairs: list[PairView]


@dataclass(frozen=True)
class WeightView:
    """Importance of one kind of choice: its share of the metric's variance, and the deviation."""

    choice: str
    share: float
    deviation: float


@dataclass(frozen=True)
class EffectsView:
    """Effects and importance of a search's choices.

    Attributes:
        gained: What a gain counts: the metric, or the reduction of one that falls.
        designs: Number of finished designs in the estimate.
        finished: Number of all finished designs; a random part of them is in the estimate if there are many.
        said: Conclusion in words.
        cost: Share of the metric's variance that cost explains.
        choices: Share that the choices explain beyond cost.
        weights: Importance of each kind of choice, largest first.
        effects: Effects, certain ones first, then by size.
        span: Largest end of an interval, which scales the drawing.
    """

    gained: str
    designs: int
    finished: int
    said: str
    cost: float | None
    choices: float | None
    weights: list[WeightView]
    effects: list[EffectView]
    span: float


def effects_of(reading: RunSnapshot, most: int = MOST_MATCHED) -> EffectsView:
    """Effects and importance of a search's choices; takes seconds with thousands of finished designs."""
    compared = _compared(reading.representatives, most)
    found = importance(compared, reading.objectives)
    numbers = {e.candidate.number: e.candidate.design.fingerprint for e in compared}
    effects = matched_effects(compared, reading.objectives)
    ordered = sorted(effects, key=lambda effect: (not effect.sure, not effect.broad, -abs(effect.mean)))
    views = [_view(effect, numbers) for effect in ordered]
    ends = [abs(end) for view in views for one in (view.gain, view.equal_cost) if one for end in _ends(one)]
    return EffectsView(
        reading.objectives.metrics[0].gained,
        found.designs,
        len(reading.representatives),
        found.said,
        found.cost,
        found.choices,
        [WeightView(weight.choice, weight.share, weight.deviation) for weight in found.weights],
        views,
        max(ends, default=0.0),
    )


def _view(effect: Effect, numbers: dict[int, str]) -> EffectView:
    pairs = [
        PairView(pair.less, pair.more, numbers[pair.less], numbers[pair.more], pair.gain, pair.costs)
        for pair in effect.pairs[:MOST_PAIRS]
    ]
    return EffectView(
        effect.choice,
        effect.title,
        effect.broad,
        _estimate(effect.gain),
        None if effect.equal_cost is None else _estimate(effect.equal_cost),
        multiple(effect.costs),
        len(effect.pairs),
        effect.sure,
        pairs,
    )


def _estimate(gain: Interval | float) -> Estimate:
    if isinstance(gain, Interval):
        return Estimate(gain.value, gain.low, gain.high, plus_minus(gain))
    return Estimate(gain, None, None, plus_minus(gain))


def _ends(one: Estimate) -> list[float]:
    return [one.value] if one.low is None or one.high is None else [one.low, one.high]


def _compared(finished: Sequence[Evaluation], most: int) -> Sequence[Evaluation]:
    """All finished designs, or a random part that is the same at each reading."""
    if len(finished) <= most:
        return finished
    return [finished[place] for place in sorted(random.Random(0).sample(range(len(finished)), most))]
