"""Dominance and hypervolume by other ways than the library's: a test holds both to the same answers."""

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]


def undominated(losses_NM: Losses) -> NDArray[np.bool_]:
    """Which points no other point dominates, by comparing each with all, shape (N,)."""
    keep = np.ones(len(losses_NM), dtype=bool)
    for index, point_M in enumerate(losses_NM):
        no_worse = (losses_NM <= point_M).all(axis=1)
        better = (losses_NM < point_M).any(axis=1)
        keep[index] = not (no_worse & better).any()
    return keep


def ranks(losses_NM: Losses) -> NDArray[np.intp]:
    """Number of the front that each point is in, by taking away one front after the other, shape (N,).

    Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002, section III.A.
    """
    rank_N = np.zeros(len(losses_NM), dtype=np.intp)
    left = np.arange(len(losses_NM))
    rank = 0
    while len(left):
        front = undominated(losses_NM[left])
        rank_N[left[front]] = rank
        left, rank = left[~front], rank + 1
    return rank_N


def hypervolume(losses_NM: Losses, reference_M: Losses) -> float:
    """Volume that the points dominate below a reference point, by slicing along the last loss.

    Between two neighbouring values of it the dominated region is a prism over the points below (While et al., "A faster
    algorithm for calculating hypervolume", 2006, section II).
    """
    inside_NM = losses_NM[(losses_NM < reference_M).all(axis=1)]
    return _volume(inside_NM, reference_M) if len(inside_NM) else 0.0


def _volume(losses_NM: Losses, reference_M: Losses) -> float:
    if losses_NM.shape[1] == 1:
        return float(reference_M[0] - losses_NM.min())
    losses_NM = losses_NM[np.argsort(losses_NM[:, -1], kind="stable")]
    edges = np.append(losses_NM[:, -1], reference_M[-1])
    thickness = np.diff(edges)
    return sum(
        float(thick) * _volume(losses_NM[: index + 1, :-1], reference_M[:-1])
        for index, thick in enumerate(thickness)
        if thick > 0
    )
