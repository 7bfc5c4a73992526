"""Task facts: what can be measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to train for.

    Attributes:
        name: Short name, as typed in a search space.
        metrics: Metrics a worker can report; all lie in [0, 1], higher is better.
    """

    name: str
    metrics: tuple[str, ...]


_AREAS = ("", "_50", "_75", "_s", "_m", "_l")

# COCO's twelve averages less the recalls; segm_* where the detector predicts masks.
TASKS: dict[str, Task] = {
    "detection": Task("detection", tuple(f"{kind}_mAP{area}" for kind in ("bbox", "segm") for area in _AREAS)),
}
