"""Designs that share one training: those whose backbones are in one set, or those of one tier.

Legend: N designs, S slots, K kinds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.architecture.branch_names import branch_names
from piip_search.space.designs import Designs
from piip_search.space.search_space import SearchSpace


def tier_groups(within: Designs, tiers: Sequence[float]) -> dict[float, NDArray[np.integer]]:
    """The designs of each tier that has some, by its limit, the lowest first.

    Args:
        within: Designs within the limit.
        tiers: Limits on the designs' first axis, rising.
    """
    below_N = np.zeros(len(within), bool)
    found = {}
    for tier in tiers:
        fits_N = within.fits(within.axes[0], tier)
        if (fits_N & ~below_N).any():
            found[tier] = within.rows_ND[fits_N & ~below_N]
        below_N |= fits_N
    return found


def largest_sets(space: SearchSpace, within: Designs) -> dict[tuple[str, ...], NDArray[np.integer]]:
    """The designs of each parent, by its backbones: sets that no other set of the space contains.

    A design with some branches left out belongs to the first set that has its branches in their order.
    """
    models_NS = within.rows_ND[:, : 3 * space.choices.slots : 3]
    kinds_KS, kind_N = np.unique(models_NS, axis=0, return_inverse=True)
    first = [int(np.flatnonzero(kind_N.ravel() == kind)[0]) for kind in range(len(kinds_KS))]
    names = [tuple(branch_names(space.decode(within.rows_ND[place]))) for place in first]
    parents = [one for one in names if not any(one != other and inside(one, other) for other in names)]
    owner = [next(place for place, parent in enumerate(parents) if inside(one, parent)) for one in names]
    of_N = np.array(owner)[kind_N.ravel()]
    return {parent: within.rows_ND[of_N == place] for place, parent in enumerate(parents)}


def covering(space: SearchSpace, rows_ND: NDArray[np.integer]) -> list[Architecture]:
    """Designs that together have every part and every image size of some designs, the fewest that are quickly found.

    Parts depend on backbones, on which image is the largest, and on all but sizes and windows; so one design of each
    such combination is enough.
    """
    slots = space.choices.slots
    sizes_NS = np.where(rows_ND[:, : 3 * slots : 3] > 0, rows_ND[:, 1 : 3 * slots : 3], -1)
    largest_N, output_N = sizes_NS.max(axis=1), slots - 1 - sizes_NS[:, ::-1].argmax(axis=1)
    kept = np.delete(rows_ND, [column for slot in range(slots) for column in (3 * slot + 1, 3 * slot + 2)], axis=1)
    kinds = np.column_stack([kept, largest_N, output_N])
    _, first = np.unique(kinds, axis=0, return_index=True)
    return [space.decode(rows_ND[place]) for place in sorted(first)]


def inside(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether names are among others in the same order."""
    left = iter(others)
    return all(name in left for name in names)
