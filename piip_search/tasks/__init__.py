"""The tasks with their metrics."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """A task that designs are trained for.

    Attributes:
        name: Short name in a search space.
        metrics: Metrics a worker can report; all lie in [0, 1], higher is better.
    """

    name: str
    metrics: tuple[str, ...]


_AREAS = ("", "_50", "_75", "_s", "_m", "_l")

# COCO's twelve averages without the recalls; segm_* if the detector predicts masks.
TASKS: dict[str, Task] = {
    "detection": Task("detection", tuple(f"{kind}_mAP{area}" for kind in ("bbox", "segm") for area in _AREAS)),
}
