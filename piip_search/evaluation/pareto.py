"""Dominance, fronts and hypervolume over arrays of losses.

Shapes: L_NM holds N points of M losses, all lower is better; r_M is a reference point. Losses must be finite: an
    evaluation without a finite loss was not measured and belongs in no front.
"""

import moocore
import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]
_NO_FRONT = "contributions need fronts, but a point dominates another one of its front"


def undominated(losses_NM: Losses) -> NDArray[np.bool_]:
    """Whether each point is dominated by no other, shape (N,).

    A point dominates another if it is nowhere worse and somewhere better. Equal points do not dominate each other, so
    all copies of an undominated point are kept.

    Raises:
        ValueError: The losses are not a finite array of two dimensions.
    """
    losses_NM = _checked(losses_NM)
    if not len(losses_NM):
        return np.ones(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(losses_NM, keep_weakly=True), dtype=bool)


def ranks(losses_NM: Losses) -> NDArray[np.intp]:
    """Index of each point's front, shape (N,): 0 is undominated, 1 is undominated without front 0, ...

    Non-dominated sorting (Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002, section
    III.A).

    Raises:
        ValueError: The losses are not a finite array of two dimensions.
    """
    losses_NM = _checked(losses_NM)
    if not len(losses_NM):
        return np.zeros(0, dtype=np.intp)
    return np.asarray(moocore.pareto_rank(losses_NM), dtype=np.intp)


def contributions(losses_NM: Losses, reference_M: Losses, rank_N: NDArray[np.intp] | None = None) -> Losses:
    """Hypervolume of its front that each point alone adds, shape (N,); zero for a point with an equal one.

    For two losses it is the rectangle between a point, the next dearer one and the next worse one.

    Args:
        losses_NM: Points of at least two losses.
        reference_M: Reference point; points that are not better in all losses add nothing.
        rank_N: Index of each point's front; by default all points are in one.

    Raises:
        ValueError: The losses are not finite, fewer than two, or one point of a front dominates another.
    """
    losses_NM = _checked(losses_NM)
    fronts_N = np.zeros(len(losses_NM), dtype=np.intp) if rank_N is None else rank_N
    if losses_NM.shape[1] < 2:
        raise ValueError(f"contributions need two losses or more, got shape {losses_NM.shape}")
    inside = np.flatnonzero((losses_NM < reference_M).all(axis=1))
    added_N = np.zeros(len(losses_NM))
    if len(inside):
        added = _rectangles if losses_NM.shape[1] == 2 else _volumes
        added_N[inside] = added(losses_NM[inside], np.asarray(reference_M, dtype=float), fronts_N[inside])
    return added_N


def _rectangles(losses_N2: Losses, reference_2: Losses, fronts_N: NDArray[np.intp]) -> Losses:
    order = np.lexsort((-losses_N2[:, 0], losses_N2[:, 1], fronts_N))
    losses, costs, fronts = losses_N2[order, 0], losses_N2[order, 1], fronts_N[order]
    same = fronts[1:] == fronts[:-1]
    equal = (losses[1:] == losses[:-1]) & (costs[1:] == costs[:-1])
    if (same & ~equal & ((losses[1:] >= losses[:-1]) | (costs[1:] == costs[:-1]))).any():
        raise ValueError(_NO_FRONT)
    worse = np.append(reference_2[0], np.where(same, losses[:-1], reference_2[0]))
    dearer = np.append(np.where(same, costs[1:], reference_2[1]), reference_2[1])
    added_N = np.zeros(len(order))
    added_N[order] = (worse - losses) * (dearer - costs)
    return added_N


def _volumes(losses_NM: Losses, reference_M: Losses, fronts_N: NDArray[np.intp]) -> Losses:
    added_N = np.zeros(len(losses_NM))
    for front in np.unique(fronts_N):
        own = fronts_N == front
        if not undominated(losses_NM[own]).all():
            raise ValueError(_NO_FRONT)
        added_N[own] = moocore.hv_contributions(losses_NM[own], ref=reference_M)
    return added_N


def hypervolume(losses_NM: Losses, reference_M: Losses) -> float:
    """Volume between the points and a reference point, in the product of the losses' units.

    Exact (Fonseca, Paquete and López-Ibáñez, "An improved dimension-sweep algorithm for the hypervolume indicator",
    2006, as moocore implements it).
    Points that are not better than the reference in every loss add nothing.

    Raises:
        ValueError: The losses are not finite, or the reference has another number of losses.
    """
    losses_NM = _checked(losses_NM)
    reference_M = np.asarray(reference_M, dtype=float)
    if reference_M.shape != losses_NM.shape[1:]:
        raise ValueError(f"reference must have shape {losses_NM.shape[1:]}, got {reference_M.shape}")
    inside_NM = losses_NM[(losses_NM < reference_M).all(axis=1)]
    return float(moocore.hypervolume(inside_NM, ref=reference_M)) if len(inside_NM) else 0.0


def _checked(losses_NM: Losses) -> Losses:
    losses_NM = np.asarray(losses_NM, dtype=float)
    if losses_NM.ndim != 2 or not np.isfinite(losses_NM).all():
        raise ValueError(f"losses must be a finite array of shape (points, losses), got shape {losses_NM.shape}")
    return losses_NM
