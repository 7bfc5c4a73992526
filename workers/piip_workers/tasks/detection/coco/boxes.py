"""Compares boxes with their images and outlines: their format, boxes outside, and the usable boxes.

Legend: N objects.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from piip_workers.tasks.detection.coco.annotation_entries import SMALL_SHARE
from piip_workers.tasks.detection.coco.annotation_file import AnnotationFile, Images, Objects, printable_name
from piip_workers.tasks.detection.coco.findings import Findings, Rule, Shown

SLACK = 1.0
"""Pixels by which a box may pass the edge of its image: tools round, and some count from 1."""
FORMAT_SHARE = 0.95
"""Share of boxes that must fit COCO's format before other formats are tried."""
OTHER = 0.99
"""Share of boxes that must fit another format before it is named: in any set some boxes pass an edge."""

_FORMAT = Rule(".bbox", "must be [left, top, width, height] in pixels")
_OUTSIDE = Rule(
    ".bbox",
    "lies outside of its image",
    "correct the annotation or drop it",
    SMALL_SHARE,
    "these objects are neither learnt nor scored",
)
_BEYOND = Rule(
    ".bbox",
    "must end inside of its image",
    "export the annotations again",
    0.5,
    "these boxes are cut off at the edge, in training and in scoring",
)
_TINY = Rule(
    ".bbox",
    "must be at least a pixel wide and high",
    "drop the annotation, or enlarge the images",
    SMALL_SHARE,
    "these objects are not learnt, and scored as COCO does",
)
_AGREE = Rule(
    ".bbox", "must surround the segmentation", "export the annotations again", 0.5, "both are read as they are"
)
_AREAS = Rule(
    ".area",
    "must be about that of the box, or of the outline in it",
    "write it in pixels, or leave it out",
    0.5,
    "areas tell small objects from large ones: averages by size may be wrong",
)
_RUNS = Rule(".segmentation", "must have the size of its image", "export the annotations again")
_FAR = Rule(".segmentation", "must lie on its image", "export the annotations again")

LEAST_FILLED = 0.001
"""Least share of its box that an object fills."""
FEWEST_PERCENTS = 8
"""Fewest boxes that look like percents before this is reported."""

Boxes = NDArray[np.float64]
"""(N, 4): left, top, width and height, or the numbers of another format."""


@dataclass(frozen=True)
class _Format:
    """A format of boxes: its description, and the conversion to left, top, width and height for an image size."""

    name: str
    read: Callable[[Boxes, NDArray[np.float64], NDArray[np.float64]], Boxes]


def _columns(*columns: NDArray[np.float64]) -> Boxes:
    return np.stack(columns, axis=1)


_USUAL = _Format("left, top, width, height", lambda b, w, h: b)
_OTHERS = (
    _Format("x1 y1 x2 y2", lambda b, w, h: _columns(b[:, 0], b[:, 1], b[:, 2] - b[:, 0], b[:, 3] - b[:, 1])),
    _Format("y1 x1 y2 x2", lambda b, w, h: _columns(b[:, 1], b[:, 0], b[:, 3] - b[:, 1], b[:, 2] - b[:, 0])),
    _Format(
        "centre x, centre y, width, height",
        lambda b, w, h: _columns(b[:, 0] - b[:, 2] / 2, b[:, 1] - b[:, 3] / 2, b[:, 2], b[:, 3]),
    ),
    _Format("top, left, height, width", lambda b, w, h: b[:, [1, 0, 3, 2]]),
)


def look_at_boxes(found: AnnotationFile, masks: bool, findings: Findings) -> None:
    """Adds findings about boxes and about the sizes of outlines.

    Args:
        found: A file whose recorded image sizes are right.
        masks: Whether its segmentations are used.
        findings: Earlier findings.
    """
    of = _Looking(found, findings)
    if not len(of.boxes_N4):
        return
    if masks:
        of.look_at_outlines()
    if of.look_at_format():
        return
    _left, _top, width, height = of.boxes_N4.T
    outside_N = ~_overlaps(of.boxes_N4, of.width_N, of.height_N)
    of.add(_OUTSIDE, outside_N)
    of.add(_BEYOND, _passes(of.boxes_N4, of.width_N, of.height_N) & ~outside_N)
    of.add(_TINY, (np.minimum(width, height) < 1) & ~outside_N)
    of.look_at_areas(width * height, ~outside_N)
    if masks:
        apart_N = of.outlined_N & (_overlap(of.boxes_N4, of.outlines_N4) < 0.5)
        of.add(_AGREE, apart_N)


def usable_boxes(found: AnnotationFile) -> tuple[NDArray[np.bool_], Boxes]:
    """Usable objects, and their boxes, cut off at the edges of the image."""
    known_N = found.objects.images_N >= 0
    kinds = np.array([number for number, _ in found.categories], np.int64)
    known_N &= np.isin(found.objects.categories_N, kinds)
    height_N, width_N = _sizes(found.images, found.objects)
    boxes_N4 = found.objects.boxes_N4
    kept_N = known_N & _overlaps(boxes_N4, width_N, height_N)
    passing_N = kept_N & _passes(boxes_N4, width_N, height_N)
    cut_N4 = boxes_N4.copy()
    left, top, width, height = boxes_N4[passing_N].T
    right = np.minimum(left + width, width_N[passing_N])
    bottom = np.minimum(top + height, height_N[passing_N])
    left, top = np.maximum(left, 0), np.maximum(top, 0)
    cut_N4[passing_N] = _columns(left, top, right - left, bottom - top)
    return kept_N, cut_N4


def _sizes(images: Images, objects: Objects) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heights and widths of the objects' images."""
    if not len(images):
        return np.ones(len(objects)), np.ones(len(objects))
    sizes_N2 = images.sizes_M2[objects.images_N].astype(np.float64)
    return sizes_N2[:, 0], sizes_N2[:, 1]


def _overlaps(boxes_N4: Boxes, width_N: NDArray[np.float64], height_N: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a part of each box lies on its image."""
    left, top, width, height = boxes_N4.T
    return np.asarray((left < width_N) & (top < height_N) & (left + width > 0) & (top + height > 0))


def _passes(boxes_N4: Boxes, width_N: NDArray[np.float64], height_N: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each box passes an edge of its image by more than rounding."""
    left, top, width, height = boxes_N4.T
    beyond_N = np.maximum.reduce([-left, -top, left + width - width_N, top + height - height_N])
    return np.asarray(beyond_N > SLACK)


def _overlap(boxes_N4: Boxes, bounds_N4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes and bounds (left, top, right, bottom) of their outlines; NaN without outline."""
    left, top, width, height = boxes_N4.T
    right, bottom = left + width, top + height
    across = np.minimum(right, bounds_N4[:, 2]) - np.maximum(left, bounds_N4[:, 0])
    down = np.minimum(bottom, bounds_N4[:, 3]) - np.maximum(top, bounds_N4[:, 1])
    both = np.maximum(across, 0) * np.maximum(down, 0)
    bounds = (bounds_N4[:, 2] - bounds_N4[:, 0]) * (bounds_N4[:, 3] - bounds_N4[:, 1])
    return np.asarray(both / np.maximum(width * height + bounds - both, 1e-9))


class _Looking:
    """The objects of known images, and the findings about them."""

    def __init__(self, found: AnnotationFile, findings: Findings) -> None:
        self._names = found.images.names
        self._findings = findings
        self._objects = found.objects.of_known_images()
        self.boxes_N4, self.outlines_N4 = self._objects.boxes_N4, self._objects.outlines_N4
        self.outlined_N = np.isfinite(self.outlines_N4[:, 0])
        self.height_N, self.width_N = _sizes(found.images, self._objects)

    def _place(self, at: int) -> str:
        """An object's place in a message."""
        return f"annotations[{int(self._objects.places_N[at])}]"

    def add(self, rule: Rule, wrong_N: NDArray[np.bool_], hint: str = "") -> None:
        """Adds findings for objects that break a rule, with their boxes and image sizes."""
        count = int(wrong_N.sum())
        if count:
            self._findings.add_many(rule, count, self._first(wrong_N), hint)

    def _first(self, wrong_N: NDArray[np.bool_]) -> Iterator[tuple[str, object]]:
        for at in np.flatnonzero(wrong_N)[:3]:
            box = ", ".join(f"{value:.6g}" for value in self.boxes_N4[at])
            image = printable_name(self._names[self._objects.images_N[at]])
            size = f"{self.width_N[at]:.0f} x {self.height_N[at]:.0f}"
            yield self._place(at), Shown(f"[{box}] in {image} of {size}")

    def look_at_areas(self, boxes_N: NDArray[np.float64], inside_N: NDArray[np.bool_]) -> None:
        """Adds findings for recorded areas that cannot fit the box: shares, percents, or areas at another image size.

        Args:
            boxes_N: Areas of the boxes in pixels.
            inside_N: Whether each box lies on its image.
        """
        with np.errstate(invalid="ignore"):
            strange_N = (self._objects.areas_N > 1.1 * boxes_N + 1) | (self._objects.areas_N < LEAST_FILLED * boxes_N)
        wrong_N = strange_N & inside_N
        first = (
            (self._place(at), Shown(f"{self._objects.areas_N[at]:.6g} in a box of {boxes_N[at]:.6g}"))
            for at in np.flatnonzero(wrong_N)[:3]
        )
        if wrong_N.any():
            self._findings.add_many(_AREAS, int(wrong_N.sum()), first)

    def look_at_outlines(self) -> None:
        """Adds findings for RLE sizes and for polygons far from the image, which take time and memory to draw."""
        sided_N = np.isfinite(self._objects.runs_N2[:, 0])
        sizes_N2 = _columns(self.height_N, self.width_N)
        wrong_N = sided_N & (self._objects.runs_N2 != sizes_N2).any(axis=1)
        if wrong_N.any():
            turned = bool((self._objects.runs_N2[wrong_N][:, ::-1] == sizes_N2[wrong_N]).all())
            hint = "these look like [width, height]; COCO's order is [height, width]" if turned else ""
            self._findings.add_many(_RUNS, int(wrong_N.sum()), self._first_runs(wrong_N), hint)
        left, top, right, bottom = self.outlines_N4.T
        with np.errstate(invalid="ignore"):
            far_N = (left < -self.width_N) | (right > 2 * self.width_N)
            far_N |= (top < -self.height_N) | (bottom > 2 * self.height_N)
        self.add(_FAR, self.outlined_N & far_N)

    def _first_runs(self, wrong_N: NDArray[np.bool_]) -> Iterator[tuple[str, object]]:
        for at in np.flatnonzero(wrong_N)[:3]:
            size = [int(side) for side in self._objects.runs_N2[at]]
            wanted = [int(self.height_N[at]), int(self.width_N[at])]
            yield self._place(at), Shown(f"{size} where the image has {wanted}")

    def look_at_format(self) -> bool:
        """Whether the boxes have another format than COCO's, which is added as a finding."""
        usual_N = self._fitting(_USUAL)
        shares_N = (self.boxes_N4 <= 1).all(axis=1) & (self.boxes_N4 >= 0).all(axis=1)
        if shares_N.mean() >= FORMAT_SHARE:
            self.add(_FORMAT, np.asarray(shares_N), "these look like shares of the image from 0 to 1, as in YOLO")
            return True
        exact_N = self._exact(_USUAL)
        if self._are_percents():
            self.add(_FORMAT, np.ones(len(usual_N), bool), "these look like percents of the image, as in Label Studio")
            return True
        if usual_N.mean() >= FORMAT_SHARE and (exact_N is None or exact_N.mean() >= 1 - FORMAT_SHARE):
            return False
        for other in _OTHERS:
            fitting_N, exactly_N = self._fitting(other), self._exact(other)
            if (
                exact_N is not None
                and exact_N.mean() >= FORMAT_SHARE
                and (exactly_N is None or exactly_N.mean() < FORMAT_SHARE)
            ):
                continue  # areas or outlines confirm the boxes in COCO's format
            proved = exactly_N is not None and exactly_N.mean() >= OTHER
            if fitting_N.mean() >= OTHER and (proved or usual_N.mean() < FORMAT_SHARE):
                wrong_N = ~usual_N if not usual_N.all() else usual_N
                self.add(_FORMAT, wrong_N, f"these look like {other.name}")
                return True
        return False

    def _are_percents(self) -> bool:
        """Whether all boxes end within the first hundred pixels of much larger images, and span most of them.

        Outlines in pixels disprove it.
        """
        right, bottom = (self.boxes_N4[:, side] + self.boxes_N4[:, side + 2] for side in (0, 1))
        if len(right) < FEWEST_PERCENTS or max(right.max(), bottom.max()) > 100 + SLACK:
            return False
        large = min(np.median(self.width_N), np.median(self.height_N)) >= 2 * 100
        agree = _overlap(self.boxes_N4, self.outlines_N4)[self.outlined_N] > 0.5
        return bool(large and min(right.max(), bottom.max()) > 50 and not agree.any())

    def _fitting(self, kind: _Format) -> NDArray[np.bool_]:
        """Whether each box, read in a format, has a size and lies on its image."""
        boxes_N4 = kind.read(self.boxes_N4, self.width_N, self.height_N)
        sized_N = (boxes_N4[:, 2] > 0) & (boxes_N4[:, 3] > 0)
        fitting_N = sized_N & ~_passes(boxes_N4, self.width_N, self.height_N)
        fitting_N[self.outlined_N] &= _overlap(boxes_N4, self.outlines_N4)[self.outlined_N] > 0.5
        return fitting_N

    def _exact(self, kind: _Format) -> NDArray[np.bool_] | None:
        """Whether area or outline confirms the format for each box that has one; None if no box has.

        An area confirms a format if it is the box's own, as tools without masks write it.
        """
        boxes_N4 = kind.read(self.boxes_N4, self.width_N, self.height_N)
        area_N = boxes_N4[:, 2] * boxes_N4[:, 3]
        with np.errstate(invalid="ignore"):
            confirmed_N = np.abs(area_N - self._objects.areas_N) <= 0.01 * np.abs(self._objects.areas_N) + 0.5
            confirmed_N |= self.outlined_N & (_overlap(boxes_N4, self.outlines_N4) > 0.9)
        told_N = self.outlined_N | np.isfinite(self._objects.areas_N)
        return confirmed_N[told_N] if told_N.any() else None
