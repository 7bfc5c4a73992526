"""Enumerates the designs of one choice of backbones as arrays.

Legend: S choices of image sizes, W of windows, T of tails (interactions and merge), M branches, X parts of a tail.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture.backbones import Backbone, Transformer
from piip_search.architecture.segments import KEEPS_PREFIX
from piip_search.space.choices import TAIL, Choices
from piip_search.space.designs import Rows


@dataclass(frozen=True)
class Block:
    """Designs with the same backbones: all combinations of sizes, windows and tails that break no rule.

    Attributes:
        models: Indices of the backbones in the space.
        sizes_SM: Indices of the resolutions.
        windows_WM: Indices of the windows.
        tails_TX: Indices of the tail's columns.
        legal_SWT: Whether each combination is a design.
    """

    models: tuple[int, ...]
    sizes_SM: NDArray[np.int64]
    windows_WM: NDArray[np.int64]
    tails_TX: NDArray[np.int64]
    legal_SWT: NDArray[np.bool_]

    def __len__(self) -> int:
        return self._length

    @cached_property
    def _length(self) -> int:
        return int(self.legal_SWT.sum())

    def rows(self, space: Choices, flat: NDArray[np.int64]) -> Rows:
        """Rows of combinations, given by their indices in the flattened product."""
        s, w, t = np.unravel_index(flat, self.legal_SWT.shape)
        rows = np.zeros((len(flat), len(space.dimensions)), np.int8)
        for slot, model in enumerate(self.models):
            rows[:, 3 * slot] = model + 1
            rows[:, 3 * slot + 1] = self.sizes_SM[s, slot]
            rows[:, 3 * slot + 2] = self.windows_WM[w, slot]
        rows[:, -len(TAIL) :] = self.tails_TX[t]
        return rows


def block_of(space: Choices, models: tuple[int, ...]) -> Block:
    facts = [space.model(index) for index in models]
    sizes = np.array([pick for pick in _size_choices(space, len(models)) if _sizes_fit(space, facts, pick)], np.int64)
    windows = np.array(list(itertools.product(*(_window_choices(space, fact) for fact in facts))), np.int64)
    tails = np.array(
        [tail for tail in _tail_choices(space, len(models)) if _tail_builds(space, models, tail)], np.int64
    )
    sizes, windows, tails = (
        array.reshape(-1, width) for array, width in ((sizes, len(models)), (windows, len(models)), (tails, len(TAIL)))
    )
    legal_SW = np.ones((len(sizes), len(windows)), bool)
    global_W = np.ones(len(windows), bool)
    for slot, fact in enumerate(facts):
        if isinstance(fact, Transformer):
            sides_W = np.array([space.windows[place][0] or 0 for place in windows[:, slot]], np.int64)
            grids_S = np.array([space.resolutions[place] // fact.patch for place in sizes[:, slot]], np.int64)
            if space.whole_windows:
                legal_SW &= (sides_W == 0) | (grids_S[:, None] % np.maximum(sides_W, 1) == 0)
            if fact.prefix:
                global_W &= sides_W == 0
    keeps_T = np.array([space.merges[place] in KEEPS_PREFIX for place in tails[:, -1]], bool)
    legal_WT = global_W[:, None] | ~keeps_T
    return Block(models, sizes, windows, tails, legal_SW[:, :, None] & legal_WT)


def size_count(space: Choices, count: int) -> int:
    """Number of choices of image sizes for so many branches under the pairing alone."""
    sizes = len(space.resolutions)
    if space.pairing == "equal":
        return sizes
    return math.comb(sizes, count) if space.pairing == "inverted" else math.prod([sizes] * count)


def _size_choices(space: Choices, count: int) -> Iterator[tuple[int, ...]]:
    choices = range(len(space.resolutions))
    if space.pairing == "inverted":
        return itertools.combinations(choices, count)
    if space.pairing == "equal":
        return ((choice,) * count for choice in choices)
    return itertools.product(choices, repeat=count)


def _sizes_fit(space: Choices, facts: list[Backbone], places: tuple[int, ...]) -> bool:
    sides = [space.resolutions[place] for place in places]
    for fact, side in zip(facts, sides, strict=True):
        if side % fact.patch:
            return False
        grid = fact.position_grid if isinstance(fact, Transformer) else 0
        if space.pretraining_grid and grid and side // fact.patch % grid:
            return False
    if space.steps is not None:
        low, high = space.steps
        if not all(low <= max(pair) / min(pair) <= high for pair in itertools.pairwise(sides)):
            return False
    if space.padding is None:
        return True
    whole = max(sides)
    multiples = (
        fact.patch * whole // math.gcd(fact.patch * whole, side) for fact, side in zip(facts, sides, strict=True)
    )
    return math.lcm(*multiples) <= space.padding


def _window_choices(space: Choices, fact: Backbone) -> list[int]:
    if not isinstance(fact, Transformer):
        return [0]
    return [place for place, (_, every) in enumerate(space.windows) if every <= fact.depth]


def _tail_choices(space: Choices, branches: int) -> Iterator[tuple[int, ...]]:
    """Tails for so many branches, one for each network: without interactions their settings have one value."""
    merges = [place for place, merge in enumerate(space.merges) if space.merge_of(branches, merge) == merge]
    interactions = range(len(space.interactions)) if branches > 1 else [0]
    for count in interactions:
        settings = (space.attention, space.direction, space.projection, space.norm)
        exchanging = branches > 1 and space.interactions[count] > 0
        axes = [range(len(values) if exchanging else 1) for values in settings]
        yield from itertools.product([count], *axes, merges)


def _tail_builds(space: Choices, models: tuple[int, ...], tail: tuple[int, ...]) -> bool:
    """Whether a network can be built from these backbones and tail; image sizes and windows do not matter."""
    # A size for all patches, and global attention, which suits every merge.
    side = math.lcm(*(space.model(index).patch for index in models))
    row = np.zeros(len(space.dimensions), np.int8)
    for slot, index in enumerate(models):
        row[3 * slot] = index + 1
    row[-len(TAIL) :] = tail
    try:
        replace(space, resolutions=(side,), windows=((None, 0),), padding=None).decode(row)
    except ValueError:
        return False
    return True
