"""The results of a search's designs, as a sampler is told them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

State = Literal["running", "stopped", "done", "failed"]
"""State of a measurement; a stopped one ended at a lower rung."""


@dataclass
class Results:
    """Results of designs, by index.

    Attributes:
        metrics: Number of measured losses.
        losses: Losses of full measurements, one or several.
        pending: Designs in measurement.
        failed: Designs that could not be measured.
        reached: Losses by epochs at lower rungs.
    """

    metrics: int
    losses: dict[int, list[list[float]]] = field(default_factory=dict)
    pending: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    reached: dict[int, dict[int, list[float]]] = field(default_factory=dict)

    @property
    def measured(self) -> dict[int, list[float]]:
        """Losses of each design; the means of several measurements."""
        return {
            index: found[0] if len(found) == 1 else [float(np.mean(values)) for values in zip(*found, strict=True)]
            for index, found in self.losses.items()
        }

    def add(self, index: int, state: State, losses: Sequence[float], reached: Mapping[int, Sequence[float]]) -> None:
        """Adds the measurement of a design.

        Args:
            index: Index of the design.
            state: State of the measurement.
            losses: Final losses of the metrics; empty before its end.
            reached: Losses of the metrics by epochs at lower rungs.
        """
        on_its_way = {epochs: list(found) for epochs, found in reached.items() if self._is_whole(found)}
        if on_its_way and state != "failed":
            self.reached[index] = on_its_way
        if state == "done" and self._is_whole(losses):
            self.losses.setdefault(index, []).append(list(losses))
        elif on_its_way and state in ("running", "stopped"):
            return
        elif state == "running":
            self.pending.append(index)
        else:
            self.failed.append(index)

    def _is_whole(self, losses: Sequence[float]) -> bool:
        return len(losses) == self.metrics and bool(np.isfinite(losses).all())
