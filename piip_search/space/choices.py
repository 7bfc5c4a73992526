"""The plain data of a search space: the choices for a design, and the rows that encode choices.

A row has small integers: for each branch slot a backbone (0 for an empty slot), a resolution and a window; then the
interactions and the merge. Legend: D dimensions of a row.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture, Attention, Branch, Direction, Interaction
from piip_search.architecture.backbones import Backbone, Transformer, backbone_named, with_patch
from piip_search.architecture.segments import ONE_MAP_MERGES, Merge
from piip_search.space.windows import Window, parse_window

Pairing = Literal["inverted", "equal", "free"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
TAIL = ("interactions", "attention", "direction", "projection", "norm", "merge")
"""Columns of a row after its branches."""

_SLOT = ("backbone", "resolution", "window")


@dataclass(frozen=True)
class Choices:
    """The choices of a search space.

    Attributes:
        backbones: Names (`piip_search.architecture.backbones`), in any order.
        resolutions: Image sides in pixels.
        windows: Attention of ViTs: the side of a window in tokens, None for global, or `14g3` for windows of 14 with
            every third block global.
        interactions: Numbers of interactions; a single branch has none in any case.
        branches: Numbers of branches.
        merges: Kinds of merge.
        attention: Kinds of cross-attention.
        direction: Directions of interactions: which model reads.
        projection: Whether a linear layer brings the read tokens to the reader's width first.
        norm: Whether tokens of both sides are normed first.
        heads: Attention heads of interactions.
        points: Sampled points of interactions.
        patch: Side of all ViTs' patches in pixels; patches of other sizes are resampled. None leaves each its own.
        pairing: `inverted`: models shrink while images strictly grow (the paper's rule); `equal`: one image size for
            all; `free`: any size for any model, models may repeat.
        steps: Least and greatest ratio between the larger and the smaller image of two neighbours; None for no rule.
        whole_windows: Whether windows must tile the nominal grid, so that no window needs padding.
        pretraining_grid: Whether a ViT's grid must be a multiple of the grid of its stored position embedding.
        padding: Greatest multiple in pixels to which images may have to be padded for exact grids; None for no rule.
    """

    backbones: tuple[str, ...]
    resolutions: tuple[int, ...]
    windows: tuple[Window, ...] = ((None, 0),)
    interactions: tuple[int, ...] = (0,)
    branches: tuple[int, ...] = (1,)
    merges: tuple[Merge, ...] = ("conv",)
    attention: tuple[Attention, ...] = ("deformable",)
    direction: tuple[Direction, ...] = ("both",)
    projection: tuple[bool, ...] = (True,)
    norm: tuple[bool, ...] = (True,)
    heads: int = 16
    points: int = 4
    patch: int | None = None
    pairing: Pairing = "inverted"
    steps: tuple[float, float] | None = None
    whole_windows: bool = False
    pretraining_grid: bool = False
    padding: int | None = None

    def __post_init__(self) -> None:
        # Canonical order: the order in a file changes neither the space nor its rows.
        def put(name: str, values: Iterable[Any]) -> None:
            object.__setattr__(self, name, tuple(values))  # the class is frozen

        put("backbones", sorted(set(self.backbones), key=lambda name: (-backbone_named(name).width, name)))
        windows = {parse_window(window) for window in self.windows}
        put("windows", sorted(windows, key=lambda window: (window[0] or 10**9, -window[1])))
        for name in ("resolutions", "interactions", "branches", "merges", "attention", "direction"):
            put(name, sorted(set(getattr(self, name))))
        for name in ("projection", "norm"):
            put(name, sorted(set(getattr(self, name)), reverse=True))

    @property
    def slots(self) -> int:
        """Number of branch slots of a row."""
        return max(self.branches)

    @property
    def dimensions(self) -> tuple[tuple[str, int], ...]:
        """Name and number of values (from 0) of each column of a row."""
        sizes = (len(self.backbones) + 1, len(self.resolutions), len(self.windows))
        slots = [
            (f"{name}_{slot + 1}", size) for slot in range(self.slots) for name, size in zip(_SLOT, sizes, strict=True)
        ]
        return (*slots, *((name, len(values)) for name, values in zip(TAIL, self.tail_values, strict=True)))

    @property
    def tail_values(self) -> tuple[tuple[Any, ...], ...]:
        """The values of the columns after the branches, in their order."""
        return (self.interactions, self.attention, self.direction, self.projection, self.norm, self.merges)

    def decode(self, row_D: NDArray[np.integer]) -> Architecture:
        """The architecture of a row.

        Raises:
            ValueError: No network can be built from these choices.
        """
        values = [int(value) for value in row_D]
        slots = [values[3 * slot : 3 * slot + 3] for slot in range(self.slots)]
        branches = tuple(self.branch(model - 1, size, window) for model, size, window in slots if model)
        count, attention, direction, projection, norm, merge = (
            choices[value] for choices, value in zip(self.tail_values, values[-len(TAIL) :], strict=True)
        )
        if len(branches) == 1 or not count:
            return Architecture(branches, Interaction(), self.merge_of(len(branches), merge))
        points = self.points if attention == "deformable" else 4
        return Architecture(
            branches, Interaction(count, self.heads, points, attention, direction, projection, norm), merge
        )

    def merge_of(self, branches: int, merge: Merge) -> Merge:
        """The merge under which a design is in the space.

        A single branch is one network under all merges that give one map, so it is in the space under the first alone.
        """
        if branches > 1 or merge not in ONE_MAP_MERGES:
            return merge
        return next((offered for offered in self.merges if offered in ONE_MAP_MERGES), merge)

    def branch(self, model: int, size: int, window: int) -> Branch:
        """The branch of a backbone, a resolution and a window, given by their indices in the space.

        Raises:
            ValueError: They do not fit each other.
        """
        name, side = self.backbones[model], self.resolutions[size]
        own = backbone_named(name)
        if not isinstance(own, Transformer):
            return Branch(name, side)
        return Branch(name, side, *self.windows[window], None if self.patch in (None, own.patch) else self.patch)

    def model(self, index: int) -> Backbone:
        """The facts of a backbone, given by its index in `backbones`."""
        own = backbone_named(self.backbones[index])
        resampled = self.patch is not None and isinstance(own, Transformer) and own.patch != self.patch
        return with_patch(own, cast(int, self.patch)) if resampled else own
