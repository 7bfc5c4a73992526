"""Runs a trained proxy on images: `python -m piip_workers.tasks.classification.examples FOLDER`.

Loads the newest checkpoint of a trial's folder and measures the validation images of the trial again. Writes the
counts of its answers and some images into `examples/` beside it, for people to look at.
Legend: N images, A answers that are shown, K classes.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from piip_search.architecture import Architecture
from piip_search.errors import DataError
from piip_search.evaluation.evaluation import EXAMPLES_FILE, EXAMPLES_FOLDER, Fidelity
from piip_search.file_paths import located
from piip_search.tasks.classification.section import ClassificationData, ClassificationTraining
from piip_workers.networks.inheritance import DESIGN_FILE
from piip_workers.networks.weights import epoch_of
from piip_workers.tasks.classification import data as data_sets
from piip_workers.tasks.classification.classifier_training import classifier_of, last_whole_classifier
from piip_workers.tasks.classification.data import Labelled, LabelledParts
from piip_workers.tasks.classification.pictures import Batches, ClassPictures, measured_transform
from piip_workers.whole_files import write_whole

TRIAL_FILE = "trial.json"
"""File with the data, the recipe, the seed and the fidelity of a trial."""
SHOWN_IMAGES = 12
"""Default number of images."""
SHOWN_ANSWERS = 3
"""Likeliest classes that are written for an image."""
SHOWN_SIDE = 320
"""Longest side of a written image, in pixels."""
JPEG_QUALITY = 88
"""Quality of a written image, of 100."""


@dataclass(frozen=True)
class NotedTrial:
    """What a trial was trained with.

    Attributes:
        data: Data set.
        training: Recipe.
        seed: Seed of weights and data order.
        fidelity: Effort.
    """

    data: ClassificationData
    training: ClassificationTraining
    seed: int
    fidelity: Fidelity


@dataclass(frozen=True)
class _Answers:
    """The likeliest classes of each image, likeliest first, and its true class."""

    classes_NA: NDArray[np.int64]
    probabilities_NA: NDArray[np.float64]
    labels_N: NDArray[np.int64]

    @property
    def right_N(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.classes_NA[:, 0] == self.labels_N
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the examples; returns 2 if the folder has nothing to load."""
    parser = argparse.ArgumentParser(
        prog="python -m piip_workers.tasks.classification.examples", description="Classify with a trained proxy."
    )
    parser.add_argument("folder", type=Path, help=f"a trial's folder, with {TRIAL_FILE} and checkpoints")
    parser.add_argument("--images", type=int, default=SHOWN_IMAGES, help="validation images that are written")
    options = parser.parse_args(arguments)
    try:
        count = write_examples(options.folder.resolve(), options.images)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {count} images to {options.folder / EXAMPLES_FOLDER}")
    return 0


def note_trial(
    folder: Path, data: Mapping[str, Any], training: Mapping[str, Any], seed: int, fidelity: Mapping[str, Any]
) -> None:
    """Writes what a trial is trained with beside its checkpoints, atomically.

    Args:
        folder: Folder of the trial.
        data: `ClassificationData` as plain data.
        training: `ClassificationTraining` as plain data.
        seed: Seed of weights and data order.
        fidelity: `Fidelity` as plain data.
    """
    source = ClassificationData.model_validate(data)
    if source.root is not None:  # a later process may have another working directory
        source = source.model_copy(update={"root": source.root.resolve()})
    content = {
        "data": source.model_dump(mode="json", exclude_defaults=True),
        "training": dict(training),
        "seed": seed,
        "fidelity": dict(fidelity),
    }
    write_whole(folder / TRIAL_FILE, json.dumps(content))


def read_trial(folder: Path) -> NotedTrial:
    """What a trial was trained with.

    Args:
        folder: Folder of the trial.

    Raises:
        DataError: The folder has no such note, or it cannot be read.
    """
    file = folder / TRIAL_FILE
    if not file.is_file():
        raise DataError(f"no {TRIAL_FILE} in {located(folder)}; give the folder of a trial")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return NotedTrial(
            ClassificationData.model_validate(content["data"]),
            ClassificationTraining.model_validate(content["training"]),
            int(content["seed"]),
            Fidelity(**content["fidelity"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{file} cannot be read ({type(error).__name__}: {reason}); measure the trial again") from None


def write_examples(folder: Path, images: int = SHOWN_IMAGES) -> int:
    """Writes the examples of a trial atomically.

    Args:
        folder: Folder of the trial.
        images: Number of images to write: the worst mistakes, and some right ones.

    Returns:
        The number of written images.

    Raises:
        DataError: The folder has no note of its trial or no checkpoint, the data is gone or does not fit the weights,
            or `images` is less than one.
    """
    if images < 1:
        raise DataError(f"images must be at least 1, got {images}")
    trial = read_trial(folder)
    checkpoint = last_whole_classifier(folder, sys.maxsize)
    if checkpoint is None:
        raise DataError(f"no checkpoint in {folder}; the trial has not ended its first epoch")
    found = _contents(trial.data)
    design = _design(folder)
    network = _loaded(design, len(found.classes), checkpoint)
    part, measured = found.val, data_sets.measured(found.val.labels, trial.training.val_images)
    places = range(len(part.labels)) if measured is None else measured
    try:
        answers = _answers(network, part, places, design.resolution, trial.training)
        chosen = _chosen(answers, images)
        return _written(folder, epoch_of(checkpoint), found, places, answers, chosen)
    except DataError as error:
        line = str(error).strip().splitlines()[-1]  # a loader process puts its traceback before the message
        raise DataError(f"an image of the trial is gone or damaged: {line.rpartition('Error: ')[2]}") from None


def _contents(data: ClassificationData) -> LabelledParts:
    """The classes and images of the trial's data.

    Raises:
        DataError: They cannot be used.
    """
    try:
        return data_sets.contents(data)
    except DataError as error:
        first, *more = str(error).splitlines()
        others = f" (and {len(more)} more problems)" if more else ""
        raise DataError(f"the data of the trial cannot be used: {first}{others}") from None


def _design(folder: Path) -> Architecture:
    """The design that the trial trained.

    Raises:
        DataError: The folder does not name it.
    """
    file = folder / DESIGN_FILE
    if not file.is_file():
        raise DataError(f"no {DESIGN_FILE} in {folder}; give the folder of a trial")
    return Architecture.parse(file.read_text(encoding="utf-8").strip())


def _loaded(design: Architecture, classes: int, checkpoint: Path) -> nn.Module:
    """The trained network, ready to answer.

    Raises:
        DataError: The weights are those of another design, or of other classes.
    """
    network = classifier_of(design, classes)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state["state_dict"])
    except (KeyError, RuntimeError):
        raise DataError(
            f"{checkpoint} does not fit {design.name} with the {classes} classes of the data; bring the data back as "
            "they were"
        ) from None
    return network.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _answers(
    network: nn.Module, part: Labelled, places: Sequence[int], side: int, training: ClassificationTraining
) -> _Answers:
    """The answers for the images at some places, computed as the trial's metrics are.

    Raises:
        DataError: An image cannot be decoded.
    """
    device = next(network.parameters()).device
    pictures = ClassPictures(part, places, measured_transform(side, training), None, training.cache_mib)
    size, count = training.batch_size, len(pictures)
    batches = [list(range(at, min(at + size, count))) for at in range(0, count, size)]
    dealt = Batches()
    dealt.deal(0, batches)
    loader = DataLoader(pictures, batch_sampler=dealt, num_workers=training.loader_workers)
    exact = training.precision == "float32"
    classes, probabilities, labels = [], [], []
    with torch.no_grad(), nullcontext() if exact else torch.autocast(device.type, torch.bfloat16):
        for image_BCHW, label_B in loader:
            # A stable order gives equal scores to the first class, as the metrics do.
            found = network(image_BCHW.to(device)).float().double().softmax(1).sort(dim=1, descending=True, stable=True)
            classes.append(found.indices[:, :SHOWN_ANSWERS].cpu().numpy())
            probabilities.append(found.values[:, :SHOWN_ANSWERS].cpu().numpy())
            labels.append(label_B.numpy())
    return _Answers(np.concatenate(classes), np.concatenate(probabilities), np.concatenate(labels))


def _chosen(answers: _Answers, wanted: int) -> list[int]:
    """The surest mistakes first, and at least a third of right answers, as far as there are as many of each."""
    wrong, right = np.flatnonzero(~answers.right_N), np.flatnonzero(answers.right_N)
    worst = wrong[np.argsort(-answers.probabilities_NA[wrong, 0], kind="stable")]
    right_ones = min(len(right), max(wanted // 3, wanted - len(wrong)))
    return [*worst[: wanted - right_ones].tolist(), *_over_classes(right.tolist(), answers.labels_N, right_ones)]


def _over_classes(images: Sequence[int], labels_N: NDArray[np.int64], wanted: int) -> list[int]:
    """Some images, spread over their classes."""
    waiting: dict[int, list[int]] = {}
    for image in images:
        waiting.setdefault(int(labels_N[image]), []).append(image)
    found: list[int] = []
    while waiting and len(found) < wanted:
        labels = sorted(waiting)
        turns = min(wanted - len(found), len(labels))
        for label in [labels[turn * len(labels) // turns] for turn in range(turns)]:
            found.append(waiting[label].pop(0))
            if not waiting[label]:
                del waiting[label]
    return found


def _written(
    folder: Path, epochs: int, found: LabelledParts, places: Sequence[int], answers: _Answers, chosen: Sequence[int]
) -> int:
    """Writes the counts of all answers and the chosen images; returns the number of images.

    Raises:
        DataError: An image cannot be decoded.
    """
    counts = Counter(zip(answers.labels_N.tolist(), answers.classes_NA[:, 0].tolist(), strict=True))
    images = Counter(answers.labels_N.tolist())
    classes = [
        {"name": name, "images": images[at], "recall": counts[at, at] / images[at] if images[at] else None}
        for at, name in enumerate(found.classes)
    ]
    draft = Path(tempfile.mkdtemp(dir=folder, prefix=".examples-"))
    try:
        content = {
            "epochs": epochs,
            "classes": classes,
            "confusion": [[true, answer, count] for (true, answer), count in sorted(counts.items()) if count],
            "pictures": [
                _picture(found, places[image], answers, image, draft / f"{number}.jpg")
                for number, image in enumerate(chosen)
            ],
        }
        (draft / EXAMPLES_FILE).write_text(json.dumps(content), encoding="utf-8")
        shutil.rmtree(folder / EXAMPLES_FOLDER, ignore_errors=True)
        draft.chmod(0o755)
        draft.rename(folder / EXAMPLES_FOLDER)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return len(chosen)


def _picture(found: LabelledParts, place: int, answers: _Answers, image: int, file: Path) -> dict[str, Any]:
    """Writes one image in a size for viewing; returns it with its true class and its likeliest ones.

    Raises:
        DataError: It cannot be decoded.
    """
    picture = Image.fromarray(data_sets.read_image(found.val.file(place)))
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    picture.save(file, quality=JPEG_QUALITY)
    rows = zip(answers.classes_NA[image].tolist(), answers.probabilities_NA[image].tolist(), strict=True)
    return {
        "file": file.name,
        "name": found.val.names[place],
        "width": picture.width,
        "height": picture.height,
        "truth": found.classes[found.val.labels[place]],
        "answers": [{"label": found.classes[at], "probability": round(share, 4)} for at, share in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
