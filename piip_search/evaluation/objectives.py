"""The objectives of a search, and the fronts of each tier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design, as_architecture
from piip_search.cost import Convention, Cost, Head, price
from piip_search.evaluation.evaluation import Evaluation, Fidelity
from piip_search.evaluation.pareto import Losses, hypervolume, undominated


@lru_cache(maxsize=100_000)
def _price(architecture: Architecture, convention: Convention, head: Head | None) -> Cost:
    """Price of an architecture, cached: fronts need the same prices after every evaluation."""
    return price(architecture, convention, head=head)


@dataclass(frozen=True, slots=True)
class Objectives:
    """Two objectives: a higher metric, and a lower cost.

    Attributes:
        metric: Name of a measured metric, higher is better.
        convention: Counting convention of the cost.
        head: Layers that read the merged maps, under the convention `whole`.
        top: Upper bound of the metric; 1 for averages of precisions.
        span: Greatest distance of the metric to it: the loss of an untrained model, and the hypervolume's reference.
        known_cost: Returns the cost of designs that are no architectures; None if all are.
    """

    metric: str
    convention: Convention
    head: Head | None = None
    top: float = 1.0
    span: float = 1.0
    known_cost: Callable[[Design], Cost] | None = None

    def cost(self, evaluation: Evaluation) -> Cost:
        """Cost of the full design, known without training."""
        return self.price(evaluation.candidate.design)

    def price(self, design: Design) -> Cost:
        """Cost of a design: that of the cost model, or the known one of a table."""
        if self.known_cost is not None:
            return self.known_cost(design)
        return _price(as_architecture(design), self.convention, self.head)

    def value(self, evaluation: Evaluation) -> float | None:
        """The metric; None if the evaluation failed or lacks it."""
        return evaluation.metrics.get(self.metric) if evaluation.status == "done" else None

    def losses(self, evaluations: Sequence[Evaluation]) -> Losses:
        """Losses of shape (evaluations, 2): top minus metric, and GMACs. The one place where the sign flips."""
        values = ((self.value(e), self.cost(e).gmacs) for e in evaluations)
        rows = [(self.span if value is None else self.top - value, gmacs) for value, gmacs in values]
        return np.array(rows, dtype=float).reshape(-1, 2)

    def measured(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """The evaluations with a value."""
        return [evaluation for evaluation in evaluations if self.value(evaluation) is not None]


def finished(evaluations: Sequence[Evaluation], whole: Fidelity) -> list[Evaluation]:
    """The evaluations of full trainings, including failed ones; a lower rung is not final."""
    return [evaluation for evaluation in evaluations if evaluation.candidate.fidelity == whole]


@dataclass(frozen=True, slots=True)
class ParetoFront:
    """The undominated evaluations within one tier, cheapest first.

    Attributes:
        tier: Largest cost in GMACs.
        evaluations: Evaluations from the cheapest to the best.
        hypervolume: Dominated area up to the reference (`span`, the tier), as a share of the whole; in [0, 1].
    """

    tier: float
    evaluations: tuple[Evaluation, ...]
    hypervolume: float

    @property
    def best(self) -> Evaluation | None:
        """The evaluation with the highest metric; None if the front is empty."""
        return self.evaluations[-1] if self.evaluations else None


def pareto_front(evaluations: Sequence[Evaluation], objectives: Objectives, tier: float) -> ParetoFront:
    """Front of the measured evaluations within a tier; the earliest of equal points is kept."""
    fitting = [e for e in objectives.measured(evaluations) if objectives.cost(e).gmacs <= tier]
    if not fitting:
        return ParetoFront(tier, (), 0.0)
    losses = objectives.losses(fitting)
    volume = hypervolume(losses, np.array([objectives.span, tier])) / (tier * objectives.span)
    by_losses = {tuple(row): index for index, row in reversed(list(enumerate(losses)))}
    kept = undominated(losses)
    chosen = [index for index in by_losses.values() if kept[index]]
    chosen.sort(key=lambda index: losses[index, 1])
    return ParetoFront(tier, tuple(fitting[index] for index in chosen), volume)


class RunningFronts:
    """The front of each tier, updated by each evaluation: a dominated evaluation never returns.

    Attributes:
        fronts: Results of `pareto_front` for all evaluations so far, cheapest tier first.
    """

    def __init__(self, objectives: Objectives, tiers: Sequence[float]) -> None:
        self._objectives = objectives
        self.fronts = tuple(ParetoFront(tier, (), 0.0) for tier in tiers)

    def add(self, evaluation: Evaluation) -> tuple[ParetoFront, ...]:
        """Adds an evaluation, and returns the changed fronts."""
        before, self.fronts = self.fronts, self.fronts_with(evaluation)
        return tuple(now for now, then in zip(self.fronts, before, strict=True) if now is not then)

    def fronts_with(self, evaluation: Evaluation) -> tuple[ParetoFront, ...]:
        """The fronts after one more evaluation; an unchanged front is the same object."""
        if self._objectives.value(evaluation) is None:
            return self.fronts
        return tuple(self._with(front, evaluation) for front in self.fronts)

    def _with(self, front: ParetoFront, evaluation: Evaluation) -> ParetoFront:
        if self._objectives.cost(evaluation).gmacs > front.tier or self._covered(front, evaluation):
            return front
        return pareto_front([*front.evaluations, evaluation], self._objectives, front.tier)

    def _covered(self, front: ParetoFront, evaluation: Evaluation) -> bool:
        """Whether a member is as good at no higher cost."""
        point = self._point(evaluation)
        return any(value >= point[0] and gmacs <= point[1] for value, gmacs in map(self._point, front.evaluations))

    def _point(self, evaluation: Evaluation) -> tuple[float, float]:
        return self._objectives.value(evaluation) or 0.0, self._objectives.cost(evaluation).gmacs
