"""Comparison of groups of designs at equal cost: inverted pyramids with direct ones, one branch with three.

Unlike an ablation, a pair differs in whatever the groups differ in. It is matched by its cost alone.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from piip_search.analysis.effects.matched import mean_interval, plain_gain
from piip_search.analysis.effects.measured import Measured
from piip_search.analysis.rank_correlation import Interval
from piip_search.architecture.traits import EQUAL_COST, Trait
from piip_search.evaluation.objectives import MetricAxis


@dataclass(frozen=True, slots=True)
class EqualPair:
    """Two designs of about the same cost.

    Attributes:
        first: Design of the first group.
        second: Design of the second group.
    """

    first: Measured
    second: Measured

    @property
    def gain(self) -> float:
        """Lead of the second over the first in the metric; positive if it is better."""
        return self.second.merit - self.first.merit

    @property
    def costs(self) -> float:
        """Cost of the second over that of the first."""
        return float(2 ** (self.second.doublings - self.first.doublings))

    def to_dict(self) -> dict[str, Any]:
        """The pair as plain data."""
        designs = {"first": self.first.architecture.name, "second": self.second.architecture.name}
        return {**designs, "gain": self.gain, "costs": self.costs}


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """Two groups at equal cost.

    Attributes:
        first: Name of the first group.
        second: Name of the second group.
        pairs: Each design in at most one pair, such that as many are matched as can be, and the squares of the log
            ratios of their costs have the least sum. The sum of the plain ratios has many least matchings.
        gain: Mean lead of the second group, with the 90 % interval of the t distribution over pairs; the mean alone for
            fewer than three pairs; None without a pair.
    """

    first: str
    second: str
    pairs: tuple[EqualPair, ...]
    gain: Interval | float | None

    def verdict(self, metric: MetricAxis) -> str:
        """The result in a sentence.

        Args:
            metric: The metric of the gain.
        """
        count = f"{len(self.pairs)} pair{'' if len(self.pairs) == 1 else 's'} of equal cost"
        if not isinstance(self.gain, Interval):
            return f"{self.first} and {self.second}: {count}, too few to tell"
        mean, low, high = self.gain.value, self.gain.low, self.gain.high
        if low <= 0 <= high:
            figure = f"{mean:+.4f} [{low:+.4f}, {high:+.4f}] {metric.gained}"
            return f"{count} do not tell {self.second} from {self.first}: {figure} for {self.second}"
        better, worse = (self.second, self.first) if mean > 0 else (self.first, self.second)
        least, most = sorted((abs(low), abs(high)))
        return (
            f"{better} is better than {worse} at equal cost by {abs(mean):.4f} [{least:.4f}, {most:.4f}] "
            f"{metric.gained} ({count})"
        )

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data."""
        return {
            "first": self.first,
            "second": self.second,
            "gain": None if self.gain is None else plain_gain(self.gain),
            "pairs": [pair.to_dict() for pair in self.pairs],
        }


def grouped(designs: Sequence[Measured], trait: Trait) -> dict[str, list[Measured]]:
    """Designs by their groups; the groups with most designs come first.

    Args:
        designs: Measured designs.
        trait: Group of a design.
    """
    groups = defaultdict[str, list[Measured]](list)
    for measured in designs:
        name = trait(measured.architecture)
        if name is not None:
            groups[name].append(measured)
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))


def compared(groups: Mapping[str, Sequence[Measured]], within: float = EQUAL_COST) -> list[GroupComparison]:
    """Comparisons of every two groups at equal cost.

    Args:
        groups: Measured designs by the name of their group.
        within: Largest share by which the dearer design of a pair may cost more.
    """
    return [
        _comparison(first, second, _matched(groups[first], groups[second], within))
        for first, second in itertools.combinations(groups, 2)
    ]


def _comparison(first: str, second: str, pairs: tuple[EqualPair, ...]) -> GroupComparison:
    gains = [pair.gain for pair in pairs]
    return GroupComparison(first, second, pairs, mean_interval(gains) if gains else None)


def _matched(first: Sequence[Measured], second: Sequence[Measured], within: float) -> tuple[EqualPair, ...]:
    from scipy.optimize import linear_sum_assignment

    # By cost and name, so that among equal costs the order of the trainings' ends decides nothing.
    first, second = (sorted(group, key=lambda one: (one.doublings, one.architecture.name)) for group in (first, second))
    first_N, second_N = (np.array([one.doublings for one in group]) for group in (first, second))
    apart_NN = np.abs(first_N[:, None] - second_N)
    most = np.log2(1 + within)
    # One pair that is too far apart costs more than all others together.
    barred_NN = np.where(apart_NN <= most, apart_NN**2, 1 + most**2 * min(apart_NN.shape))
    return tuple(
        EqualPair(first[row], second[column])
        for row, column in zip(*linear_sum_assignment(barred_NN), strict=True)
        if apart_NN[row, column] <= most
    )


@dataclass(frozen=True, slots=True)
class Best:
    """The best design of a group within a tier.

    Attributes:
        tier: Largest cost, on the axis of the tiers.
        group: Name of the group.
        design: The design; None if the group has none of that cost.
    """

    tier: float
    group: str
    design: Measured | None


def best_of(groups: Mapping[str, Sequence[Measured]], tiers: Sequence[float]) -> list[Best]:
    """The best design of each group within each tier.

    Args:
        groups: Measured designs by the name of their group.
        tiers: Tiers, rising.
    """
    return [
        Best(
            tier,
            name,
            max(
                (one for one in designs if one.doublings <= np.log2(tier) + 1e-12),
                key=lambda one: (one.merit, -one.doublings),
                default=None,
            ),
        )
        for tier in tiers
        for name, designs in groups.items()
    ]
