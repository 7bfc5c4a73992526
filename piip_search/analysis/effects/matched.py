"""Ablations from the ledger: comparisons of designs that differ in a single choice.

A search measures many such pairs by itself. They need no model, as everything else is equal. But the search chose the
measured designs, and at a level of 90 % one effect in ten differs from zero by chance.
"""

import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from piip_search.analysis.effects.measured import Curve, Measured, measured_designs, trend
from piip_search.analysis.rank_correlation import LEVEL, Interval
from piip_search.architecture import Architecture, Branch, Interaction
from piip_search.architecture.backbones import Backbone, ConvNeXt, Transformer
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives

CHOICES = (
    "branches",
    "image order",
    "model",
    "image size",
    "window",
    "interactions",
    "attention",
    "direction",
    "projection",
    "norm",
    "merge",
)
"""Kinds of choices in which pairs may differ."""


FEWEST_SETTINGS = 3
"""Fewest settings for an interval: two equal differences would look like certainty."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two designs that differ in one choice.

    Attributes:
        less: Trial of the design with the smaller value.
        more: Trial of the design with the larger value.
        gain: Lead of the second over the first in the metric; positive if it is better.
        costs: Cost of the second over that of the first.
        expected: Gain expected from the difference in cost alone, by the trend over all designs; None for too few.
    """

    less: int
    more: int
    gain: float
    costs: float
    expected: float | None

    def to_dict(self) -> dict[str, Any]:
        """The pair as plain data."""
        return {"less": self.less, "more": self.more, "gain": self.gain, "costs": self.costs, "expected": self.expected}


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of a choice on the metric, over all pairs that differ only in it.

    Attributes:
        choice: One of `CHOICES`.
        title: The comparison in words: `12 instead of 6 interactions`.
        broad: Whether pairs of any two values count, by their order: `more interactions`.
        gain: Mean lead in the metric, positive if the larger value is better. It has the 90 % interval of the t
            distribution over settings that are equal in all else; with fewer than three settings it is the mean alone.
        equal_cost: The gain minus the gain expected from the difference in cost (`measured.trend`, without its error);
            None for too few designs.
        costs: Factor on the cost of a larger value, the geometric mean.
        settings: Number of settings in which only the choice differs.
        pairs: Pairs behind the effect.
    """

    choice: str
    title: str
    broad: bool
    gain: Interval | float
    equal_cost: Interval | float | None
    costs: float
    settings: int
    pairs: tuple[Pair, ...]

    @property
    def mean(self) -> float:
        """Mean lead in the metric."""
        return self.gain.value if isinstance(self.gain, Interval) else self.gain

    @property
    def sure(self) -> bool:
        """Whether the interval of the gain excludes zero."""
        return isinstance(self.gain, Interval) and (self.gain.low > 0 or self.gain.high < 0)

    def said(self, gained: str) -> str:
        """One line: the comparison, the effect with half its interval, the cost, and the number of pairs.

        Args:
            gained: What a gain counts (`MetricAxis.gained`).
        """
        count = f"{len(self.pairs)} pair{'s' if len(self.pairs) > 1 else ''}"
        line = f"{self.title}: {plus_minus(self.gain)} {gained} at {multiple(self.costs)} the cost ({count})"
        return line if self.equal_cost is None else f"{line}; {plus_minus(self.equal_cost)} at equal cost"

    def to_dict(self) -> dict[str, Any]:
        """The effect as plain data."""
        return {
            "choice": self.choice,
            "title": self.title,
            "broad": self.broad,
            "gain": plain_gain(self.gain),
            "equal_cost": None if self.equal_cost is None else plain_gain(self.equal_cost),
            "costs": self.costs,
            "settings": self.settings,
            "sure": self.sure,
            "pairs": [pair.to_dict() for pair in self.pairs],
        }


def plus_minus(gain: Interval | float) -> str:
    """A gain with half its interval, if it has one."""
    if isinstance(gain, Interval):
        return f"{gain.value:+.4f} ± {(gain.high - gain.low) / 2:.4f}"
    return f"{gain:+.4f}"


def multiple(costs: float) -> str:
    """A ratio of costs as text."""
    return "1 ×" if abs(costs - 1) < 0.005 else f"{costs:.3g} ×"


def plain_gain(gain: Interval | float) -> dict[str, float | None]:
    """A gain with the ends of its interval, as plain data; the ends are None without one."""
    if isinstance(gain, Interval):
        return {"value": gain.value, "low": gain.low, "high": gain.high}
    return {"value": gain, "low": None, "high": None}


@dataclass(frozen=True, slots=True)
class _Value:
    """A design with its value of one choice.

    Attributes:
        order: Sort key of the value.
        words: The value as text.
    """

    order: Any
    words: str
    design: Measured


def matched_effects(evaluations: Sequence[Evaluation], objectives: Objectives) -> tuple[Effect, ...]:
    """All effects with evidence: by choice, broad effects first, then those with most pairs.

    Args:
        evaluations: Evaluations of full trainings (`objectives.finished`).
        objectives: Objectives of the search.
    """
    designs = measured_designs(evaluations, objectives)
    curve = trend(designs)
    settings: dict[tuple[str, str], dict[Hashable, list[_Value]]] = defaultdict(lambda: defaultdict(list))
    for choice, where, setting, value in _seen(designs):
        settings[choice, where][setting].append(value)
    exact: dict[tuple[str, str], list[list[Pair]]] = defaultdict(list)
    broad: dict[tuple[str, str], list[list[Pair]]] = defaultdict(list)
    for (choice, where), alike in settings.items():
        for values in alike.values():
            ordered = sorted(values, key=lambda value: value.order)
            for less, more in itertools.combinations(ordered, 2):
                if less.order != more.order:
                    exact[choice, _title(choice, where, less.words, more.words)].append([_pair(less, more, curve)])
            steps = [_pair(*two, curve) for two in itertools.pairwise(ordered) if two[0].order != two[1].order]
            if steps and choice in _BROAD:
                broad[choice, _BROAD[choice]].append(steps)
    for title, pairs in _with_one_branch_less(designs, curve):
        exact["branches", title].append(pairs)
        broad["branches", "one more branch"].append(pairs)
    found = [_effect(*key, False, groups) for key, groups in exact.items()]
    found += [_effect(*key, True, groups) for key, groups in broad.items() if _several(key[0], exact)]
    return tuple(sorted(found, key=lambda effect: (CHOICES.index(effect.choice), not effect.broad, -effect.settings)))


def _several(choice: str, exact: Iterable[tuple[str, str]]) -> bool:
    """Whether a choice has more than one effect to combine."""
    return sum(key[0] == choice for key in exact) > 1


def _pair(less: _Value, more: _Value, curve: Curve | None) -> Pair:
    first, second = less.design, more.design
    gain, doublings = second.merit - first.merit, (first.doublings, second.doublings)
    expected = None if curve is None else float(np.diff(curve(np.array(doublings)))[0])
    return Pair(first.trial, second.trial, gain, 2 ** (doublings[1] - doublings[0]), expected)


def _effect(choice: str, title: str, broad: bool, groups: Sequence[Sequence[Pair]]) -> Effect:
    """Mean over groups of pairs that share designs; each group counts once."""
    pairs = tuple(pair for group in groups for pair in group)
    gains = [float(np.mean([pair.gain for pair in group])) for group in groups]
    doublings = [float(np.mean([np.log2(pair.costs) for pair in group])) for group in groups]
    equal = [float(np.mean([pair.gain - (pair.expected or 0.0) for pair in group])) for group in groups]
    return Effect(
        choice,
        title,
        broad,
        mean_interval(gains),
        None if pairs[0].expected is None else mean_interval(equal),
        2 ** float(np.mean(doublings)),
        len(groups),
        pairs,
    )


def mean_interval(gains: Sequence[float]) -> Interval | float:
    """Mean with its t interval; the mean alone for too few settings."""
    from scipy.stats import t

    mean = float(np.mean(gains))
    if len(gains) < FEWEST_SETTINGS:
        return mean
    half = float(t.ppf((1 + LEVEL) / 2, len(gains) - 1) * np.std(gains, ddof=1) / np.sqrt(len(gains)))
    return Interval(mean, mean - half, mean + half)


_BROAD = {
    "interactions": "more interactions",
    "model": "a larger model in one branch",
    "image size": "a larger image in one branch",
    "window": "wider windows in one branch",
}


def _title(choice: str, where: str, less: str, more: str) -> str:
    inside = f" in {where}" if where else ""
    nouns = {"interactions": " interactions", "image order": " image sizes", "merge": " merge"}
    nouns |= {name: f" {name}" for name in ("attention", "direction")}
    return f"{more} instead of {less}{nouns.get(choice, '')}{inside}"


def _seen(designs: Sequence[Measured]) -> Iterator[tuple[str, str, Hashable, _Value]]:
    """Every design's value of every choice: the choice, its place, everything that must be equal, and the value."""
    alone = defaultdict(set)
    for measured in designs:
        design = measured.architecture
        if design.interaction.count:
            alone[design.branches, design.merge].add(replace(design.interaction, count=1))
    for measured in designs:
        design = measured.architecture
        branches, interaction, merge = design.branches, design.interaction, design.merge
        count = interaction.count
        # Without interactions there are no settings: such a design matches those with any.
        alike = {replace(interaction, count=1)} if count else alone[branches, merge]
        for setting in alike if len(branches) > 1 else ():
            yield "interactions", "", (branches, setting, merge), _Value(count, str(count), measured)
        yield "merge", "", (branches, interaction), _Value(merge, merge, measured)
        if count:
            yield from _settings(measured)
        yield from _branch_choices(measured)
        yield from _order(measured)


def _settings(measured: Measured) -> Iterator[tuple[str, str, Hashable, _Value]]:
    design, defaults = measured.architecture, Interaction()
    for name in ("attention", "direction", "projection", "norm"):
        value = getattr(design.interaction, name)
        changed: dict[str, Any] = {name: getattr(defaults, name)}
        if name == "attention":
            changed["points"] = defaults.points
        words = f"{'with' if value else 'without'} {name}" if isinstance(value, bool) else str(value)
        yield (
            name,
            "",
            (design.branches, replace(design.interaction, **changed), design.merge),
            _Value(value, words, measured),
        )


def _branch_choices(measured: Measured) -> Iterator[tuple[str, str, Hashable, _Value]]:
    """Model, image size and window of each branch, with everything else equal."""
    design = measured.architecture
    branches, count = design.branches, len(design.branches)
    for index, branch in enumerate(branches):
        where = f"branch {index + 1} of {count}" if count > 1 else "a single branch"
        rest = (branches[:index], branches[index + 1 :], design.interaction, design.merge)
        model, size = branch.model, branch.resolution
        window = (branch.window, branch.global_every)
        yield "model", where, (*rest, size, window, branch.patch_size), _Value(_size(model), model.title, measured)
        own = (*rest, branch.backbone, branch.patch_size)
        yield "image size", where, (*own, window), _Value(size, f"{size} px", measured)
        if isinstance(model, Transformer):
            order = (branch.window or branch.grid, -(branch.global_every or 1000))
            yield "window", where, (*own, size), _Value(order, _windows(branch), measured)


def _size(model: Backbone) -> tuple[int, str]:
    """Size of a model's matrices, and its name."""
    widths = [stage.width**2 * stage.blocks for stage in model.stages]
    return sum(widths) * (2 if isinstance(model, ConvNeXt) else 3), model.name


def _windows(branch: Branch) -> str:
    if branch.window is None:
        return "global attention"
    every = f" with 1 in {branch.global_every} blocks global" if branch.global_every else ""
    return f"windows of {branch.window}{every}"


def _order(measured: Measured) -> Iterator[tuple[str, str, Hashable, _Value]]:
    """Pairs of models with exchanged images."""
    design = measured.architecture
    sizes = [branch.resolution for branch in design.branches]
    if len(sizes) < 2 or len(set(sizes)) < len(sizes):
        return
    inverted, upright = sizes == sorted(sizes), sizes == sorted(sizes, reverse=True)
    if inverted or upright:
        models = tuple((branch.backbone, branch.patch_size) for branch in design.branches)
        windows = tuple(sorted((branch.window or 0, branch.global_every) for branch in design.branches))
        setting = (models, tuple(sorted(sizes)), windows, design.interaction, design.merge)
        yield "image order", "", setting, _Value(inverted, "inverted" if inverted else "upright", measured)


def _with_one_branch_less(designs: Sequence[Measured], curve: Curve | None) -> Iterator[tuple[str, list[Pair]]]:
    """Pairs of a design and one without one of its branches, equal otherwise."""
    by_parts = {_parts(one.architecture): one for one in designs}
    for measured in designs:
        design = measured.architecture
        count = len(design.branches)
        pairs = []
        for index in range(count if count > 1 else 0):
            kept = design.branches[:index] + design.branches[index + 1 :]
            smaller = by_parts.get((kept, design.interaction if count > 2 else Interaction(), design.merge))
            if smaller is not None:
                pairs.append(_pair(_Value(count - 1, "", smaller), _Value(count, "", measured), curve))
        if pairs:
            yield f"{count} instead of {count - 1} branch{'es' if count > 2 else ''}", pairs


def _parts(design: Architecture) -> Hashable:
    return design.branches, design.interaction, design.merge
