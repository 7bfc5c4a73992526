"""Agreement of two scores' rankings: Kendall's tau-b, with its interval.

Legend: N designs, R resamplings.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLINGS = 2000
LEVEL = 0.9
"""Share of the resamplings inside an interval."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure from a sample of designs, with its range over similar samples.

    Attributes:
        value: Value of the sample.
        low: 5 % of the resamplings lie below.
        high: 5 % of the resamplings lie above.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def kendall_tau(first_N: ArrayLike, second_N: ArrayLike) -> float:
    """Kendall's tau-b: 1 for equal rankings, 0 for unrelated, -1 for opposite ones; 0 where one score is constant.

    (Concordant - discordant pairs) / sqrt(pairs untied in the first x pairs untied in the second): Kendall, "The
    treatment of ties in ranking problems", Biometrika 33 (1945).
    """
    return float(_taus(np.asarray(first_N, float), np.asarray(second_N, float), np.arange(np.size(first_N))[None])[0])


def agreement_within(groups: Sequence[object], first_N: ArrayLike, second_N: ArrayLike) -> tuple[float, int] | None:
    """Agreement of two scores among pairs of one group: pairs in one order less pairs in the other, as a share.

    Returns:
        The share, in [-1, 1], where ties count as nothing, and the number of pairs; None without a pair.
    """
    one_N, other_N = np.asarray(first_N, float), np.asarray(second_N, float)
    pairs = [(a, b) for a, b in itertools.combinations(range(len(groups)), 2) if groups[a] == groups[b]]
    if not pairs:
        return None
    signs = [np.sign(one_N[a] - one_N[b]) * np.sign(other_N[a] - other_N[b]) for a, b in pairs]
    return float(np.mean(signs)), len(pairs)


def tau_interval(first_N: ArrayLike, second_N: ArrayLike, seed: int = 0) -> Interval:
    """Tau with its percentile bootstrap interval over designs (Efron, 1979)."""
    return _interval(np.asarray([first_N, second_N], float), None, seed)


def tau_difference(better_N: ArrayLike, worse_N: ArrayLike, truth_N: ArrayLike, seed: int = 0) -> Interval:
    """Difference of tau between two scores, by resampling the same designs for both."""
    return _interval(np.asarray([better_N, truth_N], float), np.asarray(worse_N, float), seed)


def _interval(scores_2N: _Floats, other_N: _Floats | None, seed: int) -> Interval:
    N = scores_2N.shape[1]
    drawn_RN = np.random.RandomState(seed).randint(N, size=(RESAMPLINGS, N))
    taus_R = []
    for rows in (np.arange(N)[None], drawn_RN):
        tau = _taus(scores_2N[0], scores_2N[1], rows)
        taus_R.append(tau if other_N is None else tau - _taus(other_N, scores_2N[1], rows))
    low, high = np.quantile(taus_R[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(taus_R[0][0]), float(low), float(high))


def _taus(first_N: _Floats, second_N: _Floats, rows_RN: NDArray[np.int64]) -> _Floats:
    """Tau-b of each resampling, shape (R,).

    A sum over all pairs of a resampling's rows is c^T S c, where c has the number of draws of each design and S the
    signs of the pairs. It needs no more memory than R x N, and is exact, as all numbers are whole.
    """
    R, N = len(rows_RN), len(first_N)
    places = (rows_RN + N * np.arange(R)[:, None]).ravel()
    counts_RN = np.bincount(places, minlength=R * N).reshape(R, N).astype(float)
    signs = [np.sign(score[:, None] - score[None, :]) for score in (first_N, second_N)]
    pairs = (signs[0] * signs[1], signs[0] ** 2, signs[1] ** 2)
    agree, *untied = (((counts_RN @ product) * counts_RN).sum(1) for product in pairs)
    scale_R = np.sqrt(untied[0] * untied[1])
    taus_R: _Floats = np.divide(agree, scale_R, out=np.zeros_like(scale_R), where=scale_R > 0)
    return taus_R
