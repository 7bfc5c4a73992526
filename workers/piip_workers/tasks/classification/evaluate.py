"""Measures a candidate of the classification task: builds it, trains the proxy, and returns the evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from piip_search.evaluation.evaluation import Candidate, Evaluation, folder_facts
from piip_search.tasks.classification.section import ClassificationData, ClassificationTraining
from piip_workers.networks.inheritance import DESIGN_FILE, INHERITED, inheritance
from piip_workers.networks.proxies import Measurement, measure_seeds
from piip_workers.tasks.classification import data as data_sets
from piip_workers.tasks.classification.classifier_training import (
    ClassifierRun,
    ClassImages,
    last_whole_classifier,
    train_classifier,
)
from piip_workers.tasks.classification.examples import note_trial

MOST_LISTED = 20
"""Most undecodable images that are listed."""
UNDECODABLE_LIST = "unreadable.txt"
"""File that lists undecodable training images."""


def measure(candidate: Candidate, data: Mapping[str, Any], training: Mapping[str, Any], directory: str) -> Evaluation:
    """Trains a candidate's proxy and measures it, once for each of its seeds.

    Args:
        candidate: Candidate to measure.
        data: `ClassificationData` as plain data.
        training: `ClassificationTraining` as plain data.
        directory: Folder of all trainings; each has a subfolder, where a later attempt resumes.

    Returns:
        The evaluation; a failed one has the error, and its folder has the traceback.

    Raises:
        MachineError: The machine is at fault.
    """
    recipe, source = ClassificationTraining.model_validate(training), ClassificationData.model_validate(data)

    def train_once(single: Candidate, folder: Path, accumulated: int, facts: dict[str, Any]) -> Measurement:
        return _trained(single, source, recipe, folder, accumulated, facts)

    return measure_seeds(candidate, Path(directory), recipe, train_once)


def _trained(
    candidate: Candidate,
    data: ClassificationData,
    training: ClassificationTraining,
    folder: Path,
    accumulated: int,
    facts: dict[str, Any],
) -> Measurement:
    fidelity, listed = candidate.fidelity, folder / UNDECODABLE_LIST
    design = candidate.architecture.scaled(fidelity.image_scale)
    data_sets.prepare(data)
    images = class_images(data, training, fidelity.data_fraction, candidate.seed, listed)
    (folder / DESIGN_FILE).write_text(design.name, encoding="utf-8")
    note_trial(
        folder, data.model_dump(mode="json"), training.model_dump(mode="json"), candidate.seed, fidelity.to_dict()
    )
    facts |= {"trained": design.name, "images": len(images.train_places), "accumulated": accumulated}
    facts |= folder_facts(folder)
    run = ClassifierRun(
        design, images, training, candidate.seed, fidelity.epochs, fidelity.schedule_epochs, accumulated
    )
    begin = None if candidate.parent is None else inheritance(candidate, folder, last_whole_classifier, _load)
    found = train_classifier(run, folder, begin, kept=training.inherit)
    if candidate.parent is not None:
        facts |= {"inherited_from": candidate.parent}
        facts |= {"inherited": (folder / INHERITED).read_text(encoding="utf-8")}
    if listed.is_file():
        lines = sorted(set(listed.read_text(encoding="utf-8").splitlines()))
        facts |= {"unreadable_images": len(lines), "unreadable": lines[:MOST_LISTED]}
    return found


def class_images(
    data: ClassificationData, training: ClassificationTraining, fraction: float, seed: int, listed: Path
) -> ClassImages:
    """The images of a training.

    Args:
        data: Data set.
        training: Recipe.
        fraction: Share of the training images in use.
        seed: Seed of their choice.
        listed: File that lists training images that cannot be decoded.

    Raises:
        DataError: The data cannot be used.
    """
    contents = data_sets.contents(data)
    measured = data_sets.measured(contents.val.labels, training.val_images)
    return ClassImages(
        contents.train,
        data_sets.chosen(contents.train.labels, fraction, seed),
        contents.val,
        range(len(contents.val.labels)) if measured is None else measured,
        len(contents.classes),
        listed,
    )


def _load(checkpoint: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return found
