"""Detections of a trial on validation images, which `piip_workers.tasks.detection.examples` wrote beside it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piip_search.evaluation.evaluation import (
    EXAMPLES_FILE,
    EXAMPLES_FOLDER,
    Evaluation,
    training_folders,
    trials_folder,
)
from piip_search.search.history import DesignHistory

_CHECKPOINT = re.compile(r"epoch_\d+\.pth")
_PICTURE = re.compile(r"\d{1,4}\.(png|jpg)")


@dataclass(frozen=True)
class ShownObject:
    """An object: its class, and left, top, width and height as shares of the image; a score where it was detected."""

    label: str
    left: float
    top: float
    width: float
    height: float
    score: float | None = None


@dataclass(frozen=True)
class ExampleImage:
    """A validation image with what is in it and what was found."""

    file: str
    name: str
    width: int
    height: int
    truth: list[ShownObject]
    found: list[ShownObject]


@dataclass(frozen=True)
class Examples:
    """What was written for a trial.

    Attributes:
        trial: Its number.
        epochs: After how many its weights were taken.
        classes: Names of what can be found.
        pictures: The images.
    """

    trial: int
    epochs: int
    classes: list[str]
    pictures: list[ExampleImage]

    @property
    def threshold(self) -> float:
        """The score above which as many boxes are found as there are objects."""
        scores = sorted((box.score or 0.0 for picture in self.pictures for box in picture.found), reverse=True)
        objects = sum(len(picture.truth) for picture in self.pictures)
        return scores[min(objects, len(scores)) - 1] if scores and objects else 0.0


def folder_of(home: Path | None, run: str, recipe: str, evaluation: Evaluation) -> Path | None:
    """The folder of a trial's checkpoints, inside the run's own; None where it is not here.

    What the ledger says is a name to look for, not a path to follow.
    """
    if home is None:
        return None
    trials = trials_folder(home, run, recipe).resolve()
    if not trials.is_relative_to(home.resolve()) or trials.parents[2] != home.resolve():
        return None
    places = [place for place in training_folders(trials, evaluation) if _is_training(place, home)]
    return next((place for place in places if has_checkpoint(place)), None)


def _is_training(place: Path, home: Path) -> bool:
    """Whether a path, its links followed, lies among the trainings of a run in a home."""
    trials = home.resolve().joinpath(*place.relative_to(home.resolve()).parts[:3])
    return trials.resolve() == trials and _is_inside(place, trials)


def has_checkpoint(folder: Path) -> bool:
    """Whether a training can be loaded from a folder."""
    return folder.is_dir() and any(_CHECKPOINT.fullmatch(path.name) for path in folder.iterdir())


def trial_with_checkpoint(
    home: Path | None, run: str, recipe: str, design: DesignHistory
) -> tuple[Evaluation, Path] | None:
    """The furthest training of a design whose checkpoint is here."""
    done = [evaluation for evaluation in design.evaluations if evaluation.status == "done"]
    for evaluation in sorted(done, key=lambda e: -e.candidate.fidelity.epochs):
        folder = folder_of(home, run, recipe, evaluation)
        if folder is not None:
            return evaluation, folder
    return None


def read_examples(evaluation: Evaluation, folder: Path) -> Examples | None:
    """What was written beside a checkpoint; None where nothing, or nothing that can be read, was."""
    try:
        content: dict[str, Any] = json.loads((folder / EXAMPLES_FOLDER / EXAMPLES_FILE).read_text(encoding="utf-8"))
        pictures = [_picture(item) for item in content["pictures"]]
        classes = [str(name) for name in content["classes"]]
        return Examples(evaluation.candidate.number, int(content["epochs"]), classes, pictures)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def picture_file(folder: Path, name: str) -> Path | None:
    """A picture by its name; None for anything that is none of the folder's own."""
    if not _PICTURE.fullmatch(name):
        return None
    path = folder / EXAMPLES_FOLDER / name
    return path if _is_inside(path, folder) and path.is_file() else None


def _picture(item: dict[str, Any]) -> ExampleImage:
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


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
