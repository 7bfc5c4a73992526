"""The common parts of two designs, so that one can start from the other's weights.

A network's weights do not depend on image sizes or windows, so two designs share the parts of equal backbones. Parts
are named by their modules (`piip_search.models`).
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from piip_search.architecture import Architecture
from piip_search.architecture.segments import interaction_ranges
from piip_search.cost.price import breakdown


def nearest(child: Architecture, relatives: Iterable[Architecture]) -> Architecture | None:
    """The relative that shares most; None if none shares a branch. The last of equals."""
    found = [(kinship(child, relative), index, relative) for index, relative in enumerate(relatives)]
    best = max(found, default=None, key=lambda item: item[:2])
    return best[2] if best is not None and best[0][0] > 0 else None


def kinship(child: Architecture, parent: Architecture) -> tuple[float, float, float]:
    """The kinship of two designs as a sort key.

    Returns:
        The shared fraction of the branches' parameters, the shared fraction of all parts, and minus the mean |log2|
        ratio of the image sizes of shared branches.
    """
    matched = _matched_branches(child, parent)
    weights = [_parameters(child, index) for index in range(len(child.branches))]
    shared = shared_parts(child, parent)
    parts = all_parts(child)
    apart = [
        abs(math.log2(child.branches[mine].resolution / parent.branches[theirs].resolution))
        for mine, theirs in matched.items()
    ]
    return (
        sum(weights[index] for index in matched) / sum(weights),
        sum(part in shared for part in parts) / len(parts),
        -sum(apart) / max(1, len(apart)),
    )


def _parameters(architecture: Architecture, branch: int) -> int:
    own = str(architecture.branches[branch])
    return sum(part.cost.params for part in breakdown(architecture, "backbone") if part.group == own)


def shared_parts(child: Architecture, parent: Architecture) -> dict[str, str]:
    """Parts of the child that the parent has too, with their names there."""
    branches = _matched_branches(child, parent)
    pairs = {f"branches.{mine}": f"branches.{theirs}" for mine, theirs in branches.items()}
    pairs |= _matched_interactions(child, parent, branches)
    if child.merge == parent.merge:
        levels = range(len(child.taps))
        pairs |= {
            f"merges.{level}.projections.{mine}": f"merges.{level}.projections.{theirs}"
            for level in levels
            for mine, theirs in branches.items()
            if (mine == 0) == (theirs == 0)
        }
        ends = ((child.branches[0], parent.branches[0]), (child.branches[child.output], parent.branches[parent.output]))
        if child.merge == "residual" and all(mine.model == theirs.model for mine, theirs in ends):
            pairs["merges.0.placement"] = "merges.0.placement"
        for kind in ("norms", "heads", "projectors"):
            pairs |= {f"merges.0.{kind}.{mine}": f"merges.0.{kind}.{theirs}" for mine, theirs in branches.items()}
    return pairs


def _matched_branches(child: Architecture, parent: Architecture) -> dict[int, int]:
    free = dict(enumerate(parent.branches))
    matched: dict[int, int] = {}
    for index, branch in enumerate(child.branches):
        alike = [place for place, other in free.items() if other.model == branch.model]
        if alike:
            matched[index] = alike[0]
            del free[alike[0]]
    return matched


def _matched_interactions(child: Architecture, parent: Architecture, branches: dict[int, int]) -> dict[str, str]:
    """Directions of interactions after the same blocks of both branches."""
    mine, theirs = child.interaction, parent.interaction
    if not (mine.count and theirs.count):
        return {}
    pairs: dict[str, str] = {}
    for pair in range(len(child.branches) - 1):
        large, small = branches.get(pair), branches.get(pair + 1)
        if large is None or small != large + 1:
            continue
        steps = {ends: step for step, ends in enumerate(_ends(parent, large))}
        for step, ends in enumerate(_ends(child, pair)):
            if ends in steps:
                pairs |= {
                    f"interactions.{step}.{pair}.{reader}": f"interactions.{steps[ends]}.{large}.{reader}"
                    for reader in ("large_reads", "small_reads")
                }
    return pairs if replace(mine, count=theirs.count, direction=theirs.direction) == theirs else {}


def _ends(architecture: Architecture, pair: int) -> list[tuple[int, int]]:
    """Number of blocks of both neighbours before each interaction."""
    ranges = [
        interaction_ranges(architecture.branches[index].model, architecture.stretches) for index in (pair, pair + 1)
    ]
    return [(large.stop, small.stop) for large, small in zip(*ranges, strict=True)]


def all_parts(architecture: Architecture) -> list[str]:
    """Names of all parts that can be inherited."""
    branches = range(len(architecture.branches))
    parts = [f"branches.{index}" for index in branches]
    for step in range(architecture.interaction.count):
        readers = zip(("large_reads", "small_reads"), architecture.interaction.reads(step), strict=True)
        wanted = [reader for reader, reads in readers if reads]
        parts += [f"interactions.{step}.{pair}.{reader}" for pair in branches[:-1] for reader in wanted]
    if architecture.merge in ("logits", "tokens"):
        kinds = ("norms", "heads") if architecture.merge == "logits" else ("projectors",)
        return parts + [f"merges.0.{kind}.{index}" for kind in kinds for index in branches]
    if len(branches) > 1:
        parts += [
            f"merges.{level}.projections.{index}" for level in range(len(architecture.taps)) for index in branches
        ]
    return [*parts, "merges.0.placement"] if architecture.merge == "residual" and len(branches) > 1 else parts
