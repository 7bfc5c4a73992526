"""The designs that PIIP's authors chose by hand, with their published numbers.

`published_designs.json` quotes tables of the papers (NeurIPS 2024, arXiv 2406.04330; TPAMI, arXiv 2501.07783) and the
official README, each row with its source. Windows that the tables leave out are those of the public configurations, or
else those that give the published cost. Rows whose cost cannot be reproduced are left out; the tests list them with
their reasons.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from piip_search.architecture import Architecture
from piip_search.units import quantity


@dataclass(frozen=True)
class Published:
    """A published row.

    Attributes:
        id: Name of the row.
        title: The authors' name of the network.
        task: `detection` (COCO, Mask R-CNN), `segmentation` (ADE20K), `classification` (ImageNet) or `multimodal`.
        architecture: The design.
        gmacs: Published cost in 10^9 multiply-accumulates.
        mparams: Published parameters in 10^6; None if unpublished.
        metrics: Published metrics, in percent.
        source: Table of the row.
    """

    id: str
    title: str
    task: str
    architecture: Architecture
    gmacs: float
    mparams: float | None
    metrics: dict[str, float]
    source: str

    @property
    def summary(self) -> str:
        """Cost, metrics and source in one line."""
        metrics = ", ".join(f"{name} {value:g}" for name, value in self.metrics.items())
        params = "" if self.mparams is None else f", {quantity(self.mparams, 'M parameters')}"
        return f"{self.title}: {quantity(self.gmacs, 'G')}{params}; {metrics} ({self.source})"


@cache
def published_designs() -> tuple[Published, ...]:
    """All published rows."""
    rows = json.loads((Path(__file__).parent / "published_designs.json").read_text(encoding="utf-8"))
    return tuple(Published(**{**row, "architecture": Architecture.parse(row["architecture"])}) for row in rows)


_TASKS_OF_MERGES = {"logits": "classification", "tokens": "multimodal"}


def usual_task(architecture: Architecture) -> str:
    """The papers' task for a design by its merge; maps of any kind were first published for detection."""
    return _TASKS_OF_MERGES.get(architecture.merge, "detection")


def published_of(task: str | None) -> dict[Architecture, Published]:
    """The designs of a task, each with its first row.

    Args:
        task: Task of the rows; None gives none.
    """
    return {row.architecture: row for row in reversed(published_designs()) if row.task == task}


def published_as(architecture: Architecture) -> list[Published]:
    """The published rows of exactly this design."""
    return [row for row in published_designs() if row.architecture == architecture]


def published_near(gmacs: float, task: str | None, within: float = 0.1) -> list[Published]:
    """The authors' designs of a task with a published cost within a share of the given one, nearest first.

    A design in several tables appears once, by its first row.
    """
    near = [row for row in published_of(task).values() if abs(row.gmacs - gmacs) <= within * gmacs]
    return sorted(near, key=lambda row: abs(row.gmacs - gmacs))
