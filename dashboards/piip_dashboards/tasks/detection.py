"""Draws detections: boxes of objects that are there, and of those that were found."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ShownObject:
    """An object: its class, and left, top, width and height as shares of the image; a detection has a score."""

    label: str
    left: float
    top: float
    width: float
    height: float
    score: float | None = None


@dataclass(frozen=True)
class ExampleImage:
    """A validation image with its objects and detections."""

    file: str
    name: str
    width: int
    height: int
    truth: list[ShownObject]
    found: list[ShownObject]


@dataclass(frozen=True)
class Detections:
    """Images with objects and detections.

    Attributes:
        classes: Names of the classes.
        images: The images.
    """

    classes: list[str]
    images: list[ExampleImage]

    @property
    def threshold(self) -> float:
        """The score above which there are as many detections as objects."""
        scores = sorted((box.score or 0.0 for image in self.images for box in image.found), reverse=True)
        objects = sum(len(image.truth) for image in self.images)
        return scores[min(objects, len(scores)) - 1] if scores and objects else 0.0


class DetectionDrawing:
    """Draws what `piip_workers.tasks.detection.examples` wrote."""

    title = "Detections on validation images"
    action = "Detect on some validation images"
    template = Path(__file__).with_suffix(".html")

    def pictures(self, content: Mapping[str, Any]) -> Detections:
        return Detections([str(name) for name in content["classes"]], [_image(item) for item in content["pictures"]])


def _image(item: dict[str, Any]) -> ExampleImage:
    width, height = int(item["width"]), int(item["height"])
    return ExampleImage(
        str(item["file"]),
        str(item["name"]),
        width,
        height,
        [_box(box, width, height) for box in item["truth"]],
        [_box(box, width, height) for box in item["found"]],
    )


def _box(item: dict[str, Any], width: int, height: int) -> ShownObject:
    left, top, across, down = (float(number) for number in item["box"])
    score = item.get("score")
    return ShownObject(
        str(item["label"]),
        left / width,
        top / height,
        across / width,
        down / height,
        None if score is None else float(score),
    )
