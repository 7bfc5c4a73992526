"""The plan of a search: number of designs, their costs, and the effort of measuring them.

No network is trained or built: every number follows from the closed forms of `piip_search.cost`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.architecture.published import Published, published_of
from piip_search.config import SearchSpec
from piip_search.config.evaluator import SharedSection
from piip_search.cost import conventions_of, price, training_bytes
from piip_search.cost.gpu_share import SHARE_STEP as SHARE
from piip_search.cost.gpu_share import process_bytes
from piip_search.evaluation.evaluation import Fidelity
from piip_search.search.feasible import feasible_designs
from piip_search.space import Designs, SearchSpace
from piip_search.space.parents import largest_sets, tier_groups
from piip_search.units import GIB

BINS_A_DECADE = 60
_LOWEST = -6
"""Lowest power of ten in the histogram of costs, in the unit of their axis."""
_HIGHEST = 9
"""Highest power of ten in the histogram of costs, in the unit of their axis."""
DRAWN = 400
"""Random designs for the mean effort of a trial."""
PASSES = 3
"""Work of a training step in forward passes: one forward, and two backward for values and for weights."""


@dataclass(frozen=True)
class TierCount:
    """Number of designs in a tier of the limit."""

    cost: float
    designs: int


@dataclass(frozen=True)
class PublishedPosition:
    """Position of a published design in a space.

    Attributes:
        row: Published row.
        cost: Cost on the tiers' axis.
        reasons: Reasons why the space excludes it; empty if it is in the space.
    """

    row: Published
    cost: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Effort:
    """Effort of trials.

    Attributes:
        train_images: Training images of one trial's pass, after the fidelity's share.
        val_images: Validation images of a trial.
        throughput: Assumed sustained multiply-accumulates a second, in 10^12.
        mean_hours: Mean hours of one trial on one device, over random designs within the limit.
        least_hours: Hours of the cheapest of these.
        most_hours: Hours of the dearest of these.
        search_hours: Hours of all trials, on one device, with the evaluator's preparation.
        parents: Number of networks that the evaluator `shared` trains first; 0 for another evaluator.
        parent_hours: Hours of their trainings.
        alone_hours: Mean hours of one training of its own, over the same designs.
        design_hours: Mean hours of a design with a parent, with its share of the promotions.
    """

    train_images: int
    val_images: int
    throughput: float
    mean_hours: float
    least_hours: float
    most_hours: float
    search_hours: float
    parents: int = 0
    parent_hours: float = 0.0
    alone_hours: float = 0.0
    design_hours: float = 0.0

    @property
    def pays_from(self) -> int | None:
        """Number of designs from which parents are cheaper than trainings alone; None if they never are."""
        saved = self.alone_hours - self.design_hours
        return math.ceil(self.parent_hours / saved) if self.parents and saved > 0 else None


@dataclass(frozen=True)
class GpuPlan:
    """Shares of GPUs for trials, by their predicted memory.

    Attributes:
        refused: Number of designs within the limit whose training does not fit.
        least: GPUs of the smallest training.
        mean: Mean GPUs of a trial, over the designs that may be proposed.
        most: GPUs of the largest training.
    """

    refused: int
    least: float
    mean: float
    most: float


@dataclass(frozen=True)
class Plan:
    """A plan of a search.

    Attributes:
        spec: Search.
        designs: Number of designs in the space.
        within: Number of designs within the limit, which may be proposed.
        tiers: Number of designs in each tier.
        cheapest: Cheapest design of the space, with its cost.
        dearest: Dearest design of the space, with its cost.
        edges: Edges of the histogram's bins of cost, one more than bins.
        counts: Designs of the space in each bin.
        published: Positions of the authors' designs for the task, cheapest first.
        largest: Design with the most training memory among the examined ones, and its bytes.
        placement: Shares of GPUs; None if the memory of a GPU is not given.
        effort: Effort of trials; None if the number of images is unknown.
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
        """The plan as plain data."""
        axis = self.spec.limit.axis
        return {
            "name": self.spec.name,
            "convention": self.spec.limit.convention,
            "designs": self.designs,
            "within": self.within,
            "tiers": [{axis: tier.cost, "designs": tier.designs} for tier in self.tiers],
            "cheapest": {"architecture": self.cheapest[0].name, axis: self.cheapest[1]},
            "dearest": {"architecture": self.dearest[0].name, axis: self.dearest[1]},
            "histogram": {axis: list(self.edges), "designs": list(self.counts)},
            "published": [
                {
                    "id": one.row.id,
                    "architecture": one.row.architecture.name,
                    axis: one.cost,
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
    """Plans a search over all designs of its space, with the effort of some of them.

    Args:
        spec: Search to plan.
        source: Name of the file in messages.
        images: Number of training and validation images; None if unknown.
        throughput: Sustained multiply-accumulates a second of one device, in 10^12.

    Raises:
        SpecError: The space is empty, or a tier of the limit lies below its cheapest design.
    """
    space, within = feasible_designs(spec, source)
    survey = _survey(space, spec)
    looked_at = list(_looked_at(space, within, spec.seed))
    drawn = looked_at[-DRAWN:]
    largest = max(((design, training_bytes(design, spec.step)) for design in looked_at), key=lambda item: item[1])
    effort = None if images is None else _effort(spec, space, within, drawn, images, throughput)
    return Plan(
        spec=spec,
        designs=int(survey.counts.sum()),
        within=len(within),
        tiers=tuple(TierCount(tier, int(within.fits(within.axes[0], tier).sum())) for tier in spec.bounds.tiers),
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
    """Number of designs within the limit except for its memory."""


def _survey(space: SearchSpace, spec: SearchSpec) -> _Survey:
    """Surveys all designs of a space in one pass, a chunk at a time."""
    edges = 10 ** np.linspace(_LOWEST, _HIGHEST, (_HIGHEST - _LOWEST) * BINS_A_DECADE + 1)
    counts = np.zeros(len(edges) - 1, np.int64)
    ends: list[Designs] = []
    fitting = 0
    limit, name = spec.bounds, spec.limit.axis
    for chunk in space.chunks(limit.pricing, memory=limit.needs_memory):
        fitting += len(chunk.within(limit))
        counts += np.histogram(chunk.on(name), edges)[0]
        ends.append(chunk[[chunk.counts(name).argmin(), chunk.counts(name).argmax()]])
    found = Designs.concat(ends)
    low, high = (
        (space.decode(found.rows_ND[place]), float(found.on(name)[place]))
        for place in (found.counts(name).argmin(), found.counts(name).argmax())
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
    """Designs to examine: the dearest, those with most parameters, those with most memory, then random ones."""
    for numbers in (
        within.counts(within.axes[0]),
        within.params_N,
        *(() if within.training_N is None else (within.training_N,)),
    ):
        for place in np.argsort(numbers, kind="stable")[-10:]:
            yield space.decode(within.rows_ND[place])
    for place in np.random.default_rng(seed).integers(0, len(within), DRAWN):
        yield space.decode(within.rows_ND[place])


def _effort(
    spec: SearchSpec,
    space: SearchSpace,
    within: Designs,
    drawn: Sequence[Architecture],
    images: tuple[int, int],
    throughput: float,
) -> Effort:
    """The effort of trials, from some designs.

    The evaluator `shared` trains a network for each largest set of backbones or each tier, on all images as often as
    its `epochs` say. Its designs are drawn by choice; the mean of designs stands in for the mean of draws. One in
    `keep` designs is promoted from each rung.
    """
    whole, shared = spec.fidelity.build(), isinstance(spec.evaluator, SharedSection)
    first = spec.rungs[0 if shared else -1]
    trials = min(spec.budget.trials, len(within))
    hours = [_hours(design, spec, images, throughput, first) for design in drawn]
    mean = float(np.mean(hours))
    effort = Effort(_used(images[0], spec), images[1], throughput, mean, min(hours), max(hours), mean * trials)
    if not isinstance(spec.evaluator, SharedSection):
        return effort

    def mean_of(fidelity: Fidelity) -> float:
        return float(np.mean([_hours(design, spec, images, throughput, fidelity) for design in drawn]))

    of_tiers = spec.evaluator.parents == "tier"
    parents = len(tier_groups(within, spec.bounds.tiers) if of_tiers else largest_sets(space, within))
    parent_hours = parents * mean_of(replace(whole, epochs=spec.evaluator.epochs, horizon=None, seeds=1))
    hours_of_rungs = [mean_of(rung) for rung in spec.rungs]
    keep = spec.promoted[0]
    measured = [one * max(1.0, trials / keep**place) for place, one in enumerate(hours_of_rungs)]
    return replace(
        effort,
        search_hours=parent_hours + sum(measured),
        parents=parents,
        parent_hours=parent_hours,
        alone_hours=mean_of(whole),
        design_hours=sum(one / keep**place for place, one in enumerate(hours_of_rungs)),
    )


def _trained(design: Architecture, spec: SearchSpec) -> tuple[Architecture, tuple[int, int]]:
    """The form of a design that a trial trains, and the box for its images."""
    scaled = design.scaled(spec.fidelity.image_scale)
    width, height = spec.training.box(scaled.resolution)
    return scaled, (height, width)


def _used(images: int, spec: SearchSpec) -> int:
    return max(1, round(images * spec.fidelity.data_fraction))


def _hours(
    design: Architecture, spec: SearchSpec, images: tuple[int, int], throughput: float, fidelity: Fidelity
) -> float:
    """(3 x training images x epochs + validation images) x seeds x MACs with the head, if known / throughput."""
    scaled, image = _trained(design, spec)
    passes = (PASSES * _used(images[0], spec) * fidelity.epochs + images[1]) * fidelity.seeds
    return (
        passes
        * price(scaled, conventions_of(scaled, spec.head)[-1], image, spec.head, spec.data.outputs).macs
        / (throughput * 1e12)
        / 3600
    )


def _published(space: SearchSpace, spec: SearchSpec) -> tuple[PublishedPosition, ...]:
    rows = published_of(spec.known_task.published)
    placed = [
        PublishedPosition(row, spec.bounds.cost_axis.of(design), tuple(space.reasons(design)))
        for design, row in rows.items()
    ]
    return tuple(sorted(placed, key=lambda one: one.cost))
