"""GPU memory of a trial's training step, before anything is run."""

import itertools
from dataclasses import dataclass
from typing import Any

from piip_search.architecture import Architecture
from piip_search.architecture.segments import interaction_stages
from piip_search.cost.conventions import Cost, Grid, rules_for
from piip_search.cost.head import Head
from piip_search.cost.interaction import exchange_parts
from piip_search.cost.memory import STATE_BYTES, block_values, branch_inputs, exchange_inputs, pooled_inputs

VALUE_BYTES = 4
"""Bytes of a value in float32."""
HALF_BYTES = 2
"""Bytes of a value in bfloat16."""


@dataclass(frozen=True, slots=True)
class Step:
    """A training step: the trained form of a design, and settings that change its memory.

    Attributes:
        image_scale: Factor on the design's sizes, in (0, 1].
        short_side: Short side of the box for an image, as a share of the design's image size, which is the long side.
        images: Images at a time.
        head: Layers that read the merged maps; None trains the backbone alone.
        bfloat16: Whether the backbone runs in bfloat16; the head is counted in float32.
        checkpointing: Whether only the inputs of blocks and interactions are saved for the backward pass.
        outputs: Class scores of the merge `logits`, or channels of a token of the merge `tokens`; None for the default.
    """

    image_scale: float = 1.0
    short_side: float = 1.0
    images: int = 1
    head: Head | None = None
    bfloat16: bool = False
    checkpointing: bool = False
    outputs: int | None = None

    def bytes_of(self, weights: Any, backbone_weights: Any, kept: Any, read: Any) -> Any:
        """Memory of a training step; arrays give arrays.

        Left out: CUDA's context, workspaces of kernels, the allocator's losses, and temporary values of the backward
        pass.

        Args:
            weights: Parameters of the whole network.
            backbone_weights: Parameters of the backbone; autocast copies them.
            kept: Values of one image that the backbone saves.
            read: Values of one image that the head after the backbone saves.
        """
        size = HALF_BYTES if self.bfloat16 else VALUE_BYTES
        copies = HALF_BYTES * backbone_weights if self.bfloat16 else 0
        return STATE_BYTES * weights + copies + self.images * (size * kept + VALUE_BYTES * read)


def kept_by_checkpoints(architecture: Architecture, sides: tuple[Grid, ...]) -> tuple[int, int]:
    """Values that a backbone without its merge saves under activation checkpointing.

    Args:
        architecture: Design that is trained.
        sides: Height and width in pixels at which each branch sees the image.

    Returns:
        Values of its forward pass, and the most additional values while a block or an interaction runs again.
    """
    branches, interaction = architecture.branches, architecture.interaction
    inputs, most = 0, [0]
    for branch, side in zip(branches, sides, strict=True):
        counted = rules_for("backbone", architecture.merge, branch.model)
        inputs += branch_inputs(branch.model, side, counted)
        if architecture.merge == "logits" and not interaction.count:
            inputs += pooled_inputs(branch.model, side, counted)
        most += block_values(branch.model, branch.windows, side, counted)
    for index, (large, small) in enumerate(itertools.pairwise(branches)) if interaction.count else ():
        pair = (sides[index], sides[index + 1])
        stages = [interaction_stages(one.model, interaction.count) for one in (large, small)]
        inputs += exchange_inputs(stages[0], stages[1], pair)
        parts = exchange_parts(large.model, small.model, pair, interaction, published=False, first_stride=False)
        most.append(Cost.total(cost for _, cost in parts).saved_values // interaction.count)
    return inputs, max(most)
