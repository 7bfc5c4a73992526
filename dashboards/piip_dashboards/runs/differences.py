"""Differences of two designs, choice by choice."""

from dataclasses import fields

from piip_search.architecture import Architecture, Branch, Interaction


def differences(one: Architecture, other: Architecture) -> list[str]:
    """The changes from the first design to the second; empty for equal designs."""
    if len(one.branches) == len(other.branches):
        found = [text for pair in zip(one.branches, other.branches, strict=True) for text in _of_branches(*pair)]
    else:
        mine, theirs = ([str(branch) for branch in design.branches] for design in (one, other))
        found = [f"without {name}" for name in mine if name not in theirs]
        found += [f"with {name}" for name in theirs if name not in mine]
    if len(one.branches) > 1 and len(other.branches) > 1:
        found += _of_interactions(one.interaction, other.interaction)
    if one.merge != other.merge:
        found.append(f"merge {one.merge} → {other.merge}")
    return found


def at_least(one: Architecture, other: Architecture) -> int:
    """A quick lower bound of the number of `differences`."""
    mine, theirs = one.branches, other.branches
    if len(mine) == len(theirs):
        changed = sum(a != b for a, b in zip(mine, theirs, strict=True))
    else:
        changed = sum(branch not in theirs for branch in mine) + sum(branch not in mine for branch in theirs)
    interacting = len(mine) > 1 and len(theirs) > 1 and one.interaction != other.interaction
    return changed + interacting + (one.merge != other.merge)


def _of_branches(one: Branch, other: Branch) -> list[str]:
    found = []
    if one.model != other.model:
        found.append(f"{one.backbone} → {other.backbone}")
    if one.resolution != other.resolution:
        found.append(f"{one.backbone} at {one.resolution} → {other.resolution} px")
    mine, theirs = (str(branch).partition(":")[2] for branch in (one, other))
    if mine != theirs and mine and theirs:
        found.append(f"{one.backbone} attention {mine} → {theirs}")
    return found


def _of_interactions(one: Interaction, other: Interaction) -> list[str]:
    found = []
    for field in fields(Interaction):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if mine != theirs:
            name = "interactions" if field.name == "count" else f"interaction {field.name}"
            found.append(f"{name} {mine} → {theirs}")
    return found
