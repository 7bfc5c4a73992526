"""The price of an architecture: its parts, their sum, and the memory of its training."""

import itertools
from collections.abc import Iterator

from piip_search.architecture import Architecture, Branch
from piip_search.architecture.segments import Merge, merged_maps
from piip_search.cost.branch import branch_parts
from piip_search.cost.conventions import CONVENTIONS, Convention, Cost, Grid, Part, rules_for
from piip_search.cost.head import Head
from piip_search.cost.interaction import interaction_parts
from piip_search.cost.memory import Memory, live_values, memory_of
from piip_search.cost.merge import merge_cost, merges, published_head_cost
from piip_search.cost.training_step import Step, kept_by_checkpoints
from piip_search.errors import DesignError


def conventions_of(architecture: Architecture, head: Head | None) -> tuple[Convention, ...]:
    """The conventions that can price an architecture: `whole` needs a head that reads its outputs."""
    return CONVENTIONS if head is not None and architecture.merge in head.merges else CONVENTIONS[:2]


def price(
    architecture: Architecture,
    convention: Convention = "published",
    image: Grid | None = None,
    head: Head | None = None,
    outputs: int | None = None,
) -> Cost:
    """Cost of one image.

    Reproduces the papers' tables under `published` (PIIP, tables 1 to 12), the modules in `piip_search.models` under
    `backbone`, and a task's whole network under `whole`.

    Args:
        architecture: Design to price.
        convention: Counting convention.
        image: Height and width in pixels of the output branch's image, padded to the multiple at which all grids are
            exact; the architecture's nominal square by default.
        head: Layers that read the merged maps, under `whole`.
        outputs: Class scores of the merge `logits`, or channels of a token of the merge `tokens`; 1000 and 4096 by
            default.

    Raises:
        DesignError: There is no head, or it cannot read the outputs of this merge, under `whole`.
    """
    return Cost.total(cost for _, _, cost in _works(architecture, convention, image, head, outputs))


def breakdown(
    architecture: Architecture,
    convention: Convention = "published",
    image: Grid | None = None,
    head: Head | None = None,
    outputs: int | None = None,
) -> list[Part]:
    """The price by named parts, which sum to `price`; the arguments are those of `price`."""
    works = _works(architecture, convention, image, head, outputs)
    return [Part(_name_of(group), kind, cost) for group, kind, cost in works]


_Group = Branch | tuple[Branch, Branch] | str
"""What costs something: a branch, the interactions of two neighbours, or the part of that name."""


def _name_of(group: _Group) -> str:
    if isinstance(group, tuple):
        return f"interactions {group[0].backbone} - {group[1].backbone}"
    return str(group)


def _works(
    architecture: Architecture, convention: Convention, image: Grid | None, head: Head | None, outputs: int | None
) -> Iterator[tuple[_Group, str, Cost]]:
    """Each group with its kinds of work and their costs. Names are left out: most prices need none."""
    if convention == "whole":
        head = _reading(architecture.merge, head)
    branches, interaction, merge = architecture.branches, architecture.interaction, architecture.merge
    whole = (architecture.resolution,) * 2 if image is None else architecture.image(*image)
    sides = architecture.sides(whole)
    output = architecture.output
    counted = [rules_for(convention, merge, branch.model, outputs) for branch in branches]
    for branch, side, count in zip(branches, sides, counted, strict=True):
        for kind, cost in branch_parts(branch, side, count):
            yield branch, kind, cost
    for index, pair in enumerate(itertools.pairwise(branches)) if interaction.count else ():
        both = (sides[index], sides[index + 1])
        for kind, cost in interaction_parts(*pair, both, interaction, counted[0].published, counted[0].first_stride):
            yield pair, kind, cost
    merged = merged_maps(branches[0].model, branches[output].model, architecture.stretches, merge)
    if merges(len(branches), merge):
        output_branch = (branches[output], sides[output])
        costs = (
            merge_cost(branch, branches[0], index == 0, side, output_branch, architecture.stretches, merge, count)
            for index, (branch, side, count) in enumerate(zip(branches, sides, counted, strict=True))
        )
        yield "merge", "", Cost.total(costs)
    if counted[0].light_merge:
        width, stride = merged[-1]
        yield "head", "", published_head_cost(width, (sides[output][0] // stride, sides[output][1] // stride))
    if convention == "whole" and head is not None:
        for part in head.parts(merged, sides[output]):
            yield part.group, part.kind, part.cost


def _reading(merge: Merge, head: Head | None) -> Head:
    """The head, if it reads the outputs of a merge."""
    if head is None:
        raise DesignError("the convention whole counts a head, and none is given; name one, or count the backbone")
    if merge not in head.merges:
        raise DesignError(f"the merge {merge} gives no outputs that the head reads; use {', '.join(head.merges)}")
    return head


def memory(
    architecture: Architecture,
    convention: Convention = "backbone",
    image: Grid | None = None,
    head: Head | None = None,
    images: int = 1,
    value_bytes: int = 4,
    outputs: int | None = None,
) -> Memory:
    """Memory of a training step and of inference.

    Args:
        architecture: Design that runs.
        convention: Modules that count.
        image: As in `price`.
        head: As in `price`.
        images: Images a step.
        value_bytes: Bytes of a value: 4 in float32, 2 under bfloat16 autocast.
        outputs: As in `price`.

    Raises:
        DesignError: As in `price`.
    """
    whole = (architecture.resolution,) * 2 if image is None else architecture.image(*image)
    sides = architecture.sides(whole)
    live = live_values(architecture, convention, sides, head, outputs)
    return memory_of(price(architecture, convention, image, head, outputs), live, images, value_bytes)


def training_bytes(architecture: Architecture, step: Step) -> int:
    """Memory of the training step of a trial, which may train a smaller form of the design (see `Step.bytes_of`).

    A head that does not read the merge's outputs is left out: the network is trained without it.

    Args:
        architecture: The design.
        step: Training step and its settings.
    """
    trained = architecture.scaled(step.image_scale)
    image = (int(trained.resolution * step.short_side), trained.resolution)
    parts = breakdown(trained, "backbone", image, outputs=step.outputs)
    backbone = Cost.total(part.cost for part in parts)
    whole = price(trained, conventions_of(trained, step.head)[-1], image, step.head, step.outputs)
    kept = backbone.saved_values
    if step.checkpointing:
        merge = sum(part.cost.saved_values for part in parts if part.group == "merge")
        kept = merge + sum(kept_by_checkpoints(trained, trained.sides(trained.image(*image))))
    return int(step.bytes_of(whole.params, backbone.params, kept, whole.saved_values - backbone.saved_values))
