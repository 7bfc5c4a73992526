"""Cost of the head of classification from scratch: a norm over the merged map, the mean over it, a linear layer."""

from dataclasses import dataclass

from piip_search.architecture.segments import Merge
from piip_search.cost import IMAGENET_CLASSES, Cost, Grid, MergedMaps, Part


@dataclass(frozen=True, slots=True)
class ClassifierHead:
    """The head of `piip_search.models.PIIPClassifier`, as far as its cost depends on it.

    The merge `logits` has the heads of its branches in its own cost, so that nothing reads its outputs.

    Attributes:
        classes: Number of classes; ImageNet has 1000.
    """

    classes: int = IMAGENET_CLASSES

    @property
    def merges(self) -> tuple[Merge, ...]:
        """Merges that give one map for a linear head."""
        return ("linear",)

    def parts(self, merged: MergedMaps, sides: Grid) -> tuple[Part, ...]:
        """The cost: d K multiply-accumulates, and 2 d + (d + 1) K parameters.

        Left out are the norm and the mean.

        Args:
            merged: Channels d and stride of the merged map.
            sides: Height and width of the output branch's image, in pixels.
        """
        ((width, stride),) = merged
        saved = (sides[0] // stride) * (sides[1] // stride) * width + width
        params = 2 * width + (width + 1) * self.classes
        # Arrays of sides give an array of MACs, though none depends on them.
        macs = width * self.classes + 0 * sides[0]
        return (Part("head", "", Cost(macs, params, saved)),)

    def live_values(self, merged: MergedMaps, sides: Grid) -> int:
        """The merged map and its normalised copy."""
        ((width, stride),) = merged
        return 2 * (sides[0] // stride) * (sides[1] // stride) * width


IMAGENET_HEAD = ClassifierHead()
"""Head of the papers' tables on ImageNet."""
