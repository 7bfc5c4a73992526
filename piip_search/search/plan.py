"""What a search will be like, before it begins: how many designs there are, what they cost, what measuring them takes.

Nothing is trained and nothing is built: every number follows from the closed forms of `piip_search.cost`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.architecture.published import Published, published_designs
from piip_search.config import SearchSpec
from piip_search.cost import price, training_bytes
from piip_search.cost.gpu_share import GIB, process_bytes
from piip_search.cost.gpu_share import SHARE_STEP as SHARE
from piip_search.search.feasible import feasible_designs
from piip_search.space import Designs, SearchSpace

BINS_A_DECADE = 60
_LOWEST = -6
"""Power of ten, in GMACs, from which costs are sorted."""
_HIGHEST = 9
"""Power of ten, in GMACs, up to which costs are sorted."""
DRAWN = 400
"""Designs drawn to estimate what a trial takes on average."""
PASSES = 3
"""Forward passes' worth of work in a training step: one forward, and two backward for values and for weights."""
TASK = "detection"


@dataclass(frozen=True)
class TierCount:
    """How many designs a tier of the limit allows."""

    gmacs: float
    designs: int


@dataclass(frozen=True)
class PublishedPosition:
    """Where a published design falls.

    Attributes:
        row: The published row.
        gmacs: Its cost under the space's convention.
        reasons: Why the space does not hold it; empty if it does.
    """

    row: Published
    gmacs: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Effort:
    """What trials take.

    Attributes:
        train_images: Training images of one trial's pass, after the fidelity's share.
        val_images: Images it is measured on.
        throughput: Sustained multiply-accumulates a second, in 10^12: what was stated, not measured.
        mean_hours: Mean hours of one trial on one device, over designs drawn from those that may be proposed.
        least_hours: Hours of the cheapest of these.
        most_hours: Hours of the dearest of these.
        search_hours: Hours of all trials, on one device.
    """

    train_images: int
    val_images: int
    throughput: float
    mean_hours: float
    least_hours: float
    most_hours: float
    search_hours: float


@dataclass(frozen=True)
class GpuPlan:
    """How trials share GPUs, by their predicted memory.

    Attributes:
        refused: Designs that keep the limit and whose training does not fit.
        least: GPUs that the smallest training takes.
        mean: GPUs that a trial takes on average, over the designs that may be proposed.
        most: GPUs that the largest takes.
    """

    refused: int
    least: float
    mean: float
    most: float


@dataclass(frozen=True)
class Plan:
    """What a search will be like.

    Attributes:
        spec: What is planned.
        designs: Legal designs.
        within: Those that keep the limit and may be proposed.
        tiers: How many designs each tier allows.
        cheapest: The cheapest legal design, with its GMACs.
        dearest: The dearest legal design, with its GMACs.
        edges: GMACs between the bins of the histogram, one more than there are bins.
        counts: Legal designs in each bin.
        published: Where the authors' detection designs fall, the cheapest first.
        largest: The design of those looked at that needs the most memory in training, and its bytes.
        placement: How trials share GPUs; None where the memory of a GPU is not given.
        effort: What trials take; None where it is not known how many images there are.
    """

    spec: SearchSpec
    designs: int
    within: int
    tiers: tuple[TierCount, ...]
    cheapest: tuple[Architecture, float]
    dearest: tuple[Architecture, float]
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    published: tuple[PublishedPosition, ...]
    largest: tuple[Architecture, int]
    placement: GpuPlan | None
    effort: Effort | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.spec.name,
            "convention": self.spec.limit.convention,
            "designs": self.designs,
            "within": self.within,
            "tiers": [{"gmacs": tier.gmacs, "designs": tier.designs} for tier in self.tiers],
            "cheapest": {"architecture": self.cheapest[0].name, "gmacs": self.cheapest[1]},
            "dearest": {"architecture": self.dearest[0].name, "gmacs": self.dearest[1]},
            "histogram": {"gmacs": list(self.edges), "designs": list(self.counts)},
            "published": [
                {
                    "id": one.row.id,
                    "architecture": one.row.architecture.name,
                    "gmacs": one.gmacs,
                    "in_space": not one.reasons,
                    "reasons": list(one.reasons),
                }
                for one in self.published
            ],
            "largest": {"architecture": self.largest[0].name, "training_bytes": self.largest[1]},
            "placement": None if self.placement is None else asdict(self.placement),
            "trials": self.spec.budget.trials,
            "effort": None
            if self.effort is None
            else {name: getattr(self.effort, name) for name in Effort.__dataclass_fields__},
        }


def make_plan(spec: SearchSpec, source: object, images: tuple[int, int] | None, throughput: float) -> Plan:
    """Looks at every design of a space, and at what measuring some of them takes.

    Args:
        spec: What is planned.
        source: The file, for messages.
        images: Training and validation images of the data; None where that is not known.
        throughput: Sustained multiply-accumulates a second of one device, in 10^12.

    Raises:
        SpecError: The space is empty, or a tier of the limit lies below its cheapest design.
    """
    space, within = feasible_designs(spec, source)
    survey = _survey(space, spec)
    looked_at = list(_looked_at(space, within, spec.seed))
    drawn = looked_at[-DRAWN:]
    largest = max(((design, training_bytes(design, spec.step)) for design in looked_at), key=lambda item: item[1])
    hours = [] if images is None else [_hours(design, spec, images, throughput) for design in drawn]
    effort = None
    if images is not None:
        mean = float(np.mean(hours))
        effort = Effort(
            _used(images[0], spec),
            images[1],
            throughput,
            mean,
            min(hours),
            max(hours),
            mean * min(spec.budget.trials, len(within)),
        )
    return Plan(
        spec=spec,
        designs=int(survey.counts.sum()),
        within=len(within),
        tiers=tuple(TierCount(gmacs, int((within.macs_N <= gmacs * 1e9).sum())) for gmacs in spec.bounds.gmacs),
        cheapest=survey.cheapest,
        dearest=survey.dearest,
        edges=survey.edges,
        counts=tuple(int(count) for count in survey.counts),
        published=_published(space, spec),
        largest=largest,
        placement=_placement(spec, space, within, survey.fitting - len(within)),
        effort=effort,
    )


@dataclass(frozen=True)
class _Survey:
    edges: tuple[float, ...]
    counts: NDArray[np.int64]
    cheapest: tuple[Architecture, float]
    dearest: tuple[Architecture, float]
    fitting: int
    """Designs that keep the limit, whatever memory they take."""


def _survey(space: SearchSpace, spec: SearchSpec) -> _Survey:
    """One pass over all legal designs, a chunk at a time."""
    edges = 10 ** np.linspace(_LOWEST, _HIGHEST, (_HIGHEST - _LOWEST) * BINS_A_DECADE + 1)
    counts = np.zeros(len(edges) - 1, np.int64)
    ends: list[Designs] = []
    fitting = 0
    for chunk in space.chunks(spec.bounds.convention, spec.bounds.detector):
        fitting += len(chunk.within(spec.bounds))
        counts += np.histogram(chunk.macs_N / 1e9, edges)[0]
        ends.append(chunk[[chunk.macs_N.argmin(), chunk.macs_N.argmax()]])
    found = Designs.concat(ends)
    low, high = (
        (space.decode(found.rows_ND[place]), float(found.macs_N[place]) / 1e9)
        for place in (found.macs_N.argmin(), found.macs_N.argmax())
    )
    used = np.flatnonzero(counts)
    first, last = used[0], used[-1] + 1
    return _Survey(tuple(edges[first : last + 1].tolist()), counts[first:last], low, high, fitting)


def _placement(spec: SearchSpec, space: SearchSpace, within: Designs, refused: int) -> GpuPlan | None:
    if within.training_N is None or spec.resources.gpu_memory is None:
        return None
    gpu = spec.resources.gpu
    if gpu != "auto":
        return GpuPlan(refused, gpu, gpu, gpu)
    order_N = np.argsort(within.training_N, kind="stable")
    least, most = (spec.gpu_of(space.decode(within.rows_ND[place])) for place in order_N[[0, -1]])
    needed_N = process_bytes(within.training_N) / (spec.resources.gpu_memory * GIB)
    mean = float(np.clip(np.ceil(needed_N / SHARE - 1e-9) * SHARE, SHARE, 1).mean())
    return GpuPlan(refused, least, round(mean, 3), most)


def _looked_at(space: SearchSpace, within: Designs, seed: int) -> Iterator[Architecture]:
    """The dearest designs, those with most parameters, those known to need most memory; then some drawn uniformly."""
    for numbers in (within.macs_N, within.params_N, *(() if within.training_N is None else (within.training_N,))):
        for place in np.argsort(numbers, kind="stable")[-10:]:
            yield space.decode(within.rows_ND[place])
    for place in np.random.default_rng(seed).integers(0, len(within), DRAWN):
        yield space.decode(within.rows_ND[place])


def _trained(design: Architecture, spec: SearchSpec) -> tuple[Architecture, tuple[int, int]]:
    """What a trial trains in place of a design, and the box that its images are fitted into."""
    scaled = design.scaled(spec.fidelity.image_scale)
    return scaled, (int(scaled.resolution * spec.training.short_side), scaled.resolution)


def _used(images: int, spec: SearchSpec) -> int:
    return max(1, round(images * spec.fidelity.data_fraction))


def _hours(design: Architecture, spec: SearchSpec, images: tuple[int, int], throughput: float) -> float:
    """(3 x training images x epochs + validation images) x seeds x MACs of the whole detector / throughput."""
    scaled, image = _trained(design, spec)
    passes = (PASSES * _used(images[0], spec) * spec.fidelity.epochs + images[1]) * spec.fidelity.seeds
    return passes * price(scaled, "detector", image, spec.detector).macs / (throughput * 1e12) / 3600


def _published(space: SearchSpace, spec: SearchSpec) -> tuple[PublishedPosition, ...]:
    rows = {row.architecture: row for row in reversed(published_designs()) if row.task == TASK}
    placed = [
        PublishedPosition(
            row, price(design, spec.bounds.convention, detector=spec.detector).gmacs, tuple(space.reasons(design))
        )
        for design, row in rows.items()
    ]
    return tuple(sorted(placed, key=lambda one: one.gmacs))
