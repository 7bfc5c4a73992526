"""Data sets in COCO format: paths, contents and fingerprint.

`checks` finds their faults.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from piip_search.sections import Orientation
from piip_search.tasks.detection.mmdet.data import CocoPaths, CocoSplit
from piip_search.tasks.detection.section import DetectionData
from piip_workers.cache import cache_folder
from piip_workers.images.pictures import Pictures, ProgressCallback
from piip_workers.tasks.detection.coco.annotation_file import AnnotationFile, annotations_of
from piip_workers.tasks.detection.coco.boxes import usable_boxes
from piip_workers.tasks.detection.coco.orientation import orientation_of
from piip_workers.tasks.detection.digits import DIGITS, compose

AREA_RANGES = {"s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, math.inf)}
"""COCO's ranges of an object's area in pixels; each includes both ends."""


def prepare(data: DetectionData, masks: bool = False) -> CocoPaths:
    """Absolute paths and class names of a checked data set; an embedded one is created on first use.

    Args:
        data: The data set.
        masks: Whether segmentations will be read.
    """
    splits = splits_of(data)
    train, val = (contents(split, masks) for split in splits.values())
    aspects = [aspect for part in (train, val) for aspect in part.aspects]
    return CocoPaths(
        _turned(splits["train"]),
        _turned(splits["val"]),
        train.classes,
        train.classes == val.classes,
        (min(aspects), max(aspects)),
    )


def _turned(split: CocoSplit) -> CocoSplit:
    return replace(split, orientation=split.orientation or _orientation(split))


def _orientation(split: CocoSplit) -> Orientation:
    """Orientation of the pixels that a split's annotations mean."""
    images = annotations_of(split.annotations).images
    return orientation_of(images, Pictures(split.images, images.names)) or "exif"


def resolved(data: DetectionData) -> DetectionData:
    """The data set with the orientation of its annotations filled in, so that no other machine determines it again."""
    if data.embedded:
        return data
    splits = splits_of(data)
    parts = {name: getattr(data, name) for name in splits}
    return data.model_copy(
        update={
            name: part.model_copy(update={"orientation": part.orientation or _orientation(splits[name])})
            for name, part in parts.items()
        }
    )


def fingerprint(data: DetectionData, progress: ProgressCallback = lambda done, total: None) -> str:
    """Fingerprint of a data set: 16 hexadecimal digits of all that a measurement sees, without its location.

    It covers the annotation files, the names and contents of the images, and the way in which pixels are read.

    Args:
        data: A checked data set.
        progress: Called with the number of read images and of all images; only new or changed images are read.
    """
    digest = hashlib.sha256()
    for name, split in splits_of(data).items():
        digest.update(name.encode() + split.annotations.read_bytes())
        names = annotations_of(split.annotations).images.names
        for image, content in zip(names, Pictures(split.images, names).hashes(names, progress), strict=True):
            digest.update(f"{image}:{content}".encode())
        if split.orientation not in (None, "exif", _orientation(split)):
            digest.update(f"orientation:{split.orientation}".encode())
        if split.bits is not None:
            digest.update(f"bits:{split.bits}".encode())
    return digest.hexdigest()[:16]


def image_counts(data: DetectionData) -> tuple[int, int] | None:
    """Number of training and validation images, without checks; None if the data is not on this machine."""
    if data.embedded:
        return DIGITS["train"], DIGITS["val"]
    try:
        train, val = (count_images(split) for split in splits_of(data).values())
    except (OSError, ValueError):
        return None
    return train, val


def count_images(split: CocoSplit) -> int:
    """Number of images in an annotation file."""
    return len(annotations_of(split.annotations).images)


@dataclass(frozen=True)
class Contents:
    """The facts of an annotation file that are needed before training.

    Attributes:
        classes: Class names in the file's order.
        images: Number of images.
        aspects: Least and greatest ratio of an image's long side to its short one.
        objects: Number of objects that are trained on or scored, crowds among them.
        masked: Number of objects with a mask.
        sizes: COCO's sizes (s, m, l) of the scored objects.
    """

    classes: tuple[str, ...]
    images: int
    aspects: tuple[float, float]
    objects: int
    masked: int
    sizes: frozenset[str]


def contents(split: CocoSplit, masks: bool = False) -> Contents:
    """Contents of a checked annotation file, which is parsed once a process."""
    return contents_of(annotations_of(split.annotations, masks, kept=masks))


def contents_of(found: AnnotationFile) -> Contents:
    """Contents of an annotation file that was read."""
    sides_M2 = found.images.sizes_M2
    aspects_M = sides_M2.max(axis=1) / sides_M2.min(axis=1) if len(sides_M2) else np.ones(1)
    kept_N, boxes_N4 = usable_boxes(found)
    objects = found.objects
    areas_N = np.where(np.isnan(objects.areas_N), boxes_N4[:, 2] * boxes_N4[:, 3], objects.areas_N)
    scored_N = areas_N[kept_N & ~objects.crowds_N]
    return Contents(
        tuple(name for _, name in found.categories),
        len(found.images),
        (float(aspects_M.min()), float(aspects_M.max())),
        int(kept_N.sum()),
        int(objects.masked_N[kept_N].sum()),
        frozenset(
            size for size, (least, most) in AREA_RANGES.items() if ((scored_N >= least) & (scored_N <= most)).any()
        ),
    )


def chosen(available: int, wanted: int, seed: int) -> tuple[int, ...] | None:
    """A random sample of positions, sorted; None for all."""
    if wanted >= available:
        return None
    drawn = np.random.RandomState(seed).permutation(available)[:wanted]
    return tuple(sorted(int(index) for index in drawn))


def measured_images(split: CocoSplit, wanted: int | None) -> tuple[int, ...] | None:
    """Positions of the validation images that measure every proxy; None for all."""
    return None if wanted is None else chosen(count_images(split), wanted, 0)


def named(names: Sequence[str], places: Sequence[int] | None) -> list[str]:
    """Names at some positions; all names without positions."""
    return list(names) if places is None else [names[place] for place in places]


def splits_of(data: DetectionData) -> dict[str, CocoSplit]:
    """The two parts of a data set; an embedded one is created on first use."""
    if data.embedded:
        root = compose(cache_folder())
        return {
            name: CocoSplit(root / name, root / "annotations" / f"instances_{name}.json", "exif")
            for name in ("train", "val")
        }
    assert data.root is not None, "a checked spec has all three"
    assert data.train is not None
    assert data.val is not None
    root = data.root.resolve()
    return {
        name: CocoSplit(root / split.images, root / split.annotations, split.orientation, split.bits)
        for name, split in (("train", data.train), ("val", data.val))
    }
