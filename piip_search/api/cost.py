"""Prices one architecture under every convention, and its trial in a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from piip_search.architecture import Architecture
from piip_search.architecture.published import Published, published_as, published_near
from piip_search.config import SearchSpec
from piip_search.cost import (
    Convention,
    Cost,
    Head,
    Memory,
    Part,
    breakdown,
    conventions_of,
    memory,
    price,
    training_bytes,
)
from piip_search.cost.gpu_share import process_bytes
from piip_search.errors import DesignError
from piip_search.tasks.detection.head import COCO_MASK_RCNN

TASK_OF_MERGE = {"logits": "classification", "tokens": "multimodal"}
"""Task of the published designs with a merge; it is detection for all other merges."""


@dataclass(frozen=True)
class TrialCost:
    """The GPU memory and share of a design's trial in a search.

    Attributes:
        space: Name of the search space.
        trained: Short form of the design as trained, at the fidelity's image scale.
        training_bytes: Memory of a training step.
        needed_bytes: Memory of a trial, with its margin.
        gpu: GPUs of a trial.
        fits: Whether the training fits a GPU; true if the memory of a GPU is unknown.
    """

    space: str
    trained: str
    training_bytes: int
    needed_bytes: int
    gpu: float
    fits: bool


@dataclass(frozen=True)
class DesignCost:
    """The costs of an architecture.

    Attributes:
        design: The architecture.
        image: Height and width of the padded image in pixels.
        sides: Requested height and width; None for the square of the design's own resolution.
        head: Layers that read the maps, under the convention `whole`.
        costs: Cost under each convention that counts the design.
        memories: Memory under each convention.
    """

    design: Architecture
    image: tuple[int, int]
    sides: tuple[int, int] | None
    head: Head
    costs: Mapping[Convention, Cost]
    memories: Mapping[Convention, Memory]

    @property
    def published_gmacs(self) -> float:
        """GMACs in the papers' convention, at the design's own resolution."""
        return price(self.design, "published").gmacs

    @property
    def published(self) -> tuple[Published, ...]:
        """Published rows of this design."""
        return tuple(published_as(self.design))

    @property
    def near(self) -> tuple[Published, ...]:
        """Other designs of the authors for the same task and within 10 % of `published_gmacs`, nearest first."""
        task = TASK_OF_MERGE.get(self.design.merge, "detection")
        rows = published_near(self.published_gmacs, task)
        return tuple(row for row in rows if row.architecture != self.design)

    def parts(self, convention: Convention) -> list[Part]:
        """The parts of the design under a convention."""
        return breakdown(self.design, convention, self.sides, self.head)

    def to_dict(self) -> dict[str, Any]:
        """The costs as plain data."""
        return {
            "architecture": self.design.name,
            "fingerprint": self.design.fingerprint,
            "image": self.image,
            "cost": {name: {**_numbers(cost), **self._bytes(name)} for name, cost in self.costs.items()},
            "breakdown": [
                {
                    "convention": name,
                    "part": part.group,
                    "kind": part.kind,
                    "share": part.cost.macs / cost.macs,
                    **_numbers(part.cost),
                }
                for name, cost in self.costs.items()
                for part in self.parts(name)
            ],
            "published_as": [row.id for row in self.published],
        }

    def _bytes(self, convention: Convention) -> dict[str, int]:
        needed = self.memories[convention]
        return {"training_bytes": needed.training, "inference_bytes": needed.inference}


def price_design(design: Architecture, sides: tuple[int, int] | None = None, head: Head = COCO_MASK_RCNN) -> DesignCost:
    """Prices an architecture exactly, without building it.

    Args:
        design: The architecture.
        sides: Height and width of the image in pixels; the square of the design's own resolution by default.
        head: Layers that read the maps, under the convention `whole`.
    """
    known = conventions_of(design, head)
    return DesignCost(
        design,
        (design.resolution,) * 2 if sides is None else design.image(*sides),
        sides,
        head,
        {name: price(design, name, sides, head) for name in known},
        {name: memory(design, name, sides, head) for name in known},
    )


def price_trial(design: Architecture, spec: SearchSpec) -> TrialCost:
    """Prices the training of an architecture in a search.

    Args:
        design: Architecture.
        spec: Search.

    Raises:
        DesignError: The architecture has no maps for a detector.
    """
    if "whole" not in conventions_of(design, spec.head):
        raise DesignError(
            f"a trial of {spec.name} trains a detector, but the merge {design.merge} gives no maps for one; "
            "leave --space out"
        )
    training = training_bytes(design, spec.step)
    return TrialCost(
        spec.name,
        design.scaled(spec.fidelity.image_scale).name,
        training,
        round(process_bytes(training)),
        spec.gpu_of(design),
        spec.resources.gpu_memory is None or training <= spec.bounds.step_bytes,
    )


def _numbers(cost: Cost) -> dict[str, Any]:
    return {"macs": cost.macs, "params": cost.params, "gmacs": cost.gmacs, "mparams": cost.mparams}
