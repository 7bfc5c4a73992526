"""Designs as feature vectors for a surrogate model. Legend: N designs, B branch slots, F features."""

import numpy as np
from numpy.typing import NDArray

from piip_search.cost.branch import branch_parts
from piip_search.cost.conventions import CountingRules
from piip_search.space.choices import TAIL
from piip_search.space.designs import Designs
from piip_search.space.search_space import SearchSpace

_Array = NDArray[np.float64]


class Features:
    """Features that distinguish the designs of a space, each within about [0, 1].

    For each branch slot: whether it is used, its model, width, depth and parameters, the side of its image, its tokens,
    its window, and its share of all multiply-accumulates. For neighbouring branches: the ratio of their images. For the
    whole design: the number of branches, each setting of the interactions and the merge, interactions per block, and
    the cost.
    """

    def __init__(self, space: SearchSpace, designs: Designs) -> None:
        """Prepares the features.

        Args:
            space: Space of the designs.
            designs: All designs that features may be requested for.
        """
        self._choices, self._designs = space.choices, designs
        log_costs = np.log(designs.counts(designs.axes[0]))
        self._cheapest, self._range = log_costs.min(), max(np.ptp(log_costs), 1e-12)
        models = [space.choices.model(index) for index in range(len(space.choices.backbones))]
        absent = [0.0]
        self._facts_KM = np.stack(
            [
                _scaled(np.array([np.log(model.width) for model in models]), absent),
                _scaled(np.array([np.log(model.depth) for model in models]), absent),
                _scaled(np.array([np.log(model.width**2 * model.depth) for model in models]), absent),
            ]
        )
        self._depths = np.array([1.0, *(model.depth for model in models)])
        self._patches = np.array([1.0, *(model.patch for model in models)])
        self._sides = np.log2(np.array(space.choices.resolutions, dtype=float))
        self._macs = np.zeros((len(models) + 1, len(space.choices.resolutions), len(space.choices.windows)))
        for model in range(len(models)):
            for size in range(len(space.choices.resolutions)):
                for window in range(len(space.choices.windows)):
                    try:
                        branch = space.choices.branch(model, size, window)
                    except ValueError:
                        continue  # no design has it
                    parts = branch_parts(branch, (branch.resolution, branch.resolution), CountingRules())
                    self._macs[model + 1, size, window] = sum(cost.macs for _, cost in parts)

    def of(self, indices: NDArray[np.intp]) -> _Array:
        """The features of some designs, shape (n, F)."""
        designs = self._designs[indices]
        choices, rows = self._choices, designs.rows_ND
        slots = choices.slots
        model_NB, size_NB, window_NB = (rows[:, part : 3 * slots : 3] for part in range(3))
        there_NB = model_NB > 0
        side_NB = np.where(there_NB, self._sides[size_NB], 0.0)
        span = max(np.ptp(self._sides), 1.0)
        columns: list[_Array] = []
        for slot in range(slots):
            there, model, window = there_NB[:, slot], model_NB[:, slot], window_NB[:, slot]
            columns.extend((model == kind).astype(float) for kind in range(len(choices.backbones) + 1))
            columns.extend(facts_M[model] for facts_M in self._facts_KM)
            columns.append(np.where(there, 0.2 + 0.8 * (self._sides[size_NB[:, slot]] - self._sides.min()) / span, 0.0))
            tokens = 2 * (side_NB[:, slot] - np.log2(self._patches[model]))
            columns.append(np.where(there, tokens / 16, 0.0))
            if len(choices.windows) > 1:
                columns.extend((there & (window == kind)).astype(float) for kind in range(len(choices.windows)))
            macs = self._macs[model, size_NB[:, slot], window]
            columns.append(np.minimum(macs / designs.macs_N, 1.0))
        for slot in range(slots - 1):
            both = there_NB[:, slot] & there_NB[:, slot + 1]
            columns.append(np.where(both, (side_NB[:, slot + 1] - side_NB[:, slot]) / 2, 0.0))
        count = there_NB.sum(1)
        columns.extend((count == number).astype(float) for number in choices.branches if len(choices.branches) > 1)
        for place, values in enumerate(choices.tail_values):
            chosen = rows[:, -len(TAIL) + place]
            if len(values) > 1:
                columns.extend((chosen == kind).astype(float) for kind in range(len(values)))
        interactions = np.array([float(value) for value in choices.tail_values[0]])[rows[:, -len(TAIL)]]
        columns.append(interactions / np.maximum(self._depths[model_NB].max(1), 1.0))
        columns.append((np.log(designs.counts(designs.axes[0])) - self._cheapest) / self._range)
        return np.stack(columns, 1)


def _scaled(values: _Array, before: list[float]) -> _Array:
    """Scales values to 0.2 to 1 and adds zeros for absent ones."""
    spread = max(np.ptp(values), 1e-12)
    return np.concatenate([before, 0.2 + 0.8 * (values - values.min()) / spread])
