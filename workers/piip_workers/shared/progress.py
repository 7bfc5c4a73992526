"""What the training of a parent counts on its way, and when it has to end."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from piip_search.architecture import Architecture

MOST_SKIPPED = 10
"""Number of batches in a row without a step after which the training ends."""
NON_FINITE = 1
NO_ROOM = 2
FAULTS = {NON_FINITE: "the loss or its gradient was not finite", NO_ROOM: "a step did not fit the memory"}
"""Reasons for batches without a step, by the numbers under which processes tell each other of them."""
STEP_SETTING = "training.batch_size"
RATE_SETTINGS = "training.learning_rate or training.clip_norm"


@dataclass
class TrainingProgress:
    """What a training counts on its way.

    Attributes:
        step: Number of finished steps.
        passes: Number of batches that each key has had.
        losses: Sum and number of the losses of each part of the training, by image size.
        skipped: Number of batches without a step, by design.
        in_a_row: Designs of the latest batches in a row without a step.
    """

    step: int = 0
    passes: Counter[str] = field(default_factory=Counter)
    losses: dict[int, dict[int, tuple[float, int]]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    in_a_row: list[str] = field(default_factory=list)

    def add(self, design: Architecture, keys: Iterable[str], loss: float, part: int) -> None:
        self.in_a_row.clear()
        self.passes.update(keys)
        total, count = self.losses.setdefault(part, {}).get(design.resolution, (0.0, 0))
        self.losses[part][design.resolution] = (total + loss, count + 1)

    def skip(self, designs: Sequence[Architecture], fault: int) -> None:
        names = [design.name for design in designs]
        self.skipped.update(names)
        self.in_a_row += names
        if len(self.in_a_row) < MOST_SKIPPED:
            return
        why = f"{FAULTS[fault]} {MOST_SKIPPED} times in a row: {', '.join(self.in_a_row)}"
        if fault == NO_ROOM:
            raise MemoryError(f"{why}; lower {STEP_SETTING}")
        raise FloatingPointError(f"{why}; lower {RATE_SETTINGS}")
