"""Counts, enumerates, prices, draws, decodes and encodes the designs of a space.

A design is a row of small integers: for each branch slot a backbone (0 for an empty slot), a resolution and a window;
then the interactions and the merge. Legend: N designs, D dimensions of a row.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design, as_architecture
from piip_search.cost import NOMINAL, Pricing, Step
from piip_search.errors import SpaceError
from piip_search.space.choices import TAIL, Choices
from piip_search.space.designs import Designs, Limit, Rows
from piip_search.space.enumeration import Block, block_of, size_count
from piip_search.space.neighbours import changed
from piip_search.space.pricing import priced
from piip_search.space.violations import broken_rules, listed


@dataclass(frozen=True)
class SearchSpace:
    """A search space: the designs that a search may build.

    Attributes:
        choices: Choices for a design.
    """

    choices: Choices

    @property
    def dimensions(self) -> tuple[tuple[str, int], ...]:
        """Name and number of values (from 0) of each column of a row."""
        return self.choices.dimensions

    def __len__(self) -> int:
        """Number of designs."""
        return sum(len(block) for block in self.blocks)

    @property
    def combinations(self) -> int:
        """Upper bound of the number of designs: counts combinations before any rule but the pairing."""
        tails = math.prod(len(values) for values in self.choices.tail_values)
        return sum(
            self._model_count(count) * size_count(self.choices, count) * len(self.choices.windows) ** count * tails
            for count in self.choices.branches
        )

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Designs in blocks, one for each choice of backbones."""
        found = (
            block_of(self.choices, models) for count in self.choices.branches for models in self._model_choices(count)
        )
        return tuple(block for block in found if len(block))

    def chunks(self, pricing: Pricing = NOMINAL, step: Step | None = None, memory: bool = False) -> Iterator[Designs]:
        """All designs with their costs in chunks of about `CHUNK`, each design once.

        Each cost equals `Pricing.price` to the last MAC, and each memory `training_bytes` to the last byte.

        Args:
            pricing: How designs are priced.
            step: Training step of a trial whose memory is also computed.
            memory: Whether the memory of the pricing's full-size step is also computed.

        Raises:
            SpaceError: There is no head, or it cannot read the outputs of a merge of the space, under `whole`.
        """
        read = () if pricing.head is None else pricing.head.merges
        if pricing.convention == "whole" and not set(self.choices.merges) <= set(read):
            raise SpaceError(
                f"no head reads the outputs of the merges {listed(self.choices.merges)}; count under backbone"
                + (f", or offer only {listed(read)}" if read else "")
            )
        for block in self.blocks:
            yield from priced(self.choices, block, pricing, step, memory)

    def priced(self, pricing: Pricing = NOMINAL) -> Designs:
        """All designs with their costs."""
        return Designs.concat([self._none, *self.chunks(pricing)])

    def within(self, limit: Limit) -> Designs:
        """All designs within a limit."""
        chunks = self.chunks(limit.pricing, limit.step, limit.needs_memory)
        return Designs.concat([self._none, *(chunk.within(limit) for chunk in chunks)])

    def sample(self, count: int, seed: int) -> Rows:
        """Designs drawn uniformly, with replacement, shape (count, D).

        Raises:
            SpaceError: The space has no design.
        """
        if not len(self):
            raise SpaceError("the space has no design; allow more branches, models, sizes or interactions")
        ends = np.cumsum([len(block) for block in self.blocks])
        drawn = np.random.default_rng(seed).integers(0, ends[-1], count)
        rows = np.empty((count, len(self.dimensions)), np.int8)
        for index, block in enumerate(self.blocks):
            start = ends[index] - len(block)
            mine = np.flatnonzero((drawn >= start) & (drawn < ends[index]))
            if len(mine):
                rows[mine] = block.rows(self.choices, np.flatnonzero(block.legal_SWT)[drawn[mine] - start])
        return rows

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Designs that differ by one step: a size, a window, a setting, or a backbone.

        An added or removed branch is one step as well, whatever its settings.

        Raises:
            SpaceError: The architecture is not in the space.
        """
        architecture = self.decode(self.encode(architecture))
        found = dict.fromkeys(
            one for one in changed(self.choices, architecture) if one is not None and not self.reasons(one)
        )
        found.pop(architecture, None)
        return list(found)

    def decode(self, row_D: NDArray[np.integer]) -> Architecture:
        """The architecture of a row.

        Raises:
            SpaceError: No network can be built from these choices.
        """
        return self.choices.decode(row_D)

    def encode(self, design: Design) -> Rows:
        """The row of an architecture, shape (D,).

        Raises:
            SpaceError: The architecture is not in the space; the message names each broken rule and the nearest allowed
                value.
        """
        architecture = as_architecture(design)
        if reasons := self.reasons(architecture):
            raise SpaceError(f"the space does not hold {architecture}: " + "; ".join(reasons))
        row = np.zeros(len(self.dimensions), np.int8)
        for slot, branch in enumerate(architecture.branches):
            row[3 * slot] = self.choices.backbones.index(branch.backbone) + 1
            row[3 * slot + 1] = self.choices.resolutions.index(branch.resolution)
            if branch.model.family == "vit":
                row[3 * slot + 2] = self.choices.windows.index((branch.window, branch.global_every))
        row[-len(TAIL) :] = [
            0 if value is None else choices.index(value)
            for choices, value in zip(self.choices.tail_values, _tail(self.choices, architecture), strict=True)
        ]
        return row

    def reasons(self, architecture: Architecture) -> list[str]:
        """Reasons why an architecture is not in the space: each broken rule with the nearest allowed value."""
        return broken_rules(self.choices, architecture)

    @property
    def _none(self) -> Designs:
        empty = np.empty(0, np.int64)
        return Designs(np.empty((0, len(self.dimensions)), np.int8), empty, empty)

    def _model_choices(self, count: int) -> Iterator[tuple[int, ...]]:
        """Choices of so many backbones, widest first; only the inverted pairing forbids repetition."""
        widths = [self.choices.model(index).width for index in range(len(self.choices.backbones))]

        def further(chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
            if len(chosen) == count:
                yield chosen
                return
            for index, width in enumerate(widths):
                if chosen and (width > widths[chosen[-1]] or (self.choices.pairing == "inverted" and index in chosen)):
                    continue
                yield from further((*chosen, index))

        return further(())

    def _model_count(self, count: int) -> int:
        """Number of `_model_choices`: equally wide backbones in any order, others widest first."""
        ways = [1] + [0] * count
        for same in Counter(self.choices.model(index).width for index in range(len(self.choices.backbones))).values():
            orders = [math.perm(same, n) if self.choices.pairing == "inverted" else same**n for n in range(count + 1)]
            ways = [sum(ways[n - here] * orders[here] for here in range(n + 1)) for n in range(count + 1)]
        return ways[count]


def _tail(space: Choices, architecture: Architecture) -> tuple[Any, ...]:
    """Values of a row's columns after its branches; None for settings without effect."""
    interaction = architecture.interaction
    settings = (interaction.attention, interaction.direction, interaction.projection, interaction.norm)
    branches = len(architecture.branches)
    count, merge = interaction.count if branches > 1 else None, space.merge_of(branches, architecture.merge)
    return (count, *(settings if count else (None,) * len(settings)), merge)
