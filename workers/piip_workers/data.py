"""Data sets in COCO format: where they are, what is wrong with them, and a fingerprint of what they hold."""

import hashlib
import importlib.util
import json
import math
import os
import reprlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from piip_search.export import CocoPaths, CocoSplit
from piip_search.spec import Data, Split
from piip_workers.cache import cache_folder

MOST_PROBLEMS = 20
"""Problems listed of one annotation file; more of them help nobody."""

LARGEST_SIDE, LONGEST_NAME = 100_000, 1000
"""Of an image in pixels, and of its file's name."""

DIGITS = {"train": 160, "val": 40}
"""Images of the embedded set."""

MOST_NAMED = 10
"""Names listed of those that are missing."""

SIZES = {"s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, math.inf)}
"""COCO's ranges of an object's area, in pixels; the ends are in both."""


def prepare(data: Data) -> CocoPaths:
    """Absolute paths and class names of a checked data set; an embedded one is composed on first use."""
    splits = _splits(data)
    train, val = (contents(split) for split in splits.values())
    aspects = [aspect for part in (train, val) for aspect in part.aspects]
    return CocoPaths(
        splits["train"], splits["val"], train.classes, train.classes == val.classes, (min(aspects), max(aspects))
    )


def fingerprint(data: Data) -> str:
    """16 hexadecimal digits of the annotations and of the images' names and sizes in bytes; paths do not count."""
    digest = hashlib.sha256()
    for name, split in _splits(data).items():
        digest.update(name.encode() + split.annotations.read_bytes())
        for image in json.loads(split.annotations.read_text(encoding="utf-8"))["images"]:
            digest.update(f"{image['file_name']}:{(split.images / image['file_name']).stat().st_size}".encode())
    return digest.hexdigest()[:16]


def image_counts(data: Data) -> tuple[int, int] | None:
    """Training and validation images, without composing or checking anything; None where the data is not here."""
    if data.embedded:
        return DIGITS["train"], DIGITS["val"]
    try:
        train, val = (count_images(split) for split in _splits(data).values())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return train, val


def count_images(split: CocoSplit) -> int:
    """Images that an annotation file lists."""
    return contents(split).images


@dataclass(frozen=True)
class Contents:
    """What is to be known of an annotation file before anything is trained.

    Attributes:
        classes: Class names in the file's order.
        images: How many it lists.
        aspects: The least and the greatest ratio of an image's long side to its short one.
        objects: How many it lists.
        masked: Of these, those with a mask.
        sizes: Of the objects that are scored, which of COCO's sizes occur: s, m, l.
    """

    classes: tuple[str, ...]
    images: int
    aspects: tuple[float, float]
    objects: int
    masked: int
    sizes: frozenset[str]


def contents(split: CocoSplit) -> Contents:
    """Of a checked annotation file; parsed once a process, as that of a large set takes seconds."""
    return _contents(split.annotations, split.annotations.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _contents(file: Path, _changed: int) -> Contents:
    content = json.loads(file.read_text(encoding="utf-8"))
    sides = {(image["height"], image["width"]) for image in content["images"]}
    aspects = [max(pair) / min(pair) for pair in sides] or [1.0]
    objects = content["annotations"]
    scored = (entry for entry in objects if not entry.get("iscrowd"))
    areas = (entry.get("area", entry["bbox"][2] * entry["bbox"][3]) for entry in scored)
    return Contents(
        tuple(str(category["name"]) for category in content["categories"]),
        len(content["images"]),
        (min(aspects), max(aspects)),
        len(objects),
        sum(bool(entry.get("segmentation")) for entry in objects),
        frozenset(size for area in areas for size in SIZES if SIZES[size][0] <= area <= SIZES[size][1]),
    )


def chosen(available: int, wanted: int, seed: int) -> tuple[int, ...] | None:
    """So many positions, drawn from the seed, in order; None for all."""
    if wanted >= available:
        return None
    drawn = np.random.RandomState(seed).permutation(available)[:wanted]
    return tuple(sorted(int(index) for index in drawn))


def measured_images(split: CocoSplit, wanted: int | None) -> tuple[int, ...] | None:
    """Positions of the validation images that every proxy is measured on; None for all."""
    return None if wanted is None else chosen(count_images(split), wanted, 0)


def undecodable_images(
    data: Data, fingerprint: str, wanted: int | None, told: Callable[[int, int], None] = lambda done, total: None
) -> list[str]:
    """Validation images that cannot be decoded, a line each: one of them would end the measurement of every candidate.

    Images that were found sound are not looked at again: the user's cache folder remembers the data's fingerprint.

    Args:
        data: A checked data set.
        fingerprint: Of the data.
        wanted: As in `measured_images`.
        told: Is told how many of how many images were decoded.
    """
    if importlib.util.find_spec("cv2") is None:  # on a cluster the workers have it
        return []
    known = cache_folder() / "decoded" / f"{fingerprint}-{wanted or 'all'}"
    if known.exists():
        return []
    split = _splits(data)["val"]
    listed = json.loads(split.annotations.read_text(encoding="utf-8"))["images"]
    places = measured_images(split, wanted)
    files = [split.images / listed[place]["file_name"] for place in places or range(len(listed))]
    problems = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (file, sound) in enumerate(zip(files, pool.map(_is_decodable, files), strict=True), 1):
            told(done, len(files))
            if not sound:
                problems.append(f"{file} cannot be decoded; restore the file, or take it out of {split.annotations}")
    if not problems:
        with suppress(OSError):  # then they are looked at again
            known.parent.mkdir(parents=True, exist_ok=True)
            known.touch()
    return _cut_short("data.val", problems)


def _is_decodable(file: Path) -> bool:
    import cv2

    try:
        return cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR) is not None
    except (FileNotFoundError, cv2.error):
        return False


def unsuited(data: Data, metric: str, detector: str, masks: bool) -> list[str]:
    """Why a checked data set cannot train a detector, or measure a metric, a line each; empty where it can.

    Args:
        data: The data set.
        metric: What is searched.
        detector: Name of the detector.
        masks: Whether it learns masks.
    """
    if data.embedded:
        return []
    problems = []
    splits = _splits(data)
    for split in splits.values() if masks else ():
        found = contents(split)
        if found.masked < found.objects:
            problems.append(
                f"training.detector: {detector} learns masks, and {found.objects - found.masked} of {found.objects} "
                f"objects in {split.annotations} have no segmentation; add them, or choose a detector without masks"
            )
    size = metric.rpartition("_")[2]
    if size in SIZES and size not in contents(splits["val"]).sizes:
        problems.append(
            f"metric: {metric} averages over objects of {_range(size)}, and {splits['val'].annotations} holds none; "
            f"choose {metric.removesuffix(f'_{size}')}"
        )
    return problems


def _range(size: str) -> str:
    least, most = SIZES[size]
    return f"at least {least} pixels" if math.isinf(most) else f"{least} to {most} pixels"


def check(data: Data) -> list[str]:
    """What is wrong with a data set, a line each with file, place and way out; empty when it can be used."""
    if data.embedded:
        return []
    root = Path(data.root or "")
    if not root.is_dir():
        return [f"data.root: no folder {root}; put a COCO-format data set there, or name the folder that holds it"]
    problems: list[str] = []
    categories: dict[str, list[str]] = {}
    for name, split in (("train", data.train), ("val", data.val)):
        found = list(_split_problems(f"data.{name}", root, split, categories)) if split else []
        problems += _cut_short(f"data.{name}", found)
    return problems or list(_category_problems(**categories))


def _cut_short(place: str, problems: list[str]) -> list[str]:
    more = len(problems) - MOST_PROBLEMS
    return problems if more <= 0 else [*problems[:MOST_PROBLEMS], f"{place}: and {more} more problems in this file"]


def _category_problems(train: Sequence[str], val: Sequence[str]) -> Iterator[str]:
    """Labels go by name, so that ids and order may differ between the two files."""
    alone = [sorted(set(one) - set(other))[:MOST_NAMED] for one, other in ((train, val), (val, train))]
    if any(alone):
        yield (
            f"data: train and val name other categories, {alone[0]} in train alone and {alone[1]} in val alone; "
            "both files must list the same names"
        )


def _splits(data: Data) -> dict[str, CocoSplit]:
    if data.embedded:
        from piip_workers.digits import compose

        root = compose(cache_folder())
        return {
            name: CocoSplit(root / name, root / "annotations" / f"instances_{name}.json") for name in ("train", "val")
        }
    assert data.root is not None, "a checked spec has all three"
    assert data.train is not None
    assert data.val is not None
    root = data.root.resolve()
    return {
        name: CocoSplit(root / split.images, root / split.annotations)
        for name, split in (("train", data.train), ("val", data.val))
    }


def _split_problems(place: str, root: Path, split: Split, categories: dict[str, list[str]]) -> Iterator[str]:
    images, file = root / split.images, root / split.annotations
    if not images.is_dir():
        yield f"{place}.images: no folder {images}; it is relative to data.root"
    if not file.is_file():
        yield f"{place}.annotations: no file {file}; it is relative to data.root"
        return
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        yield f"{file}: not JSON: {_short(error)}; export the annotations again"
        return
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
    ):
        yield f"{file}: not COCO format: it must be an object with lists images, annotations and categories"
        return
    for problem in _content_problems(place, images, content, categories):
        yield f"{file}: {problem}"


def _content_problems(
    place: str, folder: Path, content: dict[str, Any], categories: dict[str, list[str]]
) -> Iterator[str]:
    parts = {
        "categories": list(_entries(content, "categories", {"id": int, "name": str})),
        "images": list(_entries(content, "images", {"id": int, "file_name": str, "height": int, "width": int})),
        "annotations": list(
            _entries(content, "annotations", {"id": int, "image_id": int, "category_id": int, "bbox": list})
        ),
    }
    for part in parts.values():
        yield from (problem for _, problem, _ in part if problem)
    named, pictures, objects = (
        [(where, entry) for where, problem, entry in part if not problem] for part in parts.values()
    )
    for entries in (named, pictures, objects):
        yield from _twice(entries, "id")
    yield from _twice(named, "name")
    categories[place.removeprefix("data.")] = [entry["name"] for _, entry in named]
    for where, entry in named:
        if not entry["name"].strip() or not entry["name"].isprintable():
            yield f"{where}.name: must be a printable name, got {_short(entry['name'])!r}"
    for where, entry in pictures:
        yield from (f"{where}{text}" for text in _image_problems(entry, folder))
    # Also of entries with another fault, which is not to be told twice.
    known, kinds = (
        {entry["id"] for _, _, entry in parts[name] if isinstance(entry, dict) and type(entry.get("id")) is int}
        for name in ("images", "categories")
    )
    for where, entry in objects:
        yield from (f"{where}{text}" for text in _object_problems(entry, known, kinds))
    if not parts["annotations"]:
        yield "annotations: is empty; there is nothing to learn or to measure"


def _twice(entries: list[tuple[str, Any]], field: str) -> Iterator[str]:
    """Entries that say what an earlier one said."""
    seen: dict[Any, str] = {}
    for where, entry in entries:
        if entry[field] in seen:
            yield f"{where}.{field}: {_REPR.repr(entry[field])} is that of {seen[entry[field]]} too; each has its own"
        seen.setdefault(entry[field], where)


def _image_problems(entry: dict[str, Any], folder: Path) -> Iterator[str]:
    """Sides of no image, a file that is none, or one outside of the folder."""
    name = entry["file_name"]
    sides = (entry["height"], entry["width"])
    if min(sides) < 1 or max(sides) > LARGEST_SIDE:
        yield f": height and width must be 1 to {LARGEST_SIDE} pixels, got {_short(sides)}"
    inside = name.isprintable() and not Path(name).is_absolute() and ".." not in Path(name).parts
    if not inside or len(name) > LONGEST_NAME:
        yield f".file_name: must be a file in the folder of images, got {_short(name)!r}"
    elif folder.is_dir() and not (folder / name).is_file():
        yield f".file_name: no image {folder / name}; restore it or drop the entry"


def _entries(content: dict[str, Any], key: str, fields: dict[str, type]) -> Iterator[tuple[str, str, Any]]:
    """Place, problem (empty where there is none) and content of each entry of a list."""
    for index, entry in enumerate(content[key]):
        where = f"{key}[{index}]"
        if not isinstance(entry, dict):
            yield where, f"{where}: must be an object with {', '.join(fields)}", entry
            continue
        wrong = [name for name, kind in fields.items() if type(entry.get(name)) is not kind or _huge(entry[name])]
        needs = ", ".join(f"{name} ({fields[name].__name__})" for name in wrong)
        yield where, f"{where}: needs {needs}" if wrong else "", entry


def _huge(value: Any) -> bool:
    """Whether a number is one that no library can hold."""
    return type(value) is int and abs(value) >= 2**53


def _object_problems(entry: dict[str, Any], known: set[Any], kinds: set[Any]) -> Iterator[str]:
    box = entry["bbox"]
    numbers = [value for value in box if _is_number(value)]
    if len(box) != 4 or len(numbers) != 4 or min(numbers[2:]) <= 0:
        yield f".bbox: must be [left, top, width, height] in pixels with a positive size, got {_short(box)}"
    if "area" in entry and (not _is_number(entry["area"]) or entry["area"] <= 0):
        yield f".area: must be the object's area in pixels, or not there, got {_short(entry['area'])}"
    if entry.get("iscrowd", 0) not in (0, 1):
        yield f".iscrowd: must be 0 or 1, got {_short(entry['iscrowd'])}"
    if entry["image_id"] not in known:
        yield f".image_id: no image has id {entry['image_id']}; drop the annotation or add the image"
    if entry["category_id"] not in kinds:
        yield f".category_id: no category has id {entry['category_id']}; add it to categories"


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return not _huge(value)
    return type(value) is float and math.isfinite(value)


def _short(value: object) -> str:
    text = str(value) if isinstance(value, str | BaseException) else _REPR.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_REPR = reprlib.Repr()
