"""Reads the entries of an annotation file in COCO format one by one into rows of numbers.

Unambiguous differences between tools are accepted: whole numbers written as floats, null for a missing value, ids of 64
bits. Everything else is a finding.
"""

import math
import unicodedata
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from piip_workers.tasks.detection.coco.findings import Findings, Rule
from piip_workers.tasks.detection.coco.json_stream import JsonPart
from piip_workers.tasks.detection.coco.outlines import ABSENT, LARGEST_SIDE, NO_AREA, outline_of, whole_parts

LISTS = ("images", "annotations", "categories")
LONGEST_NAME = 1000
"""Most letters of an image's file name."""
SMALL_SHARE = 0.01
"""Share of entries that may be left out with a notice; COCO's own training file has two boxes without a height."""

_ENTRY = Rule("", "must be an object")
_WHOLE = "must be a whole number"
_SIDES = Rule("", f"height and width must be 1 to {LARGEST_SIDE} pixels")
_NAME = Rule(".name", "must be a printable name")
_BOX = Rule(".bbox", "must be [left, top, width, height] in pixels with a positive size")
_FLAT = Rule(".bbox", "must have a positive size", "drop the annotation", SMALL_SHARE, "they are left out")
_AREA = Rule(".area", "must be the object's area in pixels, or absent")
_NO_AREA = Rule(".area", "must be positive", "", 1.0, "the box's area is taken")
_CROWD = Rule(".iscrowd", "must be 0 or 1")
_IGNORE = Rule(".ignore", "must be 0 or 1")
_IGNORED = Rule("", "is marked as ignore", "", 1.0, "neither trained on nor scored, like a crowd")
_SEGMENTATION = "drop it, or export the annotations again"


Box = tuple[float, float, float, float]


class NoList:
    """Stands in for a value that should have been a list."""


@dataclass
class Entries:
    """Reads a file's entries one by one and stores the needed parts."""

    masks: bool
    outlines: bool
    kept: bool
    findings: Findings = field(default_factory=Findings)
    samples: dict[str, Any] = field(default_factory=dict)  # the first value under each key
    totals: dict[str, int] = field(default_factory=dict)
    categories: list[tuple[int, str]] = field(default_factory=list)
    category_places: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    # Ids and positions as rows of whole numbers: of images (id, height, width, place) and of objects (id, image,
    # category, place).
    images: Any = field(default_factory=lambda: array("q"))
    objects: Any = field(default_factory=lambda: array("q"))
    numbers: Any = field(default_factory=lambda: array("d"))
    segmentations: list[Any] = field(default_factory=list)
    # Ids of entries with another fault, which are reported once.
    faulty: dict[str, list[int]] = field(default_factory=lambda: {key: [] for key in LISTS})
    nameless: set[str] = field(default_factory=set)
    left_out: bool = False  # whether objects were left out only because of their outlines

    def take(self, part: JsonPart) -> None:
        """Reads some entries of a list, or stores the value of a key to recognise foreign formats."""
        key, first = part.key, part.first
        self.samples.setdefault(key, part.values[0] if part.values else None)
        if key not in LISTS:
            return
        if first is None:
            self.samples[key] = NoList()
            return
        self.totals[key] = first + len(part.values)
        read = _READ[key]
        for index, entry in enumerate(part.values, first):
            if type(entry) is not dict:
                self.findings.add(_ENTRY, f"{key}[{index}]", entry)
            elif not read(self, index, entry):
                self._remember(key, entry.get("id"))

    def _remember(self, key: str, number: Any) -> None:
        """Stores the id of a faulty entry; an entry with an invalid id may be meant by any object."""
        if type(number) is int:
            self.faulty[key].append(number)
        else:
            self.nameless.add(key)

    def whole(self, entry: dict[str, Any], name: str, place: str) -> int | None:
        """A whole number; None, with a finding, for anything else."""
        value = entry.get(name)
        if type(value) is int and abs(value) < 2**63:
            return value
        if type(value) is float and value.is_integer() and abs(value) < 2**53:
            return int(value)
        if name not in entry:
            self.findings.add(Rule(f".{name}", "is missing"), place)
        elif type(value) is int or (type(value) is float and value.is_integer()):
            self.findings.add(Rule(f".{name}", "must be a number of at most 64 bits"), place, value)
        else:
            digits = type(value) is str and value.strip().isdecimal()
            hint = "it is a text, as VIA writes it: remove the quotation marks" if digits else ""
            self.findings.add(Rule(f".{name}", _WHOLE), place, value, hint)
        return None

    def text(self, entry: dict[str, Any], name: str, place: str) -> str | None:
        """A text; None, with a finding, for anything else."""
        value = entry.get(name)
        if type(value) is str:
            return value
        rule = Rule(f".{name}", "must be a text" if name in entry else "is missing")
        self.findings.add(rule, place, value if name in entry else "")
        return None


def _category(reading: Entries, index: int, entry: dict[str, Any]) -> bool:
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
    """Whether a name has no control character and can be written as UTF-8; spaces and joiners are allowed.

    Line and paragraph separators count as control characters, since they end a line of a message.
    """
    return name.isprintable() or not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)


def _image(reading: Entries, index: int, entry: dict[str, Any]) -> bool:
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


_NAN = math.nan
_NAN2 = (math.nan,) * 2
_NAN4 = (math.nan,) * 4
_NUMBERS = {int, float}
_LARGEST_NUMBER = 1e9
_LARGEST_ID = 2**63 - 1


def _object(reading: Entries, index: int, entry: dict[str, Any]) -> bool:
    """Reads an object; usual objects pass a quick test, as a file has a million, and others a thorough one."""
    row = (entry.get("id"), entry.get("image_id"), entry.get("category_id"), entry.get("bbox"), entry.get("area"))
    if _is_usual(row) and not entry.get("ignore") and entry.get("iscrowd") == 0:
        *ids, box, area = row
        found: tuple[Any, ...] | None = (*ids, box, area, 0)
    else:
        found = _looked_at_again(reading, f"annotations[{index}]", entry)
    outline = outline_of(entry.get("segmentation")) if reading.outlines else ABSENT
    if reading.masks and outline.rule:
        rare = outline.rule == NO_AREA
        rule = Rule(".segmentation", outline.rule, _SEGMENTATION, SMALL_SHARE * rare, "they are left out")
        reading.findings.add(rule, f"annotations[{index}]", entry["segmentation"], outline.hint)
        reading.left_out = True
        return False
    if found is None:
        return False
    number, image, category, box, area, crowd = found
    reading.objects.extend((number, image, category, index))
    bounds, size = outline.bounds or _NAN4, outline.size or _NAN2
    masked = outline.present and not outline.rule if reading.outlines else bool(entry.get("segmentation"))
    reading.numbers.extend((*box, area, crowd, *bounds, *size, masked, outline.edges))
    if reading.kept:
        reading.segmentations.append(whole_parts(entry.get("segmentation")) if outline.present else None)
    return True


def _is_usual(row: tuple[Any, Any, Any, Any, Any]) -> TypeGuard[tuple[int, int, int, Box, float]]:
    """Whether id, image, category, box and area have COCO's usual form."""
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


def _looked_at_again(reading: Entries, place: str, entry: dict[str, Any]) -> tuple[Any, ...] | None:
    """Id, image, category, box, area and crowd flag; None, with findings, if one of them is invalid."""
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


_READ: dict[str, Callable[[Entries, int, dict[str, Any]], bool]] = {
    "images": _image,
    "annotations": _object,
    "categories": _category,
}


def _box(reading: Entries, place: str, entry: dict[str, Any]) -> Box | None:
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


def _area(reading: Entries, place: str, entry: dict[str, Any]) -> float:
    """The recorded area; NaN without a valid one."""
    area = entry.get("area")
    if area is None or area != area:  # NaN is how pandas writes null
        return _NAN
    if type(area) not in _NUMBERS or not -(10**18) < area < 10**18:
        reading.findings.add(_AREA, place, area)
        return _NAN
    if area <= 0:
        reading.findings.add(_NO_AREA, place, area)
        return _NAN
    return float(area)


def _flag(reading: Entries, rule: Rule, name: str, place: str, entry: dict[str, Any]) -> int | None:
    """0 or 1; null counts as 0. None, with a finding, for anything else."""
    value = entry.get(name)
    if value is None or value != value:  # NaN is how pandas writes null
        return 0
    if isinstance(value, int | float) and value in (0, 1):
        return int(value)
    hint = "it is a text: remove the quotation marks" if value in ("0", "1") else ""
    reading.findings.add(rule, place, value, hint)
    return None
