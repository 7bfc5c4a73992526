"""The importance of each kind of choice for the metric, beyond cost.

First a smooth curve of the metric over cost is subtracted. A forest of trees learns the residuals from the choices. The
importance of a kind of choice is the loss of accuracy on held-out designs when that kind is shuffled among them
(Breiman, "Random forests", 2001, section 10; on held-out designs, as Molnar advises).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from piip_search.analysis.effects.measured import Floats, Measured, measured_designs, parabola
from piip_search.architecture import Architecture, Branch
from piip_search.architecture.backbones import ConvNeXt
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives

FEWEST_DESIGNS = 30
"""Fewest finished designs for an estimate of importance."""
MOST_DESIGNS = 1000
"""Most finished designs in the estimate; a larger number is sampled."""
IMPORTANCE_FOLDS = 5
"""Parts of the cross-validation."""
SHUFFLES = 10
"""Permutations of each kind's columns."""
TREES = 100
"""Trees of a forest."""


@dataclass(frozen=True, slots=True)
class Weight:
    """Importance of one kind of choice.

    Attributes:
        choice: Name of the kind.
        share: Share of the metric's variance lost by shuffling; about 0 for a kind without importance.
        deviation: Standard deviation of the share between the parts of the cross-validation.
    """

    choice: str
    share: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Importance:
    """Importance of cost and choices for the metric.

    Attributes:
        designs: Number of finished designs in the estimate.
        cost: Share of the metric's variance that cost explains, cross-validated.
        choices: Share of the variance that choices explain beyond cost, cross-validated.
        weights: Weight of each kind of choice in which designs differ, largest first; empty if it cannot be estimated.
        said: Conclusion in words.
    """

    designs: int
    cost: float | None
    choices: float | None
    weights: tuple[Weight, ...]
    said: str

    def to_dict(self) -> dict[str, Any]:
        """The importance as plain data."""
        weights = [{"choice": w.choice, "share": w.share, "deviation": w.deviation} for w in self.weights]
        return {
            "designs": self.designs,
            "cost": self.cost,
            "choices": self.choices,
            "weights": weights,
            "said": self.said,
        }


def importance(evaluations: Sequence[Evaluation], objectives: Objectives, seed: int = 0) -> Importance:
    """Importance of cost and choices among the finished designs of a search.

    Args:
        evaluations: Evaluations of full trainings (`objectives.finished`).
        objectives: Objectives of the search.
        seed: Seed of folds, trees and shuffles.
    """
    designs = measured_designs(evaluations, objectives)
    values_N = np.array([design.merit for design in designs])
    if len(designs) < FEWEST_DESIGNS or np.ptp(values_N) == 0:
        few = f"{len(designs)} finished designs are too few to say what matters; {FEWEST_DESIGNS} are needed"
        alike = f"all {len(designs)} finished designs reached the same {objectives.metric}: nothing matters"
        return Importance(len(designs), None, None, (), few if len(designs) < FEWEST_DESIGNS else alike)
    random = np.random.default_rng(seed)
    if len(designs) > MOST_DESIGNS:
        kept = np.sort(random.permutation(len(designs))[:MOST_DESIGNS])
        designs, values_N = [designs[index] for index in kept], values_N[kept]
    groups, features_NF = _features(designs)
    return _estimated(designs, values_N, groups, features_NF, random, seed)


def _estimated(
    designs: Sequence[Measured],
    values_N: Floats,
    groups: dict[str, list[int]],
    features_NF: Floats,
    random: np.random.Generator,
    seed: int,
) -> Importance:
    doublings_N = np.array([design.doublings for design in designs])
    variance = float(values_N.var())
    by_cost_N, by_both_N = np.zeros(len(designs)), np.zeros(len(designs))
    rises: dict[str, list[float]] = {choice: [] for choice in groups}
    for part in np.array_split(random.permutation(len(designs)), IMPORTANCE_FOLDS):
        others = np.setdiff1d(np.arange(len(designs)), part)
        curve = parabola(doublings_N[others], values_N[others])
        by_cost_N[part] = curve(doublings_N[part])
        rest_N = values_N - curve(doublings_N)
        forest = _forest(seed).fit(features_NF[others], rest_N[others])
        predicted = forest.predict(features_NF[part])
        by_both_N[part] = by_cost_N[part] + predicted
        error = float(((rest_N[part] - predicted) ** 2).mean())
        for choice, columns in groups.items():
            shuffled = _shuffled(features_NF[part], columns, random)
            guesses = forest.predict(shuffled).reshape(SHUFFLES, len(part))
            rises[choice].append((float(((rest_N[part] - guesses) ** 2).mean()) - error) / variance)
    cost = 1 - float(((values_N - by_cost_N) ** 2).mean()) / variance
    choices = 1 - float(((values_N - by_both_N) ** 2).mean()) / variance - cost
    weights = sorted(
        (Weight(choice, float(np.mean(rise)), float(np.std(rise, ddof=1))) for choice, rise in rises.items()),
        key=lambda weight: -weight.share,
    )
    beyond = f"cost alone explains {max(cost, 0):.0%} of how {len(designs)} designs differ"
    if choices <= 0 or not weights:
        return Importance(len(designs), cost, choices, (), f"{beyond}; no choice tells anything beyond it")
    said = f"{beyond}, the choices {choices:.0%} more, {weights[0].choice} the most"
    return Importance(len(designs), cost, choices, tuple(weights), said)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=seed, n_jobs=1)


def _shuffled(rows_NF: Floats, columns: list[int], random: np.random.Generator) -> Floats:
    """Repeated copies of the rows in which some columns, together, come from other rows."""
    every = np.tile(rows_NF, (SHUFFLES, 1))
    orders = np.concatenate([random.permutation(len(rows_NF)) for _ in range(SHUFFLES)])
    every[:, columns] = rows_NF[orders][:, columns]
    return every


def _features(designs: Sequence[Measured]) -> tuple[dict[str, list[int]], Floats]:
    """Columns of each kind of choice in which the designs differ, and the features, shape (N, F)."""
    rows = [list(_described(design.architecture)) for design in designs]
    names = [choice for choice, _ in rows[0]]
    features_NF = np.array([[value for _, value in row] for row in rows])
    groups: dict[str, list[int]] = {}
    for column in np.flatnonzero(np.ptp(features_NF, axis=0) > 0):
        groups.setdefault(names[column], []).append(int(column))
    return groups, features_NF


def _described(design: Architecture) -> Iterator[tuple[str, float]]:
    """Numbers that describe a design and are comparable for any number of branches."""
    branches, interaction = design.branches, design.interaction
    yield "number of branches", len(branches)
    sizes = [_log_parameters(branch) for branch in branches]
    yield from (("models", value) for value in (sizes[0], sizes[-1], float(np.mean(sizes))))
    yield "models", float(np.mean([isinstance(branch.model, ConvNeXt) for branch in branches]))
    sides = [float(np.log2(branch.resolution)) for branch in branches]
    yield from (("image sizes", value) for value in (sides[0], sides[-1], float(np.mean(sides))))
    shares = [min(branch.window or branch.grid, branch.grid) / branch.grid for branch in branches]
    yield from (("windows", value) for value in (shares[0], shares[-1], float(np.mean(shares))))
    yield "windows", float(np.mean([bool(branch.global_every) for branch in branches]))
    yield "interactions", interaction.count
    settings = (interaction.attention == "regular", interaction.projection, interaction.norm)
    yield from (("kind of interaction", float(value)) for value in settings)
    yield from (("kind of interaction", float(value)) for value in interaction.reads(0) + interaction.reads(1))
    yield "merge", float(len(design.taps))
    yield from (("merge", float(design.merge == merge)) for merge in ("linear", "residual"))


def _log_parameters(branch: Branch) -> float:
    return float(np.log2(sum(stage.width**2 * stage.blocks for stage in branch.model.stages)))
