"""Reads an annotation file in COCO format, once for the checks before a search, for mmdet and for the scorer.

Legend: M images, N objects.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from piip_search.errors import NotJsonError, UnreadableFileError
from piip_workers.tasks.detection.coco.annotation_entries import LISTS, Entries, NoList
from piip_workers.tasks.detection.coco.findings import Findings, Rule, Shown
from piip_workers.tasks.detection.coco.foreign_formats import foreign_file, foreign_format
from piip_workers.tasks.detection.coco.json_stream import parts

_TWICE = "is a duplicate; each entry has its own"
_IDLE = Rule(".name", "belongs to another category, and no object has this one", "", 1.0, "it is left out")
_IMAGE = Rule(".image_id", "no image has this id", "drop the annotation or add the image")
_CATEGORY = Rule(".category_id", "no category has this id", "add it to categories")

_Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Images:
    """The images in a file.

    Attributes:
        names: File name of each image.
        ids_M: Id of each image.
        sizes_M2: Recorded height and width of each image in pixels.
        places_M: Position of each image in the file's list.
    """

    names: list[str]
    ids_M: NDArray[np.int64]
    sizes_M2: NDArray[np.int64]
    places_M: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Objects:
    """The objects in a file without those that have a fault of their own.

    Attributes:
        places_N: Position of each object in the file's list.
        images_N: Position of its image in `Images`; -1 for an unknown image.
        categories_N: Id of its category.
        boxes_N4: Recorded left, top, width and height in pixels.
        areas_N: Recorded area in pixels; NaN without one.
        crowds_N: Whether it is a crowd or ignored.
        outlines_N4: Left, top, right and bottom of its polygons; NaN without polygons.
        runs_N2: Height and width of its RLE; NaN without one.
        masked_N: Whether it has a segmentation.
        edges_N: Pixels along the edges of its polygons, or slightly more.
        segmentations: Segmentation of each object, if requested.
    """

    places_N: NDArray[np.int64]
    images_N: NDArray[np.int64]
    categories_N: NDArray[np.int64]
    boxes_N4: NDArray[np.float64]
    areas_N: NDArray[np.float64]
    crowds_N: NDArray[np.bool_]
    outlines_N4: NDArray[np.float64]
    runs_N2: NDArray[np.float64]
    masked_N: NDArray[np.bool_]
    edges_N: NDArray[np.float64]
    segmentations: list[Any] | None

    def __len__(self) -> int:
        return len(self.places_N)

    def of_known_images(self) -> "Objects":
        """The objects whose image is in the file, without their segmentations."""
        kept_N = self.images_N >= 0
        columns = {name: values[kept_N] for name, values in vars(self).items() if name != "segmentations"}
        return Objects(**columns, segmentations=None)


@dataclass(frozen=True)
class AnnotationFile:
    """The contents of an annotation file.

    Attributes:
        file: Path of the file.
        categories: Id and name of each category, in the file's order.
        images: The images.
        objects: The objects.
        totals: Entries of each list, faulty ones among them.
        findings: Faults within the file.
        left_out: Whether objects were left out only because of their outlines.
    """

    file: Path
    categories: tuple[tuple[int, str], ...]
    images: Images
    objects: Objects
    totals: dict[str, int]
    findings: Findings
    left_out: bool


def read_annotations(
    file: Path,
    masks: bool,
    outlines: bool = True,
    kept: bool = False,
    progress: _Progress = lambda done, total: None,
) -> AnnotationFile:
    """Reads a whole file.

    Args:
        file: In COCO format.
        masks: Whether segmentations are needed, so that their faults are findings.
        outlines: Whether to read outlines even without masks, for the extent of objects.
        kept: Whether to keep segmentations, which take gigabytes for a large set.
        progress: Called with the number of bytes read and of all bytes.

    Raises:
        UnreadableFileError: It is no annotation file.
    """
    entries = Entries(masks, outlines or masks, kept and masks)
    found = foreign_file(file)
    if found:
        raise UnreadableFileError(found)
    try:
        for part in parts(file, progress):
            entries.take(part)
    except (NotJsonError, OSError) as error:
        raise UnreadableFileError(f"not JSON: {error}; export the annotations again") from None
    return _assembled(file, entries)


MOST_FILES = 4
"""Most files remembered in a process: those of training and validation of two data sets."""


class _FileRequest(NamedTuple):
    """The state of a file and the requested parts of it."""

    state: tuple[str, int, int, int, int]
    masks: bool
    kept: bool
    outlines: bool

    def answers(self, other: "_FileRequest", left_out: bool) -> bool:
        """Whether this reading has all that the other request needs.

        Args:
            other: The other request.
            left_out: Whether this reading left out objects with unsound outlines, which are usable as boxes.
        """
        same = self.state == other.state and (self.masks == other.masks or (self.masks and not left_out))
        return same and self.kept >= other.kept and self.outlines >= other.outlines


class _FileCache:
    """The last files that were read."""

    def __init__(self) -> None:
        self._files: OrderedDict[_FileRequest, AnnotationFile] = OrderedDict()

    def get(self, file: Path, masks: bool, kept: bool, outlines: bool, progress: _Progress) -> AnnotationFile:
        state = file.stat()
        now = (str(file), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        asked = _FileRequest(now, masks, kept, outlines)
        for key, found in self._files.items():
            if key.answers(asked, found.left_out):
                self._files.move_to_end(key)
                return found
        found = read_annotations(file, masks, outlines, kept, progress)
        self._files[asked] = found
        while len(self._files) > MOST_FILES:
            self._files.popitem(last=False)
        return found


_remembered = _FileCache()


def annotations_of(
    file: Path,
    masks: bool = False,
    kept: bool = False,
    outlines: bool = False,
    progress: _Progress = lambda done, total: None,
) -> AnnotationFile:
    """Reads a file once a process until it changes; arguments and errors are those of `read_annotations`."""
    return _remembered.get(file, masks, kept, outlines, progress)


def printable_name(name: str) -> str:
    """A name in the form for messages."""
    return name if name.isprintable() and len(name) <= SHOWN_NAME else ascii(name)[:SHOWN_NAME]


SHOWN_NAME = 80


def _assembled(file: Path, entries: Entries) -> AnnotationFile:
    """Builds the result from the entries.

    Raises:
        UnreadableFileError: The file has another format.
    """
    foreign = foreign_format(entries.samples)
    if foreign:
        raise UnreadableFileError(foreign)
    if any(type(entries.samples.get(key)) is NoList or key not in entries.totals for key in LISTS):
        raise UnreadableFileError("not COCO format: it must be an object with lists images, annotations and categories")
    _leave_out_idle_categories(entries)
    images = _images(entries)
    objects = _objects(entries, images)
    return AnnotationFile(
        file, tuple(entries.categories), images, objects, entries.totals, entries.findings, entries.left_out
    )


def _leave_out_idle_categories(entries: Entries) -> None:
    """Removes categories without objects that share a name: Roboflow lists the super-category as one."""
    names = [name for _, name in entries.categories]
    if len(set(names)) == len(names):
        return
    used = set(np.array(entries.objects, np.int64).reshape(-1, 4)[:, 2].tolist())
    busy = {name for number, name in entries.categories if number in used}
    last = {name: at for at, name in enumerate(names)}
    kept = [
        at
        for at, (number, name) in enumerate(entries.categories)
        if number in used or (name not in busy and at == last[name])
    ]
    for at in sorted(set(range(len(names))) - set(kept)):
        entries.findings.add(_IDLE, f"categories[{entries.category_places[at]}]", names[at])
    entries.categories = [entries.categories[at] for at in kept]
    entries.category_places = [entries.category_places[at] for at in kept]


def _images(entries: Entries) -> Images:
    rows = np.array(entries.images, np.int64).reshape(-1, 4)
    found = Images(entries.names, rows[:, 0], rows[:, 1:3], rows[:, 3])
    _twice(entries, "images", ".id", found.ids_M, found.places_M)
    ids = np.array([number for number, _ in entries.categories], np.int64)
    places = np.array(entries.category_places, np.int64)
    _twice(entries, "categories", ".id", ids, places)
    _twice(entries, "categories", ".name", np.array([name for _, name in entries.categories], object), places)
    return found


def _twice(entries: Entries, key: str, name: str, values: NDArray[Any], places: NDArray[np.int64]) -> None:
    """Adds findings for entries that repeat an earlier value."""
    _, first, which = np.unique(
        values.astype(str) if values.dtype == object else values, return_index=True, return_inverse=True
    )
    again = np.flatnonzero(first[which] != np.arange(len(values)))
    if not len(again):
        return
    examples = [
        (f"{key}[{places[at]}]", Shown(f"{values[at]!s:.60} as {key}[{places[first[which[at]]]}]")) for at in again[:3]
    ]
    entries.findings.add_many(Rule(name, _TWICE), len(again), examples)


def _objects(entries: Entries, images: Images) -> Objects:
    rows = np.array(entries.objects, np.int64).reshape(-1, 4)
    numbers = np.array(entries.numbers, np.float64).reshape(-1, 14)
    _twice(entries, "annotations", ".id", rows[:, 0], rows[:, 3])
    order = np.argsort(images.ids_M, kind="stable")
    at = _found(images.ids_M[order], rows[:, 1])
    positions = np.where(at >= 0, order[at] if len(order) else -1, -1)
    if "images" not in entries.nameless:
        known_N = (positions >= 0) | _is_in(rows[:, 1], entries.faulty["images"])
        _unknown(entries, _IMAGE, rows[:, 1], rows[:, 3], known_N)
    if "categories" not in entries.nameless:
        kinds = [number for number, _ in entries.categories] + entries.faulty["categories"]
        _unknown(entries, _CATEGORY, rows[:, 2], rows[:, 3], _is_in(rows[:, 2], kinds))
    return Objects(
        rows[:, 3],
        positions,
        rows[:, 2],
        numbers[:, :4],
        numbers[:, 4],
        numbers[:, 5] > 0,
        numbers[:, 6:10],
        numbers[:, 10:12],
        numbers[:, 12] > 0,
        numbers[:, 13],
        entries.segmentations if entries.kept else None,
    )


def _unknown(
    entries: Entries, rule: Rule, ids: NDArray[np.int64], places: NDArray[np.int64], known_N: NDArray[np.bool_]
) -> None:
    """Adds findings for objects whose image or category is not in the file."""
    wrong = np.flatnonzero(~known_N)
    if len(wrong):
        entries.findings.add_many(rule, len(wrong), [(f"annotations[{places[i]}]", int(ids[i])) for i in wrong[:3]])


def _found(ordered: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of each number among sorted ones; -1 if it is absent."""
    if not len(ordered):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[at] == wanted, at, -1)


def _is_in(wanted: NDArray[np.int64], known: list[int]) -> NDArray[np.bool_]:
    small = [number for number in known if abs(number) < 2**63]
    return np.isin(wanted, np.array(small, np.int64))
