"""What a training step of a trial takes of a GPU's memory, before anything is run."""

import itertools
from dataclasses import dataclass
from typing import Any

from piip_search.architecture import Architecture
from piip_search.architecture.segments import interaction_stages
from piip_search.cost.conventions import Cost, Grid, rules_for
from piip_search.cost.detector import COCO_MASK_RCNN, DetectorCost
from piip_search.cost.interaction import exchange_parts
from piip_search.cost.memory import STATE_BYTES, block_values, branch_inputs, exchange_inputs, pooled_inputs

VALUE_BYTES = 4
"""Bytes of a value in float32."""
HALF_BYTES = 2
"""Bytes of a value in bfloat16."""


@dataclass(frozen=True, slots=True)
class Step:
    """A training step: what of a design is trained, and what its memory depends on besides the design.

    Attributes:
        image_scale: Factor on the design's sizes, in (0, 1].
        short_side: Images are fitted into a box of the design's image size by this share of it.
        images: Images at a time.
        detector: What reads the merged maps, where the merge gives maps.
        bfloat16: Whether the backbone runs in bfloat16; pyramid, neck and head are counted in float32.
        checkpointing: Whether inputs of blocks and interactions alone are kept for the backward pass.
    """

    image_scale: float = 1.0
    short_side: float = 1.0
    images: int = 1
    detector: DetectorCost = COCO_MASK_RCNN
    bfloat16: bool = False
    checkpointing: bool = False

    def bytes_of(self, weights: Any, backbone_weights: Any, kept: Any, read: Any) -> Any:
        """Memory of a step; arrays give arrays.

        Left out: the context of CUDA, workspaces of kernels, the allocator's losses, and what the backward pass makes
        on its way.

        Args:
            weights: Parameters of the whole detector.
            backbone_weights: Those of the backbone, of which autocast keeps copies.
            kept: Values that the backbone keeps of one image.
            read: Values that what reads its maps keeps.
        """
        size = HALF_BYTES if self.bfloat16 else VALUE_BYTES
        copies = HALF_BYTES * backbone_weights if self.bfloat16 else 0
        return STATE_BYTES * weights + copies + self.images * (size * kept + VALUE_BYTES * read)


def kept_by_checkpoints(architecture: Architecture, sides: tuple[Grid, ...]) -> tuple[int, int]:
    """Values that a backbone without its merge keeps under activation checkpointing.

    Args:
        architecture: What is trained.
        sides: Height and width in pixels at which each branch sees the image.

    Returns:
        What its forward pass keeps, and the most that comes on top while a block or an interaction runs again.
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
        most.append(Cost.total(cost for _, cost in parts).kept // interaction.count)
    return inputs, max(most)
