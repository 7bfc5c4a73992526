"""The designs of a search in columns, for plots, table and downloads."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.views.axes import Paid, hours_of, paid_title, price_of
from piip_search.analysis.baselines import Baseline
from piip_search.architecture.published import published_of
from piip_search.cost import Convention
from piip_search.evaluation.pareto import undominated
from piip_search.search.history import DesignHistory


@dataclass(frozen=True)
class Overlay:
    """A published design on the axes of a search; its authors trained it in full, where the search trains proxies.

    Attributes:
        title: The authors' name.
        architecture: Short form.
        paid: Cost on the chosen axis.
        value: Published metric as a share of one.
        source: Table of the papers.
    """

    title: str
    architecture: str
    paid: float
    value: float
    source: str


@dataclass(frozen=True)
class BaselinePoint:
    """A baseline on the axes of a search, trained with the same effort.

    Attributes:
        name: Short form, or name of the stock network with its image side.
        about: What it is.
        paid: Cost on the chosen axis.
        value: Mean over seeds.
    """

    name: str
    about: str
    paid: float
    value: float


@dataclass(frozen=True)
class DesignTable:
    """All designs of a search, one list a column.

    Attributes:
        run: Name of the run.
        position: Last position that was read.
        metric: Metric of `value`.
        convention: Convention of `paid` and `mparams`.
        axis: Name of the axis of `paid`.
        axis_title: Title of that axis.
        tiers: Tiers on the axis; empty if they are on another axis.
        tier_unit: Unit of the tiers.
        rises: Whether a higher metric is better.
        titles: Titles of the metrics that the task knows, by name.
        models: All backbones of the designs, the smallest first.
        number: Number of the first trial.
        fingerprint: Fingerprint of the architecture.
        architecture: Short form.
        branches: Model and image size of each branch of each design, the largest model first.
        windows: Attention of each branch of each design.
        interactions: Number of interactions between each pair of neighbours.
        state: `done`, `running`, `failed` or `paused`.
        rung: Highest rung reached, from 0; -1 for none.
        value: Mean over the seeds of the full training.
        deviation: Standard deviation between seeds.
        seeds: Number of seeds.
        lower: Metric at the highest rung of designs without a full training.
        paid: Cost on the chosen axis.
        cost: Cost on the axis of the tiers.
        mparams: Parameters in millions.
        further: The other metrics and costs that are searched together with these, by title.
        front: Whether no other design is better and no dearer, on the chosen axes and the further ones.
        source: Source of the proposal.
        published: Published designs on these axes.
        baselines: Measured baselines; empty on other axes than the search's own metric and convention.
    """

    run: str
    position: int
    metric: str
    convention: str
    axis: str
    axis_title: str
    tiers: list[float]
    tier_unit: str
    rises: bool
    titles: dict[str, str]
    models: list[str]
    number: list[int]
    fingerprint: list[str]
    architecture: list[str]
    branches: list[list[tuple[str, int]]]
    windows: list[list[str]]
    interactions: list[int]
    state: list[str]
    rung: list[int]
    value: list[float | None]
    deviation: list[float | None]
    seeds: list[int]
    lower: list[float | None]
    paid: list[float | None]
    cost: list[float]
    mparams: list[float]
    further: dict[str, list[float | None]]
    front: list[bool]
    source: list[str]
    published: list[Overlay]
    baselines: list[BaselinePoint] = field(default_factory=list)


@lru_cache(maxsize=16)
def design_table(reading: RunSnapshot, metric: str, convention: Convention, paid: Paid) -> DesignTable:
    """All designs of a search on chosen axes."""
    designs = list(reading.designs.values())
    values = [design.value(metric) for design in designs]
    costs = [
        hours_of(reading, design) if paid == "hours" else price_of(reading, design.architecture, convention, paid)
        for design in designs
    ]
    further = _further(reading, designs, metric, paid) if convention == reading.spec.limit.convention else []
    rises = reading.spec.metric_axis(metric).rises
    own = convention == reading.spec.limit.convention and paid == reading.objectives.axis.name
    return DesignTable(
        run=reading.name,
        position=reading.position,
        metric=metric,
        convention=convention,
        axis=paid,
        axis_title=paid_title(paid, reading.gpu),
        tiers=list(reading.tiers) if own else [],
        tier_unit=reading.objectives.axis.label.unit,
        rises=rises,
        titles=reading.titles,
        models=_models(designs),
        number=[design.first.number for design in designs],
        fingerprint=[design.fingerprint for design in designs],
        architecture=[design.architecture.name for design in designs],
        branches=[[(b.backbone, b.resolution) for b in design.architecture.branches] for design in designs],
        windows=[[str(b).partition(":")[2] or "none" for b in design.architecture.branches] for design in designs],
        interactions=[design.architecture.interaction.count for design in designs],
        state=[design.state for design in designs],
        rung=[design.rung for design in designs],
        value=values,
        deviation=[design.deviation(metric) for design in designs],
        seeds=[len(design.values(metric)) for design in designs],
        lower=[None if design.whole else _lower(design, metric) for design in designs],
        paid=costs,
        cost=[reading.cost(design.architecture) for design in designs],
        mparams=[price_of(reading, design.architecture, convention, "mparams") or 0.0 for design in designs],
        further={title: column for title, _, column in further},
        front=_front(_losses(-1.0 if rises else 1.0, values, costs, further)),
        source=[design.first.reason.source for design in designs],
        published=_overlays(reading, metric, convention, paid),
    )


def with_baselines(table: DesignTable, reading: RunSnapshot, baselines: Sequence[Baseline]) -> DesignTable:
    """The table with the measured baselines of the search, where they are known on its axes."""
    if table.metric != reading.objectives.metric or table.convention != reading.spec.limit.convention:
        return table
    points = [
        BaselinePoint(one.name, one.about, one.costs[table.axis], one.value)
        for one in baselines
        if one.value is not None and table.axis in one.costs
    ]
    return replace(table, baselines=points)


def _models(designs: list[DesignHistory]) -> list[str]:
    found = {branch.backbone: branch.model.width for design in designs for branch in design.architecture.branches}
    return sorted(found, key=lambda name: (found[name], name))


def _lower(design: DesignHistory, metric: str) -> float | None:
    found = [e for e in design.evaluations if e.status == "done" and metric in e.metrics]
    return max(found, key=lambda e: e.candidate.fidelity.epochs).metrics[metric] if found else None


_Column = list[float | None]
_Further = list[tuple[str, float, _Column]]


def _further(reading: RunSnapshot, designs: list[DesignHistory], metric: str, paid: Paid) -> _Further:
    """Title, sign and values of each searched metric and cost beside the shown ones; none if those were not searched.

    The sign is that of the loss.
    """
    objectives = reading.objectives
    others = [other for other in objectives.metrics if other.name != metric]
    axes = [axis for axis in objectives.costs if axis.name != paid]
    if len(others) == len(objectives.metrics) or len(axes) == len(objectives.costs):
        return []
    found: _Further = [
        (other.name, -1.0 if other.rises else 1.0, [design.value(other.name) for design in designs]) for other in others
    ]
    found += [(axis.label.heading, 1.0, [axis.of(design.design) for design in designs]) for axis in axes]
    return found


def _losses(sign: float, values: _Column, costs: _Column, further: _Further) -> list[tuple[float, ...] | None]:
    """Losses of each design, lower is better; None for a design that lacks one."""
    signed = [(sign, values), (1.0, costs), *((other, column) for _, other, column in further)]
    rows = zip(*([None if one is None else way * one for one in column] for way, column in signed), strict=True)
    return [None if None in row else tuple(one for one in row if one is not None) for row in rows]


def _front(losses: list[tuple[float, ...] | None]) -> list[bool]:
    """Whether each design is on the front; of equal points only the earliest is, as in the search's own fronts."""
    known = [(place, row) for place, row in enumerate(losses) if row is not None]
    front, seen = [False] * len(losses), set()
    kept = undominated(np.array([row for _, row in known])) if known else ()
    for (place, row), keep in zip(known, kept, strict=True):
        front[place] = bool(keep) and row not in seen
        seen.add(row)
    return front


def _overlays(reading: RunSnapshot, metric: str, convention: Convention, paid: Paid) -> list[Overlay]:
    task = reading.spec.known_task
    column = next((known.column for known in task.metrics if known.name == metric), None)
    if column is None or paid == "hours":
        return []
    found, rows = [], published_of(task.published)
    for architecture, row in rows.items():
        price = price_of(reading, architecture, convention, paid)
        if column in row.metrics and price is not None:
            found.append(Overlay(row.title, architecture.name, price, row.metrics[column] / 100, row.source))
    return sorted(found, key=lambda one: one.paid)
