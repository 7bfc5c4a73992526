"""Cost of the feature pyramid between a network's merged maps and a head that reads four levels.

Legend: d channels of a merged map; a level has h w positions.
"""

from piip_search.architecture.segments import STRIDES
from piip_search.cost.conventions import Cost, Grid, Part
from piip_search.cost.head import MergedMaps


def pyramid_part(merged: MergedMaps, sides: Grid) -> Part:
    """Cost of the levels of strides 4 to 32, grown or pooled from the merged maps; arrays of sides give arrays.

    Left out: norms, activations and biases.
    """
    levels = Cost.total(_level(*item, sides) for item in zip(_sources(merged), STRIDES, strict=True))
    # The common source of the levels is saved once; if it is a level itself, the head counts it.
    read = [_area(sides, stride) * d for (d, stride), target in zip(merged, STRIDES, strict=False) if stride != target]
    return Part("pyramid", "", levels + Cost(saved_values=sum(read) if len(merged) > 1 else 0))


def pyramid_widths(merged: MergedMaps) -> list[int]:
    """Channels of each level, finest first."""
    return [width for width, _ in _sources(merged)]


def pyramid_grids(merged: MergedMaps, sides: Grid) -> list[Grid]:
    """Grid of each level, finest first; arrays of sides give arrays."""
    return [_grid(sides, stride, target) for (_, stride), target in zip(_sources(merged), STRIDES, strict=True)]


def pyramid_live_values(merged: MergedMaps, sides: Grid) -> int:
    """Values of the growing stride-4 map, beside the merged map."""
    width, stride = merged[0]
    finest = (sides[0] // STRIDES[0]) * (sides[1] // STRIDES[0])
    return _area(sides, stride) * width * (1 + (12 if stride > STRIDES[0] else 0)) + finest * width


def _sources(merged: MergedMaps) -> MergedMaps:
    """The merged map that each level is made from."""
    return merged * (len(STRIDES) // len(merged))


def _grid(sides: Grid, stride: int, target: int) -> Grid:
    """Grid of a level, grown or shrunk from a map's grid; shrinking never removes the last position."""
    height, width = sides[0] // stride, sides[1] // stride
    if stride < target:
        return -(-height // 2), -(-width // 2)
    return height * stride // target, width * stride // target


def _area(sides: Grid, stride: int) -> int:
    return (sides[0] // stride) * (sides[1] // stride)


def _level(source: tuple[int, int], target: int, sides: Grid) -> Cost:
    """Transposed convolutions 2x2 of stride 2, each 4 d^2 an input position: 20 n d^2 to stride 4, 4 n d^2 to 8."""
    (d, stride), factor = source, source[1] // target
    n = _area(sides, stride)
    one = 4 * d * d + d
    if factor == 4:
        return Cost(4 * n * d * d + 16 * n * d * d, 2 * one + 2 * d, 12 * n * d)
    if factor == 2:
        return Cost(4 * n * d * d, one)
    return Cost(0, 0, 0 if stride == target else n * d // 2)  # pooling saves places, in 8 bytes each
