"""Everything about one design: its parts, costs, training, and near designs."""

import itertools
from bisect import insort
from dataclasses import dataclass
from datetime import datetime

from piip_dashboards.drawing.architecture_svg import attention
from piip_dashboards.runs.differences import at_least, differences
from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.views.axes import CONVENTION_TITLES, conventions
from piip_search.architecture import Architecture
from piip_search.architecture.published import published_of
from piip_search.cost import Cost, CostLabel, Part, breakdown, memory
from piip_search.evaluation.evaluation import Evaluation
from piip_search.search.history import DesignHistory
from piip_search.tasks import Task

NEAREST_SHOWN = 12
MOST_PUBLISHED = 4
MOST_FACTS = 400
"""Most characters of a fact."""


@dataclass(frozen=True)
class BranchView:
    """A branch as text and numbers."""

    backbone: str
    title: str
    resolution: int
    grid: int
    attention: str
    width: int
    depth: int
    mparams: float
    gmacs: float


@dataclass(frozen=True)
class CostShare:
    """A part of a cost.

    Attributes:
        group: Group of the part.
        kind: Kind of work; empty for the whole group.
        gmacs: 10^9 multiply-accumulates.
        share: Share of the whole.
        mparams: 10^6 parameters.
    """

    group: str
    kind: str
    gmacs: float
    share: float
    mparams: float


@dataclass(frozen=True)
class CostView:
    """The cost of a design under one convention.

    Attributes:
        convention: Name of the convention.
        counts: Description of the counted modules.
        gmacs: 10^9 multiply-accumulates.
        mparams: 10^6 parameters.
        training_gb: Memory of a training step with one image, float32.
        inference_gb: Memory of inference with one image, float32.
        groups: Branches, interactions, merge and the layers after it.
        parts: Parts of the groups by kind of work.
    """

    convention: str
    counts: str
    gmacs: float
    mparams: float
    training_gb: float
    inference_gb: float
    groups: list[CostShare]
    parts: list[CostShare]


@dataclass(frozen=True)
class EvaluationView:
    """An evaluation of a design."""

    trial: int
    epochs: int
    schedule_epochs: int
    data_fraction: float
    image_scale: float
    seed: int
    status: str
    metrics: dict[str, float]
    error: str
    seconds: float
    host: str
    at: datetime
    source: str
    facts: dict[str, str]


@dataclass(frozen=True)
class TrainingCurve:
    """The course of one training of a design.

    Attributes:
        label: Description of the training.
        epochs: Passes over the images.
        columns: Loss and metrics by name, a number or nothing for each epoch.
    """

    label: str
    epochs: list[float]
    columns: dict[str, list[float | None]]


@dataclass(frozen=True)
class Near:
    """Another design of the run near this one.

    Attributes:
        fingerprint: Fingerprint of the design.
        architecture: Short form.
        changes: Differences to this design.
        value: Its metric; None without a full training.
        gain: Lead in the metric over this design; positive if it is better.
        cost: Its cost on the axis of the tiers.
        state: State, as of a design.
    """

    fingerprint: str
    architecture: str
    changes: list[str]
    value: float | None
    gain: float | None
    cost: float
    state: str


@dataclass(frozen=True)
class PublishedView:
    """A published design near this one."""

    title: str
    architecture: str
    changes: list[str]
    gmacs: float
    metrics: dict[str, float]
    source: str


@dataclass(frozen=True)
class DesignView:
    """A design of a search.

    Attributes:
        run: Name of the run.
        fingerprint: Fingerprint of the architecture.
        architecture: Short form.
        state: `done`, `running`, `failed` or `paused`.
        trial: Number of its first trial.
        trials: Numbers of all its trials.
        metric: Metric of the search.
        title: Title of the metric; its name if the task does not know it.
        rises: Whether a higher metric is better.
        value: Mean over seeds; None without a full training.
        deviation: Standard deviation between seeds.
        seeds: Number of seeds.
        cost: Cost on the axis of the tiers.
        axis: Axis of the tiers.
        convention: Convention of the search.
        rank: Number of finished designs that are better and no dearer; None without a full training.
        rivals: Number of finished designs that are no dearer.
        on_front: Whether it is on the front of the widest tier.
        why: The sampler's reason for its proposal.
        interactions: Number of interactions between each pair of neighbours.
        merge: Kind of merge.
        branches: Branches, the largest model first.
        costs: Costs under each convention, the search's own first.
        evaluations: Evaluations in the order of their ends.
        curves: One curve for each training.
        published: Nearest published designs.
        near: Nearest other designs of the run.
    """

    run: str
    fingerprint: str
    architecture: str
    state: str
    trial: int
    trials: list[int]
    metric: str
    title: str
    rises: bool
    value: float | None
    deviation: float | None
    seeds: int
    cost: float
    axis: CostLabel
    convention: str
    rank: int | None
    rivals: int
    on_front: bool
    why: dict[str, str]
    interactions: int
    merge: str
    branches: list[BranchView]
    costs: list[CostView]
    evaluations: list[EvaluationView]
    curves: list[TrainingCurve]
    published: list[PublishedView]
    near: list[Near]


def design_view(reading: RunSnapshot, design: DesignHistory) -> DesignView:
    """Everything about a design of a search."""
    metric, architecture = reading.objectives.metric, design.architecture
    cost, value = reading.cost(architecture), design.value(metric)
    rivals = [other.value(metric) for other, paid in reading.priced if other.whole and paid <= cost]
    widest, merit = reading.fronts[-1].evaluations, reading.objectives.metrics[0].merit
    return DesignView(
        run=reading.name,
        fingerprint=design.fingerprint,
        architecture=architecture.name,
        state=design.state,
        trial=design.first.number,
        trials=[candidate.number for candidate in design.candidates],
        metric=metric,
        title=reading.titles.get(metric, metric),
        rises=reading.objectives.metrics[0].rises,
        value=value,
        deviation=design.deviation(metric),
        seeds=len(design.values(metric)),
        cost=cost,
        axis=reading.objectives.axis.label,
        convention=reading.spec.limit.convention,
        rank=None if value is None else sum(other is not None and merit(other) > merit(value) for other in rivals),
        rivals=len(rivals),
        on_front=any(e.candidate.architecture == architecture for e in widest),
        why={key: _words(item) for key, item in design.first.reason.to_dict().items() if key != "left"},
        interactions=architecture.interaction.count,
        merge=architecture.merge,
        branches=_branches(architecture, breakdown(architecture, "backbone")),
        costs=costs_of(reading, architecture),
        evaluations=_evaluations(reading, design),
        curves=curves_of(design),
        published=_published(architecture, reading.spec.known_task),
        near=_near(reading, design),
    )


def _words(item: object) -> str:
    if isinstance(item, float):
        return f"{item:.4g}"
    if isinstance(item, list | tuple):
        return ", ".join(map(_words, item))
    return str(item)[:MOST_FACTS]


def _branches(architecture: Architecture, parts: list[Part]) -> list[BranchView]:
    found = []
    for branch in architecture.branches:
        cost = Cost.total(part.cost for part in parts if part.group == str(branch))
        found.append(
            BranchView(
                branch.backbone,
                branch.model.title,
                branch.resolution,
                branch.grid,
                attention(branch),
                branch.model.width,
                branch.model.depth,
                cost.mparams,
                cost.gmacs,
            )
        )
    return found


def costs_of(reading: RunSnapshot, architecture: Architecture) -> list[CostView]:
    """The costs of a design under each convention, the search's own first."""
    found = []
    for convention in conventions(reading):
        outputs = reading.spec.pricing.outputs_under(convention)
        parts = breakdown(architecture, convention, head=reading.spec.head, outputs=outputs)
        total = Cost.total(part.cost for part in parts)
        needed = memory(architecture, convention, head=reading.spec.head, outputs=outputs)
        groups = [
            _share(group, "", Cost.total(part.cost for part in members), total)
            for group, members in itertools.groupby(parts, key=lambda part: part.group)
        ]
        works = [_share(part.group, part.kind, part.cost, total) for part in parts]
        found.append(
            CostView(
                convention,
                CONVENTION_TITLES[convention],
                total.gmacs,
                total.mparams,
                needed.training / 1e9,
                needed.inference / 1e9,
                groups,
                works,
            )
        )
    return found


def _share(group: str, kind: str, cost: Cost, total: Cost) -> CostShare:
    return CostShare(group, kind, cost.gmacs, cost.macs / total.macs, cost.mparams)


def _evaluations(reading: RunSnapshot, design: DesignHistory) -> list[EvaluationView]:
    ended = {e.candidate.number: at for e, at in zip(reading.evaluations, reading.ended_at, strict=True)}
    return [
        EvaluationView(
            c.number,
            c.fidelity.epochs,
            c.fidelity.schedule_epochs,
            c.fidelity.data_fraction,
            c.fidelity.image_scale,
            c.seed,
            e.status,
            dict(e.metrics),
            e.error,
            e.seconds,
            e.facts.host,
            ended[c.number],
            c.reason.source,
            {key: _words(item) for key, item in e.facts.to_dict().items() if key != "host"},
        )
        for e in design.evaluations
        for c in [e.candidate]
    ]


def curves_of(design: DesignHistory) -> list[TrainingCurve]:
    """A curve for each training: the rungs of one training are one curve."""
    trainings: dict[str, list[Evaluation]] = {}
    for evaluation in design.evaluations:
        if evaluation.status == "done":
            trainings.setdefault(evaluation.candidate.training, []).append(evaluation)
    return [_curve(evaluations) for evaluations in trainings.values()]


def _curve(evaluations: list[Evaluation]) -> TrainingCurve:
    rows: dict[float, dict[str, float]] = {}
    for evaluation in sorted(evaluations, key=lambda e: e.candidate.fidelity.epochs):
        for row in evaluation.history:
            rows.setdefault(row["epoch"], {}).update({k: v for k, v in row.items() if k != "epoch"})
        rows.setdefault(float(evaluation.candidate.fidelity.epochs), {}).update(evaluation.metrics)
    epochs = sorted(rows)
    names = sorted({name for row in rows.values() for name in row})
    candidate = evaluations[-1].candidate
    fidelity = candidate.fidelity
    label = f"seed {candidate.seed}, {fidelity.schedule_epochs} epochs"
    label += f", {fidelity.data_fraction:.0%} of the data" if fidelity.data_fraction < 1 else ""
    label += f", images × {fidelity.image_scale:g}" if fidelity.image_scale < 1 else ""
    label += ", inherited weights" if candidate.parent else ""
    return TrainingCurve(label, epochs, {name: [rows[epoch].get(name) for epoch in epochs] for name in names})


def _published(architecture: Architecture, task: Task) -> list[PublishedView]:
    rows = published_of(task.published)
    near = sorted(rows.values(), key=lambda row: _distance(architecture, row.architecture))
    return [
        PublishedView(
            row.title,
            row.architecture.name,
            differences(architecture, row.architecture),
            row.gmacs,
            dict(row.metrics),
            row.source,
        )
        for row in near[:MOST_PUBLISHED]
    ]


def _distance(one: Architecture, other: Architecture) -> tuple[int, int]:
    """Sort key: the difference in the number of branches, then the number of changes."""
    return abs(len(one.branches) - len(other.branches)), len(differences(one, other))


def _near(reading: RunSnapshot, design: DesignHistory) -> list[Near]:
    """Designs with the fewest changes; among equals fully trained ones first, then by cost."""
    own, metric = reading.cost(design.architecture), reading.objectives.metric
    merit = reading.objectives.metrics[0].merit
    rest = [
        (at_least(design.architecture, other.architecture), other, cost)
        for other, cost in reading.priced
        if other is not design
    ]
    others: list[tuple[int, bool, float, list[str], DesignHistory]] = []
    for fewest, other, cost in sorted(rest, key=lambda item: item[0]):
        if len(others) >= NEAREST_SHOWN and fewest > others[NEAREST_SHOWN - 1][0]:
            break  # later ones are not among the nearest either
        changes = differences(design.architecture, other.architecture)
        insort(others, (len(changes), not other.whole, abs(cost - own), changes, other), key=lambda item: item[:3])
    value, found = design.value(metric), []
    for *_, changes, other in others[:NEAREST_SHOWN]:
        reached = other.value(metric)
        gain = None if reached is None or value is None else merit(reached) - merit(value)
        cost = reading.cost(other.architecture)
        found.append(Near(other.fingerprint, other.architecture.name, changes, reached, gain, cost, other.state))
    return found
