"""In what two designs differ, choice by choice."""

from dataclasses import fields
from functools import lru_cache

from piip_search.architecture import Architecture, Branch, Interaction


def differences(one: Architecture, other: Architecture) -> list[str]:
    """What would have to change for the first to become the second; empty for equal designs."""
    if len(one.branches) == len(other.branches):
        found = [text for pair in zip(one.branches, other.branches, strict=True) for text in _of_branches(*pair)]
    else:
        mine, theirs = ([_name(branch) for branch in design.branches] for design in (one, other))
        found = [f"without {name}" for name in mine if name not in theirs]
        found += [f"with {name}" for name in theirs if name not in mine]
    if len(one.branches) > 1 and len(other.branches) > 1:
        found += _of_interactions(one.interaction, other.interaction)
    if one.merge != other.merge:
        found.append(f"merge {one.merge} → {other.merge}")
    return found


@lru_cache(maxsize=10_000)
def _name(branch: Branch) -> str:
    return str(branch)


@lru_cache(maxsize=100_000)  # a page compares thousands of designs, which are made of few branches
def _of_branches(one: Branch, other: Branch) -> tuple[str, ...]:
    found = []
    if one.model != other.model:
        found.append(f"{one.backbone} → {other.backbone}")
    if one.resolution != other.resolution:
        found.append(f"{one.backbone} at {one.resolution} → {other.resolution} px")
    mine, theirs = (str(branch).partition(":")[2] for branch in (one, other))
    if mine != theirs and mine and theirs:
        found.append(f"{one.backbone} attention {mine} → {theirs}")
    return tuple(found)


@lru_cache(maxsize=10_000)
def _of_interactions(one: Interaction, other: Interaction) -> tuple[str, ...]:
    found = []
    for field in fields(Interaction):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if mine != theirs:
            name = "interactions" if field.name == "count" else f"interaction {field.name}"
            found.append(f"{name} {mine} → {theirs}")
    return tuple(found)
