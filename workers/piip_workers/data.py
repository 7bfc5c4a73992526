"""Data sets in COCO format: where they are, what is wrong with them, and a fingerprint of what they hold."""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from piip_search.export import CocoPaths, CocoSplit
from piip_search.spec import Data, Split

MOST_PROBLEMS = 20
"""Problems listed of one annotation file; more of them help nobody."""

DIGITS = {"train": 160, "val": 40}
"""Images of the embedded set."""

MOST_NAMED = 10
"""Names listed of those that are missing."""


def cache_folder() -> Path:
    """Where data sets are composed: `PIIP_SEARCH_CACHE`, or piip-search in the user's cache folder."""
    given = os.environ.get("PIIP_SEARCH_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "piip-search"


def prepare(data: Data) -> CocoPaths:
    """Absolute paths and class names of a checked data set; an embedded one is composed on first use."""
    splits = _splits(data)
    train, val = (_listed(split.annotations) for split in splits.values())
    return CocoPaths(splits["train"], splits["val"], train.classes, train.classes == val.classes)


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
    return _listed(split.annotations).images


@dataclass(frozen=True)
class _Listed:
    """What a training needs to know of an annotation file beforehand: class names in the file's order, and images."""

    classes: tuple[str, ...]
    images: int


def _listed(file: Path) -> _Listed:
    return _parsed(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _parsed(file: Path, _changed: int) -> _Listed:
    """Parsed once a process: the file of a large set takes seconds."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return _Listed(tuple(str(category["name"]) for category in content["categories"]), len(content["images"]))


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
        problems += found[:MOST_PROBLEMS]
        if len(found) > MOST_PROBLEMS:
            problems.append(f"data.{name}: and {len(found) - MOST_PROBLEMS} more problems in this file")
    return problems or list(_category_problems(**categories))


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
        yield f"{file}: not JSON: {error}; export the annotations again"
        return
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
    ):
        yield f"{file}: not COCO format: it must be an object with lists images, annotations and categories"
        return
    yield from _content_problems(place, file, images, content, categories)


def _content_problems(
    place: str, file: Path, folder: Path, content: dict[str, Any], categories: dict[str, list[str]]
) -> Iterator[str]:
    named = list(_entries(content, "categories", {"id": int, "name": str}))
    pictures = list(_entries(content, "images", {"id": int, "file_name": str, "height": int, "width": int}))
    objects = list(_entries(content, "annotations", {"id": int, "image_id": int, "category_id": int, "bbox": list}))
    for _, problem, _ in (*named, *pictures, *objects):
        if problem:
            yield f"{file}: {problem}"
    kinds, known = ({entry.get("id") for _, _, entry in part if isinstance(entry, dict)} for part in (named, pictures))
    categories[place.removeprefix("data.")] = [e["name"] for _, problem, e in named if not problem]
    for part, key, entries in (("categories", "name", named), ("categories", "id", named), ("images", "id", pictures),
                               ("annotations", "id", objects)):  # fmt: skip
        counts = Counter(entry[key] for _, problem, entry in entries if not problem)
        yield from (
            f"{file}: {part}: {count} have the {key} {value!r}, which only one may have"
            for value, count in counts.items() if count > 1
        )  # fmt: skip
    for where, problem, entry in pictures:
        if not problem and folder.is_dir() and not (folder / entry["file_name"]).is_file():
            yield f"{file}: {where}.file_name: no image {folder / entry['file_name']}; restore it or drop the entry"
    for where, problem, entry in objects:
        if not problem:
            yield from (f"{file}: {where}{text}" for text in _object_problems(entry, known, kinds))
    if not objects:
        yield f"{file}: annotations: is empty; there is nothing to learn or to measure"


def _entries(content: dict[str, Any], key: str, fields: dict[str, type]) -> Iterator[tuple[str, str, Any]]:
    """Place, problem (empty where there is none) and content of each entry of a list."""
    for index, entry in enumerate(content[key]):
        where = f"{key}[{index}]"
        if not isinstance(entry, dict):
            yield where, f"{where}: must be an object with {', '.join(fields)}", entry
            continue
        wrong = [name for name, kind in fields.items() if type(entry.get(name)) is not kind]
        needs = ", ".join(f"{name} ({fields[name].__name__})" for name in wrong)
        yield where, f"{where}: needs {needs}" if wrong else "", entry


def _object_problems(entry: dict[str, Any], known: set[Any], kinds: set[Any]) -> Iterator[str]:
    box = entry["bbox"]
    numbers = [value for value in box if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(box) != 4 or len(numbers) != 4 or not all(map(math.isfinite, numbers)) or min(numbers[2:]) <= 0:
        yield f".bbox: must be [left, top, width, height] in pixels with a positive size, got {str(box)[:60]}"
    if entry["image_id"] not in known:
        yield f".image_id: no image has id {entry['image_id']}; drop the annotation or add the image"
    if entry["category_id"] not in kinds:
        yield f".category_id: no category has id {entry['category_id']}; add it to categories"
