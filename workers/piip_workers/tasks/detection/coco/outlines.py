"""The `segmentation` of an object: its kind, its extent, and whether a library can read it safely.

The libraries that draw outlines trust them: a coordinate of 1e9 takes all memory of a machine, and runs that do not add
up to the image's size make the scorer read past them for ever. So outlines are checked here first, in time and memory
proportional to their length in the file.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LONGEST_EDGE = 1_000_000
"""Most pixels along the edges of one object: drawing takes about 100 bytes and 0.1 microseconds a pixel."""
FEW_EDGES = 10_000
"""Pixels of edges up to which a polygon is not measured, but bounded by its corners."""
LARGEST_SIDE = 100_000
"""Longest allowed side of an image, in pixels."""
FEWEST_NUMBERS = 6
"""Fewest numbers of a polygon: those of three corners."""

NO_AREA = "must enclose an area"
SHAPE = "must be a list of polygons, each a flat list [x1, y1, x2, y2, x3, y3, ...], or an RLE {size, counts}"
RLE = "must be an RLE with size [height, width] and counts, a list of run lengths or COCO's text of them"
COUNTS = "must have runs that add up to height x width"
FINITE = "must hold finite numbers of pixels"
PAIRS = "these are pairs [x, y], as LabelMe writes them: write all in one flat list"
LONG = f"must have edges of at most {LONGEST_EDGE:,} pixels in all"


class Outline(NamedTuple):
    """The checked `segmentation` of an object.

    Attributes:
        rule: The broken rule; empty for none.
        hint: Probable cause and way out.
        present: Whether the object has a segmentation.
        bounds: Left, top, right and bottom in pixels; None if it encloses nothing.
        size: Height and width of an RLE's image; None for polygons.
        edges: Pixels along the edges of its polygons, or slightly more.
    """

    rule: str = ""
    hint: str = ""
    present: bool = True
    bounds: tuple[float, float, float, float] | None = None
    size: tuple[int, int] | None = None
    edges: float = 0.0


ABSENT = Outline(present=False)


def outline_of(segmentation: Any) -> Outline:
    """Checks a value of `segmentation`; an empty value or null counts as absent."""
    if type(segmentation) is list:
        return _polygons(segmentation)
    if type(segmentation) is dict:
        return _runs(segmentation) if segmentation else ABSENT
    empty = segmentation in (None, "") or segmentation != segmentation  # NaN is how pandas writes null
    return ABSENT if empty else Outline(SHAPE)


def whole_parts(segmentation: Any) -> Any:
    """A sound segmentation without polygons of fewer than three corners, which libraries mistake for boxes."""
    if type(segmentation) is list:
        return [part for part in segmentation if len(part) >= FEWEST_NUMBERS]
    size, counts = segmentation["size"], segmentation["counts"]
    whole = counts if type(counts) is str else [int(run) for run in counts]
    return {"size": [int(side) for side in size], "counts": whole}


def _polygons(parts: list[Any]) -> Outline:
    if not any(part != [] for part in parts):
        return ABSENT
    if all(type(part) is list and len(part) == 2 for part in parts):
        return Outline(SHAPE, PAIRS)
    lefts, tops, rights, bottoms = [], [], [], []
    edges = 0.0
    for part in parts:
        if type(part) is not list:
            return _no_list(parts)
        if not set(map(type, part)) <= _NUMBERS:
            return _no_numbers(part)
        if not _is_finite(part):
            return Outline(FINITE)
        if len(part) % 2:
            return Outline("must have an x and a y for each corner", f"a polygon has {len(part)} numbers")
        if len(part) < FEWEST_NUMBERS:
            continue
        x, y = part[::2], part[1::2]
        left, right, top, bottom = min(x), max(x), min(y), max(y)
        if max(right, bottom) > LARGEST_SIDE or min(left, top) < -LARGEST_SIDE:
            return Outline(f"must lie within {LARGEST_SIDE:,} pixels")
        most = len(x) * max(right - left, bottom - top)
        edges += most if most <= FEW_EDGES else _edges(x, y)
        if edges > LONGEST_EDGE:
            return Outline(LONG)
        if left == right or top == bottom or (len(x) == 3 and not _triangle(part)):
            continue
        lefts.append(left)
        rights.append(right)
        tops.append(top)
        bottoms.append(bottom)
    if not lefts:
        return Outline(NO_AREA, bounds=None)
    return Outline(bounds=(min(lefts), min(tops), max(rights), max(bottoms)), edges=edges)


_NUMBERS = {int, float}


def _no_list(parts: list[Any]) -> Outline:
    flat = set(map(type, parts)) <= _NUMBERS
    return Outline(SHAPE, "it lacks the outer list, as VIA writes it: put [ ] around each polygon" if flat else "")


def _no_numbers(part: list[Any]) -> Outline:
    pairs = all(type(corner) is list and len(corner) == 2 for corner in part)
    return Outline(SHAPE, PAIRS if pairs else "")


def _is_finite(part: list[Any]) -> bool:
    """Whether all numbers are finite: a sum keeps any that is not."""
    try:
        return math.isfinite(sum(part))
    except OverflowError:
        return False


def _edges(x: Sequence[float], y: Sequence[float]) -> float:
    """Pixels along the drawn edges of a polygon, including the closing edge."""
    across = np.abs(np.diff(np.asarray(x, float), append=x[0]))
    down = np.abs(np.diff(np.asarray(y, float), append=y[0]))
    return float(np.maximum(across, down).sum())


def _triangle(part: list[float]) -> bool:
    """Whether three corners do not lie on a line."""
    x1, y1, x2, y2, x3, y3 = part
    return (x2 - x1) * (y3 - y1) != (x3 - x1) * (y2 - y1)


def _runs(rle: dict[str, Any]) -> Outline:
    size, counts = rle.get("size"), rle.get("counts")
    if type(size) is not list or len(size) != 2 or not all(_is_whole(side) for side in size):
        return Outline(RLE)
    height, width = map(int, size)
    if min(size) < 1 or max(size) > LARGEST_SIDE:
        return Outline(f"must have sides of 1 to {LARGEST_SIDE:,} pixels")
    runs = _run_lengths(counts)
    if runs is None:
        return Outline(RLE)
    pixels = height * width
    if len(runs) and not 0 <= int(runs.min()) <= int(runs.max()) <= pixels:
        return Outline(COUNTS, f"one is not within 0 and {pixels:,}")
    if (total := int(runs.sum())) != pixels:
        return Outline(COUNTS, f"these add up to {total:,}, and {height} x {width} is {pixels:,}")
    if not runs[1::2].any():
        return Outline(NO_AREA, size=(height, width))
    return Outline(bounds=_bounds(runs, height), size=(height, width))


def _is_whole(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _bounds(runs: NDArray[np.int64], height: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the area in runs, which go column by column."""
    ends = np.cumsum(runs)[1::2]
    lengths = runs[1::2][: len(ends)]
    first, last = (ends - lengths)[lengths > 0], ends[lengths > 0] - 1
    columns = (first // height != last // height).any()
    top, bottom = (0, height) if columns else (int((first % height).min()), int((last % height).max()) + 1)
    return float(first[0] // height), float(top), float(last[-1] // height + 1), float(bottom)


def _run_lengths(counts: Any) -> NDArray[np.int64] | None:
    """Run lengths in pixels; None unless the value is a list of them or COCO's text."""
    if type(counts) is list:
        if not all(map(_is_whole, counts)) or any(abs(run) > LARGEST_SIDE**2 for run in counts):
            return None
        return np.array(counts, np.int64)
    if type(counts) is str and counts and counts.isascii():
        return _unpacked(np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - _ZERO)
    return None


_ZERO = 48
"""Offset that makes a number a printable letter."""
_BITS = 5
"""Bits of a number in one letter."""
_MORE = 0x20
"""Bit of a letter that marks that the number continues."""
_SIGN = 0x10
"""Bit of the last letter that marks a negative number."""
_MOST_DIGITS = 10
"""Most digits of a run in COCO's text: 50 bits."""


def _unpacked(codes: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Run lengths in COCO's text (`rleFrString` of its API); None if the text is invalid.

    A letter holds five bits, lowest first. From the fourth run on, a number is the difference to the last run but one.
    """
    if codes.min() < 0 or codes.max() >= 2 * _MORE or codes[-1] & _MORE:
        return None
    last = np.flatnonzero(codes & _MORE == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > _MOST_DIGITS:
        return None
    shift = _BITS * (np.arange(len(codes)) - np.repeat(first, lengths))
    values = np.add.reduceat((codes & (_MORE - 1)) << shift, first)
    values = np.where(codes[last] & _SIGN, values - (np.int64(1) << (_BITS * lengths)), values)
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    if len(runs) > 2:
        runs[2::2] = np.cumsum(values[2::2])
    return runs
