"""Expected gain of a front of several metrics or several costs, in closed form.

Legend: N designs, Q levels of a predicted distribution, S members of a front, K metrics, C costs, M = K + C losses,
B boxes, E edges of boxes along one loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]
MOST_CELLS = 2_000_000
"""Most pairs of a box and a design that are in memory together."""


@dataclass(frozen=True)
class JointGain:
    """The expected gain of a front, as a function of the designs that may join it.

    The gain is the gained hypervolume plus that of each face. A face ignores some of the losses, but keeps a metric. So
    the face of one metric alone is the fall of its best value, and the face of all costs with one metric is the trade
    that a search with this metric alone would make. Each loss counts by its scale. With one metric and one cost it is
    `acquisition.expected_gain` divided by the metric's scale.

    A face is the whole space under a measure that has all its weight at the reference of the losses that it ignores.
    The sum over faces is then one integral, whose measure is a product over losses: their lengths, and a weight of one
    at the reference. The region outside the front is cut into boxes, and the integral over a box is a product again.
    Metrics are independent, so that the expectation of the product is the product of expectations (cf. Emmerich et al.,
    "Computation of the expected improvement in dominated hypervolume", 2008, section 3, and Yang et al., "Efficient
    computation of expected hypervolume improvement using box decomposition algorithms", 2019, section 4).

    Attributes:
        front_SM: Losses of the front, metrics before costs.
        reference_M: Largest losses that count.
        scale_M: Length of each loss that counts as one.
        metrics: Number of metrics.
    """

    front_SM: _Array
    reference_M: _Array
    scale_M: _Array
    metrics: int

    def of(self, levels: Sequence[_Array]) -> _Array:
        """Expected gain of each design, shape (N,); zero for a design with a cost beyond the reference.

        Args:
            levels: Equally likely values of each loss, shape (N, Q); a known cost has one level.
        """
        tables = [self._measures(place, levels_NQ) for place, levels_NQ in enumerate(levels)]
        gain_N = np.zeros(len(levels[0]))
        size = max(1, MOST_CELLS // max(len(gain_N), 1))
        for start in range(0, len(self._boxes_B2M), size):
            gain_N += self._chunk(tables, slice(start, start + size))
        return gain_N

    def _chunk(self, tables: Sequence[tuple[_Array, _Array]], some: slice) -> _Array:
        """The part of the gain within some of the boxes."""
        count = len(self._boxes_B2M[some]), tables[0][0].shape[1]
        lengths, whole = np.zeros(count), np.ones(count)
        for place, (length_EN, weight_N) in enumerate(tables):
            low_B, high_B = self._boxes_B2M[some, :, place].T
            length_BN = length_EN[high_B] - length_EN[low_B]
            weight_BN = np.where(high_B[:, None] == len(length_EN) - 1, weight_N, 0.0)
            if place < self.metrics:  # at least one of the metrics must count by its length
                lengths = lengths * (length_BN + weight_BN) + whole * length_BN
                whole = whole * weight_BN
            else:
                lengths = lengths * (length_BN + weight_BN)
        chunk_N: _Array = lengths.sum(0)
        return chunk_N

    def _measures(self, place: int, levels_NQ: _Array) -> tuple[_Array, _Array]:
        """Expected length of each design's values below each edge, and its weight at the reference."""
        edges_E = np.append(self._edges[place], self.reference_M[place])
        length_EN = np.zeros((len(edges_E), len(levels_NQ)))
        for edge, length_N in zip(edges_E, length_EN, strict=True):
            length_N[:] = np.maximum(edge - levels_NQ, 0).mean(1)
        known = place >= self.metrics
        fits_N = (levels_NQ <= self.reference_M[place]).all(1) if known else np.ones(len(levels_NQ), dtype=bool)
        return length_EN / self.scale_M[place], fits_N.astype(float)

    @cached_property
    def _inside_SM(self) -> _Array:
        """The front without what exceeds the reference, the most balanced members first, which gives fewest boxes."""
        inside_SM = np.minimum(self.front_SM, self.reference_M)
        order_S = np.argsort(((inside_SM - self.reference_M) / self.scale_M).max(1), kind="stable")
        return inside_SM[order_S]

    @cached_property
    def _edges(self) -> list[_Array]:
        """Edges of boxes along each loss: minus infinity, and the values of the front; infinity comes last."""
        return [np.concatenate([[-np.inf], np.unique(values_S)]) for values_S in self._inside_SM.T]

    @cached_property
    def _boxes_B2M(self) -> NDArray[np.intp]:
        """Places of the lower and the upper edges of each box."""
        low_BM, high_BM = boxes_outside(self._inside_SM)
        places = [
            np.stack([np.searchsorted(edges, low_B), np.searchsorted(edges, high_B)], 1)
            for edges, low_B, high_B in zip(self._edges, low_BM.T, high_BM.T, strict=True)
        ]
        return np.stack(places, 2)


def boxes_outside(front_SM: _Array) -> tuple[_Array, _Array]:
    """Disjoint boxes that fill the region that no point of a front dominates: lower and upper corners, shape (B, M).

    A box contains its lower edges and not its upper ones. Each point cuts the boxes that it dominates a part of.
    """
    count = front_SM.shape[1]
    low_BM, high_BM = np.full((1, count), -np.inf), np.full((1, count), np.inf)
    for point_M in front_SM:
        cut_B = (high_BM > point_M).all(1)
        low, high = low_BM[cut_B], high_BM[cut_B]
        corner = np.maximum(low, point_M)
        lows, highs = [low_BM[~cut_B]], [high_BM[~cut_B]]
        for place in range(count):
            # What is better in this loss, and no better in the ones before it.
            left = low[:, place] < corner[:, place]
            lows.append(np.concatenate([corner[left, :place], low[left, place:]], 1))
            highs.append(high[left].copy())
            highs[-1][:, place] = corner[left, place]
        low_BM, high_BM = np.concatenate(lows), np.concatenate(highs)
    return low_BM, high_BM
