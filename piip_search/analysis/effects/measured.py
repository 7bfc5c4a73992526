"""Measured designs with metric and cost, the input of effects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives

Floats = NDArray[np.float64]
Curve = Callable[[Floats], Floats]

FEWEST_FOR_TREND = 8
"""Fewest designs for a trend of the metric over cost."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A fully trained design.

    Attributes:
        trial: Number of its first evaluation.
        architecture: The design.
        merit: First metric such that higher is better (`MetricAxis.merit`), the mean over seeds.
        doublings: Base-2 logarithm of its cost on the axis of the tiers.
    """

    trial: int
    architecture: Architecture
    merit: float
    doublings: float


def measured_designs(evaluations: Sequence[Evaluation], objectives: Objectives) -> list[Measured]:
    """The measured designs, each once, in the order of their first evaluations.

    Args:
        evaluations: Evaluations of full trainings (`objectives.finished`). Failed ones and rows of a table, which have
            no parts, are left out.
        objectives: Objectives of the search.
    """
    merits: dict[Architecture, list[float]] = {}
    first: dict[Architecture, int] = {}
    for evaluation in objectives.measured(evaluations):
        design = evaluation.candidate.architecture
        if isinstance(design, Architecture):
            merits.setdefault(design, []).append(objectives.merit(evaluation) or 0.0)
            first.setdefault(design, evaluation.candidate.number)
    return [
        Measured(first[design], design, float(np.mean(reached)), float(np.log2(objectives.price(design))))
        for design, reached in merits.items()
    ]


def trend(designs: Sequence[Measured]) -> Curve | None:
    """The trend of the merit over the base-2 logarithm of the cost, over all designs; None for too few.

    The search chose these designs, so they are no random sample.
    """
    doublings = np.array([design.doublings for design in designs])
    if len(designs) < FEWEST_FOR_TREND or np.ptp(doublings) < 0.1:
        return None
    return parabola(doublings, np.array([design.merit for design in designs]))


def parabola(doublings_N: Floats, values_N: Floats) -> Curve:
    """A parabola by least squares, constant beyond the range of the fit; a constant for equal costs."""
    if np.ptp(doublings_N) < 1e-9:
        mean = float(values_N.mean())
        return lambda at_N: np.full(len(at_N), mean)
    low, high = float(doublings_N.min()), float(doublings_N.max())
    fitted = np.polynomial.Polynomial.fit(doublings_N, values_N, 2)
    return lambda at_N: np.asarray(fitted(np.clip(at_N, low, high)), float)
