"""Cost of merging the branches, and of the heads that are part of a merge.

Legend: branch j of width d_j on n_j tokens; d_1 the first branch's width; n the tokens of the output branch.
"""

from functools import lru_cache

from piip_search.architecture import Branch
from piip_search.architecture.backbones import Backbone, Stage, Transformer
from piip_search.architecture.segments import KEEPS_PREFIX, Merge, interaction_stages, merge_taps
from piip_search.cost.conventions import IMAGENET_CLASSES, Cost, CountingRules, Grid


def merges(branches: int, merge: Merge) -> bool:
    """Whether the branches are merged: a single branch is only merged into class scores or language tokens."""
    return branches > 1 or merge in KEEPS_PREFIX


@lru_cache(maxsize=200_000)
def merge_cost(
    branch: Branch,
    first: Branch,
    is_first: bool,
    sides: Grid,
    output: tuple[Branch, Grid],
    stretches: int,
    merge: Merge,
    counted: CountingRules,
) -> Cost:
    """Cost of one branch in the merge; the arguments are those of `joining_cost`, with branches."""
    read = (output[0].model, output[1])
    return joining_cost(branch.model, first.model, is_first, sides, read, stretches, merge, counted)


def joining_cost(
    model: Backbone,
    first: Backbone,
    is_first: bool,
    sides: Grid,
    output: tuple[Backbone, Grid],
    stretches: int,
    merge: Merge,
    counted: CountingRules,
) -> Cost:
    """Cost of one backbone in the merge; arrays of sides give arrays of costs.

    Args:
        model: The branch's backbone.
        first: The first branch's backbone, which sets the width of the merge.
        is_first: Whether the branch is the first.
        sides: Height and width of the image that the branch sees, in pixels.
        output: The output branch's backbone, and height and width of the image that it sees, in pixels.
        stretches: Number of stretches of blocks.
        merge: Kind of merge.
        counted: Counting rules.
    """
    if merge == "logits":
        return _logits(model, sides, counted)
    output_stages = interaction_stages(output[0], stretches)
    if merge == "tokens":
        return Cost() if counted.published else _tokens(model, _area(output_stages[-1], output[1]), counted.outputs)
    own = interaction_stages(model, stretches)
    target = interaction_stages(first, stretches)
    maps = [(own[tap], target[tap].width, _area(output_stages[tap], output[1])) for tap in merge_taps(stretches, merge)]
    if merge == "pyramid":
        levels = (_pyramid_level(stage, sides, width, is_first, counted, n) for stage, width, n in maps)
        return Cost.total(levels)
    stage, width, resized = maps[0]
    if merge == "linear" or counted.light_merge:
        return _linear(stage, sides, width, is_first, counted, resized)
    n, d = _area(stage, sides), stage.width
    kept = n * (d + 4 * width) + (resized != n) * resized * width
    weights = width if merge == "residual" else 1
    convolutions = Cost(9 * n * (d + width) * width, 9 * (d + width) * width + 4 * width + weights, kept)
    if merge == "residual" and is_first:  # one a network: the other costs are one a branch
        return convolutions + _placement(interaction_stages(output[0], stretches)[-1], width, resized)
    return convolutions


def _placement(output: Stage, width: int, n: int) -> Cost:
    """Cost of the 1x1 placement d_M -> d_1 of the output branch's map: n d_M d_1.

    It reads a map that is kept for that branch's projection, and its own map is summed without being kept.
    """
    return Cost(n * output.width * width, output.width * width)


def _area(stage: Stage, sides: Grid) -> int:
    return (sides[0] // stage.stride) * (sides[1] // stage.stride)


def _linear(stage: Stage, sides: Grid, width: int, is_first: bool, counted: CountingRules, resized: int) -> Cost:
    """Cost of a group norm and, except in the first branch, a linear layer d_j -> d_1 and a group norm: n_j d_j d_1."""
    n, d, norms = _area(stage, sides), stage.width, int(counted.published)
    weight = 0 if counted.published else 1
    norm = Cost(2 * n * d * norms, 2 * d + weight, n * d + resized * width)
    if is_first:
        return norm
    return norm + Cost(n * (d * width + 2 * width * norms), (d + 1) * width + 2 * width, n * (d + width))


def _pyramid_level(stage: Stage, sides: Grid, width: int, is_first: bool, counted: CountingRules, resized: int) -> Cost:
    """Cost of a group norm and, except in the first branch, a 3x3 convolution d_j -> d_1: 9 n_j d_j d_1."""
    n, d, norms = _area(stage, sides), stage.width, int(counted.published)
    norm = Cost(3 * n * width * norms, 2 * width + 1, n * width + (resized != n) * resized * width)
    return norm if is_first else norm + Cost(9 * n * d * width, 9 * d * width, n * width)


def _logits(model: Backbone, sides: Grid, counted: CountingRules) -> Cost:
    """Cost of a branch's own norm and linear head to K classes, on its class token or the mean of its tokens: K d_j."""
    stage, classes = model.stages[-1], counted.outputs
    d = stage.width
    norm = 2 * d
    if isinstance(model, Transformer):
        norm = d * model.final_norm * (2 if model.norm == "layer" else 1)
    n = _area(stage, sides)
    kept = n * d if model.pool == "normed_avg" else 0
    return Cost(2 * n * d * counted.published + classes * d, norm + (d + 1) * classes, kept)


def _tokens(model: Backbone, n: int, width: int) -> Cost:
    """Cost of a projector d_j -> L -> L with a group norm between, on the output's grid: n (d_j L + L^2)."""
    d = model.stages[-1].width
    return Cost(n * (d * width + width**2), (d + 1) * width + 2 * width + (width + 1) * width, n * (d + 3 * width))


def published_head_cost(width: int, output: Grid) -> Cost:
    """Cost of the published counts' classification head for ViTs: a norm over the merged map and 1000 d_1."""
    return Cost(
        2 * output[0] * output[1] * width + IMAGENET_CLASSES * width, 2 * width + (width + 1) * IMAGENET_CLASSES
    )
