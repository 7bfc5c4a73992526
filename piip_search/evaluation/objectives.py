"""The objectives of a search, and the fronts of each tier."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from piip_search.architecture.design import Design
from piip_search.cost import CostAxis, Pricing
from piip_search.evaluation.evaluation import Evaluation, Fidelity
from piip_search.evaluation.pareto import Losses, hypervolume, undominated


@dataclass(frozen=True, slots=True)
class MetricAxis:
    """A measured metric; higher is better, or lower where `best` is the smaller end.

    Attributes:
        name: Name in evaluations.
        best: Value of a perfect model; 1 for averages of precisions.
        worst: Value of an untrained model, and the hypervolume's reference.
    """

    name: str
    best: float = 1.0
    worst: float = 0.0

    @property
    def rises(self) -> bool:
        """Whether higher is better."""
        return self.best > self.worst

    @property
    def span(self) -> float:
        """Distance of the two ends: the loss of an untrained model."""
        return abs(self.best - self.worst)

    @property
    def gained(self) -> str:
        """What a difference of `merit` counts, in words: `accuracy`, or `reduction of error` for one that falls."""
        return self.name if self.rises else f"reduction of {self.name}"

    def merit(self, value: float) -> float:
        """The value, or its negative for a metric that falls: higher is better."""
        return value if self.rises else -value

    def loss(self, value: float) -> float:
        """The distance of a value to the best one, lower is better. The sign of a metric flips here and in `merit`."""
        return self.best - value if self.rises else value - self.best

    def value(self, loss: float) -> float:
        """The value of a loss."""
        return self.best - loss if self.rises else self.best + loss


@dataclass(frozen=True, slots=True)
class Objectives:
    """Metrics to improve, and costs to lower.

    Attributes:
        metrics: Metrics of the search; the first one names the best design.
        costs: Costs of the search; the tiers are on the first.
        most: Highest value of each cost after the first, where the hypervolume ends.
        known: All costs that are known of a design.
        pricing: How architectures are priced; None for rows of a table.
    """

    metrics: tuple[MetricAxis, ...]
    costs: tuple[CostAxis, ...]
    most: tuple[float, ...] = ()
    known: tuple[CostAxis, ...] = ()
    pricing: Pricing | None = None

    @property
    def metric(self) -> str:
        """Name of the first metric."""
        return self.metrics[0].name

    @property
    def axis(self) -> CostAxis:
        """The axis of the tiers."""
        return self.costs[0]

    @property
    def is_pair(self) -> bool:
        """Whether one metric is traded off against one cost, so that a front is a rising line."""
        return len(self.metrics) == len(self.costs) == 1

    def cost(self, evaluation: Evaluation) -> float:
        """Cost of the full design on the axis of the tiers, known without training."""
        return self.price(evaluation.candidate.design)

    def price(self, design: Design) -> float:
        """Cost of a design on the axis of the tiers."""
        return self.axis.of(design)

    def known_costs(self, design: Design) -> dict[str, float]:
        """All known costs of a design by the names of their axes."""
        return {axis.name: axis.of(design) for axis in self.known}

    def value(self, evaluation: Evaluation) -> float | None:
        """The first metric; None if the evaluation failed or lacks a metric."""
        values = self.values(evaluation)
        return None if values is None else values[0]

    def merit(self, evaluation: Evaluation) -> float | None:
        """The first metric such that higher is better; None if the evaluation failed or lacks a metric."""
        value = self.value(evaluation)
        return None if value is None else self.metrics[0].merit(value)

    def values(self, evaluation: Evaluation) -> tuple[float, ...] | None:
        """The metrics; None if the evaluation failed or lacks one of them."""
        found = [evaluation.metrics.get(metric.name) for metric in self.metrics]
        if evaluation.status != "done":
            return None
        values = tuple(value for value in found if value is not None)
        return values if len(values) == len(self.metrics) else None

    def losses(self, evaluations: Sequence[Evaluation]) -> Losses:
        """Losses, shape (evaluations, metrics + costs); a failure has the losses of an untrained model."""
        rows = [self._losses(evaluation) for evaluation in evaluations]
        return np.array(rows, dtype=float).reshape(-1, len(self.metrics) + len(self.costs))

    def reference(self, tier: float) -> Losses:
        """The reference point of hypervolumes within a tier, shape (metrics + costs,)."""
        return np.array([*(metric.span for metric in self.metrics), tier, *self.most], dtype=float)

    def measured(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """The evaluations with values."""
        return [evaluation for evaluation in evaluations if self.values(evaluation) is not None]

    def _losses(self, evaluation: Evaluation) -> list[float]:
        values = self.values(evaluation)
        of_metrics = (
            [metric.span for metric in self.metrics]
            if values is None
            else [metric.loss(value) for metric, value in zip(self.metrics, values, strict=True)]
        )
        return [*of_metrics, *(axis.of(evaluation.candidate.design) for axis in self.costs)]


def finished(evaluations: Sequence[Evaluation], whole: Fidelity) -> list[Evaluation]:
    """The evaluations of full trainings, including failed ones; a lower rung is not final."""
    return [evaluation for evaluation in evaluations if evaluation.candidate.fidelity == whole]


@dataclass(frozen=True, slots=True)
class ParetoFront:
    """The undominated evaluations within one tier, cheapest first.

    Attributes:
        tier: Largest cost, on the axis of the tiers.
        evaluations: Evaluations from the cheapest on.
        hypervolume: Dominated volume up to the reference (`Objectives.reference`), as a share of the whole; in [0, 1].
        best: The evaluation with the best first metric, the cheapest of equals; None if the front is empty.
    """

    tier: float
    evaluations: tuple[Evaluation, ...]
    hypervolume: float
    best: Evaluation | None = None


def pareto_front(evaluations: Sequence[Evaluation], objectives: Objectives, tier: float) -> ParetoFront:
    """Front of the measured evaluations within a tier; the earliest of equal points is kept."""
    measured = objectives.measured(evaluations)
    return front_of(measured, objectives.losses(measured), objectives, tier)


def front_of(measured: Sequence[Evaluation], losses_NM: Losses, objectives: Objectives, tier: float) -> ParetoFront:
    """Front of measured evaluations within a tier, from their losses (`Objectives.losses`), shape (N, losses)."""
    fits_N = losses_NM[:, len(objectives.metrics)] <= tier
    if not fits_N.any():
        return ParetoFront(tier, (), 0.0)
    fitting = [measured[int(place)] for place in np.flatnonzero(fits_N)]
    losses, reference = losses_NM[fits_N], objectives.reference(tier)
    volume = hypervolume(losses, reference) / float(np.prod(reference))
    by_losses = {tuple(row): index for index, row in reversed(list(enumerate(losses)))}
    kept = undominated(losses)
    chosen = [index for index in by_losses.values() if kept[index]]
    chosen.sort(key=lambda index: losses[index, len(objectives.metrics)])
    best = min(chosen, key=lambda index: losses[index, 0])
    return ParetoFront(tier, tuple(fitting[index] for index in chosen), volume, fitting[best])


class RunningFronts:
    """The front of each tier, updated by each evaluation: a dominated evaluation never returns.

    Attributes:
        fronts: Results of `pareto_front` for all evaluations so far, cheapest tier first.
    """

    def __init__(self, objectives: Objectives, tiers: Sequence[float]) -> None:
        self._objectives = objectives
        self._known: dict[float, tuple[ParetoFront, Losses]] = {}
        self.fronts = tuple(ParetoFront(tier, (), 0.0) for tier in tiers)

    def add(self, evaluation: Evaluation) -> tuple[ParetoFront, ...]:
        """Adds an evaluation, and returns the changed fronts."""
        before, self.fronts = self.fronts, self.fronts_with(evaluation)
        return tuple(now for now, then in zip(self.fronts, before, strict=True) if now is not then)

    def fronts_with(self, evaluation: Evaluation) -> tuple[ParetoFront, ...]:
        """The fronts after one more evaluation; an unchanged front is the same object."""
        if self._objectives.value(evaluation) is None:
            return self.fronts
        losses_M = self._objectives.losses([evaluation])[0]
        cost = losses_M[len(self._objectives.metrics)]
        return tuple(
            front
            if cost > front.tier or (self._losses(front) <= losses_M).all(axis=1).any()
            else pareto_front([*front.evaluations, evaluation], self._objectives, front.tier)
            for front in self.fronts
        )

    def _losses(self, front: ParetoFront) -> Losses:
        """Losses of a front's members; most evaluations leave a front as it is."""
        known = self._known.get(front.tier)
        if known is None or known[0] is not front:
            known = self._known[front.tier] = front, self._objectives.losses(front.evaluations)
        return known[1]
