"""The axes of a design's results: conventions of cost, and kinds of expense."""

from dataclasses import replace
from functools import lru_cache
from typing import Literal, get_args

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_search.architecture import Architecture
from piip_search.cost import CONVENTIONS, Convention, Head, Memory, conventions_of, memory
from piip_search.search.history import DesignHistory

Paid = Literal["gmacs", "mparams", "training_gib", "training_gb", "inference_gb", "hours"]
PAID: tuple[Paid, ...] = get_args(Paid)
CONVENTION_TITLES: dict[Convention, str] = {
    "published": "as the papers count",
    "backbone": "up to the merged map",
    "whole": "with the layers that read the maps",
}


@lru_cache(maxsize=100_000)
def _memory(architecture: Architecture, convention: Convention, head: Head | None, outputs: int | None) -> Memory:
    return memory(architecture, convention, head=head, outputs=outputs)


def own_axis(reading: RunSnapshot) -> Paid:
    """The axis of the search's tiers."""
    return next(paid for paid in PAID if paid == reading.objectives.axis.name)


def paid_title(paid: Paid, gpu: bool) -> str:
    """The title of an axis."""
    return {
        "gmacs": "GMACs",
        "mparams": "parameters (10⁶)",
        "training_gib": "training memory (GiB, a step of the recipe)",
        "training_gb": "training memory (GB, one image)",
        "inference_gb": "inference memory (GB, one image)",
        "hours": "GPU-hours of the training" if gpu else "hours of the training",
    }[paid]


def conventions(reading: RunSnapshot) -> list[Convention]:
    """Conventions that can price a run's designs, its own first."""
    own = reading.spec.limit.convention
    merges = {design.architecture.merge: design.architecture for design in reading.designs.values()}
    shared = [
        name for name in CONVENTIONS if all(name in conventions_of(one, reading.spec.head) for one in merges.values())
    ]
    known = [name for name in shared if name != "whole" or reading.spec.known_head is not None]
    return [own, *(name for name in known if name != own)]


def price_of(reading: RunSnapshot, architecture: Architecture, convention: Convention, paid: Paid) -> float | None:
    """The expense for an architecture; None for an expense that is measured."""
    if paid == "hours":
        return None
    if paid in ("training_gb", "inference_gb"):
        outputs = reading.spec.pricing.outputs_under(convention)
        needed = _memory(architecture, convention, reading.spec.head, outputs)
        return (needed.training if paid == "training_gb" else needed.inference) / 1e9
    pricing = replace(reading.spec.pricing, convention=convention)
    return pricing.axis(paid).of(architecture)


def hours_of(reading: RunSnapshot, design: DesignHistory) -> float | None:
    """Hours of a design's full training, including its rungs; None for an answer from another run."""
    if not design.whole:
        return None
    first = design.whole[0].candidate
    parts = [e.seconds for e in design.evaluations if e.candidate.training == first.training]
    total = sum(parts) / 3600 * (reading.spec.gpu_of(first.architecture) or 1.0)
    return total or None
