"""Schedules of a classifier's full training."""

from dataclasses import dataclass, field
from typing import Any

from piip_search.errors import UserError
from piip_search.sections import closest


@dataclass(frozen=True, slots=True)
class ClassifierSchedule:
    """The length of a full training, and what it changes of the search's recipe.

    Attributes:
        name: Its name.
        epochs: Passes over the data.
        changes: Settings of section `training` that replace the search's.
        about: Its source, for a reader.
    """

    name: str
    epochs: int
    about: str
    changes: dict[str, Any] = field(default_factory=dict)


CLASSIFIER_SCHEDULES: dict[str, ClassifierSchedule] = {
    "own": ClassifierSchedule("own", 100, "the recipe of the search, longer"),
    "finetune": ClassifierSchedule(
        "finetune",
        20,
        "fine-tuning on ImageNet in the authors' code (classification/, PIIP-TSB and PIIP-SBL)",
        {
            "batch_size": 1024,
            "learning_rate": 3e-5,
            "new_parts": 10.0,
            "weight_decay": 0.1,
            "warmup": 0.25,
            "crop": (0.08, 1.0),
            "augment": "rand-m9-mstd0.5-inc1",
            "mixup": 0.8,
            "cutmix": 1.0,
            "smoothing": 0.1,
            "flip": 0.5,
            "erase": 0.0,
            "ema": None,
            "eval_crop": 1.0,
            "balance": "none",
        },
    ),
    "scratch": ClassifierSchedule(
        "scratch",
        300,
        "training from random weights on ImageNet (DeiT, arXiv 2012.12877, table 9)",
        {
            "batch_size": 1024,
            "learning_rate": 1e-3,
            "new_parts": 1.0,
            "weight_decay": 0.05,
            "warmup": 5 / 300,
            "crop": (0.08, 1.0),
            "augment": "rand-m9-mstd0.5-inc1",
            "mixup": 0.8,
            "cutmix": 1.0,
            "smoothing": 0.1,
            "erase": 0.25,
            "flip": 0.5,
            "ema": None,
            "eval_crop": 1.0,
            "balance": "none",
        },
    ),
}
"""Schedules by name, the usual one first. Weights that are decayed exclude biases and norms in all of them."""


def classifier_schedule(name: str) -> ClassifierSchedule:
    """The schedule of that name.

    Raises:
        UserError: There is none.
    """
    if name not in CLASSIFIER_SCHEDULES:
        raise UserError(f"unknown schedule {name!r}{closest(name, CLASSIFIER_SCHEDULES)}")
    return CLASSIFIER_SCHEDULES[name]
