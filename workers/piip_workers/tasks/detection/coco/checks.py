"""Checks a data set before training: one line a kind of fault, with count, places and way out."""

import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from piip_search.errors import UnreadableFileError
from piip_search.file_paths import located
from piip_search.tasks.detection.mmdet.data import CocoSplit
from piip_search.tasks.detection.section import DetectionData, Split
from piip_search.units import gibibytes
from piip_workers.images.image_files import names_outside, where_else
from piip_workers.images.pictures import Header, Pictures, has_opencv
from piip_workers.tasks.detection.coco.annotation_file import AnnotationFile, annotations_of, printable_name
from piip_workers.tasks.detection.coco.boxes import look_at_boxes
from piip_workers.tasks.detection.coco.data_set import AREA_RANGES, contents_of, measured_images, named, splits_of
from piip_workers.tasks.detection.coco.findings import Findings, Rule, Shown
from piip_workers.tasks.detection.coco.foreign_formats import foreign_image
from piip_workers.tasks.detection.coco.orientation import look_at_sizes
from piip_workers.tasks.task import DataReport

MOST_MISSING = 10
"""Most missing names that are listed."""
SAMPLE = 64
"""Number of files that are checked if all would take too long."""
LEAST_BITS = 15
"""Bits of 16 that an image must use to be read as 16 bits; darker images need the user's `bits`."""
MOST_MASK_BYTES = 4 * 2**30
"""Most bytes of the masks of one image: one for each pixel and object, while it is read for training."""

MOST_EDGES = 20_000_000
"""Most pixels along the edges of all outlines of an image: they are drawn at each reading and scoring."""

_EMPTY = Rule("", "is empty; there is nothing to train on or to measure")
_ALL_CROWDS = Rule(
    "",
    "are all crowds (iscrowd 1) or ignored; there is nothing to train on or to measure",
    "some tools write iscrowd 1 for every mask that is an RLE: set it to 0",
)
_OUTSIDE = Rule(".file_name", "must be a file in the folder of images")
_NO_FILE = Rule(".file_name", "must be a regular file, and not a folder, a pipe or a device")
_MISSING = Rule(".file_name", "no such image", "restore it or drop the entry")
_TOO_LARGE = Rule("", "its file has more pixels than are decoded (179 million)", "cut it into tiles")
_FLOATS = Rule("", "must hold whole numbers of 8 or 16 bits without a sign", "write the images with 8 or 16 bits")
_DARK = Rule("", "its file has 16 bits a channel and uses few of them")

ReportProgress = Callable[[str], None]


def _silent(text: str) -> None:
    """Reports no progress."""


def check(data: DetectionData, masks: bool = False) -> list[str]:
    """Problems of a data set; empty if it can be used. The arguments are those of `examine`."""
    return examine(data, masks).problems


def examine(data: DetectionData, masks: bool = False, progress: ReportProgress = _silent) -> DataReport:
    """Problems and notices of a data set.

    Args:
        data: The data set.
        masks: Whether segmentations are trained on or scored.
        progress: Called with a line about the progress.
    """
    report = DataReport()
    if data.embedded:
        return report
    root = Path(data.root or "")
    if not root.is_dir():
        report.problems.append(
            f"data.root: no folder {located(root)}; put a COCO-format data set there, or name the folder that holds it"
        )
        return report
    read: dict[str, AnnotationFile] = {}
    for name, split in (("train", data.train), ("val", data.val)):
        if split:
            found = _Split(f"data.{name}", root.resolve(), split, masks, progress)
            problems, notices = found.looked_at()
            report.problems += problems
            report.notices += notices
            if found.content is not None:
                read[name] = found.content
    if not report.problems:
        report.problems += _category_problems(*([name for _, name in one.categories] for one in read.values()))
    return report


def _category_problems(train: Sequence[str], val: Sequence[str]) -> Iterator[str]:
    """Problems of the categories; labels go by name, so ids and order may differ between the two files."""
    alone = [sorted(set(one) - set(other))[:MOST_MISSING] for one, other in ((train, val), (val, train))]
    if any(alone):
        plain = [{unicodedata.normalize("NFKC", name).strip().casefold() for name in names} for names in (train, val)]
        hint = (
            ""
            if plain[0] != plain[1]
            else ("; they differ in spaces, in capital letters, or in how letters with accents are composed")
        )
        yield (
            f"data: train and val name different categories, {alone[0]} only in train and {alone[1]} only in val; "
            f"both files must list the same names{hint}"
        )


class _Split:
    """One part of a data set, and the findings about it."""

    def __init__(self, place: str, root: Path, split: Split, masks: bool, progress: ReportProgress) -> None:
        self._place, self._root, self._split = place, root, split
        self._masks, self._progress = masks, progress
        self._folder, self._file = root / split.images, root / split.annotations
        self.content: AnnotationFile | None = None

    def looked_at(self) -> tuple[list[str], list[str]]:
        """Problems and notices of this part."""
        problems = []
        if not self._folder.is_dir():
            problems.append(f"{self._place}.images: no folder {self._folder}; it is relative to data.root")
        if self._file.is_dir():
            problems.append(f"{self._place}.annotations: {self._file} is a folder; name the file in it, such as x.json")
            return problems, []
        if not self._file.is_file():
            problems.append(f"{self._place}.annotations: no file {self._file}; it is relative to data.root")
            return problems, []
        try:
            found = annotations_of(
                self._file,
                self._masks,
                outlines=True,
                progress=lambda done, total: self._progress(f"reading {self._file.name}: {done / max(1, total):.0%}"),
            )
        except UnreadableFileError as error:
            return [*problems, f"{self._file}: {error}"], []
        self.content = found
        findings = found.findings.copy()
        if not found.totals["annotations"]:
            findings.add(_EMPTY, "annotations")
        elif len(found.objects) and found.objects.crowds_N.all():
            findings.add(_ALL_CROWDS, "annotations")
        sizes_hold = self._look_at_pictures(found, findings) if self._folder.is_dir() else True
        if sizes_hold:
            look_at_boxes(found, self._masks, findings)
        wrong, notices = findings.lines(found.totals)
        return problems + [f"{self._file}: {line}" for line in wrong], [f"{self._file}: {line}" for line in notices]

    def _look_at_pictures(self, found: AnnotationFile, findings: Findings) -> bool:
        """Adds findings about the image files; returns whether the recorded sizes fit them."""
        images = found.images
        outside = names_outside(self._folder, images.names)
        for at, name in enumerate(images.names if outside else ()):
            if name in outside:
                findings.add(_OUTSIDE, f"images[{images.places_M[at]}]", name)
        pictures = Pictures(self._folder, (name for name in images.names if name not in outside))
        odd = set(pictures.odd)
        for at, name in enumerate(images.names if odd else ()):
            if name in odd:
                findings.add(_NO_FILE, f"images[{images.places_M[at]}]", Shown(str(pictures.file(name))))
        self._look_for_missing(found, pictures, findings)
        headers = pictures.headers(
            images.names, lambda done, total: self._progress(f"looking at image {done:,} of {total:,}")
        )
        self._look_at_depth(found, pictures, headers, findings)
        return look_at_sizes(images, headers, self._split.orientation, findings)

    def _look_for_missing(self, found: AnnotationFile, pictures: Pictures, findings: Findings) -> None:
        missing = set(pictures.missing)
        if not missing:
            return
        places = [at for at, name in enumerate(found.images.names) if name in missing]
        first = found.images.names[places[0]]
        hint = where_else(self._folder, self._root, first)
        if not hint and "\\" in first:
            hint = "its folders are divided by \\, as on Windows; they were also looked for with /"
        examples = [
            (f"images[{found.images.places_M[at]}]", Shown(str(pictures.file(found.images.names[at]))))
            for at in places[:3]
        ]
        findings.add_many(_MISSING, len(places), examples, hint)

    def _look_at_depth(
        self, found: AnnotationFile, pictures: Pictures, headers: Sequence[Header | None], findings: Findings
    ) -> None:
        """Adds findings for images that would be read as black: floating-point, and 16 bits with few in use."""
        deep = []
        for at, header in enumerate(headers):
            place = f"images[{found.images.places_M[at]}]"
            if header is None:
                continue
            if header.too_large:
                findings.add(_TOO_LARGE, place, found.images.names[at])
            elif header.odd or header.bits > 16:
                kind = "floating-point or signed numbers" if header.odd else "whole numbers"
                findings.add(_FLOATS, place, Shown(f"{header.bits}-bit {kind} in {found.images.names[at]}"))
            elif header.bits == 16:
                deep.append(at)
        if not deep or not has_opencv():
            return
        sample = [found.images.names[at] for at in spread(deep, SAMPLE)]
        brightest = max(pictures.brightest(sample))
        used, said = max(8, brightest.bit_length()), self._split.bits
        if not brightest or (said is None and used >= LEAST_BITS):  # a black image shows no bits in use
            return
        if said is not None and used <= said:
            return
        place = f"images[{found.images.places_M[deep[0]]}]"
        looked = f"a largest value of {brightest:,} in {len(sample)} files of {len(deep)}"
        if said is None:
            findings.add(
                _DARK,
                place,
                Shown(looked),
                f"read as 16 bits they would be nearly black: write bits: {used} beside images",
            )
        else:
            findings.add(
                _DARK, place, Shown(looked), f"{self._place}.bits is {said}, and they use {used}: set it to {used}"
            )


def spread(places: Sequence[int], most: int) -> list[int]:
    """A sample of the places, spread over all."""
    count = min(most, len(places))
    return [places[step * len(places) // count] for step in range(count)]


def undecodable_images(
    data: DetectionData, wanted: int | None, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[str]:
    """Validation images that cannot be decoded, one line each: one of them would end every candidate's measurement.

    Images that were decoded before are skipped: the user's cache folder remembers them.

    Args:
        data: A checked data set.
        wanted: Number of images, as in `measured_images`.
        progress: Called with the number of decoded images and of all images.
    """
    if not has_opencv():  # a cluster has it on the workers
        return []
    split = splits_of(data)["val"]
    names = named(annotations_of(split.annotations).images.names, measured_images(split, wanted))
    broken = _broken(split, names, progress)
    lines = [
        f"{file} cannot be decoded{_why(file)}; restore the file, or take it out of {split.annotations}"
        for file in broken
    ]
    return lines[:MOST_MISSING] + ([f"and {len(lines) - MOST_MISSING} more"] if len(lines) > MOST_MISSING else [])


def _why(file: Path) -> str:
    what = foreign_image(file)
    return f": {what}" if what else ""


def _broken(
    split: CocoSplit,
    names: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
    ended: Callable[[], bool] = lambda: False,
) -> list[Path]:
    pictures = Pictures(split.images, names)
    return [pictures.file(name) for name in pictures.undecodable(names, progress, ended)]


def undecodable_training_images(
    data: DetectionData, sample: int | None, ended: Callable[[], bool] = lambda: False
) -> DataReport:
    """Training images that cannot be decoded; others replace a few of them, but training fails if most are.

    Args:
        data: A checked data set.
        sample: Number of images to check, spread over all; None for all.
        ended: Whether to stop checking.
    """
    if not has_opencv():
        return DataReport()
    split = splits_of(data)["train"]
    names = annotations_of(split.annotations).images.names
    looked = [names[at] for at in spread(range(len(names)), sample or len(names))] if names else []
    broken = _broken(split, looked, ended=ended)
    if not broken:
        return DataReport()
    shown = ", ".join(f"{file}{_why(file)}" for file in broken[:3])
    line = f"{split.annotations}: {len(broken):,} of {len(looked):,} training images cannot be decoded: {shown}"
    if 2 * len(broken) > len(looked):
        return DataReport([f"{line}; restore the files"])
    return DataReport(notices=[f"{line}; training takes other images in their place"])


def shared_images(data: DetectionData) -> list[str]:
    """A notice if validation images are also training images, which makes their averages unreliable for others.

    Args:
        data: A data set after `fingerprint`, which hashes its images.
    """
    if data.embedded:
        return []
    contents: dict[str, dict[str, str]] = {}
    for part, split in splits_of(data).items():
        names = annotations_of(split.annotations).images.names
        hashes = Pictures(split.images, names).hashes(names)
        contents[part] = {content: name for content, name in zip(hashes, names, strict=True) if content}
    both = [name for content, name in contents["val"].items() if content in contents["train"]]
    if not both:
        return []
    shown = ", ".join(map(printable_name, both[:3]))
    return [
        f"data: {len(both):,} of {len(contents['val']):,} validation images are training images too: {shown}; "
        "averages on them say little of other images"
    ]


def unsuited(
    data: DetectionData, metric: str, detector: str, masks: bool, sides: tuple[float, float] | None = None
) -> list[str]:
    """Reasons why a checked data set cannot train a detector or measure a metric, one line each.

    Args:
        data: The data set.
        metric: Metric of the search.
        detector: Name of the detector.
        masks: Whether the detector learns masks.
        sides: Long and short side in pixels that images are fitted into in the smallest design.
    """
    if data.embedded:
        return []
    problems = []
    splits = splits_of(data)
    found = {name: annotations_of(split.annotations, masks, outlines=True) for name, split in splits.items()}
    for name, split in splits.items():
        content = contents_of(found[name])
        if masks and content.masked < content.objects:
            problems.append(
                f"training.detector: {detector} learns masks, and {content.objects - content.masked} of "
                f"{content.objects} objects in {split.annotations} have no segmentation; add them, or choose a "
                "detector without masks"
            )
        problems += _impossible_images(found[name], masks, sides)
    size = metric.rpartition("_")[2]
    if size in AREA_RANGES and size not in contents_of(found["val"]).sizes:
        problems.append(
            f"metric: {metric} averages over objects of {_range(size)}, and {splits['val'].annotations} holds none; "
            f"choose {metric.removesuffix(f'_{size}')}"
        )
    return problems


def _impossible_images(found: AnnotationFile, masks: bool, sides: tuple[float, float] | None) -> Iterator[str]:
    """Images that are too oblong for every design, and images whose masks fill the memory."""
    sizes_M2 = found.images.sizes_M2
    if not len(sizes_M2):
        return
    if sides is not None:
        long, short = sizes_M2.max(axis=1), sizes_M2.min(axis=1)
        fitted_M = np.minimum(sides[0] / long, sides[1] / short) * short
        yield from _too(
            found,
            np.flatnonzero(fitted_M < 1),
            f"is so oblong that its short side would be 0 pixels at image size {sides[0]:.0f}; cut it, or drop it",
        )
    if masks:
        drawn_N = found.objects.masked_N & (found.objects.images_N >= 0)
        held = found.objects.images_N[drawn_N]
        bytes_M = np.bincount(held, minlength=len(sizes_M2)) * sizes_M2.prod(axis=1)
        yield from _too(
            found,
            np.flatnonzero(bytes_M > MOST_MASK_BYTES),
            f"holds so many masks that they take more than {gibibytes(MOST_MASK_BYTES)} while it is read; cut it "
            "into tiles, or shrink it",
        )
        edges_M = np.bincount(held, found.objects.edges_N[drawn_N], minlength=len(sizes_M2))
        yield from _too(
            found,
            np.flatnonzero(edges_M > MOST_EDGES),
            f"holds outlines with edges of more than {MOST_EDGES:,} pixels in all, which take seconds to draw each "
            "time; draw simpler ones",
        )


def _too(found: AnnotationFile, wrong: NDArray[np.int64], what: str) -> Iterator[str]:
    if not len(wrong):
        return
    at = int(wrong[0])
    height, width = found.images.sizes_M2[at]
    others = ", ".join(printable_name(found.images.names[other]) for other in wrong[1:3].tolist())
    count = f" (also {others}; {len(wrong):,} in all)" if others else ""
    place = f"images[{found.images.places_M[at]}] ({printable_name(found.images.names[at])}, {width} x {height})"
    yield f"{found.file}: {place} {what}{count}"


def _range(size: str) -> str:
    least, most = AREA_RANGES[size]
    return f"at least {least} pixels" if math.isinf(most) else f"{least} to {most} pixels"
