"""The interface of a head: the layers of a task that read a network's outputs."""

from typing import Protocol

from piip_search.architecture.segments import Merge
from piip_search.cost.conventions import Grid, Part

MergedMaps = tuple[tuple[int, int], ...]
"""Channels and stride of each merged map, finest first."""


class Head(Protocol):
    """A head, as far as the cost of an image depends on it. Equal heads have equal costs and hashes."""

    @property
    def merges(self) -> tuple[Merge, ...]:
        """Merges whose outputs the head reads."""
        ...

    def parts(self, merged: MergedMaps, sides: Grid) -> tuple[Part, ...]:
        """Costs of all layers after the merged maps; arrays of sides give arrays of costs.

        Args:
            merged: Channels and stride of each merged map: one, or four.
            sides: Height and width of the output branch's image, in pixels.
        """
        ...

    def live_values(self, merged: MergedMaps, sides: Grid) -> int:
        """Most values of one image that are alive together in the head of a forward pass.

        Args:
            merged: As in `parts`.
            sides: As in `parts`.
        """
        ...

    def __hash__(self) -> int: ...
