"""The price of an architecture: its parts, their sum, and the memory of its training."""

import itertools

from piip_search.architecture import Architecture
from piip_search.architecture.segments import KEEPS_PREFIX, merged_maps
from piip_search.cost.branch import branch_parts
from piip_search.cost.conventions import CONVENTIONS, Convention, Cost, Grid, Part, rules_for
from piip_search.cost.detector import COCO_MASK_RCNN, DetectorCost, detector_parts
from piip_search.cost.interaction import interaction_parts
from piip_search.cost.memory import Memory, live_values, memory_of
from piip_search.cost.merge import merge_cost, merges, published_head_cost
from piip_search.cost.training_step import Step, kept_by_checkpoints
from piip_search.errors import DesignError


def conventions_of(architecture: Architecture) -> tuple[Convention, ...]:
    """The conventions that can price an architecture: a detector reads maps, not class scores or tokens."""
    return CONVENTIONS[:2] if architecture.merge in KEEPS_PREFIX else CONVENTIONS


def price(
    architecture: Architecture,
    convention: Convention = "published",
    image: Grid | None = None,
    detector: DetectorCost = COCO_MASK_RCNN,
    outputs: int | None = None,
) -> Cost:
    """Cost of one image.

    Reproduces the papers' tables under `published` (PIIP, tables 1 to 12), the modules in `piip_search.models` under
    `backbone`, and mmdet's around them under `detector`.

    Args:
        architecture: Design to price.
        convention: Counting convention.
        image: Height and width in pixels of the output branch's image, padded to the multiple at which all grids are
            exact; the architecture's nominal square by default.
        detector: Detector on the merged maps, under `detector`.
        outputs: Class scores of the merge `logits`, or channels of a token of the merge `tokens`; 1000 and 4096 by
            default.

    Raises:
        DesignError: The architecture has no maps for a detector, under `detector`.
    """
    return Cost.total(part.cost for part in breakdown(architecture, convention, image, detector, outputs))


def breakdown(
    architecture: Architecture,
    convention: Convention = "published",
    image: Grid | None = None,
    detector: DetectorCost = COCO_MASK_RCNN,
    outputs: int | None = None,
) -> list[Part]:
    """The price by named parts, which sum to `price`; the arguments are those of `price`."""
    if convention == "detector" and architecture.merge in KEEPS_PREFIX:
        raise DesignError(
            f"the merge {architecture.merge} gives no maps that a detector could read; use conv, linear or pyramid"
        )
    branches, interaction, merge = architecture.branches, architecture.interaction, architecture.merge
    whole = (architecture.resolution,) * 2 if image is None else architecture.image(*image)
    sides = architecture.sides(whole)
    output = architecture.output
    counted = [rules_for(convention, merge, branch.model, outputs) for branch in branches]
    parts = [
        Part(str(branch), kind, cost)
        for branch, side, count in zip(branches, sides, counted, strict=True)
        for kind, cost in branch_parts(branch, side, count)
    ]
    for index, (large, small) in enumerate(itertools.pairwise(branches)) if interaction.count else ():
        group = f"interactions {large.backbone} - {small.backbone}"
        works = interaction_parts(
            large, small, (sides[index], sides[index + 1]), interaction, counted[0].published, counted[0].first_stride
        )
        parts += [Part(group, kind, cost) for kind, cost in works]
    merged = merged_maps(branches[0].model, branches[output].model, architecture.stretches, merge)
    if merges(len(branches), merge):
        output_branch = (branches[output].model, sides[output])
        costs = (
            merge_cost(branch, branches[0], index == 0, side, output_branch, architecture.stretches, merge, count)
            for index, (branch, side, count) in enumerate(zip(branches, sides, counted, strict=True))
        )
        parts.append(Part("merge", "", Cost.total(costs)))
    if counted[0].light_merge:
        width, stride = merged[-1]
        grid = (sides[output][0] // stride, sides[output][1] // stride)
        parts.append(Part("head", "", published_head_cost(width, grid)))
    if convention == "detector":
        parts += detector_parts(detector, merged, sides[output])
    return parts


def memory(
    architecture: Architecture,
    convention: Convention = "backbone",
    image: Grid | None = None,
    detector: DetectorCost = COCO_MASK_RCNN,
    images: int = 1,
    value_bytes: int = 4,
    outputs: int | None = None,
) -> Memory:
    """Memory of a training step and of inference.

    Args:
        architecture: Design that runs.
        convention: Modules that count.
        image: As in `price`.
        detector: As in `price`.
        images: Images a step.
        value_bytes: Bytes of a value: 4 in float32, 2 under bfloat16 autocast.
        outputs: As in `price`.

    Raises:
        DesignError: As in `price`.
    """
    whole = (architecture.resolution,) * 2 if image is None else architecture.image(*image)
    sides = architecture.sides(whole)
    live = live_values(architecture, convention, sides, detector, outputs)
    return memory_of(price(architecture, convention, image, detector, outputs), live, images, value_bytes)


READ = ("pyramid", "neck", "head")
"""Groups of parts after a backbone's maps."""


def training_bytes(architecture: Architecture, step: Step, outputs: int | None = None) -> int:
    """Memory of the training step of a trial, which may train a smaller form of the design (see `Step.bytes_of`).

    The merges `logits` and `tokens` give no maps: their networks are trained without a detector, which is left out.

    Args:
        architecture: The design.
        step: Training step and its settings.
        outputs: As in `price`.
    """
    trained = architecture.scaled(step.image_scale)
    image = (int(trained.resolution * step.short_side), trained.resolution)
    parts = breakdown(trained, conventions_of(trained)[-1], image, step.detector, outputs)
    backbone = Cost.total(part.cost for part in parts if part.group not in READ)
    read = Cost.total(part.cost for part in parts if part.group in READ)
    kept = backbone.saved_values
    if step.checkpointing:
        merge = sum(part.cost.saved_values for part in parts if part.group == "merge")
        kept = merge + sum(kept_by_checkpoints(trained, trained.sides(trained.image(*image))))
    return int(step.bytes_of(backbone.params + read.params, backbone.params, kept, read.saved_values))
