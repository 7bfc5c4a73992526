"""The chosen designs of a report, with reasons and costs."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from piip_dashboards.drawing.architecture_svg import architecture_svg
from piip_search.architecture import Architecture
from piip_search.architecture.published import Published, published_as, published_near, published_of, usual_task
from piip_search.cost import Cost, conventions_of, memory, price
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront
from piip_search.evaluation.selection import cheapest_near, knee

NEAR = 0.25
"""Greatest relative difference in cost to a published design for a comparison."""
PUBLISHED_SHOWN = 3
"""Most published designs that are named."""


@dataclass(frozen=True)
class Price:
    """Cost of a design under one convention."""

    convention: str
    gmacs: float
    mparams: float
    training_bytes: int
    inference_bytes: int


@dataclass(frozen=True)
class CostPart:
    """A part of a design's cost."""

    part: str
    gmacs: float
    share: float
    mparams: float


@dataclass(frozen=True)
class Chosen:
    """A design with a page of its own.

    Attributes:
        why: Reason of the choice: `best within 500 G`, `knee of the front`.
        choice: Argument of `piip-search export`.
        deviation: Standard deviation of the metric between seeds; None for one seed.
        seeds: Number of full trainings of the design.
        metrics: All measured metrics.
        predicted: The sampler's prediction; empty without one.
        prices: Costs under every convention that applies.
        parts: Parts of the cost under the search's convention.
        same: The authors' rows of exactly this design.
        near: The authors' designs of similar cost, nearest first.
        drawing: SVG; empty for a design without branches.
        alone: The drawing as a separate file.
    """

    why: tuple[str, ...]
    choice: str
    trial: int
    architecture: str
    fingerprint: str
    value: float
    deviation: float | None
    seeds: int
    metrics: tuple[tuple[str, float], ...]
    predicted: str
    prices: tuple[Price, ...]
    parts: tuple[CostPart, ...]
    same: tuple[str, ...]
    near: tuple[tuple[str, str], ...]
    drawing: str
    alone: str


def chosen_designs(
    whole: Sequence[Evaluation], fronts: Sequence[ParetoFront], objectives: Objectives, within: float
) -> tuple[Chosen, ...]:
    """The best of each tier, the knee, and the cheapest one near the best; each once, cheapest first."""
    front = fronts[-1]
    if not front.evaluations:
        return ()
    label = objectives.axis.label
    named = [
        (f"best within {label.format(one.tier)}", f"best<={one.tier:g}{label.unit}", one.best)
        for one in fronts
        if one.best
    ]
    if len(front.evaluations) > 2:  # the knee of two points is arbitrary
        named.append(("knee of the front", "knee", knee(front, objectives)))
    near = cheapest_near(front.evaluations, objectives, within)
    named.append((f"cheapest within {within:g} of the best {objectives.metric}", str(near.candidate.number), near))
    designs: dict[int, tuple[list[str], str, Evaluation]] = {}
    for why, choice, evaluation in named:
        designs.setdefault(evaluation.candidate.number, ([], choice, evaluation))[0].append(why)
    ordered = sorted(designs.values(), key=lambda one: objectives.cost(one[2]))
    return tuple(_chosen(tuple(why), choice, evaluation, whole, objectives) for why, choice, evaluation in ordered)


def _chosen(
    why: tuple[str, ...], choice: str, evaluation: Evaluation, whole: Sequence[Evaluation], objectives: Objectives
) -> Chosen:
    design = evaluation.candidate.architecture
    values = [objectives.value(e) or 0.0 for e in objectives.measured(whole) if e.candidate.architecture == design]
    predicted = evaluation.candidate.reason.predicted
    drawn = isinstance(design, Architecture)
    return Chosen(
        why=why,
        choice=choice,
        trial=evaluation.candidate.number,
        architecture=design.name,
        fingerprint=design.fingerprint,
        value=objectives.value(evaluation) or 0.0,
        deviation=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        seeds=len(values),
        metrics=tuple(evaluation.metrics.items()),
        predicted=_predicted(predicted),
        prices=_prices(design, objectives) if drawn else (),
        parts=_parts(design, objectives) if drawn else (),
        same=tuple(row.summary for row in published_as(design)) if drawn else (),
        near=tuple((row.summary, row.architecture.name) for row in _near(design)) if drawn else (),
        drawing=architecture_svg(design) if drawn else "",
        alone=architecture_svg(design, standalone=True) if drawn else "",
    )


def _predicted(levels: tuple[float, float, float] | None) -> str:
    """The sampler's median prediction with its range; empty without a prediction."""
    return "" if levels is None else f"{levels[0]:.4f}, between {levels[1]:.4f} and {levels[2]:.4f}"


def _prices(design: Architecture, objectives: Objectives) -> tuple[Price, ...]:
    head = None if objectives.pricing is None else objectives.pricing.head
    found = []
    for convention in conventions_of(design, head):
        outputs = None if objectives.pricing is None else objectives.pricing.outputs_under(convention)
        cost = price(design, convention, None, head, outputs)
        needs = memory(design, convention, None, head, outputs=outputs)
        found.append(Price(convention, cost.gmacs, cost.mparams, needs.training, needs.inference))
    return tuple(found)


def _parts(design: Architecture, objectives: Objectives) -> tuple[CostPart, ...]:
    parts = [] if objectives.pricing is None else objectives.pricing.parts(design)
    total = Cost.total(part.cost for part in parts).macs
    groups = [
        (name, Cost.total(part.cost for part in inside))
        for name, inside in itertools.groupby(parts, key=lambda part: part.group)
    ]
    return tuple(CostPart(name, cost.gmacs, cost.macs / total, cost.mparams) for name, cost in groups)


def _near(design: Architecture) -> list[Published]:
    rows = published_near(price(design).gmacs, usual_task(design), NEAR)
    near = [row for row in rows if row.architecture != design]
    return near[:PUBLISHED_SHOWN]


def cheapest_published(design: Architecture) -> float:
    """GMACs of the authors' cheapest design for the task of a design."""
    return min(row.gmacs for row in published_of(usual_task(design)).values())
