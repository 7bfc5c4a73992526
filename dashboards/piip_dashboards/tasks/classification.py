"""Draws classifications: images with their likeliest classes, the classes, and which are taken for which."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_IN_MATRIX = 30
"""Most classes whose confusions are drawn as a matrix."""
MOST_CONFUSED = 20
"""Most pairs of classes that are listed where a matrix would be too large."""
MOST_ROWS = 100
"""Most classes that are listed."""
_MOST_COUNTED = 10**12

_Counts = dict[tuple[int, int], int]
"""Number of images by the places of the true class and of the answer, without zeros."""


@dataclass(frozen=True)
class ClassAnswer:
    """A likely class of an image."""

    label: str
    probability: float


@dataclass(frozen=True)
class ClassifiedImage:
    """A validation image with its true class and its likeliest classes.

    Attributes:
        file: Name of the picture's file.
        name: Name of the image in the data set.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        truth: True class.
        answers: Likeliest classes, likeliest first; at least one.
    """

    file: str
    name: str
    width: int
    height: int
    truth: str
    answers: tuple[ClassAnswer, ...]

    @property
    def is_right(self) -> bool:
        """Whether the likeliest class is the true one."""
        return self.answers[0].label == self.truth


@dataclass(frozen=True)
class MeasuredClass:
    """The answers for the images of one class.

    Attributes:
        name: Name of the class.
        images: Number of its images.
        recall: Share of them that is right; None without images.
        taken_for: Most frequent wrong answer; None if all are right.
        mistaken: Number of images with that answer.
    """

    name: str
    images: int
    recall: float | None
    taken_for: str | None
    mistaken: int


@dataclass(frozen=True)
class MatrixCell:
    """Images of one class with one answer: their number and their share of the class."""

    count: int
    share: float
    is_right: bool


@dataclass(frozen=True)
class MatrixRow:
    """The answers for one class, in the order of the classes."""

    name: str
    cells: tuple[MatrixCell, ...]


@dataclass(frozen=True)
class ConfusedPair:
    """A class that is taken for another one: number of such images, and their share of the class."""

    truth: str
    answer: str
    count: int
    share: float


@dataclass(frozen=True)
class Classifications:
    """Answers for validation images.

    Attributes:
        measured: Number of measured images.
        right: Number of right answers.
        images: Some images: mistakes, then right ones.
        class_count: Number of classes.
        classes: The classes, worst first, at most `MOST_ROWS`.
        matrix: The confusion matrix; empty for more than `MOST_IN_MATRIX` classes.
        pairs: The most confused pairs where there is no matrix, most images first.
    """

    measured: int
    right: int
    images: tuple[ClassifiedImage, ...]
    class_count: int
    classes: tuple[MeasuredClass, ...]
    matrix: tuple[MatrixRow, ...]
    pairs: tuple[ConfusedPair, ...]

    @property
    def right_share(self) -> float:
        """Share of the images that is right."""
        return self.right / self.measured


class ClassificationDrawing:
    """Draws what `piip_workers.tasks.classification.examples` wrote."""

    title = "Answers for validation images"
    action = "Classify the validation images"
    template = Path(__file__).with_suffix(".html")

    def pictures(self, content: Mapping[str, Any]) -> Classifications:
        names = [str(item["name"]) for item in content["classes"]]
        counts = _counts(content["confusion"], len(names))
        images = _images_of(content["classes"], counts)
        shown = tuple(_image(item, set(names)) for item in content["pictures"])
        small = len(names) <= MOST_IN_MATRIX
        return Classifications(
            sum(images),
            sum(count for (true, answer), count in counts.items() if true == answer),
            shown,
            len(names),
            _classes(content["classes"], names, counts)[:MOST_ROWS],
            _matrix(names, images, counts) if small else (),
            () if small else _pairs(names, images, counts),
        )


def _counts(cells: Any, classes: int) -> _Counts:
    """The counts of a file.

    Raises:
        ValueError: A cell is of no class.
    """
    counts: Counter[tuple[int, int]] = Counter()
    for cell in cells:
        true, answer, count = (_whole(number) for number in cell)
        if max(true, answer) >= classes:
            raise ValueError(f"places of classes must be below {classes}, got {true} and {answer}")
        counts[true, answer] += count
    return {place: count for place, count in counts.items() if count}


def _images_of(items: Any, counts: _Counts) -> list[int]:
    """The number of images of each class.

    Raises:
        ValueError: The counts are not of these images, or there is none.
    """
    images = [_whole(item["images"]) for item in items]
    found = [0] * len(images)
    for (true, _), count in counts.items():
        found[true] += count
    if found != images or not sum(images):
        raise ValueError("the counts of the answers must be those of the images")
    return images


def _image(item: Any, names: set[str]) -> ClassifiedImage:
    answers = tuple(ClassAnswer(str(one["label"]), _share(one["probability"])) for one in item["answers"])
    truth = str(item["truth"])
    unknown = {truth, *(one.label for one in answers)} - names
    if unknown or not answers:
        raise ValueError(f"an image must have answers of the known classes, got {sorted(unknown)}")
    return ClassifiedImage(
        str(item["file"]), str(item["name"]), _whole(item["width"]), _whole(item["height"]), truth, answers
    )


def _classes(items: Any, names: list[str], counts: _Counts) -> tuple[MeasuredClass, ...]:
    """The classes, those with the lowest recall first, those without images last."""
    worst: dict[int, tuple[int, str]] = {}
    for (true, answer), count in sorted(counts.items()):
        if true != answer and count > worst.get(true, (0, ""))[0]:
            worst[true] = count, names[answer]
    found = []
    for at, item in enumerate(items):
        mistaken, taken_for = worst.get(at, (0, None))
        recall = None if item["recall"] is None else _share(item["recall"])
        found.append(MeasuredClass(names[at], _whole(item["images"]), recall, taken_for, mistaken))
    return tuple(sorted(found, key=lambda one: (2.0 if one.recall is None else one.recall, -one.images)))


def _matrix(names: list[str], images: list[int], counts: _Counts) -> tuple[MatrixRow, ...]:
    def cell(true: int, answer: int) -> MatrixCell:
        count = counts.get((true, answer), 0)
        return MatrixCell(count, count / images[true] if images[true] else 0.0, true == answer)

    places = range(len(names))
    return tuple(MatrixRow(names[true], tuple(cell(true, answer) for answer in places)) for true in places)


def _pairs(names: list[str], images: list[int], counts: _Counts) -> tuple[ConfusedPair, ...]:
    mistakes = sorted((-count, true, answer) for (true, answer), count in counts.items() if true != answer)
    return tuple(
        ConfusedPair(names[true], names[answer], -negative, -negative / images[true])
        for negative, true, answer in mistakes[:MOST_CONFUSED]
    )


def _whole(value: Any) -> int:
    """A whole number of a file.

    Raises:
        ValueError: It is none, or out of range.
    """
    if type(value) is not int or not 0 <= value <= _MOST_COUNTED:
        raise ValueError(f"must be a whole number from 0, got {value!r:.50}")
    return value


def _share(value: Any) -> float:
    """A share of a file.

    Raises:
        ValueError: It is none.
    """
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError(f"must be from 0 to 1, got {value!r:.50}")
    return float(value)
