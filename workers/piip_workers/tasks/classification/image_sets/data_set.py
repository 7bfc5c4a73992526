"""Data sets for classification: parts, contents and fingerprint.

`checks` finds their faults.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from piip_search.errors import DataError
from piip_search.file_paths import located
from piip_search.tasks.classification.section import DIGIT_CLASSES, ClassificationData, ClassPart
from piip_workers.cache import cache_folder
from piip_workers.images.pictures import Pictures
from piip_workers.tasks.classification.digits import DIGIT_IMAGES, compose_digits
from piip_workers.tasks.classification.image_sets.class_folders import scan_class_folders
from piip_workers.tasks.classification.image_sets.listed_images import scan_list
from piip_workers.tasks.classification.image_sets.names import few, is_clutter, natural_key, shown
from piip_workers.tasks.classification.image_sets.scan import PartScan


@dataclass(frozen=True)
class Labelled:
    """The images of a part with their classes, by class and then in natural order of the names.

    Attributes:
        folder: Absolute folder of the images.
        names: Names of the images, relative to the folder.
        labels: Place of each image's class among the classes.
    """

    folder: Path
    names: tuple[str, ...]
    labels: tuple[int, ...]

    def file(self, at: int) -> Path:
        """The file of an image."""
        return self.folder / self.names[at]


@dataclass(frozen=True)
class LabelledParts:
    """The classes of a data set and the images of its parts.

    Attributes:
        classes: Names of the classes in the order of a network's outputs.
        train: Images for training.
        val: Images that measure.
    """

    classes: tuple[str, ...]
    train: Labelled
    val: Labelled

    @property
    def parts(self) -> Mapping[str, Labelled]:
        """The parts by their names in a file."""
        return {"train": self.train, "val": self.val}


def prepare(data: ClassificationData) -> None:
    """Creates an embedded data set on first use.

    Raises:
        CacheError: It cannot be written.
    """
    if data.embedded:
        compose_digits(cache_folder())


def contents(data: ClassificationData) -> LabelledParts:
    """The classes and images of a data set; equal on every machine and in every process.

    Training's classes number those of both parts, in natural order unless `data.classes` orders them.

    Raises:
        DataError: The data set cannot be used; the message has all its problems, a line each.
    """
    scans = scanned(data)
    problems = [line for scan in scans.values() for line in scan.problems]
    if problems:
        raise DataError("\n".join(problems))
    classes = classes_of(data, scans["train"])
    unknown = {label for scan in scans.values() for _, label in scan.found} - set(classes)
    if unknown:
        names = sorted(unknown, key=natural_key)
        raise DataError(f"data: images must be of the classes of training, got {few(map(repr, names))}; check the data")
    train, val = (_labelled(scan, classes) for scan in scans.values())
    return LabelledParts(classes, train, val)


def classes_of(data: ClassificationData, train: PartScan) -> tuple[str, ...]:
    """Names of the classes, as the data set gives them or as training has them."""
    if data.embedded:
        return DIGIT_CLASSES
    if data.classes:
        return data.classes
    return tuple(sorted({label for _, label in train.found} | set(train.empty), key=natural_key))


def _labelled(scan: PartScan, classes: Iterable[str]) -> Labelled:
    places = {name: at for at, name in enumerate(classes)}
    ordered = sorted(((places[label], natural_key(name), name) for name, label in scan.found))
    return Labelled(scan.folder, tuple(name for *_, name in ordered), tuple(label for label, *_ in ordered))


def scanned(data: ClassificationData, progress: Callable[[str], None] = lambda text: None) -> dict[str, PartScan]:
    """The images of both parts as they are found, with the findings about each part by itself.

    Args:
        data: The data set.
        progress: Called with a line about the progress.

    Raises:
        DataError: There is no folder of the data.
    """
    root = root_of(data)
    if not root.is_dir():
        raise DataError(f"data.root: no folder {located(root)}; put the data there, or name the folder that holds them")
    found = {}
    for name, part in _parts(data).items():
        progress(f"looking for the images of {name}")
        found[name] = _scanned(f"data.{name}", root, part)
    return found


def root_of(data: ClassificationData) -> Path:
    """Folder of the parts; that of an embedded data set is created on first use."""
    return compose_digits(cache_folder()) if data.embedded else Path(data.root or "")


def _parts(data: ClassificationData) -> dict[str, ClassPart]:
    if data.embedded:
        return {name: ClassPart(images=Path(name)) for name in DIGIT_IMAGES}
    assert data.train is not None, "a checked spec has both"
    assert data.val is not None
    return {"train": data.train, "val": data.val}


def _scanned(place: str, root: Path, part: ClassPart) -> PartScan:
    written, folder = root / part.images, Path(os.path.normpath(root.resolve() / part.images))
    faults = PartScan(place, folder)
    if not written.is_dir():
        faults.problem(f"no folder {shown(written)} ({_folders_in(written.parent)}); name the folder of the images")
    if part.list is None:
        return faults if faults.problems else scan_class_folders(place, folder)
    file = root / part.list
    if not file.is_file():
        what = "is a folder, and must be a file" if file.is_dir() else "does not exist"
        faults.problem(f"the list {shown(file)} {what}; it is relative to data.root")
    return faults if faults.problems else scan_list(place, root.resolve(), folder, file, part)


def _folders_in(folder: Path) -> str:
    """Says which folders there are."""
    try:
        names = sorted((one.name for one in folder.iterdir() if one.is_dir() and not is_clutter(one.name)), key=str)
    except OSError:
        return f"there is no folder {shown(folder)} either"
    if not names:
        return f"there are no folders in {shown(folder)}"
    if len(names) == 1:
        return f"there is {shown(names[0])}"
    return f"there are {few(names)}" if len(names) > 5 else f"there are {few(names[:-1])} and {shown(names[-1])}"


def resolved(data: ClassificationData) -> ClassificationData:
    """The data set with an absolute root and the names of its classes, for workers on other machines.

    Raises:
        DataError: It cannot be used.
    """
    if data.embedded:
        return data
    return data.model_copy(update={"root": root_of(data).resolve(), "classes": contents(data).classes})


def image_counts(data: ClassificationData) -> tuple[int, int] | None:
    """Number of training and validation images; None if the data is not on this machine, or cannot be used."""
    if data.embedded:
        return DIGIT_IMAGES["train"], DIGIT_IMAGES["val"]
    try:
        found = contents(data)
    except (OSError, DataError):
        return None
    return len(found.train.names), len(found.val.names)


def fingerprint(data: ClassificationData, progress: Callable[[int, int], None] = lambda done, total: None) -> str:
    """Fingerprint of a data set: 16 hexadecimal digits of all that a measurement sees, without its location.

    It covers the names of the classes, and the names, classes and contents of the images.

    Args:
        data: A checked data set.
        progress: Called with the number of read images and of all images; only new or changed images are read.

    Raises:
        DataError: The data set cannot be used.
    """
    found = contents(data)
    digest = hashlib.sha256(json.dumps(found.classes).encode())
    for part, images in found.parts.items():
        hashes = Pictures(images.folder, images.names).hashes(images.names, progress)
        for row in zip(images.names, images.labels, hashes, strict=True):
            digest.update(json.dumps([part, *row]).encode())
    return digest.hexdigest()[:16]
