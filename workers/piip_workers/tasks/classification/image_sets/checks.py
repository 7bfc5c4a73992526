"""Checks a data set before training: all problems at once, one line each with rule, value and way out."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from piip_search.errors import DataError
from piip_search.tasks.classification.facts import FEWEST_OF_TOP5
from piip_search.tasks.classification.section import ClassificationData
from piip_workers.images.pictures import Header, Pictures, has_opencv
from piip_workers.tasks.classification.image_sets.data_set import Labelled, classes_of, contents, scanned
from piip_workers.tasks.classification.image_sets.decodable import undecodable_of
from piip_workers.tasks.classification.image_sets.names import alike, few, images_of, plain, shown
from piip_workers.tasks.classification.image_sets.samples import measured
from piip_workers.tasks.classification.image_sets.scan import PartScan
from piip_workers.tasks.task import DataReport

MOST_BROKEN = 10
"""Most images that cannot be decoded which are listed."""
DEEP_SAMPLE = 64
"""Images of 16 bits whose brightest values are looked up."""
DARK = 2**13
"""Brightest value of 16 bits below which images are nearly black: less than an eighth of the range."""


def examine(
    data: ClassificationData, metrics: Sequence[str] = (), progress: Callable[[str], None] = lambda text: None
) -> DataReport:
    """Problems and notices of a data set, before anything is decoded.

    Args:
        data: The data set.
        metrics: Metrics that a search measures.
        progress: Called with a line about the progress.
    """
    if data.embedded:
        return DataReport()
    try:
        scans = scanned(data, progress)
    except DataError as error:
        return DataReport([str(error)])
    report = DataReport()
    train, val = scans["train"], scans["val"]
    for scan in (train, val):
        report.problems += scan.problems
        report.notices += scan.notices
    usable = [scan for scan in (train, val) if scan.found or scan.empty]
    if train in usable:
        classes = classes_of(data, train)
        report.problems += _problems_of_classes(data, train, classes)
        # Faults of training may hide some of its classes; those of val would then be called unknown.
        if val in usable and (data.classes or not train.problems):
            found = _compared(data, val, classes)
            report.problems += found.problems
            report.notices += found.notices
    if train in usable or data.classes:
        report.problems += _problems_of_metrics(metrics, classes_of(data, train))
    for scan in usable:
        found = _looked_at(scan, progress)
        report.problems += found.problems
        report.notices += found.notices
    return report


def _problems_of_classes(data: ClassificationData, train: PartScan, classes: Sequence[str]) -> Iterator[str]:
    """Problems of training's classes."""
    there = Counter(label for _, label in train.found)
    if data.classes:
        other = sorted(set(there) - set(classes))
        if other:
            yield (
                f"{train.place}: classes must be among data.classes, got {few(map(repr, other))}"
                f"{_spelling(other, classes)}; add them there, or take their images out"
            )
        lacking = [name for name in classes if name not in there]
    else:
        lacking = list(train.empty)
    if lacking:
        texts = [f"{name!r}{f' ({train.empty[name]})' if train.empty.get(name) else ''}" for name in lacking]
        kinds = "PNG, JPEG, WebP, BMP, TIFF or GIF"
        yield (
            f"{train.place}: each class must have an image that is read ({kinds}), and these have none: {few(texts)}; "
            "add or convert images, or take the class out"
        )
    if len(classes) < 2 and not train.problems:
        yield (
            f"{train.place}: there must be two classes or more, got {few(map(repr, classes))} alone; name the folder "
            "that holds the class folders, or the column that holds the classes"
        )


def _problems_of_metrics(metrics: Sequence[str], classes: Sequence[str]) -> Iterator[str]:
    if "top5" in metrics and len(classes) < FEWEST_OF_TOP5:
        yield (
            f"metric: top5 needs {FEWEST_OF_TOP5} classes or more, got {len(classes)}, with which it is 1.0 for every "
            "network; take top1"
        )


def _compared(data: ClassificationData, val: PartScan, classes: Sequence[str]) -> DataReport:
    """Findings about the classes of val beside those of training."""
    report = DataReport()
    there = Counter(label for _, label in val.found)
    alone = sorted(set(there) - set(classes))
    if alone:
        source = "data.classes" if data.classes else "training"
        texts = [f"{name!r} ({images_of(there[name])})" for name in alone]
        report.problems.append(
            f"{val.place}: classes must be among those of {source}, got {few(texts)}{_spelling(alone, classes)}; take "
            f"these images out, or add the class to {source}"
        )
    if not val.found:
        if not val.problems:
            report.problems.append(f"{val.place}: {shown(val.folder)} must hold images, and has none; add some")
        return report
    lacking = [name for name in classes if name not in there]
    if lacking and not alone:
        report.notices.append(
            f"{val.place}: has no image of {len(lacking):,} of {len(classes):,} classes: {few(map(repr, lacking))}; "
            "averages say nothing of them"
        )
    pairs = alike(classes)
    if pairs:
        texts = [f"{one!r} and {other!r}" for one, other in pairs]
        report.notices.append(f"data: classes that differ in capital letters or spaces alone: {few(texts, 3)}")
    return report


def _spelling(names: Sequence[str], known: Sequence[str]) -> str:
    """Says which known names differ in spelling alone."""
    spelt = {plain(name): name for name in known}
    pairs = [f"{name!r} and {spelt[plain(name)]!r}" for name in names if plain(name) in spelt]
    return f" ({few(pairs, 3)} differ in capital letters, spaces or the form of accents alone)" if pairs else ""


def _looked_at(scan: PartScan, progress: Callable[[str], None]) -> DataReport:
    """Findings of the first bytes of the images."""
    report = DataReport()
    names = [name for name, _ in scan.found]
    pictures = Pictures(scan.folder, names)
    headers = pictures.headers(names, lambda done, total: progress(f"looking at image {done:,} of {total:,}"))
    faults: dict[str, list[str]] = {}
    deep = []
    for name, header in zip(names, headers, strict=True):
        rule = _fault(header)
        if rule:
            faults.setdefault(rule, []).append(name)
        elif header is not None and header.bits == 16:
            deep.append(name)
    report.problems += [f"{scan.place}: {rule}, got {few(files, 3)}" for rule, files in faults.items()]
    sample = [deep[step * len(deep) // min(len(deep), DEEP_SAMPLE)] for step in range(min(len(deep), DEEP_SAMPLE))]
    brightest = max(pictures.brightest(sample), default=0) if has_opencv() else 0
    if 0 < brightest < DARK:
        report.notices.append(
            f"{scan.place}: images of 16 bits ({len(deep):,}) are nearly black, with a largest value of {brightest:,} "
            f"in {len(sample):,} of them; write them with values up to 65,535"
        )
    return report


def _fault(header: Header | None) -> str:
    """The rule that an image breaks by its first bytes; empty for none."""
    if header is None:
        return "images must be regular files"
    if header.too_large:
        return "images must have 179 million pixels at most (cut them, or shrink them)"
    if header.odd or header.bits > 16:
        return "images must hold whole numbers of 8 or 16 bits without a sign (convert them)"
    return ""


def undecodable_images(
    data: ClassificationData, wanted: int | None, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[str]:
    """Validation images that cannot be decoded, one line each: a measurement must not leave out some of its images.

    Args:
        data: A checked data set.
        wanted: Number of images, as in `measured`.
        progress: Called with the number of decoded images and of all images.

    Raises:
        DataError: The data set cannot be used.
    """
    val = contents(data).val
    places = measured(val.labels, wanted)
    names = val.names if places is None else [val.names[at] for at in places]
    way_out = f"restore the file, or take it out of {_source(data, val)}"
    lines = [f"{fault}; {way_out}" for fault in undecodable_of(val.folder, names, progress)]
    more = len(lines) - MOST_BROKEN
    return lines[:MOST_BROKEN] + ([f"and {more:,} more"] if more > 0 else [])


def _source(data: ClassificationData, part: Labelled) -> str:
    listed = data.val.list if data.val else None
    return shown(part.folder if listed is None else Path(data.root or "") / listed)


def undecodable_training_images(
    data: ClassificationData, sample: int | None, ended: Callable[[], bool] = lambda: False
) -> DataReport:
    """Training images that cannot be decoded; others replace a few of them, but training fails if most are.

    Args:
        data: A checked data set.
        sample: Number of images to check, spread over all classes; None for all.
        ended: Whether to stop checking.

    Raises:
        DataError: The data set cannot be used.
    """
    train = contents(data).train
    places = measured(train.labels, sample)
    names = train.names if places is None else [train.names[at] for at in places]
    faults = undecodable_of(train.folder, names, ended=ended)
    if not faults:
        return DataReport()
    line = f"data.train: {len(faults):,} of {len(names):,} training images cannot be used: {few(faults, 3)}"
    if 2 * len(faults) > len(names):
        return DataReport([f"{line}; restore the files"])
    return DataReport(notices=[f"{line}; training takes other images, with their own classes, in their place"])


def shared_images(data: ClassificationData) -> list[str]:
    """Notices about validation images that are training images too, and about those with two classes.

    Args:
        data: A data set after `fingerprint`, which hashes its images.

    Raises:
        DataError: The data set cannot be used.
    """
    if data.embedded:
        return []
    found = contents(data)
    held: dict[str, dict[str, int]] = {}
    for part, images in found.parts.items():
        hashes = Pictures(images.folder, images.names).hashes(images.names)
        held[part] = {content: at for at, content in enumerate(hashes) if content}
    both = [(at, held["train"][content]) for content, at in held["val"].items() if content in held["train"]]
    if not both:
        return []
    others = sum(found.val.labels[at] != found.train.labels[twin] for at, twin in both)
    differ = f"; {others:,} of them have another class there" if others else ""
    return [
        f"data: {len(both):,} of {len(held['val']):,} validation images are training images too: "
        f"{few([found.val.names[at] for at, _ in both], 3)}{differ}; averages on them say little of other images"
    ]
