"""PIIP's public detection recipe (official configurations, Mask R-CNN 1x and 3x)."""

from dataclasses import dataclass

from piip_search.errors import UserError
from piip_search.sections import closest

IMAGES_A_STEP = 16
"""Images a step, over all GPUs."""
LEARNING_RATE = 1e-4
LAYER_DECAY = 0.85
INTERACTION_DROP_PATH = 0.4
WARMUP_ITERATIONS = 500
WARMUP_SHARE = 0.1
"""Greatest share of warm-up: 500 steps are a hundredth of a training on COCO, but more than one on a small data set."""


@dataclass(frozen=True, slots=True)
class TrainingLength:
    """The length of a full training.

    Attributes:
        name: Name in detection codebases.
        epochs: Passes over the data.
        steps: Epochs after which the learning rate falls to a tenth.
    """

    name: str
    epochs: int
    steps: tuple[int, ...]


SCHEDULES: dict[str, TrainingLength] = {
    "1x": TrainingLength("1x", 12, (8, 11)),
    "3x": TrainingLength("3x", 36, (27, 33)),
}


def schedule_named(name: str) -> TrainingLength:
    """The schedule of that name.

    Raises:
        UserError: There is none.
    """
    if name not in SCHEDULES:
        raise UserError(f"unknown schedule {name!r}{closest(name, SCHEDULES)}")
    return SCHEDULES[name]
