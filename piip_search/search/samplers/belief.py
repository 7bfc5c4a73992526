"""What a sampler believes of designs: a surrogate of each metric, and the front that they expect.

Legend: N designs, F features, Q levels of a predicted distribution, S members of the front, K metrics, C costs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from piip_search.evaluation.pareto import undominated
from piip_search.search.samplers.surrogate import Surrogate

_Array = NDArray[np.float64]
_Places = NDArray[np.intp]


@dataclass(frozen=True)
class Belief:
    """What the evidence says of losses, with a surrogate for each metric.

    Attributes:
        surrogates: Surrogates.
        features: Function for the features of some designs, for each surrogate.
        front: _Places of the front's designs.
        costs_SC: Their costs.
        losses_SK: Their expected losses.
        worst_K: Largest loss of the evidence: that of no design.
        scale_K: Range of the losses of the evidence.
    """

    surrogates: tuple[Surrogate, ...]
    features: tuple[Callable[[_Places], _Array], ...]
    front: _Places
    costs_SC: _Array
    losses_SK: _Array
    worst_K: _Array
    scale_K: _Array

    def levels(self, features: Sequence[_Array]) -> tuple[_Array, ...]:
        """Equally likely losses of some designs with these features, shape (n, Q), for each metric."""
        return tuple(surrogate.losses(own) for surrogate, own in zip(self.surrogates, features, strict=True))

    def seen(self, indices: _Places) -> tuple[_Array, ...]:
        """Features of some designs for each metric."""
        first = self.features[0](indices)
        if len(self.features) == 1:
            return (first,)
        shared = first if self.features[0] == self.features[1] else self.features[1](indices)
        return (first, *(shared for _ in self.features[1:]))

    def best(self, tier: float) -> _Array:
        """The lowest expected loss within a tier, shape (K,)."""
        inside = self.losses_SK[self.costs_SC[:, 0] <= tier]
        best_K: _Array = np.minimum(inside.min(0, initial=np.inf), self.worst_K)
        return best_K


@dataclass(frozen=True)
class Scored:
    """Designs with their predictions.

    Attributes:
        pool: _Places.
        costs_NC: Costs.
        features: Features for each metric.
        levels: Equally likely losses of each metric.
    """

    pool: _Places
    costs_NC: _Array
    features: tuple[_Array, ...]
    levels: tuple[_Array, ...]

    def __add__(self, other: "Scored") -> "Scored":
        return Scored(
            np.concatenate([self.pool, other.pool]),
            np.concatenate([self.costs_NC, other.costs_NC]),
            tuple(np.concatenate(pair) for pair in zip(self.features, other.features, strict=True)),
            tuple(np.concatenate(pair) for pair in zip(self.levels, other.levels, strict=True)),
        )


def front_places(losses_NK: _Array, costs_NC: _Array) -> _Places:
    """Places of the undominated designs, cheapest first; the first of equal ones."""
    order = np.lexsort((*losses_NK.T[::-1], *costs_NC.T[::-1]))
    points = np.hstack([costs_NC, losses_NK])[order]
    repeated = np.append(False, (points[1:] == points[:-1]).all(1))
    chosen: _Places = order[undominated(points) & ~repeated]
    return chosen
