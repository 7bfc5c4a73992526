"""The full training of a classifier as a file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import yaml

from piip_search.cost import Head
from piip_search.export import Export, PixelNorm
from piip_search.export.readme import expected_cost
from piip_search.export.request import UNIT_NORM
from piip_search.tasks.classification.head import ClassifierHead
from piip_search.tasks.classification.recipe import CLASSIFIER_SCHEDULES, ClassifierSchedule
from piip_search.tasks.classification.section import DIGIT_CLASSES, ClassificationData, ClassificationTraining

CLASSIFIER_FILE = "classifier.yaml"
"""File of the full training."""
IMAGENET_NORM: PixelNorm = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""ImageNet's mean and standard deviation, of pixels from 0 to 255."""

_SECTION = """
## Train

`{file}` is the full training by the schedule {schedule}: {about}; {epochs} epochs.

    piip-search train .              # one GPU or CPU; checkpoints and log go to work/
    piip-search train . --gpus 8     # several GPUs, which share the {batch} images of a step
    piip-search train . --resume     # after an interruption
    piip-search train . -- training.learning_rate=1e-4

{weights}

{order}

Expected: {cost}
"""


@dataclass(frozen=True, slots=True)
class ClassifierPlan:
    """The full training of a classifier.

    Attributes:
        data: Data set, with its classes.
        training: Recipe of the search.
        schedule: Schedule.
    """

    data: ClassificationData
    training: ClassificationTraining
    schedule: ClassifierSchedule = CLASSIFIER_SCHEDULES["own"]

    @property
    def classes(self) -> int:
        """Number of classes."""
        count = self.data.outputs
        assert count is not None, "the data are resolved"
        return count

    @property
    def head(self) -> Head | None:
        return ClassifierHead(self.classes)

    @property
    def title(self) -> str:
        return f"a classifier on `{self.data.title}`, {self.classes} classes"

    @property
    def outputs(self) -> str:
        return f"the scores of {self.classes} classes, before the softmax"

    @property
    def norm(self) -> PixelNorm:
        return IMAGENET_NORM if self.training.norm == "imagenet" else UNIT_NORM

    @property
    def reading(self) -> Literal["fit", "crop"]:
        return "crop"

    @property
    def full(self) -> ClassificationTraining:
        """The recipe of the full training; layers decay as in the search."""
        content = {**self.training.model_dump(), **self.schedule.changes}
        return ClassificationTraining.model_validate(content)

    def starting(self, pretrained: str | None) -> Self:
        return replace(self, training=self.training.model_copy(update={"pretrained": pretrained}))

    def files(self, export: Export) -> Mapping[str, str]:
        if "timm" not in export.formats:
            return {}
        content: dict[str, Any] = {
            "architecture": export.architecture.name,
            "epochs": self.schedule.epochs,
            "seed": export.seed,
            "weights": export.start.file,
            "data": self.data.model_dump(mode="json", exclude_none=True),
            "training": self.full.model_copy(update={"pretrained": None}).model_dump(mode="json"),
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        return {CLASSIFIER_FILE: f"# Written by piip-search; the README says how to train it.\n{text}"}

    def readme(self, export: Export) -> str:
        names = self.data.classes or DIGIT_CLASSES
        order = f"The scores are in this order of classes: {', '.join(f'`{name}`' for name in names)}."
        if "timm" not in export.formats:
            return f"\n## Classes\n\n{order}\n"
        return _SECTION.format(
            file=CLASSIFIER_FILE,
            schedule=self.schedule.name,
            about=self.schedule.about,
            epochs=self.schedule.epochs,
            batch=self.full.batch_size,
            weights=export.start.text,
            order=order,
            cost=expected_cost(export, self.schedule.epochs, self.full.batch_size, self.classes),
        )
