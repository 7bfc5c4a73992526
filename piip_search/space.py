"""What may be built, as an object that enumerates, prices, decodes and encodes.

A design is a row of small integers: for each of up to four branch slots a backbone (0 for an empty slot), a
resolution and a window, then the number of interactions and the merge. Legend: N designs, D dimensions of a row.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from piip_search import cost
from piip_search.architecture import Architecture, Branch, Interaction, Merge
from piip_search.backbones import backbone_named
from piip_search.cost import Convention, Cost

Pairing = Literal["inverted", "equal", "free"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)

Rows = NDArray[np.int8]
_SLOT = ("backbone", "resolution", "window")


@dataclass(frozen=True, slots=True)
class Limit:
    """What one architecture may cost: checked before anything is trained.

    Attributes:
        gmacs: Tiers of cost in 10^9 multiply-accumulates, rising; nothing dearer than the last is proposed.
        convention: How the cost is counted.
        mparams: Most parameters, in 10^6; None for no limit.
    """

    gmacs: tuple[float, ...]
    convention: Convention = "published"
    mparams: float | None = None


@dataclass(frozen=True)
class Designs:
    """Legal designs with their costs.

    Attributes:
        rows_ND: One design a row.
        macs_N: Multiply-accumulates.
        params_N: Parameters.
    """

    rows_ND: Rows
    macs_N: NDArray[np.int64]
    params_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows_ND)

    def within(self, limit: Limit) -> "Designs":
        """Those that the limit allows."""
        fits_N = self.macs_N <= max(limit.gmacs) * 1e9
        if limit.mparams is not None:
            fits_N &= self.params_N <= limit.mparams * 1e6
        return Designs(self.rows_ND[fits_N], self.macs_N[fits_N], self.params_N[fits_N])


@dataclass(frozen=True)
class SearchSpace:
    """The architectures that may be built.

    Attributes:
        backbones: Short names, in any order.
        resolutions: Image sides in pixels.
        windows: Window sides in tokens, None for global attention.
        interactions: How many interactions; a single branch has none whatever stands here.
        branches: How many branches.
        merges: How branches merge; a single branch does not.
        pairing: `inverted`: models strictly shrink while images strictly grow (the paper's rule); `equal`: one
            image size for all; `free`: any size for any model, models may repeat.
    """

    backbones: tuple[str, ...]
    resolutions: tuple[int, ...]
    windows: tuple[int | None, ...] = (None,)
    interactions: tuple[int, ...] = (0,)
    branches: tuple[int, ...] = (1,)
    merges: tuple[Merge, ...] = ("conv",)
    pairing: Pairing = "inverted"

    def __post_init__(self) -> None:
        # Canonical order: the same space written in another order is the same space, with the same rows.
        def put(name: str, values: Iterable[Any]) -> None:
            object.__setattr__(self, name, tuple(values))  # frozen, but not yet in canonical order

        put("backbones", sorted(set(self.backbones), key=lambda name: -backbone_named(name).width))
        put("resolutions", sorted(set(self.resolutions)))
        put("windows", sorted(set(self.windows), key=lambda window: window or 10**9))
        for name in ("interactions", "branches", "merges"):
            put(name, sorted(set(getattr(self, name))))

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
        return (*slots, ("interactions", len(self.interactions)), ("merge", len(self.merges)))

    @cached_property
    def rows_ND(self) -> Rows:
        """Every legal design."""
        blocks = [block for count in self.branches for block in self._blocks(count)]
        return np.concatenate(blocks) if blocks else np.empty((0, len(self.dimensions)), np.int8)

    def priced(self, convention: Convention) -> Designs:
        """Every legal design with its cost.

        Costs are sums over branches, neighbours and merges, so that a few small tables price all rows at once;
        each entry equals `piip_search.cost.price` to the last MAC.
        """
        rows = self.rows_ND
        macs, params = (self._total(rows, convention, number) for number in ("macs", "params"))
        return Designs(rows, macs, params)

    def decode(self, row_D: NDArray[np.integer]) -> Architecture:
        """The architecture that a row stands for."""
        values = [int(value) for value in row_D]
        slots = [values[3 * slot : 3 * slot + 3] for slot in range(self.slots)]
        branches = tuple(
            Branch(self.backbones[backbone - 1], self.resolutions[resolution], self.windows[window])
            for backbone, resolution, window in slots
            if backbone
        )
        if len(branches) == 1:
            return Architecture(branches)
        return Architecture(branches, Interaction(self.interactions[values[-2]]), self.merges[values[-1]])

    def encode(self, architecture: Architecture) -> Rows:
        """The row of an architecture, shape (D,).

        Raises:
            ValueError: The space does not hold it; the message names the rule.
        """
        row = np.zeros(len(self.dimensions), np.int8)
        if len(architecture.branches) not in self.branches:
            raise ValueError(f"{architecture} has {len(architecture.branches)} branches; the space has {self.branches}")
        try:
            for slot, branch in enumerate(architecture.branches):
                row[3 * slot] = self.backbones.index(branch.backbone) + 1
                row[3 * slot + 1] = self.resolutions.index(branch.resolution)
                row[3 * slot + 2] = self.windows.index(branch.window)
            if len(architecture.branches) > 1:
                row[-2] = self.interactions.index(architecture.interaction.count)
                row[-1] = self.merges.index(architecture.merge)
        except ValueError:
            raise ValueError(f"{architecture} uses a choice that the space does not offer") from None
        if self.decode(row) != architecture or not self._paired(architecture):
            raise ValueError(f"{architecture} breaks the space's pairing rule ({self.pairing}) or its settings")
        return row

    def _paired(self, architecture: Architecture) -> bool:
        sides = [branch.resolution for branch in architecture.branches]
        models = [branch.backbone for branch in architecture.branches]
        if self.pairing == "inverted":
            return all(a < b for a, b in itertools.pairwise(sides)) and len(set(models)) == len(models)
        return self.pairing == "free" or len(set(sides)) == 1

    def _blocks(self, count: int) -> Iterator[Rows]:
        """Legal rows with that many branches, one block for each choice of models."""
        models = range(1, len(self.backbones) + 1)
        choose = itertools.combinations if self.pairing == "inverted" else itertools.combinations_with_replacement
        for chosen in choose(models, count):
            interactions = [i for i, n in enumerate(self.interactions) if self._builds(chosen, n)] if count > 1 else [0]
            merges = range(len(self.merges)) if count > 1 else [0]
            sizes = list(self._sizes(count))
            windows = list(itertools.product(range(len(self.windows)), repeat=count))
            if not (interactions and sizes):
                continue
            grid = np.stack(
                [axis.ravel() for axis in np.meshgrid(
                    np.arange(len(sizes)), np.arange(len(windows)), interactions, list(merges), indexing="ij"
                )], axis=1,
            )  # fmt: skip
            block = np.zeros((len(grid), len(self.dimensions)), np.int8)
            for slot in range(count):
                block[:, 3 * slot] = chosen[slot]
                block[:, 3 * slot + 1] = np.array(sizes)[grid[:, 0], slot]
                block[:, 3 * slot + 2] = np.array(windows)[grid[:, 1], slot]
            block[:, -2:] = grid[:, 2:]
            yield block

    def _sizes(self, count: int) -> Iterator[tuple[int, ...]]:
        choices = range(len(self.resolutions))
        if self.pairing == "inverted":
            return itertools.combinations(choices, count)
        if self.pairing == "equal":
            return ((choice,) * count for choice in choices)
        return itertools.product(choices, repeat=count)

    def _builds(self, chosen: tuple[int, ...], interactions: int) -> bool:
        branches = tuple(Branch(self.backbones[model - 1], self.resolutions[0]) for model in chosen)
        try:
            Architecture(branches, Interaction(interactions))
        except ValueError:
            return False
        return True

    def _branch(self, model: int, size: int, window: int = 0) -> Branch:
        return Branch(self.backbones[model], self.resolutions[size], self.windows[window])

    def _total(self, rows: Rows, convention: Convention, number: str) -> NDArray[np.int64]:
        """MACs or parameters of every row, shape (N,)."""
        models, sizes = range(len(self.backbones)), range(len(self.resolutions))

        def table(shape: tuple[range, ...], entry: object) -> NDArray[np.int64]:
            values = [getattr(entry(*index), number) for index in itertools.product(*shape)]  # type: ignore[operator]
            return np.array(values, np.int64).reshape([len(axis) for axis in shape])

        def merge(model: int, size: int, first: int, kind: int) -> Cost:
            return cost.merge_cost(self._branch(model, size), self._branch(first, size), self.merges[kind], convention)

        def first(model: int, size: int, kind: int) -> Cost:
            return cost.merge_cost(self._branch(model, size), None, self.merges[kind], convention)

        def head(model: int, size: int) -> Cost:
            return cost.head_cost(self._branch(model, size), self._branch(model, size))

        def unit(a: int, b: int, c: int, d: int) -> Cost:
            return cost.unit_cost(self._branch(a, b), self._branch(c, d), Interaction(1), convention)

        kinds = range(len(self.merges))
        branch_table = table(
            (models, sizes, range(len(self.windows))), lambda *at: cost.branch_cost(self._branch(*at), convention)
        )
        merge_table = table((models, sizes, models, kinds), merge)
        slots = rows.astype(np.int64)
        total_N = np.zeros(len(rows), np.int64)
        for slot in range(self.slots):
            present = slots[:, 3 * slot] > 0
            model, size, window = (slots[present, 3 * slot + column] - (column == 0) for column in range(3))
            total_N[present] += branch_table[model, size, window]
        paired = slots[:, 3] > 0 if self.slots > 1 else np.zeros(len(rows), bool)
        if paired.any():
            unit_table = table((models, sizes, models, sizes), unit)
            first_table = table((models, sizes, kinds), first)
            counts = np.array(self.interactions)[slots[:, -2]]
            total_N[paired] += first_table[slots[paired, 0] - 1, slots[paired, 1], slots[paired, -1]]
            for slot in range(self.slots):
                present = paired & (slots[:, 3 * slot] > 0)
                model, size = slots[present, 3 * slot] - 1, slots[present, 3 * slot + 1]
                total_N[present] += merge_table[model, size, slots[present, 0] - 1, slots[present, -1]]
                if slot:
                    larger, its_size = slots[present, 3 * slot - 3] - 1, slots[present, 3 * slot - 2]
                    total_N[present] += counts[present] * unit_table[larger, its_size, model, size]
        if convention == "published":
            largest = np.where(slots[:, 0 : 3 * self.slots : 3] > 0, slots[:, 1 : 3 * self.slots : 3], -1).max(axis=1)
            total_N += table((models, sizes), head)[slots[:, 0] - 1, largest]
        return total_N
