"""What may be built, as an object that counts, enumerates, prices, samples, decodes and encodes.

A design is a row of small integers: for each branch slot a backbone (0 for an empty slot), a resolution and a window;
then what stands for the interactions, and the merge. Legend: N designs, D dimensions of a row.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture, Attention, Branch, Direction, Interaction
from piip_search.architecture.backbones import Backbone, Transformer, backbone_named, with_patch
from piip_search.architecture.segments import KEEPS_PREFIX, Merge
from piip_search.cost import COCO_MASK_RCNN, Convention, Detector, Step
from piip_search.space.designs import Designs, Limit, Rows
from piip_search.space.enumeration import TAIL, Block, block_of, size_count
from piip_search.space.neighbours import changed
from piip_search.space.pricing import priced
from piip_search.space.violations import broken_rules, listed
from piip_search.space.windows import Window, parse_window

Pairing = Literal["inverted", "equal", "free"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)

_SLOT = ("backbone", "resolution", "window")


@dataclass(frozen=True)
class SearchSpace:
    """The architectures that may be built.

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

    def __len__(self) -> int:
        """How many designs are legal."""
        return sum(len(block) for block in self.blocks)

    @property
    def combinations(self) -> int:
        """At most how many designs there are, by counting alone: before any rule but the pairing is looked at."""
        tails = math.prod(len(values) for values in self.tail_values)
        return sum(
            self._model_count(count) * size_count(self, count) * len(self.windows) ** count * tails
            for count in self.branches
        )

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Legal designs, one block for each choice of backbones."""
        found = (block_of(self, models) for count in self.branches for models in self._model_choices(count))
        return tuple(block for block in found if len(block))

    def chunks(
        self, convention: Convention = "published", detector: Detector = COCO_MASK_RCNN, step: Step | None = None
    ) -> Iterator[Designs]:
        """Every legal design once with its cost, at most `CHUNK` or so at a time.

        Each cost equals `piip_search.cost.price` to the last MAC, and each memory `training_bytes` to the last byte.

        Args:
            convention: How cost is counted.
            detector: What reads the merged maps, under the convention `detector`.
            step: A training step whose memory is wanted as well.

        Raises:
            ValueError: A merge of the space gives no maps for a detector, under that convention.
        """
        if convention == "detector" and set(self.merges) & set(KEEPS_PREFIX):
            raise ValueError(
                f"no detector reads what the merges {listed(self.merges)} give; count under backbone, or offer conv, "
                "linear or pyramid alone"
            )
        for block in self.blocks:
            yield from priced(self, block, convention, detector, step)

    def priced(self, convention: Convention = "published", detector: Detector = COCO_MASK_RCNN) -> Designs:
        """Every legal design with its cost, at once."""
        return Designs.joined([self._none, *self.chunks(convention, detector)])

    def within(self, limit: Limit) -> Designs:
        """Every legal design that the limit allows."""
        chunks = self.chunks(limit.convention, limit.detector, limit.step)
        return Designs.joined([self._none, *(chunk.within(limit) for chunk in chunks)])

    def sample(self, count: int, seed: int) -> Rows:
        """Designs drawn uniformly, with replacement, shape (count, D).

        Raises:
            ValueError: The space holds no design.
        """
        if not len(self):
            raise ValueError("the space holds no design; allow more branches, models, sizes or interactions")
        ends = np.cumsum([len(block) for block in self.blocks])
        drawn = np.random.default_rng(seed).integers(0, ends[-1], count)
        rows = np.empty((count, len(self.dimensions)), np.int8)
        for index, block in enumerate(self.blocks):
            start = ends[index] - len(block)
            mine = np.flatnonzero((drawn >= start) & (drawn < ends[index]))
            if len(mine):
                rows[mine] = block.rows(self, np.flatnonzero(block.legal_SWT)[drawn[mine] - start])
        return rows

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Legal designs that differ in one choice by one step: a size, a window, a setting; or in one backbone.

        A branch that comes or goes is one step as well, whatever its settings.

        Raises:
            ValueError: The space does not hold the architecture.
        """
        self.encode(architecture)
        found = dict.fromkeys(one for one in changed(self, architecture) if one is not None and not self.reasons(one))
        found.pop(architecture, None)
        return list(found)

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

    def encode(self, architecture: Architecture) -> Rows:
        """The row of an architecture, shape (D,).

        Raises:
            ValueError: The space does not hold it; the message names each broken rule and the nearest legal value.
        """
        if reasons := self.reasons(architecture):
            raise ValueError(f"the space does not hold {architecture}: " + "; ".join(reasons))
        row = np.zeros(len(self.dimensions), np.int8)
        for slot, branch in enumerate(architecture.branches):
            row[3 * slot] = self.backbones.index(branch.backbone) + 1
            row[3 * slot + 1] = self.resolutions.index(branch.resolution)
            if branch.model.family == "vit":
                row[3 * slot + 2] = self.windows.index((branch.window, branch.global_every))
        row[-len(TAIL) :] = [
            0 if value is None else choices.index(value)
            for choices, value in zip(self.tail_values, _tail(architecture), strict=True)
        ]
        return row

    def reasons(self, architecture: Architecture) -> list[str]:
        """Why the space does not hold an architecture: each broken rule and what is near; empty if it does."""
        return broken_rules(self, architecture)

    @property
    def tail_values(self) -> tuple[tuple[Any, ...], ...]:
        """The values of the columns after the branches, in their order."""
        return (self.interactions, self.attention, self.direction, self.projection, self.norm, self.merges)

    @property
    def _none(self) -> Designs:
        empty = np.empty(0, np.int64)
        return Designs(np.empty((0, len(self.dimensions)), np.int8), empty, empty)

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

    def _model_choices(self, count: int) -> Iterator[tuple[int, ...]]:
        """Backbones of that many branches, the widest first; only the inverted pairing forbids repetition."""
        widths = [self.model(index).width for index in range(len(self.backbones))]

        def further(chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
            if len(chosen) == count:
                yield chosen
                return
            for index, width in enumerate(widths):
                if chosen and (width > widths[chosen[-1]] or (self.pairing == "inverted" and index in chosen)):
                    continue
                yield from further((*chosen, index))

        return further(())

    def _model_count(self, count: int) -> int:
        """How many of these there are: of equally wide backbones in any order, of others the widest first."""
        ways = [1] + [0] * count
        for same in Counter(self.model(index).width for index in range(len(self.backbones))).values():
            orders = [math.perm(same, n) if self.pairing == "inverted" else same**n for n in range(count + 1)]
            ways = [sum(ways[n - here] * orders[here] for here in range(n + 1)) for n in range(count + 1)]
        return ways[count]


def _tail(architecture: Architecture) -> tuple[Any, ...]:
    """What a row says after its branches; None where there is nothing to choose."""
    interaction = architecture.interaction
    settings = (interaction.attention, interaction.direction, interaction.projection, interaction.norm)
    count = interaction.count if len(architecture.branches) > 1 else None
    return (count, *(settings if count else (None,) * len(settings)), architecture.merge)
