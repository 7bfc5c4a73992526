"""Memory of a training step and of inference, before anything is run.

Two numbers are estimated, in values of one image: the values that training saves for the backward pass
(`Cost.saved_values`, a sum over all parts), and the most that are alive in a forward pass without saving
(`live_values`). Both follow the modules in `piip_search.models` with fused attention; tests hold them within 5 and 15 %
of torch. With activation checkpointing a training saves the inputs of every block and interaction (`branch_inputs`,
`exchange_inputs`), and the values of the one that runs again (`block_values`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from piip_search.architecture import Architecture, Interaction
from piip_search.architecture.backbones import Backbone, ConvNeXt, Stage, Transformer
from piip_search.architecture.segments import first_stages, interaction_stages
from piip_search.cost.branch import backbone_parts, convnext_blocks
from piip_search.cost.conventions import OUTPUTS, Convention, Cost, CountingRules, Grid, rules_for
from piip_search.cost.head import Head

WEIGHT_BYTES = 4
"""Bytes of a weight: float32, also under autocast."""
STATE_BYTES = 16
"""Bytes of a weight in training: itself, its gradient and AdamW's two averages, in float32."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device.

    Attributes:
        training: Bytes of a training step: weights, gradients, optimiser state and what the backward pass needs.
        inference: Bytes of a forward pass: weights and the most values that are alive together.
    """

    training: int
    inference: int


def memory_of(cost: Cost, live: int, images: int = 1, value_bytes: int = 4) -> Memory:
    """Memory of a training step and of a forward pass.

    Left out: the allocator's own losses, workspaces of kernels, and copies of weights that autocast makes.

    Args:
        cost: Cost of one image.
        live: Result of `live_values`.
        images: Images a step.
        value_bytes: Bytes of a value: 4 in float32, 2 under bfloat16 autocast.
    """
    return Memory(
        STATE_BYTES * cost.params + images * value_bytes * cost.saved_values,
        WEIGHT_BYTES * cost.params + images * value_bytes * live,
    )


def branch_inputs(model: Backbone, sides: Grid, counted: CountingRules) -> int:
    """Values that checkpointing saves of a backbone: inputs of blocks, and the embedding's; arrays give arrays."""
    embedding = backbone_parts(model, (None,), sides, counted)[0][1].saved_values
    if not isinstance(model, ConvNeXt):
        tokens = (sides[0] // model.patch) * (sides[1] // model.patch) + counted.prefix
        return embedding + model.depth * tokens * model.width
    before, inputs = model.stages[0], embedding
    for stage in model.stages:
        inputs += _values(before, sides) + (stage.blocks - 1) * _values(stage, sides)
        before = stage
    return inputs


def pooled_inputs(model: Backbone, sides: Grid, counted: CountingRules) -> int:
    """Values of the last block that a head of class scores saves; arrays give arrays.

    A class token is a part of the tensor of all tokens, which stays alive with it. If the branches interact at the end,
    the interaction saves that tensor.
    """
    if not isinstance(model, Transformer) or model.pool != "token":
        return 0
    return ((sides[0] // model.patch) * (sides[1] // model.patch) + counted.prefix) * model.width


def block_values(model: Backbone, windows: Sequence[int | None], sides: Grid, counted: CountingRules) -> list[int]:
    """Values that each kind of block saves while it runs again; one of them is the peak; arrays give arrays."""
    if isinstance(model, ConvNeXt):
        return convnext_blocks(model, sides)
    kept = []
    for window in dict.fromkeys(windows):
        _, (_, attention), (_, mlp) = backbone_parts(model, (window,), sides, counted)  # mlp: of all blocks
        kept.append(attention.saved_values + mlp.saved_values // model.depth)
    return kept


def exchange_inputs(large: Sequence[Stage], small: Sequence[Stage], sides: tuple[Grid, Grid]) -> int:
    """Values of the inputs of all interactions of two neighbours; arrays give arrays.

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
    head: Head | None,
    outputs: int | None = None,
) -> int:
    """Most values alive together in a forward pass of one image: the largest of the possible peaks.

    Args:
        architecture: Design that runs.
        convention: Modules that count.
        sides: Height and width of the image that each branch sees, in pixels.
        head: Layers that read the merged maps, under the convention `whole`.
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
    moments.append(held + _merging(architecture, convention, stages, sides, head, outputs))
    return image + max(moments)


def _area(stage: Stage, sides: Grid) -> int:
    return (sides[0] // stage.stride) * (sides[1] // stage.stride)


def _values(stage: Stage, sides: Grid) -> int:
    return _area(stage, sides) * stage.width


def _block(architecture: Architecture, index: int, stage: Stage, sides: Grid, convention: Convention) -> int:
    """Values alive in an MLP: its hidden values twice, and the block's other values; or during padding of windows."""
    branch = architecture.branches[index]
    model = branch.model
    if not isinstance(model, Transformer):
        return (14 if model.response_norm else 9) * _values(stage, sides)
    counted = rules_for(convention, architecture.merge, model)
    height, width = sides[0] // model.patch, sides[1] // model.patch
    n = height * width + counted.prefix
    sides_of_windows = [side for side in branch.windows if side is not None]
    filled = max((-(-height // side) * -(-width // side) * side**2 for side in sides_of_windows), default=n)
    held = 1 if model.block == "post" else 2  # tokens, and their normed copy before attention or MLP
    attention = n * held * model.width + (9 if filled > n else 6) * filled * model.width
    mlp = n * ((3 + held) * model.width + (4 if model.gated else 2) * model.mlp_width)
    return max(attention, mlp)


def _exchange(large: tuple[Stage, Grid], small: tuple[Stage, Grid], interaction: Interaction) -> int:
    """Values of both normed sides, and the most of a query's places, weights and samples, or of their layer."""
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
    head: Head | None,
    outputs: int,
) -> int:
    """Values of all branches at the first width, on their own grids and the output's; a head's finest maps."""
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
    return max(merging, head.live_values(architecture.merged, output)) if convention == "whole" and head else merging
