"""The prior of the papers' tables for the designs of a space."""

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture.published import Published, published_designs
from piip_search.cost import Pricing
from piip_search.errors import SpaceError
from piip_search.search.samplers.acquisition import Prior
from piip_search.search.samplers.surrogate import Surrogate
from piip_search.space import Designs, Features, SearchSpace
from piip_search.tasks import Task

FEWEST_PUBLISHED = 5
"""Fewest published designs for a prior."""


def published_prior(task: Task, space: SearchSpace, designs: Designs, pricing: Pricing, seed: int = 0) -> Prior:
    """A prior from the published designs of a task whose parts are in this space.

    It learns from the task's first metric, so that the order of designs carries over and values do not. Published
    designs of the space count as good.

    Args:
        task: Task of the search.
        space: Space of the designs.
        designs: All designs that may be proposed.
        pricing: How designs are priced.
        seed: Seed of the fit.

    Raises:
        SpaceError: The space shares too few designs with the papers.
    """
    column = task.metrics[0].column
    known_rows = [row for row in published_designs() if row.task == task.published and column in row.metrics]
    rows = [(row, encoded) for row in known_rows if (encoded := _row_of(row, space)) is not None]
    if len(rows) < FEWEST_PUBLISHED:
        raise SpaceError(
            f"prior: published knows {len(rows)} designs made of this space's models, image sizes and windows, and "
            f"{FEWEST_PUBLISHED} are needed; leave the prior out, or offer what the papers used "
            "(piip-search init: coco)"
        )
    encoded_ND = np.stack([encoded for _, encoded in rows])
    known = Designs.of(encoded_ND, [row.architecture for row, _ in rows], pricing, designs.axes)
    losses = np.array([1 - row.metrics[str(column)] / 100 for row, _ in rows])
    # Both have one scale of costs.
    together = Features(space, Designs.concat([designs, known]))
    belief = Surrogate.fit(together.of(len(designs) + np.arange(len(known))), losses, seed)
    first = [found for _, encoded in rows if (found := _place(designs, encoded)) is not None]

    def expected(indices: NDArray[np.intp]) -> NDArray[np.float64]:
        return belief.expected(together.of(indices))

    return Prior(expected, tuple(dict.fromkeys(first)))


def _row_of(row: Published, space: SearchSpace) -> NDArray[np.int64] | None:
    try:
        return np.asarray(space.encode(row.architecture))
    except ValueError:
        return None


def _place(designs: Designs, row_D: NDArray[np.int64]) -> int | None:
    found = np.flatnonzero((designs.rows_ND == row_D).all(axis=1))
    return int(found[0]) if len(found) else None
