"""Prices all designs of a block as arrays: the closed forms of a single design over many sizes together.

Legend: S choices of image sizes, W of windows, T of tails (interactions and merge), M branches, X parts of a tail.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Interaction, scaled_sides
from piip_search.architecture.backbones import Backbone
from piip_search.architecture.segments import interaction_stages, merged_maps, stretches_of
from piip_search.cost import (
    Cost,
    Grid,
    Pricing,
    Step,
    backbone_parts,
    block_values,
    branch_inputs,
    exchange_inputs,
    exchange_parts,
    joining_cost,
    merges,
    pooled_inputs,
    published_head_cost,
    rules_for,
)
from piip_search.space.choices import Choices
from piip_search.space.designs import Counts, Designs
from piip_search.space.enumeration import Block

CHUNK = 1 << 18
"""Designs that are priced together: bounds the memory for any size of the space."""


def priced(
    space: Choices, block: Block, pricing: Pricing, trained: Step | None = None, memory: bool = False
) -> Iterator[Designs]:
    """The designs of a block with their costs, in chunks, and with the memory of training steps on request."""
    step = max(1, CHUNK // max(1, block.legal_SWT[0].size))
    for start in range(0, len(block.sizes_SM), step):
        part = replace(
            block, sizes_SM=block.sizes_SM[start : start + step], legal_SWT=block.legal_SWT[start : start + step]
        )
        legal = np.flatnonzero(part.legal_SWT)
        if len(legal):
            cost = _costs(space, part, pricing, _as_priced(space, part, pricing))
            of_trial, full = (
                None if one is None else _training_bytes(space, part, one).ravel()[legal]
                for one in (trained, pricing.step if memory else None)
            )
            macs_N, params_N = cost.macs.ravel()[legal], cost.params.ravel()[legal]
            yield Designs(part.rows(space, legal), macs_N, params_N, of_trial, full)


@dataclass(frozen=True)
class _BranchSizes:
    """The image sizes of a block's branches.

    Attributes:
        nominal_MS: Image sizes of the branches, in pixels.
        sides: Height and width, each of shape (S,), of each branch's image.
        designed_MS: Image sizes that windows refer to: smaller images have smaller windows, in proportion.
    """

    nominal_MS: Counts
    sides: list[Any]
    designed_MS: Counts

    @property
    def output_S(self) -> NDArray[np.int64]:
        """Index of the branch with the largest image, the last of equals."""
        last_S: NDArray[np.int64] = np.argmax(self.nominal_MS[::-1], axis=0)
        return len(self.nominal_MS) - 1 - last_S


@dataclass(frozen=True)
class _BlockCosts:
    """Costs of all combinations of a block, each of shape (S, W, T)."""

    macs: Counts
    params: Counts
    saved_values: Counts

    def add(self, cost: Cost, where: tuple[Any, ...], shape: tuple[int, ...]) -> None:
        """Adds a cost of shape (S,), or a common one, to some of the combinations."""
        for total, number in (
            (self.macs, cost.macs),
            (self.params, cost.params),
            (self.saved_values, cost.saved_values),
        ):
            total[where] += _spread(number, shape)


def _spread(number: Any, shape: tuple[int, ...]) -> Counts:
    """A number for each size as a column of that shape; a common number stays a scalar."""
    numbers: Counts = np.asarray(number, np.int64)
    return numbers.reshape(shape) if numbers.ndim else numbers


def _as_priced(space: Choices, block: Block, pricing: Pricing) -> _BranchSizes:
    """The image sizes that are priced: nominal squares, or the shape of the image that is trained."""
    if pricing.convention != "published" and pricing.short_side < 1:
        return _as_trained(space, block, Step(short_side=pricing.short_side))
    sides_MS = np.array(space.resolutions, np.int64)[block.sizes_SM].T
    return _BranchSizes(sides_MS, [(side_S, side_S) for side_S in sides_MS], sides_MS)


def _as_trained(space: Choices, block: Block, step: Step) -> _BranchSizes:
    """The image sizes of a trial's training, as by `Architecture.scaled`, `image` and `sides`, over arrays."""
    facts = [space.model(index) for index in block.models]
    designed_MS = sides_MS = np.array(space.resolutions, np.int64)[block.sizes_SM].T
    if step.image_scale < 1:
        patches = tuple(fact.patch for fact in facts)
        fewer_SM = [scaled_sides(tuple(sides_M), patches, step.image_scale) for sides_M in designed_MS.T.tolist()]
        sides_MS = np.array(fewer_SM, np.int64).reshape(-1, len(facts)).T
    whole_S = sides_MS.max(axis=0)
    multiple_S = np.ones_like(whole_S)
    for fact, side_S in zip(facts, sides_MS, strict=True):
        multiple_S = np.lcm(multiple_S, fact.patch * whole_S // np.gcd(fact.patch * whole_S, side_S))
    image = [
        -(-length_S // multiple_S) * multiple_S for length_S in ((whole_S * step.short_side).astype(np.int64), whole_S)
    ]
    sides = [
        tuple(
            np.maximum(fact.patch, (2 * length_S * side_S + whole_S) // (2 * whole_S) // fact.patch * fact.patch)
            for length_S in image
        )
        for fact, side_S in zip(facts, sides_MS, strict=True)
    ]
    return _BranchSizes(sides_MS, sides, designed_MS)


def _costs(space: Choices, block: Block, pricing: Pricing, seen: _BranchSizes) -> _BlockCosts:
    """Costs of all combinations of a block."""
    outputs = pricing.outputs_under(pricing.convention)
    totals = _BlockCosts(*(np.zeros(block.legal_SWT.shape, np.int64) for _ in range(3)))
    facts = [space.model(index) for index in block.models]
    for merge, mine_T in _by_merge(space, block):
        counted = [rules_for(pricing.convention, merge, fact, outputs) for fact in facts]
        for slot, fact in enumerate(facts):
            for windows, mine_S, mine_W in _by_window(space, block, slot, seen):
                sides = _some(seen.sides[slot], mine_S)
                cost = Cost.total(part for _, part in backbone_parts(fact, windows, sides, counted[slot]))
                totals.add(cost, np.ix_(mine_S, mine_W, mine_T), (-1, 1, 1))
        for t in mine_T:
            for cost in _tail_costs(space, block.tails_TX[t], facts, seen, pricing):
                totals.add(cost, (slice(None), slice(None), t), (-1, 1))
    return totals


def _by_merge(space: Choices, block: Block) -> Iterator[tuple[Any, NDArray[np.int64]]]:
    for place in np.unique(block.tails_TX[:, -1]):
        yield space.merges[place], np.flatnonzero(block.tails_TX[:, -1] == place)


def _by_window(
    space: Choices, block: Block, slot: int, seen: _BranchSizes
) -> Iterator[tuple[tuple[int | None, ...], NDArray[np.int64], NDArray[np.int64]]]:
    """Windows of all blocks of a branch, with the sizes and the choices of windows that they belong to."""
    depth = space.model(block.models[slot]).depth
    for place in np.unique(block.windows_WM[:, slot]):
        side, every = space.windows[place]
        mine_W = np.flatnonzero(block.windows_WM[:, slot] == place)
        pairs = zip(seen.nominal_MS[slot].tolist(), seen.designed_MS[slot].tolist(), strict=True)
        sides = [side and (side if now == meant else max(1, round(side * now / meant))) for now, meant in pairs]
        for trained in dict.fromkeys(sides):
            windows = tuple(None if every and index % every == every - 1 else trained for index in range(depth))
            yield windows, np.array([place for place, one in enumerate(sides) if one == trained], np.int64), mine_W


def _some(sides: Any, mine_S: NDArray[np.int64]) -> Any:
    return tuple(side_S[mine_S] for side_S in sides)


def _training_bytes(space: Choices, block: Block, step: Step) -> Counts:
    """Memory of a training step for all combinations of a block, equal to `training_bytes` to the byte."""
    seen = _as_trained(space, block, step)
    whole = _costs(space, block, Pricing("whole", step.head, outputs=step.outputs), seen)
    alone = Pricing("backbone", outputs=step.outputs)
    backbone = _costs(space, block, alone, seen)
    kept = backbone.saved_values
    if step.checkpointing:
        kept = _kept_by_checkpoints(space, block, alone, seen)
    bytes_SWT: Counts = step.bytes_of(whole.params, backbone.params, kept, whole.saved_values - backbone.saved_values)
    return bytes_SWT


def _kept_by_checkpoints(space: Choices, block: Block, pricing: Pricing, seen: _BranchSizes) -> Counts:
    """Inputs of all blocks and interactions, the merge, and the most values of one that runs again."""
    inputs, most = (np.zeros(block.legal_SWT.shape, np.int64) for _ in range(2))
    facts = [space.model(index) for index in block.models]
    for merge, mine_T in _by_merge(space, block):
        counted = [rules_for("backbone", merge, fact) for fact in facts]
        for slot, fact in enumerate(facts):
            inputs[:, :, mine_T] += _spread(branch_inputs(fact, seen.sides[slot], counted[slot]), (-1, 1, 1))
            for windows, mine_S, mine_W in _by_window(space, block, slot, seen):
                where = np.ix_(mine_S, mine_W, mine_T)
                for kept in block_values(fact, windows, _some(seen.sides[slot], mine_S), counted[slot]):
                    most[where] = np.maximum(most[where], _spread(kept, (-1, 1, 1)))
        for t in mine_T:
            interaction = _interaction(space, block.tails_TX[t], len(facts))
            if merge == "logits" and not interaction.count:
                for fact, sides, count in zip(facts, seen.sides, counted, strict=True):
                    inputs[:, :, t] += _spread(pooled_inputs(fact, sides, count), (-1, 1))
            for index, pair in enumerate(itertools.pairwise(facts)) if interaction.count else ():
                sides = (seen.sides[index], seen.sides[index + 1])
                stages = [interaction_stages(fact, interaction.count) for fact in pair]
                inputs[:, :, t] += _spread(exchange_inputs(stages[0], stages[1], sides), (-1, 1))
                parts = exchange_parts(*pair, sides, interaction, published=False, first_stride=False)
                kept = Cost.total(cost for _, cost in parts).saved_values // interaction.count
                most[:, :, t] = np.maximum(most[:, :, t], _spread(kept, (-1, 1)))
            for cost in _merge_costs(space, block.tails_TX[t], facts, seen, pricing):
                inputs[:, :, t] += _spread(cost.saved_values, (-1, 1))
    return inputs + most


def _interaction(space: Choices, tail_X: NDArray[np.int64], branches: int) -> Interaction:
    count, attention, direction, projection, norm, _ = _tail(space, tail_X)
    if branches == 1 or not count:
        return Interaction()
    points = space.points if attention == "deformable" else 4
    return Interaction(count, space.heads, points, attention, direction, projection, norm)


def _tail(space: Choices, tail_X: NDArray[np.int64]) -> tuple[Any, ...]:
    return tuple(choices[place] for choices, place in zip(space.tail_values, tail_X, strict=True))


def _tail_costs(
    space: Choices,
    tail_X: NDArray[np.int64],
    facts: list[Backbone],
    seen: _BranchSizes,
    pricing: Pricing,
) -> Iterator[Cost]:
    """Costs of interactions, merge and the layers after it, over arrays of sides."""
    convention, head = pricing.convention, pricing.head
    interaction, merge = _interaction(space, tail_X, len(facts)), _tail(space, tail_X)[-1]
    first = rules_for(convention, merge, facts[0])
    for index, pair in enumerate(itertools.pairwise(facts)) if interaction.count else ():
        sides = (seen.sides[index], seen.sides[index + 1])
        parts = exchange_parts(*pair, sides, interaction, first.published, first.first_stride)
        yield from (cost for _, cost in parts)
    yield from _merge_costs(space, tail_X, facts, seen, pricing)
    # The branch with the largest image, the last of equals, differs between designs.
    for output, fact in enumerate(facts):
        here_S = seen.output_S == output
        if not here_S.any():
            continue
        merged = merged_maps(facts[0], fact, stretches_of(interaction.count, merge), merge)
        width, stride = merged[-1]
        height_S, width_S = seen.sides[output]
        after = []
        if first.light_merge:
            after.append(published_head_cost(width, (height_S // stride, width_S // stride)))
        if convention == "whole" and head is not None and merge in head.merges:
            after += [part.cost for part in head.parts(merged, seen.sides[output])]
        yield from (_only(cost, here_S) for cost in after)


def _merge_costs(
    space: Choices, tail_X: NDArray[np.int64], facts: list[Backbone], seen: _BranchSizes, pricing: Pricing
) -> Iterator[Cost]:
    """Costs of all branches in the merge, over arrays of sides."""
    merge = _tail(space, tail_X)[-1]
    if not merges(len(facts), merge):
        return
    stretches = stretches_of(_interaction(space, tail_X, len(facts)).count, merge)
    for output, fact in enumerate(facts):
        here_S = seen.output_S == output
        if not here_S.any():
            continue
        for index, other in enumerate(facts):
            target: tuple[Backbone, Grid] = (fact, seen.sides[output])
            counted = rules_for(pricing.convention, merge, other, pricing.outputs_under(pricing.convention))
            cost = joining_cost(other, facts[0], index == 0, seen.sides[index], target, stretches, merge, counted)
            yield _only(cost, here_S)


def _only(cost: Cost, here_S: Any) -> Cost:
    return Cost(cost.macs * here_S, cost.params * here_S, cost.saved_values * here_S)
