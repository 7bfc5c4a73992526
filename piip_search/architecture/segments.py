"""The stretches of blocks between the interactions and merges of a branch.

A backbone's blocks are split into stretches. After each stretch its branch may exchange features with its neighbours or
give a map to be merged.
"""

import itertools
from functools import lru_cache
from typing import Literal, get_args

from piip_search.architecture.backbones import Backbone, Stage, Transformer

Merge = Literal["conv", "linear", "pyramid", "logits", "tokens", "residual"]
MERGES: tuple[Merge, ...] = get_args(Merge)

MAP_MERGES: tuple[Merge, ...] = ("conv", "linear", "pyramid", "residual")
"""Merges that give maps, for a head that reads maps."""
ONE_MAP_MERGES: tuple[Merge, ...] = ("conv", "linear", "residual")
"""Merges that give one map: for a single branch, all of them give its own last map."""
KEEPS_PREFIX: tuple[Merge, ...] = ("logits", "tokens")
"""Merges for which class tokens and registers pass the blocks of ViTs."""
STRIDES = (4, 8, 16, 32)
"""Strides of a pyramid's maps, in pixels."""
PYRAMID_LEVELS = 4
"""Number of maps of a pyramid merge: branches merge after the first two stretches and after the last two."""


def stretches_of(count: int, merge: Merge) -> int:
    """Number of stretches of blocks: one an interaction; without interactions, as many as the merge has maps."""
    return count or (PYRAMID_LEVELS if merge == "pyramid" else 1)


@lru_cache(maxsize=10_000)
def merged_maps(first: Backbone, output: Backbone, stretches: int, merge: Merge) -> tuple[tuple[int, int], ...]:
    """Channels and stride of every merged map, from the first backbone's width and the output's grid."""
    widths, strides = interaction_stages(first, stretches), interaction_stages(output, stretches)
    return tuple((widths[tap].width, strides[tap].stride) for tap in merge_taps(stretches, merge))


def merge_taps(stretches: int, merge: Merge) -> tuple[int, ...]:
    """Stretches after which branches merge: for a pyramid at the ends of a ConvNeXt's stages, else the last."""
    each = max(1, stretches // 12)
    last = stretches - 1
    return (each - 1, 2 * each - 1, last - each, last) if merge == "pyramid" else (last,)


def most_interactions(model: Backbone) -> int:
    """Most interactions that a backbone has room for; it has room for any fewer as well."""
    if isinstance(model, Transformer):
        return model.depth
    room = [stage.blocks for stage in model.stages]
    counts = itertools.takewhile(
        lambda count: all(a <= b for a, b in zip(_by_stage(count), room, strict=True)), itertools.count(PYRAMID_LEVELS)
    )
    return max(counts, default=PYRAMID_LEVELS - 1)


@lru_cache(maxsize=10_000)
def interaction_ranges(model: Backbone, count: int) -> tuple[range, ...]:
    """Splits a backbone's blocks into the stretches between interactions; without interactions there is one.

    The stretches of a ViT tile its depth. Where they cannot be equal, the later ones are one block longer, as the
    authors split the 32 blocks of ViT-H into 12 (2,2,2,2,3,...,3). Those of a ConvNeXt end where its stages do. From
    five interactions on the third stage is split further, from 24 on the others too, with the earlier stretches one
    block longer, as the authors place 12 and 24.
    """
    if isinstance(model, Transformer):
        return _tiles(0, model.depth, max(1, count), later_longer=True)
    ends = [0, *itertools.accumulate(stage.blocks for stage in model.stages)]
    if count < PYRAMID_LEVELS:
        starts = [0, *ends[PYRAMID_LEVELS - max(1, count) + 1 : -1]]
        return tuple(range(start, stop) for start, stop in itertools.pairwise([*starts, ends[-1]]))
    spans = zip(itertools.pairwise(ends), _by_stage(count), strict=True)
    return tuple(
        stretch for (start, stop), share in spans for stretch in _tiles(start, stop, share, later_longer=False)
    )


def _by_stage(count: int) -> tuple[int, int, int, int]:
    """Number of interactions in each stage of a ConvNeXt, from four on: 1, 1, 9, 1 of 12 and 2, 2, 18, 2 of 24."""
    each = max(1, count // 12)
    return each, each, count - 3 * each, each


@lru_cache(maxsize=10_000)
def interaction_stages(model: Backbone, count: int) -> tuple[Stage, ...]:
    """The stage in which each stretch ends, which gives width and stride of an interaction there."""
    ends = list(itertools.accumulate(stage.blocks for stage in model.stages))
    return tuple(
        next(stage for stage, end in zip(model.stages, ends, strict=True) if stretch.stop <= end)
        for stretch in interaction_ranges(model, count)
    )


@lru_cache(maxsize=10_000)
def first_stages(model: Backbone, count: int) -> tuple[Stage, ...]:
    """The stage in which each stretch begins: its finest grid."""
    ends = list(itertools.accumulate(stage.blocks for stage in model.stages))
    return tuple(
        next(stage for stage, end in zip(model.stages, ends, strict=True) if stretch.start < end)
        for stretch in interaction_ranges(model, count)
    )


def _tiles(start: int, stop: int, count: int, later_longer: bool) -> tuple[range, ...]:
    short, longer = divmod(stop - start, count)
    lengths = [short] * (count - longer) + [short + 1] * longer
    if not later_longer:
        lengths.reverse()
    bounds = [start, *(start + total for total in itertools.accumulate(lengths))]
    return tuple(range(begin, end) for begin, end in itertools.pairwise(bounds))


def seen_side(length: int, resolution: int, whole: int, patch: int) -> int:
    """A side in pixels of a branch's form of an image: length resolution / whole, in whole patches, at least one."""
    return max(patch, (2 * length * resolution + whole) // (2 * whole) // patch * patch)
