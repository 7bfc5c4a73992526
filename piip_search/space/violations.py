"""The rules of a space that an architecture breaks."""

import itertools
from collections.abc import Iterable
from typing import Any

from piip_search.architecture import Architecture, Branch
from piip_search.architecture.backbones import Transformer, backbone_named
from piip_search.space.choices import Choices
from piip_search.space.windows import write_window


def broken_rules(space: Choices, architecture: Architecture) -> list[str]:
    """Reasons why an architecture is not in the space: each broken rule with the nearest allowed value."""
    found = (
        []
        if len(architecture.branches) in space.branches
        else [f"{len(architecture.branches)} branches, the space has {listed(space.branches)}"]
    )
    for branch in architecture.branches:
        found += _branch_reasons(space, branch)
    found += _tail_reasons(space, architecture)
    found += _pairing_reasons(space, architecture)
    if space.padding is not None and architecture.multiple > space.padding:
        found.append(
            f"its grids are exact only for images padded to multiples of {architecture.multiple} px, and at most "
            f"{space.padding} is allowed (padding); use sizes that share larger factors"
        )
    return found


def _branch_reasons(space: Choices, branch: Branch) -> list[str]:
    if branch.backbone not in space.backbones:
        wanted = branch.model
        known = [backbone_named(name) for name in space.backbones]
        near = min(known, key=lambda other: (other.family != wanted.family, abs(other.width - wanted.width)))
        return [f"backbone {branch.backbone} is not offered (backbones); nearest: {near.name}"]
    found = []
    if branch.resolution not in space.resolutions:
        near_side = min(space.resolutions, key=lambda side: abs(side - branch.resolution))
        found.append(f"{branch} has an image size that is not offered (resolutions); nearest: {near_side}")
    model = space.model(space.backbones.index(branch.backbone))
    if not isinstance(model, Transformer):
        return found
    if branch.model.patch != model.patch:
        found.append(f"{branch} has patches of {branch.model.patch} px, the space has {model.patch} (patch)")
    window = (branch.window, branch.global_every)
    if window not in space.windows:
        near_window = min(space.windows, key=lambda other: abs((other[0] or 10**4) - (branch.window or 10**4)))
        found.append(f"{branch} attends in a way that is not offered (windows); nearest: {write_window(near_window)}")
    if space.whole_windows and branch.window is not None and branch.grid % branch.window:
        side = branch.window * model.patch
        found.append(
            f"{branch} has windows that do not tile its {branch.grid} tokens (whole_windows); nearest size: "
            f"{max(side, round(branch.resolution / side) * side)}"
        )
    if space.pretraining_grid and model.position_grid and branch.grid % model.position_grid:
        side = model.position_grid * model.patch
        found.append(
            f"{branch} has {branch.grid} tokens, no multiple of the {model.position_grid} of its stored positions "
            f"(pretraining_grid); nearest size: {max(side, round(branch.resolution / side) * side)}"
        )
    return found


def _tail_reasons(space: Choices, architecture: Architecture) -> list[str]:
    interaction = architecture.interaction
    found = []
    if space.merge_of(len(architecture.branches), architecture.merge) not in space.merges:
        found.append(f"merge {architecture.merge} is not offered (merges); choose {listed(space.merges)}")
    if len(architecture.branches) == 1:
        return found
    if interaction.count not in space.interactions:
        near = min(space.interactions, key=lambda count: abs(count - interaction.count))
        found.append(f"{interaction.count} interactions are not offered (interactions); nearest: {near}")
    if not interaction.count:
        return found
    for name in ("attention", "direction", "projection", "norm"):
        value, offered = getattr(interaction, name), getattr(space, name)
        if value not in offered:
            found.append(f"{name} {value} is not offered ({name}); choose {listed(offered)}")
    points = space.points if interaction.attention == "deformable" else 4
    if (interaction.heads, interaction.points) != (space.heads, points):
        found.append(
            f"{interaction.heads} heads and {interaction.points} points, the space has {space.heads} and {points}"
        )
    return found


def _pairing_reasons(space: Choices, architecture: Architecture) -> list[str]:
    sides = [branch.resolution for branch in architecture.branches]
    models = [branch.backbone for branch in architecture.branches]
    found = []
    if space.pairing == "inverted":
        if len(set(models)) < len(models):
            found.append("a model is repeated, which the inverted pairing forbids (pairing)")
        for large, small in itertools.pairwise(architecture.branches):
            if small.resolution <= large.resolution:
                larger = [side for side in space.resolutions if side > large.resolution]
                near = f"; nearest: {larger[0]}" if larger else ""
                found.append(f"{small} must see a larger image than {large} (pairing: inverted){near}")
    elif space.pairing == "equal" and len(set(sides)) > 1:
        found.append(f"all branches must see one image size, got {listed(sides)} (pairing: equal)")
    for large, small in itertools.pairwise(architecture.branches):
        low, high = sorted((large.resolution, small.resolution))
        if space.steps is not None and not space.steps[0] <= high / low <= space.steps[1]:
            least, most = space.steps
            ratios = {side: max(side, large.resolution) / min(side, large.resolution) for side in space.resolutions}
            legal = [side for side, ratio in ratios.items() if least <= ratio <= most]
            near = f"; nearest: {min(legal, key=lambda s: abs(s - small.resolution))}" if legal else ""
            found.append(
                f"{large} and {small} differ by a factor of {high / low:.3g}, allowed are {space.steps[0]:g} to "
                f"{space.steps[1]:g} (steps){near}"
            )
    return found


def listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))
