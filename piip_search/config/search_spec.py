"""The whole file as one value, with the rules between its sections."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design
from piip_search.architecture.miniatures import MINIATURE, miniature_digest
from piip_search.architecture.stock import StockNetwork
from piip_search.architecture.traits import TRAITS, Grouping
from piip_search.config.baselines import (
    PUBLISHED,
    baseline_files,
    baseline_problem,
    named_baselines,
    published_baselines,
)
from piip_search.config.budget import Budget, FidelitySection, Schedule
from piip_search.config.evaluator import EvaluatorChoice, SharedSection, StandAloneSection
from piip_search.config.groups import GroupsSection
from piip_search.config.resources import Resources
from piip_search.config.space import FORMER_WHOLE, LimitSection, SpaceSection
from piip_search.cost import AXES, Pricing, Step, training_bytes
from piip_search.cost.gpu_share import max_step_bytes, share_of
from piip_search.errors import DesignError
from piip_search.evaluation import evaluation
from piip_search.evaluation.objectives import MetricAxis, Objectives
from piip_search.sections import DataSection, Section, TrainingSection, closest
from piip_search.sections.fields import MOST_CHOICES, RUN_NAME
from piip_search.space import Limit as SpaceLimit
from piip_search.space import SearchSpace
from piip_search.tasks import TASKS, Head, Metric, Task, default_task

SamplerName = Literal["piip", "nsga2", "tpe", "random", "matched"]


MOST_OBJECTIVES = 4
"""Most metrics and costs that are searched together: a front of more holds almost every design."""


class SearchSpec(Section):
    """A search as its YAML file describes it.

    Attributes:
        name: Name of the search and, by default, of its run.
        task: Task that designs are trained for; it selects the sections `data` and `training`.
        metric: Metric to improve; the cost is lowered.
        metrics: Metrics that are searched together, in place of one metric; the first one names the best design.
        costs: Axes of cost that are searched together; by default the tiers' axis alone.
        seed: Seed of the sampler and of every training.
        sampler: Name of the sampler.
        prior: Prior knowledge of the sampler piip: `published` for the papers' designs, dropped if it misleads; None
            for none.
        groups: What the sampler `matched` compares at equal cost; None for the other samplers.
        space: Choices for a design.
        limit: Limit on the cost of one design.
        budget: Budget of the search.
        data: Data set.
        fidelity: Effort of one evaluation.
        schedule: Successive halving; None trains all designs fully.
        training: Training of a proxy.
        evaluator: What measures a candidate: `stand_alone` trains its proxy.
        resources: Resources of one trial.
        answers: Runs whose measurements in the ledger answer trials.
        baselines: Designs by short form, `published` for the papers' designs within the limit, and stock networks of
            the task; they are trained after the search with its recipe, and never proposed.
    """

    name: Annotated[str, Field(pattern=RUN_NAME)]
    task: str = Field(default_factory=default_task)
    metric: str = Field(default_factory=lambda given: _first_metric(given))
    metrics: Annotated[tuple[str, ...], Field(min_length=1, max_length=3, strict=False)] | None = None
    costs: Annotated[tuple[str, ...], Field(min_length=1, max_length=3, strict=False)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    sampler: SamplerName = "piip"
    prior: Literal["published"] | None = None
    groups: GroupsSection | None = None
    space: SpaceSection
    limit: LimitSection
    budget: Budget = Budget()
    data: SerializeAsAny[DataSection]
    fidelity: FidelitySection = FidelitySection()
    schedule: Schedule | None = None
    training: SerializeAsAny[TrainingSection] = Field(default_factory=lambda given: _usual_training(given))
    evaluator: EvaluatorChoice = StandAloneSection(kind="stand_alone")
    resources: Resources = Resources()
    answers: Literal["own", "all"] | Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = "own"
    baselines: Annotated[tuple[str, ...], Field(max_length=MOST_CHOICES, strict=False)] = ()

    @model_validator(mode="before")
    @classmethod
    def _names_the_first_metric(cls, content: Any) -> Any:
        """Fills `metric` in from `metrics`, so that a recorded search reads back as it was."""
        metrics = content.get("metrics") if isinstance(content, dict) else None
        if isinstance(metrics, list | tuple) and metrics and "metric" not in content:
            return {**content, "metric": metrics[0]}
        return content

    @field_validator("task")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in TASKS:
            raise ValueError(f"unknown task {value!r}{closest(value, TASKS)}")
        return value

    @field_validator("data", "training", mode="plain")
    @classmethod
    def _section_of_the_task(cls, value: object, info: ValidationInfo) -> object:
        task = TASKS.get(info.data.get("task", ""))
        section = None if task is None else {"data": task.data, "training": task.training}[str(info.field_name)]
        # Errors of the section keep their places in the file. An unknown task is an error by itself.
        return value if section is None else section.model_validate(value)

    @model_validator(mode="after")
    def _fits_the_task(self) -> Self:
        problem = next(self.known_task.problems(self.searched_metrics, self.limit.convention, self.training), None)
        if problem is None and self.limit.convention == "whole" and self.known_head is None:
            problem = (
                f"limit.convention whole needs a head of known cost, and the task {self.task} has none here; "
                "set it to backbone or published"
            )
        if problem is not None:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _objectives_fit_each_other(self) -> Self:
        if self.metrics is not None and self.metric != self.metrics[0]:
            raise ValueError(f"give metric or metrics, not both, got {self.metric} and {list(self.metrics)}")
        costs, axis, caps = self.searched_costs, self.limit.axis, self.limit.caps
        if costs[0] != axis:
            raise ValueError(f"costs begins with the axis of the tiers, {axis}, got {list(costs)}")
        for name in costs[1:]:
            if name not in AXES:
                raise ValueError(f"costs: unknown axis {name!r}{closest(name, AXES)}")
            if name not in caps:
                raise ValueError(f"costs: {name} needs its highest cost; give limit.{name} a number")
        for kind, names in (("metrics", self.searched_metrics), ("costs", costs)):
            if len(set(names)) < len(names):
                raise ValueError(f"{kind}: {', '.join(names)} has one of them twice")
        if len(self.searched_metrics) + len(costs) > MOST_OBJECTIVES:
            raise ValueError(
                f"at most {MOST_OBJECTIVES} metrics and costs are searched together, got "
                f"{', '.join((*self.searched_metrics, *costs))}; leave some out: all are recorded anyway"
            )
        return self

    @property
    def searched_metrics(self) -> tuple[str, ...]:
        """Metrics that are searched together, the first of which names the best design."""
        return self.metrics or (self.metric,)

    @property
    def searched_costs(self) -> tuple[str, ...]:
        """Names of the axes of cost that are searched together; the tiers are on the first."""
        return self.costs or (self.limit.axis,)

    @model_validator(mode="after")
    def _ends_can_be_reached(self) -> Self:
        if self.schedule is not None and self.schedule.rungs[-1] >= self.fidelity.epochs:
            raise ValueError(
                f"schedule.rungs come before the whole training of {self.fidelity.epochs} epochs (fidelity.epochs), "
                f"got {list(self.schedule.rungs)}; lower them, or raise fidelity.epochs"
            )
        if self.budget.gpu_hours is not None and not self.resources.gpu:
            raise ValueError("budget.gpu_hours are never spent with resources.gpu 0; set it, or use budget.hours")
        if self.training.cuda_graphs and self.resources.gpu == "auto":
            raise ValueError(
                "resources.gpu auto goes by predicted memory, which leaves out the copies of gradients that "
                "training.cuda_graphs holds; set gpu to a share such as 0.25, or leave cuda_graphs out"
            )
        if self.budget.least_gain is not None and self.sampler != "piip":
            raise ValueError(f"budget.least_gain is estimated by the sampler piip, not by {self.sampler}; leave it out")
        if self.prior is not None and self.sampler != "piip":
            raise ValueError(f"prior is for the sampler piip, not for {self.sampler}; leave it out")
        if (self.groups is None) == (self.sampler == "matched"):
            raise ValueError(
                f"the sampler matched needs groups, such as groups: pairing; choose {', '.join(TRAITS)}"
                if self.groups is None
                else f"groups is for the sampler matched, not for {self.sampler}; leave it out"
            )
        goal = self.budget.target
        axis, most = self.bounds.cost_axis, max(self.limit.tiers)
        if goal is not None and goal.unit not in ("", axis.label.unit):
            raise ValueError(
                f"budget.target has the unit {goal.unit}, and the tiers of {axis.name} are in {axis.label.unit}"
            )
        if goal is not None and goal.cost is not None and goal.cost > most:
            raise ValueError(
                f"budget.target asks for a design within {axis.format(goal.cost)}, and limit.{axis.name} ends at "
                f"{most:g}; leave its tier out"
            )
        return self

    @model_validator(mode="after")
    def _shares_weights(self) -> Self:
        if isinstance(self.evaluator, SharedSection) and (problem := next(self._shared_problems(self.evaluator), None)):
            raise ValueError(f"evaluator shared {problem}")
        return self

    def _shared_problems(self, evaluator: SharedSection) -> Iterator[str]:
        if not self.known_task.shares:
            yield f"is not known to the task {self.task}; set evaluator to stand_alone"
        if self.schedule is not None:
            yield "has rungs of its own (scored, tuned, alone); leave schedule out, and set evaluator.keep"
        if evaluator.finish == "alone" and evaluator.tune >= self.fidelity.epochs:
            yield (
                f"tunes for {evaluator.tune} epochs, and a training of its own has {self.fidelity.epochs}; lower "
                "evaluator.tune, or raise fidelity.epochs"
            )
        if self.training.inherit:
            yield "gives designs the parent's weights; leave training.inherit out"
        if self.training.cuda_graphs:
            yield "changes the network at each step, which no graph can replay; leave training.cuda_graphs out"
        if self.baselines and evaluator.finish != "alone":
            yield "tunes designs, and baselines are trained alone; set evaluator.finish to alone, or omit baselines"

    @model_validator(mode="after")
    def _baselines_have_costs(self) -> Self:
        problem = next(self._baseline_problems(), None)
        if problem is not None:
            raise ValueError(f"baselines: {problem}")
        return self

    def _baseline_problems(self) -> Iterator[str]:
        known = self.known_task
        if any(baseline_problem(entry, known) for entry in self.baselines):
            return  # each is reported by itself
        if PUBLISHED in self.baselines and not self._published_baselines:
            most = self.bounds.cost_axis.format(max(self.limit.tiers))
            yield f"no published design lies within the limit of {most}; leave {PUBLISHED} out"
        for design in self.baseline_designs:
            if isinstance(design, StockNetwork) and self.limit.axis == "training_gib":
                yield f"{design.name} has no known cost on the axis training_gib; leave it out, or set tiers on gmacs"
            try:
                if not isinstance(design, StockNetwork):
                    self.pricing.price(design)
            except DesignError as error:
                yield f"{design.name} has no price: {error}"

    @property
    def baseline_files(self) -> tuple[Path, ...]:
        """The users' own files among the baselines."""
        return baseline_files(self.baselines, self.known_task)

    @property
    def baseline_designs(self) -> tuple[Design, ...]:
        """The baselines, each once; the cost of a stock network is not counted yet, and no file was read."""
        side = max(self.space.resolutions)
        named = [] if not self.baselines else list(named_baselines(self.baselines, self.known_task, side))
        published = self._published_baselines if PUBLISHED in self.baselines else ()
        return tuple(dict.fromkeys([*named, *published]))

    @property
    def _published_baselines(self) -> tuple[Architecture, ...]:
        """The papers' designs that are trained for this task and lie within the limit."""
        bounds = self.bounds
        return tuple(
            design
            for design in published_baselines(self.known_task)
            if all(bounds.pricing.axis(name).of(design) <= most for name, most in bounds.bounds)
            and (bounds.step is None or training_bytes(design, bounds.step) <= bounds.step_bytes)
        )

    @property
    def rungs(self) -> tuple[evaluation.Fidelity, ...]:
        """The fidelities at which a design is measured; the full training is the last."""
        whole = self.fidelity.build()
        if isinstance(self.evaluator, SharedSection):
            return self.evaluator.rungs(whole)
        lower = () if self.schedule is None else self.schedule.rungs
        return (*(replace(whole, epochs=epochs, horizon=whole.schedule_epochs) for epochs in lower), whole)

    def rung_name(self, epochs: int) -> str:
        """The name of a rung, by its epochs."""
        return self.evaluator.rung_name(epochs)

    @property
    def promoted(self) -> tuple[int, int]:
        """One in so many is promoted from a rung, and the number of rungs at which designs start."""
        if isinstance(self.evaluator, SharedSection):
            return self.evaluator.keep, 1
        # Without a schedule there is one rung, from which nothing is promoted.
        return (2, 1) if self.schedule is None else (self.schedule.keep, self.schedule.brackets)

    @property
    def question(self) -> str:
        """Fingerprint of the search; a run may be continued only with an equal one.

        The budget, the resources, the answers, the baselines and the name may change between two sittings of one
        search.
        """
        # Defaults are left out, so that a new setting does not separate a run from its past.
        content = self._without_defaults(exclude={"name", "budget", "resources", "answers", "baselines"})
        if self.limit.image is None:
            del content["limit"]["image"]  # it was no setting when this search began
        if self.limit.convention == "whole":
            content["limit"]["convention"] = FORMER_WHOLE  # a run from before the new word stays the same one
        return _fingerprint(content)

    @property
    def known_task(self) -> Task:
        """The task that designs are trained for."""
        return TASKS[self.task]

    @property
    def grouping(self) -> Grouping | None:
        """What the sampler `matched` compares; None for other samplers."""
        return None if self.groups is None else Grouping(TRAITS[self.groups.by], self.groups.only or ())

    @property
    def search_space(self) -> SearchSpace:
        """The designs to choose from."""
        return self.space.build(self.known_task.merges)

    @property
    def known_head(self) -> Head | None:
        """The head that a proxy trains; None if its cost is unknown."""
        return self.known_task.head(self.training)

    @property
    def head(self) -> Head | None:
        """The head for costs: that of the papers stands in for one of unknown cost, in estimates of time and memory."""
        return self.known_head or next(iter(self.known_task.heads.values()), None)

    @property
    def objectives(self) -> Objectives:
        """The objectives of a search: the metric, and the cost under the limit's convention."""
        costs = tuple(self.pricing.axis(name) for name in self.searched_costs)
        most = tuple(self.limit.caps[axis.name] for axis in costs[1:])
        metrics = tuple(map(self.metric_axis, self.searched_metrics))
        return Objectives(metrics, costs, most, self.pricing.axes, self.pricing)

    def metric_axis(self, name: str) -> MetricAxis:
        """The axis of a metric; one that the task does not know is a share, higher is better."""
        known = {metric.name: metric for metric in self.known_task.metrics}
        return _axis(known[name]) if name in known else MetricAxis(name)

    @property
    def pricing(self) -> Pricing:
        """How architectures are priced for the limit."""
        short_side = 1.0 if self.limit.image != "trained" else self.training.short_side
        step = replace(self.step, image_scale=1.0)
        return Pricing(self.limit.convention, self.head, short_side, step, self.data.outputs)

    @property
    def bounds(self) -> SpaceLimit:
        """The limit on the cost of one architecture."""
        section, resources = self.limit, self.resources
        caps = tuple(section.caps.items())
        limit = SpaceLimit(section.tiers, self.searched_costs, caps, self.pricing)
        if resources.gpu_memory is None:
            return limit
        share = 1.0 if resources.gpu == "auto" else resources.gpu
        return replace(limit, step=self.step, step_bytes=max_step_bytes(resources.gpu_memory, share))

    @property
    def step(self) -> Step:
        """The training step of a trial, as far as its memory depends on it."""
        training, scale = self.training, self.fidelity.image_scale
        half, outputs = training.precision == "bfloat16", self.data.outputs
        return Step(scale, training.short_side, training.batch_size, self.head, half, training.checkpointing, outputs)

    def gpu_of(self, design: Design) -> float:
        """GPUs of a design's trial."""
        resources = self.resources
        if resources.gpu != "auto":
            return resources.gpu
        if resources.gpu_memory is None or not isinstance(design, Architecture):
            return 1.0  # a simulation trains nothing
        return share_of(training_bytes(design, self.step), resources.gpu_memory)

    def recipe(self, data_fingerprint: str) -> str:
        """Fingerprint of data, training and evaluator: all that a measurement depends on besides its candidate."""
        evaluator = self.model_dump(mode="json", include={"evaluator"}, exclude_defaults=True)
        for name in self.evaluator.unseen:
            evaluator.get("evaluator", {}).pop(name, None)
        prepared = self.preparation(data_fingerprint)
        return _fingerprint(self._ingredients(data_fingerprint, evaluator) + ([prepared] if prepared else []))

    def preparation(self, data_fingerprint: str) -> str | None:
        """Fingerprint of what the evaluator prepares; searches with an equal one share it.

        None for an evaluator that prepares nothing.
        """
        if self.evaluator.prepared_from is None:
            return None
        fields = {"evaluator": True, **self.evaluator.included()}
        content = self.model_dump(mode="json", include=fields, exclude_defaults=True)
        for name in (*self.evaluator.scoring, *self.evaluator.unseen):
            content["evaluator"].pop(name, None)
        return _fingerprint(self._ingredients(data_fingerprint, content))

    def _ingredients(self, data_fingerprint: str, more: dict[str, Any]) -> list[Any]:
        """The data and the training, with further content of the file."""
        # Defaults are left out, so that a new setting does not invalidate old measurements.
        parts = self._without_defaults(include={"task", "training"})
        for name in self.training.unseen:
            parts.get("training", {}).pop(name, None)
        own = [
            hashlib.sha256(file.read_bytes()).hexdigest() for file in self.training.programs.values() if file.is_file()
        ]
        if self.training.pretrained == MINIATURE:
            own.append(miniature_digest())
        return [{**parts, **more}, data_fingerprint, *own]

    def _without_defaults(self, **fields: Any) -> dict[str, Any]:
        """The content as plain data without defaults, those of the task included."""
        content: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True, **fields)
        usual = {"task": default_task(), "metric": self.known_task.metrics[0].name, "training": {}}
        return {name: value for name, value in content.items() if name not in usual or value != usual[name]}


def _axis(metric: Metric) -> MetricAxis:
    """The axis of a metric from an untrained model to a perfect one."""
    ends = (metric.greatest, metric.least) if metric.direction == "higher" else (metric.least, metric.greatest)
    return MetricAxis(metric.name, *ends)


def _first_metric(given: dict[str, Any]) -> str:
    """The metric of a file that names none, given its fields so far."""
    task = TASKS.get(given.get("task", ""))
    return "" if task is None else task.metrics[0].name


def _usual_training(given: dict[str, Any]) -> TrainingSection:
    """The training of a file that describes none, given its fields so far."""
    task = TASKS.get(given.get("task", ""))
    return TrainingSection() if task is None else task.training()


def _fingerprint(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
