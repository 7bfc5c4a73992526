"""The whole file as one value, with the rules between its sections."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design
from piip_search.config.budget import Budget, FidelitySection, Schedule
from piip_search.config.fields import RUN_NAME, Section
from piip_search.config.resources import Resources
from piip_search.config.space import FORMER_WHOLE, LimitSection, SpaceSection
from piip_search.config.training import DETECTORS, UNSEEN, Data, Training
from piip_search.cost import Step, training_bytes
from piip_search.cost.gpu_share import max_step_bytes, share_of
from piip_search.evaluation import evaluation
from piip_search.evaluation.objectives import Objectives
from piip_search.space import Limit as SpaceLimit
from piip_search.tasks.detection.head import COCO_MASK_RCNN, DetectorHead, DetectorName

SamplerName = Literal["piip", "nsga2", "tpe", "random"]


class SearchSpec(Section):
    """A search as its YAML file describes it.

    Attributes:
        name: Name of the search and, by default, of its run.
        task: Task that designs are trained for.
        metric: Metric to raise; the cost is lowered.
        seed: Seed of the sampler and of every training.
        sampler: Name of the sampler.
        prior: Prior knowledge of the sampler piip: `published` for the papers' detectors, dropped if it misleads; None
            for none.
        space: Choices for a design.
        limit: Limit on the cost of one design.
        budget: Budget of the search.
        data: Data set.
        fidelity: Effort of one evaluation.
        schedule: Successive halving; None trains all designs fully.
        training: Training of a proxy.
        resources: Resources of one trial.
    """

    name: Annotated[str, Field(pattern=RUN_NAME)]
    task: Literal["detection"] = "detection"
    metric: str = "bbox_mAP"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    sampler: SamplerName = "piip"
    prior: Literal["published"] | None = None
    space: SpaceSection
    limit: LimitSection
    budget: Budget = Budget()
    data: Data
    fidelity: FidelitySection = FidelitySection()
    schedule: Schedule | None = None
    training: Training = Training()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _metric_is_measured(self) -> Self:
        detector = self.training.detector
        if self.metric.startswith("segm") and detector in DETECTORS and "mask" not in detector:
            raise ValueError(
                f"metric {self.metric} needs a detector with masks, got {detector}; "
                "set training.detector to mask_rcnn, or metric to a bbox_mAP"
            )
        if self.limit.convention == "whole" and self.training.known_detector is None:
            raise ValueError(
                f"limit.convention whole counts {', '.join(get_args(DetectorName))}, not {detector}; "
                "set it to backbone or published"
            )
        return self

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
        goal = self.budget.target
        if goal is not None and goal.gmacs is not None and goal.gmacs > max(self.limit.gmacs):
            raise ValueError(
                f"budget.target asks for a design within {goal.gmacs:g} G, and limit.gmacs ends at "
                f"{max(self.limit.gmacs):g}; leave its tier out"
            )
        return self

    @property
    def rungs(self) -> tuple[evaluation.Fidelity, ...]:
        """The fidelities at which a design is measured; the full training is the last."""
        whole = self.fidelity.build()
        lower = () if self.schedule is None else self.schedule.rungs
        return (*(replace(whole, epochs=epochs, horizon=whole.schedule_epochs) for epochs in lower), whole)

    @property
    def question(self) -> str:
        """Fingerprint of the search; a run may be continued only with an equal one.

        The budget, the resources and the name may change between two sittings of one search.
        """
        # Defaults are left out, so that a new setting does not separate a run from its past.
        content = self.model_dump(mode="json", exclude={"name", "budget", "resources"}, exclude_defaults=True)
        if self.limit.convention == "whole":
            content["limit"]["convention"] = FORMER_WHOLE  # a run from before the new word stays the same one
        return _fingerprint(content)

    @property
    def head(self) -> DetectorHead:
        """The detector around the backbone with COCO's 80 classes, so that pricing needs no data.

        Mask R-CNN stands in for a detector of unknown cost, for a plan's estimates and for the memory of a training.
        """
        training = self.training
        if training.known_detector is None:
            return COCO_MASK_RCNN
        return DetectorHead(training.known_detector, training.channels, detections=training.max_detections)

    @property
    def objectives(self) -> Objectives:
        """The objectives of a search: the metric, and the cost under the limit's convention."""
        return Objectives(self.metric, self.limit.convention, self.head)

    @property
    def bounds(self) -> SpaceLimit:
        """The limit on the cost of one architecture."""
        limit, resources = self.limit.build(self.head), self.resources
        if resources.gpu_memory is None:
            return limit
        share = 1.0 if resources.gpu == "auto" else resources.gpu
        return replace(limit, step=self.step, step_bytes=max_step_bytes(resources.gpu_memory, share))

    @property
    def step(self) -> Step:
        """The training step of a trial, as far as its memory depends on it."""
        training, scale = self.training, self.fidelity.image_scale
        half = training.precision == "bfloat16"
        return Step(scale, training.short_side, training.batch_size, self.head, half, training.checkpointing)

    def gpu_of(self, design: Design) -> float:
        """GPUs of a design's trial."""
        resources = self.resources
        if resources.gpu != "auto":
            return resources.gpu
        if resources.gpu_memory is None or not isinstance(design, Architecture):
            return 1.0  # a simulation trains nothing
        return share_of(training_bytes(design, self.step), resources.gpu_memory)

    def recipe(self, data_fingerprint: str) -> str:
        """Fingerprint of data and training: everything that a measurement depends on besides its candidate."""
        # Defaults are left out, so that a new setting does not invalidate old measurements.
        parts = self.model_dump(mode="json", include={"task", "training"}, exclude_defaults=True)
        for name in UNSEEN:
            parts.get("training", {}).pop(name, None)
        file = Path(self.training.detector)
        own = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
        return _fingerprint([parts, data_fingerprint, *([own] if own else [])])


def _fingerprint(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
