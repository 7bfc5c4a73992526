"""The plain data of a search space: what may be chosen for a design, and the rows that stand for choices.

A row holds small integers: for each branch slot a backbone (0 for an empty slot), a resolution and a window; then what
stands for the interactions, and the merge. Legend: D dimensions of a row.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture, Attention, Branch, Direction, Interaction
from piip_search.architecture.backbones import Backbone, Transformer, backbone_named, with_patch
from piip_search.architecture.segments import Merge
from piip_search.space.windows import Window, parse_window

Pairing = Literal["inverted", "equal", "free"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
TAIL = ("interactions", "attention", "direction", "projection", "norm", "merge")
"""Columns of a row after its branches."""

_SLOT = ("backbone", "resolution", "window")


@dataclass(frozen=True)
class Choices:
    """What may be chosen.

    Attributes:
        backbones: Names (`piip_search.architecture.backbones`), in any order.
        resolutions: Image sides in pixels.
        windows: Attention of ViTs: the side of a window in tokens, None for global, or `14g3` for windows of 14 with
            every third block global.
        interactions: How many interactions; a single branch has none whatever stands here.
        branches: How many branches.
        merges: What comes out.
        attention: Kinds of cross-attention.
        direction: Who reads in an interaction.
        projection: Whether what is read is projected to the reader's width first.
        norm: Whether what is read and who reads are normed first.
        heads: Attention heads of interactions.
        points: Sampled points of interactions.
        patch: Patches of all ViTs in pixels; those of another size are resampled. None leaves each its own.
        pairing: `inverted`: models shrink while images strictly grow (the paper's rule); `equal`: one image size for
            all; `free`: any size for any model, models may repeat.
        steps: Least and greatest ratio between the larger and the smaller image of two neighbours; None for no rule.
        whole_windows: Whether windows must tile the nominal grid, so that no token is added to fill one up.
        pretraining_grid: Whether a ViT's grid must be a whole multiple of that of its stored position embedding.
        padding: Greatest multiple in pixels that images may have to be padded to for all grids to be exact; None for
            no rule.
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
        # Canonical order: the same space written in another order is the same space, with the same rows.
        def put(name: str, values: Iterable[Any]) -> None:
            object.__setattr__(self, name, tuple(values))  # frozen, but not yet in canonical order

        put("backbones", sorted(set(self.backbones), key=lambda name: (-backbone_named(name).width, name)))
        windows = {parse_window(window) for window in self.windows}
        put("windows", sorted(windows, key=lambda window: (window[0] or 10**9, -window[1])))
        for name in ("resolutions", "interactions", "branches", "merges", "attention", "direction"):
            put(name, sorted(set(getattr(self, name))))
        for name in ("projection", "norm"):
            put(name, sorted(set(getattr(self, name)), reverse=True))

    @property
    def slots(self) -> int:
        """Branch slots of a row."""
        return max(self.branches)

    @property
    def dimensions(self) -> tuple[tuple[str, int], ...]:
        """Name of each column of a row and how many values it takes, from 0."""
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
        """The architecture that a row stands for.

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
            return Architecture(branches, Interaction(), merge)
        points = self.points if attention == "deformable" else 4
        return Architecture(
            branches, Interaction(count, self.heads, points, attention, direction, projection, norm), merge
        )

    def branch(self, model: int, size: int, window: int) -> Branch:
        """The branch of a backbone, a resolution and a window, by their places in the space.

        Raises:
            ValueError: They do not fit each other.
        """
        name, side = self.backbones[model], self.resolutions[size]
        own = backbone_named(name)
        if not isinstance(own, Transformer):
            return Branch(name, side)
        return Branch(name, side, *self.windows[window], None if self.patch in (None, own.patch) else self.patch)

    def model(self, index: int) -> Backbone:
        """The facts of a backbone of the space, by its place in `backbones`."""
        own = backbone_named(self.backbones[index])
        resampled = self.patch is not None and isinstance(own, Transformer) and own.patch != self.patch
        return with_patch(own, cast(int, self.patch)) if resampled else own
