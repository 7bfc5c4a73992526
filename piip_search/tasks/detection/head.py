"""Cost of a detector after the merged map: pyramid, neck and head (mmdet 3's modules).

Legend: d channels of a merged map, C channels of neck and head, K classes; a level has h w positions.
"""

from dataclasses import dataclass
from typing import Literal

from piip_search.architecture.segments import MAP_MERGES, STRIDES, Merge
from piip_search.cost import (
    Cost,
    Grid,
    MergedMaps,
    Part,
    pyramid_grids,
    pyramid_live_values,
    pyramid_part,
    pyramid_widths,
)

DetectorName = Literal["fcos", "retinanet", "mask_rcnn"]

FULL_CHANNELS = 256
"""Channels of neck and head in the published configurations."""
ANCHORS = {"retinanet": 9, "mask_rcnn": 3}
"""Anchors a position: three scales of three shapes; one scale in region proposals."""
PROPOSALS = 1000
"""Regions that Mask R-CNN classifies in an image."""
TRAINED_REGIONS = 512
"""Regions of an image in the training of Mask R-CNN's box head."""
TRAINED_MASKS = 128
"""Regions of an image in the training of its mask head: the quarter that are objects."""


def stacked_convolutions(channels: int) -> int:
    """Convolutions before each output of a one-stage head; a narrow head is also shallow, for small models."""
    return 4 if channels >= FULL_CHANNELS else 2


@dataclass(frozen=True, slots=True)
class DetectorHead:
    """A detector's neck and head on the merged maps (mmdet 3's modules), as far as its cost depends on it.

    Attributes:
        name: mmdet detector.
        channels: Width of neck and head.
        classes: Number of object classes; COCO has 80.
        detections: Boxes an image; Mask R-CNN predicts a mask for each.
    """

    name: DetectorName = "mask_rcnn"
    channels: int = FULL_CHANNELS
    classes: int = 80
    detections: int = 100

    @property
    def merges(self) -> tuple[Merge, ...]:
        """Merges that give maps."""
        return MAP_MERGES

    def parts(self, merged: MergedMaps, sides: Grid) -> tuple[Part, ...]:
        """Costs of pyramid, neck and head; arrays of sides give arrays of costs.

        Left out besides norms, activations and biases: region align, non-maximum suppression, and work that only
        training does. Mask R-CNN is counted at 1000 proposals and one mask a detection, as by mmdet's own counter.

        Args:
            merged: Channels and stride of each merged map: one, or four.
            sides: Height and width of the output branch's image, in pixels.
        """
        neck, grids = _neck(self, pyramid_widths(merged), pyramid_grids(merged, sides))
        heads = {"retinanet": _retinanet, "fcos": _fcos, "mask_rcnn": _mask_rcnn}[self.name]
        return (pyramid_part(merged, sides), Part("neck", "", neck), *heads(self, grids))

    def live_values(self, merged: MergedMaps, sides: Grid) -> int:
        """Most values alive together: of the pyramid's growing map, or of the neck's finest maps."""
        width, finest = merged[0][0], (sides[0] // STRIDES[0]) * (sides[1] // STRIDES[0])
        neck = finest * width * 4 // 3 + finest * self.channels * 3
        return max(pyramid_live_values(merged, sides), neck)


COCO_MASK_RCNN = DetectorHead()
"""Detector of the papers' tables on COCO."""


def _convolution(grid: Grid, before: int, after: int, side: int = 3, bias: bool = True) -> Cost:
    """Cost of a convolution of stride 1; its input is saved."""
    weights = side * side * before * after
    return Cost(grid[0] * grid[1] * weights, weights + after * bias, grid[0] * grid[1] * before)


def _neck(detector: DetectorHead, widths: list[int], grids: list[Grid]) -> tuple[Cost, list[Grid]]:
    """Cost of a feature pyramid: a 1x1 and a 3x3 convolution each, and coarser ones; one-stage heads omit stride 4."""
    C = detector.channels
    first = 0 if detector.name == "mask_rcnn" else 1
    levels = list(grids[first:])
    cost = Cost()
    for width, grid in zip(widths[first:], levels, strict=True):
        cost += _convolution(grid, width, C, 1) + _convolution(grid, C, C)
    for extra in range(1 if detector.name == "mask_rcnn" else 2):
        levels.append((-(-levels[-1][0] // 2), -(-levels[-1][1] // 2)))
        if detector.name != "mask_rcnn":
            before = widths[-1] if detector.name == "retinanet" and extra == 0 else C
            coarser = _convolution(levels[-1], before, C)
            cost += Cost(coarser.macs, coarser.params, 4 * coarser.saved_values)
    return cost, levels


def _over(levels: list[Grid], before: int, after: int, side: int = 3, bias: bool = True) -> Cost:
    """Cost of a convolution that all levels share: MACs of every level, parameters once."""
    costs = [_convolution(grid, before, after, side, bias) for grid in levels]
    return Cost(sum(cost.macs for cost in costs), costs[0].params, sum(cost.saved_values for cost in costs))


def _outputs(levels: list[Grid], before: int, channels: tuple[int, ...]) -> Cost:
    """Cost of output convolutions; the convolutions before them already save all inputs but one tower's end."""
    costs = [_over(levels, before, after) for after in channels]
    return Cost(sum(cost.macs for cost in costs), sum(cost.params for cost in costs), costs[0].saved_values)


def _retinanet(detector: DetectorHead, levels: list[Grid]) -> tuple[Part, ...]:
    C, anchors = detector.channels, ANCHORS["retinanet"]
    towers = _over(levels, C, C) * (2 * stacked_convolutions(C))
    outputs = _outputs(levels, C, (anchors * detector.classes, anchors * 4))
    return (Part("head", "convolutions", towers), Part("head", "outputs", outputs))


def _fcos(detector: DetectorHead, levels: list[Grid]) -> tuple[Part, ...]:
    C = detector.channels
    towers = (_over(levels, C, C, bias=False) + Cost(0, 2 * C, sum(h * w for h, w in levels) * C)) * (
        2 * stacked_convolutions(C)
    )
    outputs = _outputs(levels, C, (detector.classes, 4, 1)) + Cost(0, len(levels))
    return (Part("head", "convolutions", towers), Part("head", "outputs", outputs))


def _mask_rcnn(detector: DetectorHead, levels: list[Grid]) -> tuple[Part, ...]:
    """Costs of region proposals, of boxes by two linear layers of 4 C on 7x7 regions, and of masks on 14x14 regions."""
    C, K, anchors = detector.channels, detector.classes, ANCHORS["mask_rcnn"]
    proposals = _over(levels, C, C) + _over(levels, C, anchors, 1) + _over(levels, C, anchors * 4, 1)
    boxes = Cost()
    for before, after in ((49 * C, 4 * C), (4 * C, 4 * C), (4 * C, K + 1), (4 * C, 4 * K)):
        boxes += Cost(PROPOSALS * before * after, (before + 1) * after, TRAINED_REGIONS * before)
    masks = _convolution((14, 14), C, C) * 4 + _convolution((14, 14), C, C, 2)
    masks += _convolution((28, 28), C, K, 1)
    return (
        Part("head", "proposals", proposals),
        Part("head", "boxes", boxes),
        Part("head", "masks", Cost(masks.macs * detector.detections, masks.params, TRAINED_MASKS * masks.saved_values)),
    )
