"""One reading of an annotation file in COCO format, for the checks before a search, for mmdet and for the scorer.

What tools write differently and cannot be misunderstood is read alike: a byte-order mark, whole numbers written as
floats, null for what is not there, ids of 64 bits, annotation ids from 0. What a library would misread is a finding.

Legend: M images, N objects.
"""

import math
import unicodedata
from array import array
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from piip_workers.findings import Findings, Rule, Shown
from piip_workers.foreign_formats import foreign_file, foreign_format
from piip_workers.json_stream import NotJsonError, Part, parts
from piip_workers.outlines import ABSENT, LARGEST_SIDE, NOTHING, outline_of, whole_parts

LISTS = ("images", "annotations", "categories")
LONGEST_NAME = 1000
"""Of an image's file."""
SMALL_SHARE = 0.01
"""Share of the entries that may be left out with a notice; COCO's own training file has two boxes without a height."""

_ENTRY = Rule("", "must be an object")
_WHOLE = "must be a whole number"
_SIDES = Rule("", f"height and width must be 1 to {LARGEST_SIDE} pixels")
_NAME = Rule(".name", "must be a printable name")
_TWICE = "stands twice; each entry has its own"
_BOX = Rule(".bbox", "must be [left, top, width, height] in pixels with a positive size")
_FLAT = Rule(".bbox", "must have a positive size", "drop the annotation", SMALL_SHARE, "they are left out")
_AREA = Rule(".area", "must be the object's area in pixels, or not there")
_NO_AREA = Rule(".area", "must be positive", "", 1.0, "the box's area is taken")
_CROWD = Rule(".iscrowd", "must be 0 or 1")
_IGNORE = Rule(".ignore", "must be 0 or 1")
_IGNORED = Rule("", "is marked as ignore", "", 1.0, "neither learnt nor scored, like a crowd")
_IMAGE = Rule(".image_id", "no image has this id", "drop the annotation or add the image")
_CATEGORY = Rule(".category_id", "no category has this id", "add it to categories")
_SEGMENTATION = "drop it, or export the annotations again"

Box = tuple[float, float, float, float]
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Images:
    """The images that a file lists.

    Attributes:
        names: File of each.
        ids_M: Id of each.
        sizes_M2: Height and width of each in pixels, as recorded.
        places_M: Position of each in the file's list.
    """

    names: list[str]
    ids_M: NDArray[np.int64]
    sizes_M2: NDArray[np.int64]
    places_M: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Objects:
    """The objects that a file lists, those without a fault of their own.

    Attributes:
        places_N: Position of each in the file's list.
        images_N: Position of its image in `Images`; -1 for none.
        categories_N: Id of its category.
        boxes_N4: Left, top, width and height in pixels, as recorded.
        areas_N: In pixels; NaN where none is recorded.
        crowds_N: Whether it is a crowd, or to be ignored.
        outlines_N4: Left, top, right and bottom of its polygons; NaN where there are none.
        runs_N2: Height and width of its RLE; NaN where it has none.
        masked_N: Whether it has a segmentation.
        segmentations: Of each, where they were asked for.
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
    segmentations: list[Any] | None

    def __len__(self) -> int:
        return len(self.places_N)


@dataclass(frozen=True)
class AnnotationFile:
    """What a file holds.

    Attributes:
        file: Where it is.
        categories: Id and name of each category, in the file's order.
        images: The images.
        objects: The objects.
        totals: Entries of each list, faulty ones among them.
        findings: What is wrong in the file by itself.
    """

    file: Path
    categories: tuple[tuple[int, str], ...]
    images: Images
    objects: Objects
    totals: dict[str, int]
    findings: Findings

    def place(self, index: int) -> str:
        """An object as a message names it."""
        return f"annotations[{int(self.objects.places_N[index])}]"

    def image_of(self, index: int) -> str:
        """An object's image as a message names it."""
        return printable_name(self.images.names[self.objects.images_N[index]])


class UnreadableFileError(ValueError):
    """A file is no annotation file in COCO format; the message says what it is."""


def read_annotations(
    file: Path,
    masks: bool,
    outlines: bool = True,
    kept: bool = False,
    told: Told = lambda done, total: None,
) -> AnnotationFile:
    """Reads a file whole.

    Args:
        file: In COCO format.
        masks: Whether segmentations are wanted: their faults are findings.
        outlines: Whether they are looked at all the same, to tell where the objects lie.
        kept: Whether segmentations are kept, which takes gigabytes for a large set.
        told: Is told how many of how many bytes were read.

    Raises:
        UnreadableFileError: It is no such file.
    """
    reading = _Reading(masks, outlines or masks, kept and masks)
    found = foreign_file(file)
    if found:
        raise UnreadableFileError(found)
    try:
        for part in parts(file, told):
            reading.take(part)
    except (NotJsonError, OSError) as error:
        raise UnreadableFileError(f"not JSON: {error}; export the annotations again") from None
    return reading.ended(file)


MOST_FILES = 4
"""Files remembered in one process: those of training and validation of two data sets."""


class _Asked(NamedTuple):
    """A file as it is, and what is wanted of it."""

    state: tuple[str, int, int, int]
    masks: bool
    kept: bool
    outlines: bool

    def answers(self, other: "_Asked") -> bool:
        """Whether what was read for this one is all that the other asks for.

        What is read with masks leaves out objects whose outlines are unsound: it does not stand in for a reading
        without.
        """
        same = (self.state, self.masks) == (other.state, other.masks)
        return same and self.kept >= other.kept and self.outlines >= other.outlines


class _Remembered:
    """The files that were read last, as they are now."""

    def __init__(self) -> None:
        self._files: OrderedDict[_Asked, AnnotationFile] = OrderedDict()

    def get(self, file: Path, masks: bool, kept: bool, outlines: bool, told: Told) -> AnnotationFile:
        state = file.stat()
        asked = _Asked((str(file), state.st_size, state.st_mtime_ns, state.st_ino), masks, kept, outlines)
        for key, found in self._files.items():
            if key.answers(asked):
                self._files.move_to_end(key)
                return found
        found = read_annotations(file, masks, outlines, kept, told)
        self._files[asked] = found
        while len(self._files) > MOST_FILES:
            self._files.popitem(last=False)
        return found


_remembered = _Remembered()


def annotations_of(
    file: Path,
    masks: bool = False,
    kept: bool = False,
    outlines: bool = False,
    told: Told = lambda done, total: None,
) -> AnnotationFile:
    """A file, read once a process until it changes; the arguments and errors are those of `read_annotations`."""
    return _remembered.get(file, masks, kept, outlines, told)


def printable_name(name: str) -> str:
    """A name as a message shows it."""
    return name if name.isprintable() and len(name) <= SHOWN_NAME else ascii(name)[:SHOWN_NAME]


SHOWN_NAME = 80


@dataclass
class _Reading:
    """Takes a file's entries one by one, and keeps of them what is needed."""

    masks: bool
    outlines: bool
    kept: bool
    findings: Findings = field(default_factory=Findings)
    samples: dict[str, Any] = field(default_factory=dict)  # the first value under each key
    totals: dict[str, int] = field(default_factory=dict)
    categories: list[tuple[int, str]] = field(default_factory=list)
    category_places: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    # Ids and positions, as rows of whole numbers: those of images (id, height, width, place) and objects (id, image,
    # category, place).
    images: Any = field(default_factory=lambda: array("q"))
    objects: Any = field(default_factory=lambda: array("q"))
    numbers: Any = field(default_factory=lambda: array("d"))
    segmentations: list[Any] = field(default_factory=list)
    # Ids of entries with another fault, which is not to be told twice.
    faulty: dict[str, list[int]] = field(default_factory=lambda: {key: [] for key in LISTS})
    nameless: set[str] = field(default_factory=set)

    def take(self, part: Part) -> None:
        """Reads some entries of a list, or keeps the value under a key for telling what the file is."""
        key, first = part.key, part.first
        self.samples.setdefault(key, part.values[0] if part.values else None)
        if key not in LISTS:
            return
        if first is None:
            self.samples[key] = _NoList()
            return
        self.totals[key] = first + len(part.values)
        read = _READ[key]
        for index, entry in enumerate(part.values, first):
            if type(entry) is not dict:
                self.findings.add(_ENTRY, f"{key}[{index}]", entry)
            elif not read(self, index, entry):
                self._remember(key, entry.get("id"))

    def _remember(self, key: str, number: Any) -> None:
        """Keeps the id of an entry with a fault; one whose id is none may be what any object means."""
        if type(number) is int:
            self.faulty[key].append(number)
        else:
            self.nameless.add(key)

    def whole(self, entry: dict[str, Any], name: str, place: str) -> int | None:
        """A whole number; None, and a finding, where there is none."""
        value = entry.get(name)
        if type(value) is int and abs(value) < 2**63:
            return value
        if type(value) is float and value.is_integer() and abs(value) < 2**53:
            return int(value)
        if name not in entry:
            self.findings.add(Rule(f".{name}", "is missing"), place)
        elif type(value) is int:
            self.findings.add(Rule(f".{name}", "must be a number of at most 64 bits"), place, value)
        else:
            digits = type(value) is str and value.strip().isdecimal()
            hint = "it is a text, as VIA writes it: take the quotation marks away" if digits else ""
            self.findings.add(Rule(f".{name}", _WHOLE), place, value, hint)
        return None

    def text(self, entry: dict[str, Any], name: str, place: str) -> str | None:
        """A text; None, and a finding, where there is none."""
        value = entry.get(name)
        if type(value) is str:
            return value
        rule = Rule(f".{name}", "must be a text" if name in entry else "is missing")
        self.findings.add(rule, place, value if name in entry else "")
        return None

    def ended(self, file: Path) -> AnnotationFile:
        """What was read.

        Raises:
            UnreadableFileError: It is another kind of file.
        """
        foreign = foreign_format(self.samples)
        if foreign:
            raise UnreadableFileError(foreign)
        if any(type(self.samples.get(key)) is _NoList or key not in self.totals for key in LISTS):
            raise UnreadableFileError(
                "not COCO format: it must be an object with lists images, annotations and categories"
            )
        images = self._images()
        objects = self._objects(images)
        return AnnotationFile(file, tuple(self.categories), images, objects, self.totals, self.findings)

    def _images(self) -> Images:
        rows = np.array(self.images, np.int64).reshape(-1, 4)
        found = Images(self.names, rows[:, 0], rows[:, 1:3], rows[:, 3])
        self._twice("images", ".id", found.ids_M, found.places_M)
        ids = np.array([number for number, _ in self.categories], np.int64)
        places = np.array(self.category_places, np.int64)
        self._twice("categories", ".id", ids, places)
        self._twice("categories", ".name", np.array([name for _, name in self.categories], object), places)
        return found

    def _twice(self, key: str, name: str, values: NDArray[Any], places: NDArray[np.int64]) -> None:
        """Entries that say what an earlier one said."""
        _, first, which = np.unique(values.astype(str) if values.dtype == object else values, return_index=True,
                                    return_inverse=True)  # fmt: skip
        again = np.flatnonzero(first[which] != np.arange(len(values)))
        if not len(again):
            return
        told = [
            (f"{key}[{places[at]}]", Shown(f"{values[at]!s:.60} as {key}[{places[first[which[at]]]}]"))
            for at in again[:3]
        ]
        self.findings.add_many(Rule(name, _TWICE), len(again), told)

    def _objects(self, images: Images) -> Objects:
        rows = np.array(self.objects, np.int64).reshape(-1, 4)
        numbers = np.array(self.numbers, np.float64).reshape(-1, 13)
        self._twice("annotations", ".id", rows[:, 0], rows[:, 3])
        order = np.argsort(images.ids_M, kind="stable")
        at = _found(images.ids_M[order], rows[:, 1])
        positions = np.where(at >= 0, order[at] if len(order) else -1, -1)
        if "images" not in self.nameless:
            known_N = (positions >= 0) | _is_in(rows[:, 1], self.faulty["images"])
            self._unknown(_IMAGE, rows[:, 1], rows[:, 3], known_N)
        if "categories" not in self.nameless:
            kinds = [number for number, _ in self.categories] + self.faulty["categories"]
            self._unknown(_CATEGORY, rows[:, 2], rows[:, 3], _is_in(rows[:, 2], kinds))
        found = Objects(
            rows[:, 3], positions, rows[:, 2], numbers[:, :4], numbers[:, 4], numbers[:, 5] > 0, numbers[:, 6:10],
            numbers[:, 10:12], numbers[:, 12] > 0, self.segmentations if self.kept else None,
        )  # fmt: skip
        return found

    def _unknown(self, rule: Rule, ids: NDArray[np.int64], places: NDArray[np.int64], known: NDArray[np.bool_]) -> None:
        wrong = np.flatnonzero(~known)
        if len(wrong):
            self.findings.add_many(rule, len(wrong), [(f"annotations[{places[i]}]", int(ids[i])) for i in wrong[:3]])


class _NoList:
    """In the place of a value that should have been a list."""


def _found(ordered: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of each number among ordered ones; -1 where it is none of them."""
    if not len(ordered):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[at] == wanted, at, -1)


def _is_in(wanted: NDArray[np.int64], known: list[int]) -> NDArray[np.bool_]:
    small = [number for number in known if abs(number) < 2**63]
    return np.isin(wanted, np.array(small, np.int64))


def _category(reading: _Reading, index: int, entry: dict[str, Any]) -> bool:
    place = f"categories[{index}]"
    number, name = reading.whole(entry, "id", place), reading.text(entry, "name", place)
    if number is None or name is None:
        return False
    if not name.strip() or not is_printable(name):
        reading.findings.add(_NAME, place, name)
        return False
    reading.categories.append((number, name))
    reading.category_places.append(index)
    return True


def is_printable(name: str) -> bool:
    """Whether a name holds no control character and can be written as UTF-8; spaces and joiners of any script may be.

    Line and paragraph separators count as control characters, since they end a line of a message.
    """
    return name.isprintable() or not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)


def _image(reading: _Reading, index: int, entry: dict[str, Any]) -> bool:
    place = f"images[{index}]"
    number, name = reading.whole(entry, "id", place), reading.text(entry, "file_name", place)
    height, width = reading.whole(entry, "height", place), reading.whole(entry, "width", place)
    if number is None or name is None or height is None or width is None:
        return False
    if min(height, width) < 1 or max(height, width) > LARGEST_SIDE:
        reading.findings.add(_SIDES, place, (height, width))
        return False
    if not name or not is_printable(name) or len(name) > LONGEST_NAME:
        reading.findings.add(Rule(".file_name", "must be the name of a file"), place, name)
        return False
    reading.names.append(name)
    reading.images.extend((number, height, width, index))
    return True


_NAN, _NAN2, _NAN4 = math.nan, (math.nan,) * 2, (math.nan,) * 4
_NUMBERS = {int, float}
_LARGEST_NUMBER = 1e9
_LARGEST_ID = 2**63 - 1


def _object(reading: _Reading, index: int, entry: dict[str, Any]) -> bool:
    """Reads an object. A file holds a million: what is as usual is seen at once, all else is looked at again."""
    row = (entry.get("id"), entry.get("image_id"), entry.get("category_id"), entry.get("bbox"), entry.get("area"))
    if _is_usual(row) and not entry.get("ignore") and entry.get("iscrowd") == 0:
        *ids, box, area = row
        found: tuple[Any, ...] | None = (*ids, box, area, 0)
    else:
        found = _looked_at_again(reading, f"annotations[{index}]", entry)
    outline = outline_of(entry.get("segmentation")) if reading.outlines else ABSENT
    if reading.masks and outline.rule:
        rare = outline.rule == NOTHING
        rule = Rule(".segmentation", outline.rule, _SEGMENTATION, SMALL_SHARE * rare, "they are left out")
        reading.findings.add(rule, f"annotations[{index}]", entry["segmentation"], outline.hint)
        return False
    if found is None:
        return False
    number, image, category, box, area, crowd = found
    reading.objects.extend((number, image, category, index))
    bounds, size = outline.bounds or _NAN4, outline.size or _NAN2
    masked = outline.present and not outline.rule if reading.outlines else bool(entry.get("segmentation"))
    reading.numbers.extend((*box, area, crowd, *bounds, *size, masked))
    if reading.kept:
        reading.segmentations.append(whole_parts(entry.get("segmentation")) if outline.present else None)
    return True


def _is_usual(row: tuple[Any, Any, Any, Any, Any]) -> TypeGuard[tuple[int, int, int, Box, float]]:
    """Whether id, image, category, box and area are such as COCO writes them."""
    number, image, category, box, area = row
    return (
        type(number) is type(image) is type(category) is int
        and min(number, image, category) >= -_LARGEST_ID
        and max(number, image, category) <= _LARGEST_ID
        and type(box) is list
        and len(box) == 4
        and _NUMBERS.issuperset(map(type, box))
        and min(box) > -_LARGEST_NUMBER
        and max(box) < _LARGEST_NUMBER
        and box[2] > 0 < box[3]
        and type(area) in _NUMBERS
        and 0 < area < _LARGEST_NUMBER
    )


def _looked_at_again(reading: _Reading, place: str, entry: dict[str, Any]) -> tuple[Any, ...] | None:
    """Id, image, category, box, area and whether it is a crowd; None, and findings, where one of them cannot be."""
    ids = [reading.whole(entry, name, place) for name in ("id", "image_id", "category_id")]
    box, area = _box(reading, place, entry), _area(reading, place, entry)
    crowd = _flag(reading, _CROWD, "iscrowd", place, entry)
    ignored = _flag(reading, _IGNORE, "ignore", place, entry)
    found = (*ids, box, area, crowd, ignored)
    if any(value is None for value in found):
        return None
    if ignored:
        reading.findings.add(_IGNORED, place)
    return (*ids, box, area, bool(crowd or ignored))


_READ: dict[str, Callable[[_Reading, int, dict[str, Any]], bool]] = {
    "images": _image, "annotations": _object, "categories": _category,
}  # fmt: skip


def _box(reading: _Reading, place: str, entry: dict[str, Any]) -> Box | None:
    box = entry.get("bbox")
    if box is None:
        reading.findings.add(Rule(".bbox", "is missing", "it is [left, top, width, height] in pixels"), place)
        return None
    if type(box) is not list or len(box) != 4 or not _NUMBERS.issuperset(map(type, box)):
        reading.findings.add(_BOX, place, box)
        return None
    if not all(-_LARGEST_NUMBER < side < _LARGEST_NUMBER for side in box) or min(box[2:]) < 0:
        reading.findings.add(_BOX, place, box)
        return None
    if not box[2] or not box[3]:
        reading.findings.add(_FLAT, place, box)
        return None
    return (box[0], box[1], box[2], box[3])


def _area(reading: _Reading, place: str, entry: dict[str, Any]) -> float:
    """The recorded area; NaN where there is none that can be."""
    area = entry.get("area")
    if area is None:
        return _NAN
    if type(area) not in _NUMBERS or not -(10**18) < area < 10**18:
        reading.findings.add(_AREA, place, area)
        return _NAN
    if area <= 0:
        reading.findings.add(_NO_AREA, place, area)
        return _NAN
    return float(area)


def _flag(reading: _Reading, rule: Rule, name: str, place: str, entry: dict[str, Any]) -> int | None:
    """0 or 1; None, and a finding, for anything else. Null is 0."""
    value = entry.get(name)
    if value is None:
        return 0
    if isinstance(value, int | float) and value in (0, 1):
        return int(value)
    reading.findings.add(rule, place, value)
    return None
