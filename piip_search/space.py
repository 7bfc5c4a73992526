"""What may be built, as an object that counts, enumerates, prices, samples, decodes and encodes.

A design is a row of small integers: for each branch slot a backbone (0 for an empty slot), a resolution and a window;
then what stands for the interactions, and the merge. Legend: N designs, D dimensions of a row; S choices of image
sizes, W of windows, T of tails (interactions and merge) for one choice of backbones, M its branches.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import (
    KEEPS_PREFIX,
    Architecture,
    Attention,
    Branch,
    Direction,
    Interaction,
    Merge,
    merged_maps,
    stretches_of,
)
from piip_search.backbones import Backbone, Transformer, backbone_named, with_patch
from piip_search.cost import (
    COCO_MASK_RCNN,
    Convention,
    Cost,
    Detector,
    backbone_parts,
    counting,
    detector_parts,
    exchange_parts,
    joining_cost,
    merges,
    published_head_cost,
)

Pairing = Literal["inverted", "equal", "free"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)

Rows = NDArray[np.int8]
Counts = NDArray[np.int64]
Window = tuple[int | None, int]
"""Side of a window in tokens, None for global attention; and every how many blocks one is global, 0 for none."""

CHUNK = 1 << 18
"""Designs priced at a time: bounds the memory, whatever the size of the space."""
_SLOT = ("backbone", "resolution", "window")
_TAIL = ("interactions", "attention", "direction", "projection", "norm", "merge")


@dataclass(frozen=True, slots=True)
class Limit:
    """What one architecture may cost: checked before anything is trained.

    Attributes:
        gmacs: Tiers of cost in 10^9 multiply-accumulates, rising; nothing dearer than the last is proposed.
        convention: How the cost is counted.
        mparams: Most parameters, in 10^6; None for no limit.
        detector: What reads the merged maps, under the convention `detector`.
    """

    gmacs: tuple[float, ...]
    convention: Convention = "published"
    mparams: float | None = None
    detector: Detector = COCO_MASK_RCNN


@dataclass(frozen=True)
class Designs:
    """Legal designs with their costs.

    Attributes:
        rows_ND: One design a row.
        macs_N: Multiply-accumulates.
        params_N: Parameters.
    """

    rows_ND: Rows
    macs_N: Counts
    params_N: Counts

    def __len__(self) -> int:
        return len(self.rows_ND)

    def within(self, limit: Limit) -> "Designs":
        """Those that the limit allows."""
        fits_N = self.macs_N <= max(limit.gmacs) * 1e9
        if limit.mparams is not None:
            fits_N &= self.params_N <= limit.mparams * 1e6
        return self[fits_N]

    def __getitem__(self, chosen: Any) -> "Designs":
        return Designs(self.rows_ND[chosen], self.macs_N[chosen], self.params_N[chosen])

    @classmethod
    def joined(cls, parts: Sequence["Designs"]) -> "Designs":
        """All designs of the parts, which are of one space; there is at least one part."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("rows_ND", "macs_N", "params_N")))


@dataclass(frozen=True)
class SearchSpace:
    """The architectures that may be built.

    Attributes:
        backbones: Names (`piip_search.backbones`), in any order.
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
        return (*slots, *((name, len(values)) for name, values in zip(_TAIL, self._tail_values, strict=True)))

    def __len__(self) -> int:
        """How many designs are legal."""
        return sum(len(block) for block in self.blocks)

    @cached_property
    def blocks(self) -> tuple["_Block", ...]:
        """Legal designs, one block for each choice of backbones."""
        found = (_block(self, models) for count in self.branches for models in self._model_choices(count))
        return tuple(block for block in found if len(block))

    def chunks(self, convention: Convention = "published", detector: Detector = COCO_MASK_RCNN) -> Iterator[Designs]:
        """Every legal design once with its cost, at most `CHUNK` or so at a time.

        Each cost equals `piip_search.cost.price` to the last MAC.

        Raises:
            ValueError: A merge of the space gives no maps for a detector, under that convention.
        """
        if convention == "detector" and set(self.merges) & set(KEEPS_PREFIX):
            raise ValueError(
                f"no detector reads what the merges {_listed(self.merges)} give; count under backbone, or offer conv, "
                "linear or pyramid alone"
            )
        for block in self.blocks:
            yield from block.priced(self, convention, detector)

    def priced(self, convention: Convention = "published", detector: Detector = COCO_MASK_RCNN) -> Designs:
        """Every legal design with its cost, at once."""
        return Designs.joined([self._none, *self.chunks(convention, detector)])

    def within(self, limit: Limit) -> Designs:
        """Every legal design that the limit allows."""
        chunks = self.chunks(limit.convention, limit.detector)
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
        found = dict.fromkeys(one for one in self._changed(architecture) if one is not None and not self.reasons(one))
        found.pop(architecture, None)
        return list(found)

    def decode(self, row_D: NDArray[np.integer]) -> Architecture:
        """The architecture that a row stands for.

        Raises:
            ValueError: No network can be built from these choices.
        """
        values = [int(value) for value in row_D]
        slots = [values[3 * slot : 3 * slot + 3] for slot in range(self.slots)]
        branches = tuple(self._branch(model - 1, size, window) for model, size, window in slots if model)
        count, attention, direction, projection, norm, merge = (
            choices[value] for choices, value in zip(self._tail_values, values[-len(_TAIL) :], strict=True)
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
        row[-len(_TAIL) :] = [
            0 if value is None else choices.index(value)
            for choices, value in zip(self._tail_values, _tail(architecture), strict=True)
        ]
        return row

    def reasons(self, architecture: Architecture) -> list[str]:
        """Why the space does not hold an architecture: each broken rule and what is near; empty if it does."""
        found = [] if len(architecture.branches) in self.branches else [
            f"{len(architecture.branches)} branches, the space has {_listed(self.branches)}"
        ]  # fmt: skip
        for branch in architecture.branches:
            found += self._branch_reasons(branch)
        found += self._tail_reasons(architecture)
        found += self._pairing_reasons(architecture)
        if self.padding is not None and architecture.multiple > self.padding:
            found.append(
                f"its grids are exact only for images padded to multiples of {architecture.multiple} px, at most "
                f"{self.padding} is allowed (padding); use sizes that share larger factors"
            )
        return found

    @property
    def _tail_values(self) -> tuple[tuple[Any, ...], ...]:
        return (self.interactions, self.attention, self.direction, self.projection, self.norm, self.merges)

    @property
    def _none(self) -> Designs:
        empty = np.empty(0, np.int64)
        return Designs(np.empty((0, len(self.dimensions)), np.int8), empty, empty)

    def _branch(self, model: int, size: int, window: int) -> Branch:
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
        pick: Iterable[tuple[int, ...]] = (
            itertools.permutations(range(len(widths)), count)
            if self.pairing == "inverted"
            else itertools.product(range(len(widths)), repeat=count)
        )
        return (chosen for chosen in pick if all(widths[a] >= widths[b] for a, b in itertools.pairwise(chosen)))

    def _changed(self, old: Architecture) -> Iterator[Architecture | None]:
        """Architectures one change away, legal or not; None where no network is left."""
        branches, interaction, merge = old.branches, old.interaction, old.merge
        for place, branch in enumerate(branches):
            before, after = branches[:place], branches[place + 1 :]
            for other in self._other_branches(branch):
                yield _built((*before, other, *after), interaction, merge)
            yield _built((*before, *after), interaction if len(branches) > 2 else Interaction(), merge)
        for place, extra in itertools.product(range(len(branches) + 1), self._all_branches()):
            for new in [interaction] if len(branches) > 1 else self._all_interactions():
                yield _built((*branches[:place], extra, *branches[place:]), new, merge)
        for new in self._other_interactions(interaction) if len(branches) > 1 else ():
            yield _built(branches, new, merge)
        for new_merge in _beside(self.merges, merge):
            yield _built(branches, interaction, new_merge)

    def _all_branches(self) -> Iterator[Branch]:
        for model, size, window in itertools.product(
            range(len(self.backbones)), range(len(self.resolutions)), range(len(self.windows))
        ):
            try:
                yield self._branch(model, size, window)
            except ValueError:
                continue  # a size or a window that does not suit the model

    def _other_branches(self, branch: Branch) -> Iterator[Branch]:
        """The same model at the next size or window, or another model at the same."""
        for other in self._all_branches():
            same = (other.resolution == branch.resolution, _attends(other) == _attends(branch))
            if other.backbone != branch.backbone:
                # A ConvNeXt has no window that a ViT in its place could keep: it may have any.
                if same[0] and (same[1] or other.model.family != branch.model.family):
                    yield other
            elif (same[1] and other.resolution in _beside(self.resolutions, branch.resolution)) or (
                same[0] and _attends(other) in _beside(self.windows, _attends(branch))
            ):
                yield other

    def _all_interactions(self) -> Iterator[Interaction]:
        for count, attention, direction, projection, norm in itertools.product(*self._tail_values[:-1]):
            points = self.points if attention == "deformable" else 4
            yield (
                Interaction(count, self.heads, points, attention, direction, projection, norm)
                if count
                else Interaction()
            )

    def _other_interactions(self, old: Interaction) -> Iterator[Interaction]:
        names = ("count", "attention", "direction", "projection", "norm")
        for new in self._all_interactions():
            changed = [name for name in names if getattr(new, name) != getattr(old, name)]
            if 0 in (old.count, new.count):
                changed = ["count"]  # without interactions there are no settings to keep
            offered = [self.interactions, self.attention, self.direction, self.projection, self.norm]
            if len(changed) == 1 and getattr(new, changed[0]) in _beside(
                offered[names.index(changed[0])], getattr(old, changed[0])
            ):
                yield new

    def _branch_reasons(self, branch: Branch) -> list[str]:
        if branch.backbone not in self.backbones:
            wanted = branch.model
            known = [backbone_named(name) for name in self.backbones]
            near = min(known, key=lambda other: (other.family != wanted.family, abs(other.width - wanted.width)))
            return [f"backbone {branch.backbone} is not offered (backbones); nearest: {near.name}"]
        found = []
        if branch.resolution not in self.resolutions:
            near_side = min(self.resolutions, key=lambda side: abs(side - branch.resolution))
            found.append(f"{branch} has an image size that is not offered (resolutions); nearest: {near_side}")
        model = self.model(self.backbones.index(branch.backbone))
        if not isinstance(model, Transformer):
            return found
        if branch.model.patch != model.patch:
            found.append(f"{branch} has patches of {branch.model.patch} px, the space has {model.patch} (patch)")
        window = (branch.window, branch.global_every)
        if window not in self.windows:
            near_window = min(self.windows, key=lambda other: abs((other[0] or 10**4) - (branch.window or 10**4)))
            found.append(
                f"{branch} attends in a way that is not offered (windows); nearest: {write_window(near_window)}"
            )
        if self.whole_windows and branch.window is not None and branch.grid % branch.window:
            side = branch.window * model.patch
            found.append(
                f"{branch} has windows that do not tile its {branch.grid} tokens (whole_windows); nearest size: "
                f"{max(side, round(branch.resolution / side) * side)}"
            )
        if self.pretraining_grid and model.position_grid and branch.grid % model.position_grid:
            side = model.position_grid * model.patch
            found.append(
                f"{branch} has {branch.grid} tokens, no multiple of the {model.position_grid} of its stored positions "
                f"(pretraining_grid); nearest size: {max(side, round(branch.resolution / side) * side)}"
            )
        return found

    def _tail_reasons(self, architecture: Architecture) -> list[str]:
        interaction = architecture.interaction
        found = []
        if architecture.merge not in self.merges:
            found.append(f"merge {architecture.merge} is not offered (merges); choose {_listed(self.merges)}")
        if len(architecture.branches) == 1:
            return found
        if interaction.count not in self.interactions:
            near = min(self.interactions, key=lambda count: abs(count - interaction.count))
            found.append(f"{interaction.count} interactions are not offered (interactions); nearest: {near}")
        if not interaction.count:
            return found
        for name in ("attention", "direction", "projection", "norm"):
            value, offered = getattr(interaction, name), getattr(self, name)
            if value not in offered:
                found.append(f"{name} {value} is not offered ({name}); choose {_listed(offered)}")
        points = self.points if interaction.attention == "deformable" else 4
        if (interaction.heads, interaction.points) != (self.heads, points):
            found.append(
                f"{interaction.heads} heads and {interaction.points} points, the space has {self.heads} and {points}"
            )
        return found

    def _pairing_reasons(self, architecture: Architecture) -> list[str]:
        sides = [branch.resolution for branch in architecture.branches]
        models = [branch.backbone for branch in architecture.branches]
        found = []
        if self.pairing == "inverted":
            if len(set(models)) < len(models):
                found.append("a model is repeated, which the inverted pairing forbids (pairing)")
            for large, small in itertools.pairwise(architecture.branches):
                if small.resolution <= large.resolution:
                    larger = [side for side in self.resolutions if side > large.resolution]
                    near = f"; nearest: {larger[0]}" if larger else ""
                    found.append(f"{small} must see a larger image than {large} (pairing: inverted){near}")
        elif self.pairing == "equal" and len(set(sides)) > 1:
            found.append(f"all branches must see one image size, got {_listed(sides)} (pairing: equal)")
        for large, small in itertools.pairwise(architecture.branches):
            low, high = sorted((large.resolution, small.resolution))
            if self.steps is not None and not self.steps[0] <= high / low <= self.steps[1]:
                least, most = self.steps
                ratios = {side: max(side, large.resolution) / min(side, large.resolution) for side in self.resolutions}
                legal = [side for side, ratio in ratios.items() if least <= ratio <= most]
                near = f"; nearest: {min(legal, key=lambda s: abs(s - small.resolution))}" if legal else ""
                found.append(
                    f"{large} and {small} differ by a factor of {high / low:.3g}, allowed are {self.steps[0]:g} to "
                    f"{self.steps[1]:g} (steps){near}"
                )
        return found


@dataclass(frozen=True)
class _Block:
    """Designs with the same backbones: every combination of sizes, windows and tails but those that break a rule.

    Attributes:
        models: Places of the backbones in the space.
        sizes_SM: Places of the resolutions.
        windows_WM: Places of the windows.
        tails_TX: Places of what the tail is made of.
        legal_SWT: Which combinations are designs.
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

    def rows(self, space: SearchSpace, flat: NDArray[np.int64]) -> Rows:
        """Rows of combinations, given by their places in the flattened product."""
        s, w, t = np.unravel_index(flat, self.legal_SWT.shape)
        rows = np.zeros((len(flat), len(space.dimensions)), np.int8)
        for slot, model in enumerate(self.models):
            rows[:, 3 * slot] = model + 1
            rows[:, 3 * slot + 1] = self.sizes_SM[s, slot]
            rows[:, 3 * slot + 2] = self.windows_WM[w, slot]
        rows[:, -len(_TAIL) :] = self.tails_TX[t]
        return rows

    def priced(self, space: SearchSpace, convention: Convention, detector: Detector) -> Iterator[Designs]:
        """The designs with their costs, some sizes at a time."""
        step = max(1, CHUNK // max(1, self.legal_SWT[0].size))
        for start in range(0, len(self.sizes_SM), step):
            part = replace(
                self, sizes_SM=self.sizes_SM[start : start + step], legal_SWT=self.legal_SWT[start : start + step]
            )
            legal = np.flatnonzero(part.legal_SWT)
            if len(legal):
                macs_SWT, params_SWT = _costs(space, part, convention, detector)
                yield Designs(part.rows(space, legal), macs_SWT.ravel()[legal], params_SWT.ravel()[legal])


def parse_window(text: int | str | Window | None) -> Window:
    """A window as written in a search space: 14, `global`, or `14g3` (every third block global).

    Raises:
        ValueError: It is none of these.
    """
    if text is None or text == "global":
        return None, 0
    if isinstance(text, tuple):
        return text
    match = re.fullmatch(r"(\d+)(?:g(\d+))?", str(text))
    if match is None or int(match[1]) < 1 or match[2] in ("0", "1"):
        raise ValueError(
            f"a window is a number of tokens, global, or like 14g3 (every third block global), got {text!r}"
        )
    return int(match[1]), int(match[2] or 0)


def write_window(window: Window) -> int | str:
    """A window as written in a search space."""
    side, every = window
    return "global" if side is None else f"{side}g{every}" if every else side


def _built(branches: tuple[Branch, ...], interaction: Interaction, merge: Merge) -> Architecture | None:
    try:
        return Architecture(branches, interaction, merge)
    except ValueError:
        return None


def _tail(architecture: Architecture) -> tuple[Any, ...]:
    """What a row says after its branches; None where there is nothing to choose."""
    interaction = architecture.interaction
    settings = (interaction.attention, interaction.direction, interaction.projection, interaction.norm)
    count = interaction.count if len(architecture.branches) > 1 else None
    return (count, *(settings if count else (None,) * len(settings)), architecture.merge)


def _attends(branch: Branch) -> Window:
    return branch.window, branch.global_every


def _beside(values: Sequence[Any], value: Any) -> tuple[Any, ...]:
    """The values before and after one of a row; none where it does not stand there."""
    if value not in values:
        return ()
    place = values.index(value)
    return tuple(values[max(0, place - 1) : place]) + tuple(values[place + 1 : place + 2])


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _block(space: SearchSpace, models: tuple[int, ...]) -> _Block:
    facts = [space.model(index) for index in models]
    sizes = np.array([pick for pick in _size_choices(space, len(models)) if _sizes_fit(space, facts, pick)], np.int64)
    windows = np.array(list(itertools.product(*(_window_choices(space, fact) for fact in facts))), np.int64)
    tails = np.array(
        [tail for tail in _tail_choices(space, len(models)) if _tail_builds(space, models, tail)], np.int64
    )
    sizes, windows, tails = (
        array.reshape(-1, width) for array, width in ((sizes, len(models)), (windows, len(models)), (tails, len(_TAIL)))
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
    return _Block(models, sizes, windows, tails, legal_SW[:, :, None] & legal_WT)


def _size_choices(space: SearchSpace, count: int) -> Iterator[tuple[int, ...]]:
    choices = range(len(space.resolutions))
    if space.pairing == "inverted":
        return itertools.combinations(choices, count)
    if space.pairing == "equal":
        return ((choice,) * count for choice in choices)
    return itertools.product(choices, repeat=count)


def _sizes_fit(space: SearchSpace, facts: list[Backbone], places: tuple[int, ...]) -> bool:
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


def _window_choices(space: SearchSpace, fact: Backbone) -> list[int]:
    if not isinstance(fact, Transformer):
        return [0]
    return [place for place, (_, every) in enumerate(space.windows) if every <= fact.depth]


def _tail_choices(space: SearchSpace, branches: int) -> Iterator[tuple[int, ...]]:
    """Without interactions there is nothing to choose about them."""
    interactions = range(len(space.interactions)) if branches > 1 else [0]
    for count in interactions:
        settings = (space.attention, space.direction, space.projection, space.norm)
        exchanging = branches > 1 and space.interactions[count] > 0
        axes = [range(len(values) if exchanging else 1) for values in settings]
        yield from itertools.product([count], *axes, range(len(space.merges)))


def _tail_builds(space: SearchSpace, models: tuple[int, ...], tail: tuple[int, ...]) -> bool:
    """Whether these backbones can be joined so; neither image sizes nor windows matter to that."""
    # Any size that suits all patches, and the global attention that suits every merge.
    side = math.lcm(*(space.model(index).patch for index in models))
    row = np.zeros(len(space.dimensions), np.int8)
    for slot, index in enumerate(models):
        row[3 * slot] = index + 1
    row[-len(_TAIL) :] = tail
    try:
        replace(space, resolutions=(side,), windows=((None, 0),), padding=None).decode(row)
    except ValueError:
        return False
    return True


def _costs(space: SearchSpace, block: _Block, convention: Convention, detector: Detector) -> tuple[Counts, Counts]:
    """Multiply-accumulates and parameters of all combinations of a block, each of shape (S, W, T)."""
    macs = np.zeros(block.legal_SWT.shape, np.int64)
    params = np.zeros(block.legal_SWT.shape, np.int64)
    facts = [space.model(index) for index in block.models]
    sides_MS = np.array(space.resolutions, np.int64)[block.sizes_SM].T
    sides = [(side_S, side_S) for side_S in sides_MS]

    def add(cost: Cost, where: tuple[Any, ...], shape: tuple[int, ...]) -> None:
        for total, number in ((macs, cost.macs), (params, cost.params)):
            total[where] += np.broadcast_to(np.asarray(number, np.int64), len(block.sizes_SM)).reshape(shape)

    for merge_place in np.unique(block.tails_TX[:, -1]):
        merge = space.merges[merge_place]
        mine_T = np.flatnonzero(block.tails_TX[:, -1] == merge_place)
        counted = [counting(convention, merge, fact) for fact in facts]
        for slot, fact in enumerate(facts):
            for place in np.unique(block.windows_WM[:, slot]):
                windows = _block_windows(space.windows[place], fact)
                cost = Cost.total(part for _, part in backbone_parts(fact, windows, sides[slot], counted[slot]))
                mine_W = np.flatnonzero(block.windows_WM[:, slot] == place)
                add(cost, np.ix_(np.arange(len(block.sizes_SM)), mine_W, mine_T), (-1, 1, 1))
        for t in mine_T:
            for cost in _tail_costs(space, block.tails_TX[t], facts, sides, convention, detector):
                add(cost, (slice(None), slice(None), t), (-1, 1))
    return macs, params


def _block_windows(window: Window, fact: Backbone) -> tuple[int | None, ...]:
    side, every = window
    return tuple(None if every and index % every == every - 1 else side for index in range(fact.depth))


def _tail_costs(
    space: SearchSpace, tail_X: NDArray[np.int64], facts: list[Backbone], sides: list[Any], convention: Convention,
    detector: Detector,
) -> Iterator[Cost]:  # fmt: skip
    """Interactions, merge and what follows, over arrays of sides."""
    count, attention, direction, projection, norm, merge = (
        choices[place] for choices, place in zip(space._tail_values, tail_X, strict=True)
    )
    count = count if len(facts) > 1 else 0
    counted = [counting(convention, merge, fact) for fact in facts]
    if count:
        points = space.points if attention == "deformable" else 4
        interaction = Interaction(count, space.heads, points, attention, direction, projection, norm)
        for index, (large, small) in enumerate(itertools.pairwise(facts)):
            parts = exchange_parts(
                large,
                small,
                (sides[index], sides[index + 1]),
                interaction,
                counted[0].published,
                counted[0].first_stride,
            )
            yield from (cost for _, cost in parts)
    # Which branch has the largest image, the last of equals, differs from design to design.
    stretches = stretches_of(count, merge)
    output_S = len(facts) - 1 - np.argmax(np.stack([side for side, _ in sides])[::-1], axis=0)
    for output, fact in enumerate(facts):
        here_S = output_S == output
        if not here_S.any():
            continue
        merged = merged_maps(facts[0], fact, stretches, merge)
        width, stride = merged[-1]
        grid = (sides[output][0] // stride,) * 2
        after = []
        if counted[0].light_merge:
            after.append(published_head_cost(width, grid))
        if convention == "detector":
            after += [part.cost for part in detector_parts(detector, merged, sides[output])]
        if merges(len(facts), merge):
            after += [
                joining_cost(
                    other, facts[0], index == 0, sides[index], (fact, sides[output]), stretches, merge, counted[index]
                )
                for index, other in enumerate(facts)
            ]
        for cost in after:
            yield Cost(cost.macs * here_S, cost.params * here_S)
