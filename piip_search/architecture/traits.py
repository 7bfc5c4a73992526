"""Traits that group designs: the order of image sizes, the number of branches, the attention."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from piip_search.architecture.architecture import Architecture

Trait = Callable[[Architecture], str | None]
"""Returns the group of a design; None for a design that belongs to none."""
EQUAL_COST = 0.1
"""Default largest share by which the dearer of two designs of equal cost may cost more."""


def _pairing(design: Architecture) -> str | None:
    sizes = [branch.resolution for branch in design.branches]
    if len(sizes) < 2:
        return None
    if len({branch.model.name for branch in design.branches}) < len(sizes):
        return "mixed"  # of one model twice, neither is the smaller one
    steps = {(after > before) - (after < before) for before, after in itertools.pairwise(sizes)}
    return {1: "inverted", 0: "equal", -1: "direct"}[steps.pop()] if len(steps) == 1 else "mixed"


def _branches(design: Architecture) -> str:
    count = len(design.branches)
    return f"{count} branch{'es' if count > 1 else ''}"


def _interactions(design: Architecture) -> str | None:
    return f"{design.interaction.count} interactions" if len(design.branches) > 1 else None


def _windows(design: Architecture) -> str | None:
    attending = [branch for branch in design.branches if branch.model.family == "vit"]
    kinds = {side is None for branch in attending for side in branch.windows}
    return {(True,): "global", (False,): "windows", (False, True): "both"}.get(tuple(sorted(kinds)))


def _family(design: Architecture) -> str:
    families = {branch.model.family for branch in design.branches}
    return {"vit": "ViT", "convnext": "ConvNeXt"}[families.pop()] if len(families) == 1 else "hybrid"


def _merge(design: Architecture) -> str | None:
    return design.merge if len(design.branches) > 1 else None


TRAITS: Mapping[str, Trait] = {
    "pairing": _pairing,
    "branches": _branches,
    "interactions": _interactions,
    "windows": _windows,
    "family": _family,
    "merge": _merge,
}
"""What designs may be grouped by.

`pairing` is the order of image sizes from the largest model to the smallest: `inverted` if they rise, `direct` if they
fall, `mixed` otherwise or if a model is there twice. `windows` is the attention of all blocks of ViTs. `pairing`,
`interactions` and `merge` leave out single branches.
"""


@dataclass(frozen=True, slots=True)
class Grouping:
    """What is compared at equal cost.

    Attributes:
        trait: Returns the group of a design.
        only: Names of the groups that are compared; empty for all.
    """

    trait: Trait
    only: tuple[str, ...] = ()
