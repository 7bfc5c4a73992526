"""Architectures that differ by one change, within the choices of a space."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from piip_search.architecture import Architecture, Branch, Interaction
from piip_search.architecture.segments import Merge
from piip_search.space.choices import Choices
from piip_search.space.windows import Window


def changed(space: Choices, old: Architecture) -> Iterator[Architecture | None]:
    """Architectures after one change, allowed or not; None where no network can be built."""
    branches, interaction, merge = old.branches, old.interaction, space.merge_of(len(old.branches), old.merge)
    for place, branch in enumerate(branches):
        before, after = branches[:place], branches[place + 1 :]
        for other in _other_branches(space, branch):
            yield _built((*before, other, *after), interaction, merge)
        left = len(branches) - 1
        yield _built((*before, *after), interaction if left > 1 else Interaction(), space.merge_of(left, merge))
    for place, extra in itertools.product(range(len(branches) + 1), _all_branches(space)):
        more = (*branches[:place], extra, *branches[place:])
        if len(branches) > 1:
            yield _built(more, interaction, merge)
            continue
        same = [offered for offered in space.merges if space.merge_of(1, offered) == merge]
        for new, its_merge in itertools.product(_all_interactions(space), same):
            yield _built(more, new, its_merge)
    for new in _other_interactions(space, interaction) if len(branches) > 1 else ():
        yield _built(branches, new, merge)
    offered = [one for one in space.merges if space.merge_of(len(branches), one) == one]
    for new_merge in _beside(offered, merge):
        yield _built(branches, interaction, new_merge)


def _all_branches(space: Choices) -> Iterator[Branch]:
    for model, size, window in itertools.product(
        range(len(space.backbones)), range(len(space.resolutions)), range(len(space.windows))
    ):
        try:
            yield space.branch(model, size, window)
        except ValueError:
            continue  # the size or the window does not suit the model


def _other_branches(space: Choices, branch: Branch) -> Iterator[Branch]:
    """The branch's model at the next size or window, and other models at the same."""
    for other in _all_branches(space):
        same = (other.resolution == branch.resolution, _attends(other) == _attends(branch))
        if other.backbone != branch.backbone:
            # A ConvNeXt has no window that a ViT in its place could take over: the ViT may have any.
            if same[0] and (same[1] or other.model.family != branch.model.family):
                yield other
        elif (same[1] and other.resolution in _beside(space.resolutions, branch.resolution)) or (
            same[0] and _attends(other) in _beside(space.windows, _attends(branch))
        ):
            yield other


def _all_interactions(space: Choices) -> Iterator[Interaction]:
    for count, attention, direction, projection, norm in itertools.product(*space.tail_values[:-1]):
        points = space.points if attention == "deformable" else 4
        yield (
            Interaction(count, space.heads, points, attention, direction, projection, norm) if count else Interaction()
        )


def _other_interactions(space: Choices, old: Interaction) -> Iterator[Interaction]:
    names = ("count", "attention", "direction", "projection", "norm")
    for new in _all_interactions(space):
        changed = [name for name in names if getattr(new, name) != getattr(old, name)]
        if 0 in (old.count, new.count):
            changed = ["count"]  # without interactions their settings do not matter
        offered = [space.interactions, space.attention, space.direction, space.projection, space.norm]
        if len(changed) == 1 and getattr(new, changed[0]) in _beside(
            offered[names.index(changed[0])], getattr(old, changed[0])
        ):
            yield new


def _built(branches: tuple[Branch, ...], interaction: Interaction, merge: Merge) -> Architecture | None:
    try:
        return Architecture(branches, interaction, merge)
    except ValueError:
        return None


def _attends(branch: Branch) -> Window:
    return branch.window, branch.global_every


def _beside(values: Sequence[Any], value: Any) -> tuple[Any, ...]:
    """The values before and after one in a sequence; none if it is absent."""
    if value not in values:
        return ()
    place = values.index(value)
    return tuple(values[max(0, place - 1) : place]) + tuple(values[place + 1 : place + 2])
