"""Memory of a training step and of inference, before anything is run.

Two numbers are estimated, in values of one image: those that training keeps for the backward pass (`Cost.kept`, a sum
over all parts), and the most that are alive at once in a forward pass that keeps nothing (`live_values`). Both follow
the modules in `piip_search.models` with fused attention; the tests hold them within 5 and 15 % of what torch keeps.
Under activation checkpointing a training keeps what goes into every block and interaction (`branch_inputs`,
`exchange_inputs`), and while one of them runs again what that one keeps (`block_values`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from piip_search.architecture import Architecture, Interaction
from piip_search.architecture.backbones import Backbone, ConvNeXt, Stage, Transformer
from piip_search.architecture.segments import STRIDES, first_stages, interaction_stages
from piip_search.cost.branch import backbone_parts, convnext_blocks
from piip_search.cost.conventions import OUTPUTS, Convention, Cost, CountingRules, Grid, rules_for
from piip_search.cost.detector import DetectorCost

WEIGHT_BYTES = 4
"""Bytes of a weight: float32, also under autocast."""
STATE_BYTES = 16
"""Bytes a weight needs in training: itself, its gradient and AdamW's two averages, in float32."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device.

    Attributes:
        training: Bytes of a training step: weights, gradients, optimiser state and what the backward pass needs.
        inference: Bytes of a forward pass: weights and the most that is alive at once.
    """

    training: int
    inference: int


def memory_of(cost: Cost, live: int, images: int = 1, value_bytes: int = 4) -> Memory:
    """Memory of a step.

    Left out: the allocator's own losses, workspaces of kernels, and copies of weights that autocast makes.

    Args:
        cost: What one image costs.
        live: What `live_values` says of it.
        images: Images a step.
        value_bytes: Bytes of a value: 4 in float32, 2 under bfloat16 autocast.
    """
    return Memory(
        STATE_BYTES * cost.params + images * value_bytes * cost.kept,
        WEIGHT_BYTES * cost.params + images * value_bytes * live,
    )


def branch_inputs(model: Backbone, sides: Grid, counted: CountingRules) -> int:
    """Values that go into the blocks of a backbone, and those that its embedding keeps; arrays give arrays."""
    embedding = backbone_parts(model, (None,), sides, counted)[0][1].kept
    if not isinstance(model, ConvNeXt):
        tokens = (sides[0] // model.patch) * (sides[1] // model.patch) + counted.prefix
        return embedding + model.depth * tokens * model.width
    before, inputs = model.stages[0], embedding
    for stage in model.stages:
        inputs += _values(before, sides) + (stage.blocks - 1) * _values(stage, sides)
        before = stage
    return inputs


def pooled_inputs(model: Backbone, sides: Grid, counted: CountingRules) -> int:
    """Values that a head of class scores keeps of what the last block gives; arrays give arrays.

    A class token is a part of the tensor of all tokens, which stays with it. Where the branches interact at the end,
    the interaction keeps that tensor.
    """
    if not isinstance(model, Transformer) or model.pool != "token":
        return 0
    return ((sides[0] // model.patch) * (sides[1] // model.patch) + counted.prefix) * model.width


def block_values(model: Backbone, windows: Sequence[int | None], sides: Grid, counted: CountingRules) -> list[int]:
    """What each kind of block of a backbone keeps while it runs again: one of these is the most; arrays give arrays."""
    if isinstance(model, ConvNeXt):
        return convnext_blocks(model, sides)
    kept = []
    for window in dict.fromkeys(windows):
        _, (_, attention), (_, mlp) = backbone_parts(model, (window,), sides, counted)  # mlp: of all blocks
        kept.append(attention.kept + mlp.kept // model.depth)
    return kept


def exchange_inputs(large: Sequence[Stage], small: Sequence[Stage], sides: tuple[Grid, Grid]) -> int:
    """Values that go into all interactions of two neighbours; arrays give arrays.

    Args:
        large: Stage of the larger model at each interaction.
        small: Stage of the smaller one.
        sides: Height and width of the image that each sees, in pixels.
    """
    return sum(_values(one, sides[0]) + _values(other, sides[1]) for one, other in zip(large, small, strict=True))


def live_values(
    architecture: Architecture,
    convention: Convention,
    sides: Sequence[Grid],
    detector: DetectorCost,
    outputs: int | None = None,
) -> int:
    """The most values alive at once in a forward pass of one image: the largest of the moments that can be it.

    Args:
        architecture: What is run.
        convention: Which modules count.
        sides: Height and width of the image that each branch sees, in pixels.
        detector: What reads the merged maps, under the convention `detector`.
        outputs: Class scores of the merge `logits`, or channels of a token of the merge `tokens`.
    """
    image = 3 * sides[architecture.output][0] * sides[architecture.output][1]
    stages = [interaction_stages(branch.model, architecture.stretches) for branch in architecture.branches]
    begun = [first_stages(branch.model, architecture.stretches) for branch in architecture.branches]
    moments = []
    held = 0  # maps that wait to be merged
    for step in range(architecture.stretches):
        tokens = sum(_values(branch[step], side) for branch, side in zip(begun, sides, strict=True))
        works = [_block(architecture, index, begun[index][step], side, convention) for index, side in enumerate(sides)]
        for index in range(len(sides) - 1 if architecture.interaction.count else 0):
            large, small = ((stages[j][step], sides[j]) for j in (index, index + 1))
            works.append(_exchange(large, small, architecture.interaction))
        moments.append(held + tokens + max(works))
        if step in architecture.taps:
            held += sum(_values(branch[step], side) for branch, side in zip(stages, sides, strict=True))
    outputs = outputs or OUTPUTS.get(architecture.merge, 0)
    moments.append(held + _merging(architecture, convention, stages, sides, detector, outputs))
    return image + max(moments)


def _area(stage: Stage, sides: Grid) -> int:
    return (sides[0] // stage.stride) * (sides[1] // stage.stride)


def _values(stage: Stage, sides: Grid) -> int:
    return _area(stage, sides) * stage.width


def _block(architecture: Architecture, index: int, stage: Stage, sides: Grid, convention: Convention) -> int:
    """Inside an MLP: its hidden values twice, and what the block still holds; or while windows are filled up."""
    branch = architecture.branches[index]
    model = branch.model
    if not isinstance(model, Transformer):
        return (14 if model.response_norm else 9) * _values(stage, sides)
    counted = rules_for(convention, architecture.merge, model)
    height, width = sides[0] // model.patch, sides[1] // model.patch
    n = height * width + counted.prefix
    sides_of_windows = [side for side in branch.windows if side is not None]
    filled = max((-(-height // side) * -(-width // side) * side**2 for side in sides_of_windows), default=n)
    held = 1 if model.block == "post" else 2  # tokens, and what a norm before attention or MLP makes of them
    attention = n * held * model.width + (9 if filled > n else 6) * filled * model.width
    mlp = n * ((3 + held) * model.width + (4 if model.gated else 2) * model.mlp_width)
    return max(attention, mlp)


def _exchange(large: tuple[Stage, Grid], small: tuple[Stage, Grid], interaction: Interaction) -> int:
    """Both sides as normed, and the most of a query's places, weights and samples, or of the layer that gives them."""
    most = 0
    for (query, query_sides), (feature, feature_sides) in ((large, small), (small, large)):
        n, m, d = _area(query, query_sides), _area(feature, feature_sides), query.width
        read = d if interaction.projection else feature.width
        if interaction.attention == "deformable":
            samples = interaction.heads * interaction.points
            work = m * d // 2 + max(n * samples * 6 + n * interaction.points * d, 3 * samples * (n + d + 1))
        else:
            work = 3 * n * d + 2 * m * d
        most = max(most, n * d + m * read + work)
    return most


def _merging(
    architecture: Architecture,
    convention: Convention,
    stages: list[tuple[Stage, ...]],
    sides: Sequence[Grid],
    detector: DetectorCost,
    outputs: int,
) -> int:
    """Every branch at the first one's width, on its own grid and on the output's; a detector's finest maps."""
    width, stride = architecture.merged[-1]
    own = [_area(branch[-1], side) for branch, side in zip(stages, sides, strict=True)]
    output = sides[architecture.output]
    n = (output[0] // stride) * (output[1] // stride)
    resized = sum(n for area in own if area != n)
    merging = 0
    if architecture.merge == "tokens":
        merging = n * outputs * (len(own) + 1)
    elif architecture.merge != "logits" and len(own) > 1:
        merging = max(sum(own) + 2 * max(own), sum(own) + resized + 3 * n) * width
        if architecture.merge == "pyramid":
            finest, target = stages[0][0], stages[architecture.output][0]
            n_first = (output[0] // target.stride) * (output[1] // target.stride)
            areas = sum(_area(branch[0], side) for branch, side in zip(stages, sides, strict=True))
            merging = max(merging, (areas + (len(own) + 2) * n_first) * finest.width)
    return max(merging, _pyramid(architecture, output, detector)) if convention == "detector" else merging


def _pyramid(architecture: Architecture, output: Grid, detector: DetectorCost) -> int:
    """The map of stride 4 while it is made or read, beside the merged map; and the neck's own finest maps."""
    width, stride = architecture.merged[0]
    n = (output[0] // stride) * (output[1] // stride)
    finest = (output[0] // STRIDES[0]) * (output[1] // STRIDES[0])
    grown = n * width * (1 + (12 if stride > STRIDES[0] else 0)) + finest * width
    read = finest * width * 4 // 3 + finest * detector.channels * 3
    return max(grown, read)
