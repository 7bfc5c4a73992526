"""Prices one architecture under every convention, and its trial in a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from piip_search.architecture import Architecture
from piip_search.architecture.published import Published, published_as, published_near, usual_task
from piip_search.architecture.segments import Merge
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
from piip_search.errors import DesignError, UserError
from piip_search.sections import closest
from piip_search.tasks import TASKS


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
        head: Layers that read the merge's outputs, under the convention `whole`; None without one.
        costs: Cost under each convention that counts the design.
        memories: Memory under each convention.
    """

    design: Architecture
    image: tuple[int, int]
    sides: tuple[int, int] | None
    head: Head | None
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
        rows = published_near(self.published_gmacs, usual_task(self.design))
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


def head_named(name: str) -> Head:
    """A head of any task by its name.

    Raises:
        UserError: There is none of that name.
    """
    heads = {name: head for task in TASKS.values() for name, head in task.heads.items()}
    if name not in heads:
        raise UserError(f"unknown head {name!r}{closest(name, heads)}")
    return heads[name]


def papers_head(merge: Merge) -> Head | None:
    """The head of the papers' tables that reads a merge; None for a merge whose head has no known cost."""
    heads = (head for task in TASKS.values() for head in task.heads.values())
    return next((head for head in heads if merge in head.merges), None)


def price_design(design: Architecture, sides: tuple[int, int] | None = None, head: Head | None = None) -> DesignCost:
    """Prices an architecture exactly, without building it.

    Args:
        design: The architecture.
        sides: Height and width of the image in pixels; the square of the design's own resolution by default.
        head: Layers that read the merge's outputs, under the convention `whole`; by default those of the papers.
    """
    head = head or papers_head(design.merge)
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
        DesignError: The task of the search cannot read the merge of the architecture.
    """
    if design.merge not in spec.known_task.merges:
        raise DesignError(
            f"a trial of {spec.name} is of the task {spec.task}, which cannot read what {design.merge} gives; "
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
