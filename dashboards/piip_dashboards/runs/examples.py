"""Examples of a trial on validation images, which the worker of its task wrote beside it."""

import json
import re
from pathlib import Path
from typing import Any

from piip_dashboards.tasks import Examples, TaskDrawing
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


def folder_of(home: Path | None, run: str, recipe: str, evaluation: Evaluation) -> Path | None:
    """The folder of a trial's checkpoints inside the run's own; None if it is not on this machine.

    The ledger's folder is a name to look for, not a path to follow.
    """
    if home is None:
        return None
    trials = trials_folder(home, run, recipe).resolve()
    if not trials.is_relative_to(home.resolve()) or trials.parents[2] != home.resolve():
        return None
    places = [place for place in training_folders(trials, evaluation) if _is_training(place, home)]
    return next((place for place in places if has_checkpoint(place)), None)


def _is_training(place: Path, home: Path) -> bool:
    """Whether a path, after its links, is among the trainings of a run in a home."""
    trials = home.resolve().joinpath(*place.relative_to(home.resolve()).parts[:3])
    return trials.resolve() == trials and _is_inside(place, trials)


def has_checkpoint(folder: Path) -> bool:
    """Whether a folder has a checkpoint that can be loaded."""
    return folder.is_dir() and any(_CHECKPOINT.fullmatch(path.name) for path in folder.iterdir())


def trial_with_checkpoint(
    home: Path | None, run: str, recipe: str, design: DesignHistory
) -> tuple[Evaluation, Path] | None:
    """The longest training of a design with a checkpoint on this machine."""
    done = [evaluation for evaluation in design.evaluations if evaluation.status == "done"]
    for evaluation in sorted(done, key=lambda e: -e.candidate.fidelity.epochs):
        folder = folder_of(home, run, recipe, evaluation)
        if folder is not None:
            return evaluation, folder
    return None


def read_examples(drawing: TaskDrawing, evaluation: Evaluation, folder: Path) -> Examples | None:
    """The examples beside a checkpoint; None without readable ones."""
    try:
        content: dict[str, Any] = json.loads((folder / EXAMPLES_FOLDER / EXAMPLES_FILE).read_text(encoding="utf-8"))
        return Examples(evaluation.candidate.number, int(content["epochs"]), drawing.pictures(content))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def picture_file(folder: Path, name: str) -> Path | None:
    """A picture by its name; None for any other file."""
    if not _PICTURE.fullmatch(name):
        return None
    path = folder / EXAMPLES_FOLDER / name
    return path if _is_inside(path, folder) and path.is_file() else None


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
