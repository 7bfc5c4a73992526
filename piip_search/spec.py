"""One YAML file, as a checked value: what may be built, on which data, at what effort, within which budget.

All that is wrong with a file is found in one reading and reported with its place and a way out (`SpecError`).
"""

import difflib
import hashlib
import json
import math
import re
import reprlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from piip_search import evaluation
from piip_search.architecture import MAX_BRANCHES, Architecture, Attention, Branch, Direction, Interaction
from piip_search.backbones import Backbone, ConvNeXt, Transformer, backbone_named, with_patch
from piip_search.cost import COCO_MASK_RCNN, Convention, Detector, DetectorName, Step, training_bytes
from piip_search.sharing import most_training, share_of
from piip_search.space import Limit as SpaceLimit
from piip_search.space import Pairing, SearchSpace, parse_window, write_window
from piip_search.space import Window as SpaceWindow
from piip_search.stretches import KEEPS_PREFIX, Merge, most_interactions
from piip_search.table_design import TableDesign
from piip_search.tasks import TASKS
from piip_search.yaml_file import YamlError, read_yaml

DETECTORS = (*get_args(DetectorName), "atss", "cascade_rcnn", "cascade_mask_rcnn", "dino")
"""Detectors by a short name; the cost of the first ones is known."""

SamplerName = Literal["piip", "nsga2", "tpe", "random"]

UNSEEN = ("loader_workers", "cache_mib", "measure_every", "cuda_graphs")
"""Settings of a training that leave its results as they are."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""A run's name is also that of a folder."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]
MOST_CHOICES = 100
"""Of one kind; a design is a row of small numbers."""
MOST_TOKENS = 1024
"""Of a side of a grid: costs of more do not fit the numbers that they are counted in."""


MOST_TOLD = 40
"""Problems that a message lists."""


class SpecError(ValueError):
    """A search space that cannot be used.

    Attributes:
        path: The file.
        problems: One line each: place in the file, rule, value, way out.
    """

    def __init__(self, path: Path | str, problems: list[str]) -> None:
        self.path = str(path)
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        more = [f"and {len(problems) - MOST_TOLD} more"] if len(problems) > MOST_TOLD else []
        super().__init__("\n  ".join([f"{path}: {count}", *problems[:MOST_TOLD], *more]))


def _window(value: object) -> object:
    if value is None or (isinstance(value, int | str) and not isinstance(value, bool)):
        return parse_window(value)
    raise ValueError(f"a window is a number of tokens, global, or like 14g3, got {value!r}")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Window = Annotated[SpaceWindow, BeforeValidator(_window), PlainSerializer(write_window)]
FilePath = Annotated[Path, Field(strict=False)]


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not 1 <= value[0] <= value[1]:
        raise ValueError(f"steps are two ratios, 1 <= least <= greatest, got {list(value)}")
    return value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a jitter is the least and the greatest factor, such as [0.8, 1.25], got {list(value)}")
    return value


T = TypeVar("T")
Jitter = Annotated[tuple[Positive, Positive], Field(strict=False), AfterValidator(_ordered)]
Choices = Annotated[tuple[T, ...], Field(min_length=1, max_length=MOST_CHOICES, strict=False)]
Steps = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_rising)]


class Space(_Section):
    """What may be built; the fields are those of `piip_search.space.SearchSpace`."""

    backbones: Choices[str]
    resolutions: Choices[int]
    windows: Choices[Window] = ((None, 0),)
    interactions: Choices[Annotated[int, Field(ge=0, le=10**6)]] = (0,)
    branches: Choices[Annotated[int, Field(ge=1, le=MAX_BRANCHES)]] = (1,)
    merges: Choices[Merge] | None = None
    attention: Choices[Attention] = ("deformable",)
    direction: Choices[Direction] = ("both",)
    projection: Choices[bool] = (True,)
    norm: Choices[bool] = (True,)
    heads: Annotated[int, Field(ge=1, le=1024)] = 16
    points: Annotated[int, Field(ge=1, le=64)] = 4
    patch: Count | None = None
    pairing: Pairing = "inverted"
    steps: Steps | None = None
    whole_windows: bool = False
    pretraining_grid: bool = False
    padding: Count | None = None

    def build(self) -> SearchSpace:
        """The space as an object; where no merge is chosen, the usual one of its backbones."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        if self.merges is None:
            convolutional = any(isinstance(backbone_named(name), ConvNeXt) for name in self.backbones)
            values["merges"] = ("pyramid",) if convolutional else ("conv",)
        return SearchSpace(**values)


class Limit(_Section):
    """What one architecture may cost; the fields are those of `piip_search.space.Limit`."""

    gmacs: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=MOST_CHOICES, strict=False)]
    convention: Convention = "published"
    mparams: Positive | None = None

    def build(self, detector: Detector) -> SpaceLimit:
        """The limit as a plain value, its tiers rising.

        Args:
            detector: What reads the merged maps, under the convention `detector`.
        """
        return SpaceLimit(tuple(sorted(set(self.gmacs))), self.convention, self.mparams, detector)


class Goal(NamedTuple):
    """A metric to reach, by a design of at most so many GMACs; any that the limit allows where None."""

    metric: float
    gmacs: float | None = None


_TARGET = re.compile(r"best\s*(?:<=\s*(?P<gmacs>\d+(?:\.\d+)?)\s*G?)?\s*>=\s*(?P<metric>\d*\.?\d+)", re.IGNORECASE)


def _goal(value: object) -> object:
    if isinstance(value, Goal):
        return value
    found = _TARGET.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"a target is like best >= 0.3, or best <= 500 G >= 0.3 for a budget, got {value!r}")
    return Goal(float(found["metric"]), None if found["gmacs"] is None else float(found["gmacs"]))


def _write_goal(goal: Goal) -> str:
    within = "" if goal.gmacs is None else f" <= {goal.gmacs!r} G"
    return f"best{within} >= {goal.metric!r}"


Target = Annotated[Goal, BeforeValidator(_goal), PlainSerializer(_write_goal)]


class Budget(_Section):
    """What the search may spend.

    Attributes:
        trials: Architectures to measure, failures included.
        hours: Wall-clock hours of one sitting after which nothing new is started; None for no end.
        gpu_hours: Hours of GPUs, summed over all evaluations of the run, after which nothing new is started.
        target: A metric that ends the search once it is reached, such as `best >= 0.3` or, for a design within a
            budget, `best <= 500 G >= 0.3`.
        least_gain: No new designs are begun once a search of everything that is left is expected to raise the best
            metric of no tier by as much as this.
    """

    trials: Count = 50
    hours: Positive | None = None
    gpu_hours: Positive | None = None
    target: Target | None = None
    least_gain: Positive | None = None


class Fidelity(_Section):
    """How much effort one evaluation takes; the fields are those of `piip_search.evaluation.Fidelity`."""

    epochs: Annotated[int, Field(ge=0, le=10**6)] = 12
    data_fraction: Share = 1.0
    image_scale: Share = 1.0
    horizon: Annotated[int, Field(ge=1)] | None = None
    seeds: Count = 1

    @model_validator(mode="after")
    def _ends_within_the_schedule(self) -> Self:
        if self.horizon is not None and self.horizon < self.epochs:
            raise ValueError(
                f"horizon is the epochs that the schedule spans, at least epochs ({self.epochs}), got {self.horizon}"
            )
        return self

    def build(self) -> evaluation.Fidelity:
        """The fidelity as a plain value."""
        return evaluation.Fidelity(self.epochs, self.data_fraction, self.image_scale, self.horizon, self.seeds)


class Schedule(_Section):
    """Which designs are trained to the end: successive halving over the epochs of `fidelity`.

    Attributes:
        rungs: Epochs after which a design is measured and pauses, rising; who goes on is trained from there. All rungs
            are part of one learning-rate schedule.
        keep: One in so many goes on from a rung.
        brackets: Designs start at so many different rungs: some begin with a longer training, which protects from
            first rungs that rank badly.
    """

    rungs: Annotated[tuple[Count, ...], Field(min_length=1, max_length=MOST_CHOICES, strict=False)]
    keep: Annotated[int, Field(ge=2)] = 3
    brackets: Count = 1

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs rise, each once, got {list(self.rungs)}")
        if self.brackets > len(self.rungs) + 1:
            raise ValueError(
                f"brackets start at the {len(self.rungs)} rungs or at the whole training, so there are at most "
                f"{len(self.rungs) + 1}, got {self.brackets}"
            )
        return self


class Split(_Section):
    """One part of a COCO-format data set.

    Attributes:
        images: Folder of the images, relative to the data root.
        annotations: COCO instances json, relative to the data root.
    """

    images: FilePath
    annotations: FilePath


class Data(_Section):
    """Where the images are: a COCO-format folder, or `embedded: digits`, which needs no download.

    Attributes:
        embedded: A data set that is composed on first use.
        root: Folder that the two parts are relative to; itself relative to the working directory.
        train: What proxies are trained on.
        val: What they are measured on.
    """

    embedded: Literal["digits"] | None = None
    root: FilePath | None = None
    train: Split | None = None
    val: Split | None = None

    @model_validator(mode="after")
    def _either_way(self) -> Self:
        own = (self.root, self.train, self.val)
        if self.embedded and any(part is not None for part in own):
            raise ValueError("give either embedded or root, train and val, not both")
        if not self.embedded and any(part is None for part in own):
            raise ValueError("give root, train and val of a COCO-format data set, or embedded: digits")
        return self


class Training(_Section):
    """How a proxy is trained; the fidelity says how long.

    Attributes:
        detector: Detector around the PIIP backbone: retinanet, fcos or mask_rcnn, whose cost is known; atss,
            cascade_rcnn, cascade_mask_rcnn or dino; or any configuration of mmdet, as mmdet::folder/name.py or a file.
        channels: Width of neck and head of a detector whose cost is known; others keep their own.
        batch_size: Images a step.
        learning_rate: Peak rate of AdamW.
        weight_decay: AdamW's decay; none on biases, norms and gates.
        warmup: Share of all steps in which the rate rises.
        clip_norm: Largest gradient norm.
        flip: Chance of a horizontal flip.
        short_side: Images are fitted into a box of the architecture's image size by this share of it.
        scale_jitter: Least and greatest factor on the fitted image's size, drawn for every image; what exceeds the box
            is cropped. None for none.
        colour_jitter: Whether brightness, contrast, saturation and hue are changed at random.
        loader_workers: Processes that read images; 0 reads them in the training process. Results do not depend on it.
        cache_mib: Most memory for decoded images in each process that reads, MiB.
        val_images: Validation images that a proxy is measured on, the same ones for all; None for all images.
        measure_every: Epochs between two measurements of a training, for a learning curve; None for one at its end.
        inherit: Whether a candidate starts from the weights of the nearest relative that was measured.
        max_detections: Boxes kept an image and looked at by the averages, 100 in COCO's own.
        anchor_scale: Side of the smallest anchors over the stride of their map; None for the detector's own (4 in
            retinanet, 8 in mask_rcnn). Smaller for smaller objects.
        threads: CPU threads of one trial.
        pretrained: Where the branches' weights come from: `hub` for timm's, or a folder of files named like the timm
            models; None trains from random weights.
        layer_decay: Factor on the learning rate from each block of a ViT to the one before it; PIIP's detection recipe
            takes 0.85 with pre-trained branches, as an export does.
        precision: Of the backbone; neck and head are float32.
        checkpointing: Whether a block's input alone is kept for the backward pass: less memory, a third more work.
        cuda_graphs: Whether the backbone's steps on a GPU are recorded once for each size of batch and replayed: small
            networks wait for the host otherwise. Takes memory for some more copies of the gradients.
    """

    detector: str = "retinanet"
    channels: Annotated[int, Field(ge=16, le=8192, multiple_of=16)] = 256
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 8
    learning_rate: Positive = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip_norm: Positive = 1.0
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    scale_jitter: Jitter | None = None
    colour_jitter: bool = False
    short_side: Share = 1.0
    loader_workers: Annotated[int, Field(ge=0)] = 0
    cache_mib: Annotated[int, Field(ge=0)] = 256
    val_images: Count | None = None
    measure_every: Count | None = None
    inherit: bool = False
    max_detections: Count = 100
    anchor_scale: Positive | None = None
    threads: Count = 1
    pretrained: str | None = None
    layer_decay: Share = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    cuda_graphs: bool = False

    @model_validator(mode="after")
    def _fits_the_detector(self) -> Self:
        if self.detector not in DETECTORS and not self.detector.endswith(".py"):
            raise ValueError(
                f"unknown detector {self.detector!r}{_closest(self.detector, DETECTORS)}; "
                "or a configuration of mmdet, such as mmdet::atss/atss_r50_fpn_1x_coco.py or a file"
            )
        if self.known_detector is None and self.anchor_scale is not None:
            raise ValueError(f"anchor_scale is for retinanet and mask_rcnn; set anchors in the file of {self.detector}")
        if self.detector == "fcos" and self.anchor_scale is not None:
            raise ValueError("anchor_scale has no meaning for fcos, which has no anchors; leave it out")
        if self.detector == "fcos" and self.channels % 32:
            raise ValueError(f"channels must be a multiple of 32 for fcos's group norms, got {self.channels}")
        if self.cuda_graphs and self.checkpointing:
            raise ValueError("cuda_graphs replay steps that keep everything; leave it or checkpointing out")
        return self

    @property
    def known_detector(self) -> DetectorName | None:
        """The detector, where its cost is known in closed form."""
        return cast(DetectorName, self.detector) if self.detector in get_args(DetectorName) else None


def _gpu(value: object) -> object:
    if value == "auto":
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or cast(float, value) < 0 or (cast(float, value) > 1 and cast(float, value) % 1):
        raise ValueError(f"gpu is a share of one, a whole number of them, or auto, got {_shortened(value)}")
    return float(cast(float, value))


def _custom(value: dict[str, float]) -> dict[str, float]:
    own = ("cpu", "gpu", "memory", "object_store_memory")
    for name, amount in value.items():
        if name.lower() in own or not _RESOURCE.fullmatch(name):
            raise ValueError(f"custom resources have names of the cluster's own, such as a100, got {_shortened(name)}")
        if amount > 1 and amount % 1:
            raise ValueError(f"an amount above one is a whole number, got {amount:g} of {name}")
    return value


_RESOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
Gpu = Annotated[float | Literal["auto"], BeforeValidator(_gpu)]
Custom = Annotated[dict[str, Positive], AfterValidator(_custom)]


class Resources(_Section):
    """What one trial occupies, in Ray's units, and how its processes are used.

    Attributes:
        cpu: Logical CPUs.
        gpu: GPUs; a fraction lets trials share one, `auto` gives each trial the share that its memory is predicted to
            take. A trial's process takes no more of the GPU's memory than its share.
        gpu_memory: Memory of one GPU in GiB. Designs whose training is predicted to need more are not proposed.
        custom: Resources of the cluster's own by name, such as `a100: 1`.
        at_once: Most trials at a time; None for as many as the cluster holds. A number makes a cluster grow that can.
        reuse_actors: Whether a process that measured a trial takes the next one. On a GPU that keeps CUDA's state from
            trial to trial; off, every trial takes seconds to start.
        retries: How often a trial is started again, from its last checkpoint, after its process or its machine died.
    """

    cpu: Positive = 1.0
    gpu: Gpu = 0.0
    gpu_memory: Annotated[float, Field(gt=0, le=100_000)] | None = None
    custom: Custom = {}
    at_once: Count | None = None
    reuse_actors: bool = True
    retries: Annotated[int, Field(ge=0)] = 3

    @model_validator(mode="after")
    def _memory_is_of_a_gpu(self) -> Self:
        if self.gpu == "auto" and self.gpu_memory is None:
            raise ValueError("gpu: auto shares a GPU by its memory; say how much that is, as gpu_memory: 80")
        if self.gpu_memory is not None and not self.gpu:
            raise ValueError("gpu_memory is for trials on GPUs, and gpu is 0; set gpu to auto or to a number")
        return self


class SearchSpec(_Section):
    """One search, as its YAML file says it.

    Attributes:
        name: Name of the search and, unless another is given, of its run.
        task: What is trained.
        metric: What is raised; the cost is lowered.
        seed: Of the sampler and of every training.
        sampler: Who proposes.
        prior: What the sampler piip believes beforehand: `published` for the papers' detectors, dropped where it
            misleads; None for nothing.
        space: What may be built.
        limit: What one architecture may cost.
        budget: What the search may spend.
        data: What is trained on.
        fidelity: How much effort one evaluation takes.
        schedule: Which designs get as much; None for all.
        training: How a proxy is trained.
        resources: What one trial occupies.
    """

    name: Annotated[str, Field(pattern=NAME)]
    task: Literal["detection"] = "detection"
    metric: str = "bbox_mAP"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    sampler: SamplerName = "piip"
    prior: Literal["published"] | None = None
    space: Space
    limit: Limit
    budget: Budget = Budget()
    data: Data
    fidelity: Fidelity = Fidelity()
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
        if self.limit.convention == "detector" and self.training.known_detector is None:
            raise ValueError(
                f"limit.convention detector counts {', '.join(get_args(DetectorName))}, not {detector}; "
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
                f"{max(self.limit.gmacs):g}; leave its budget out"
            )
        return self

    @property
    def rungs(self) -> tuple[evaluation.Fidelity, ...]:
        """The fidelities at which a design is measured, the whole training last."""
        whole = self.fidelity.build()
        lower = () if self.schedule is None else self.schedule.rungs
        return (*(replace(whole, epochs=epochs, horizon=whole.schedule_epochs) for epochs in lower), whole)

    @property
    def question(self) -> str:
        """Fingerprint of what is searched; a run may be continued only with an equal one.

        The budget, the resources and the name may change between two sittings of one search.
        """
        # Defaults are left out, so that a setting that comes later does not part a run from its past.
        return _fingerprint(
            self.model_dump(mode="json", exclude={"name", "budget", "resources"}, exclude_defaults=True)
        )

    @property
    def detector(self) -> Detector:
        """What is trained around the backbone, with COCO's 80 classes: the data is not looked at to price a design.

        Around a detector whose cost is not known, Mask R-CNN stands in, for a plan's estimates and for the memory of a
        training.
        """
        training = self.training
        if training.known_detector is None:
            return COCO_MASK_RCNN
        return Detector(training.known_detector, training.channels, detections=training.max_detections)

    @property
    def bounds(self) -> SpaceLimit:
        """What one architecture may cost."""
        limit, resources = self.limit.build(self.detector), self.resources
        if resources.gpu_memory is None:
            return limit
        share = 1.0 if resources.gpu == "auto" else resources.gpu
        return replace(limit, step=self.step, step_bytes=most_training(resources.gpu_memory, share))

    @property
    def step(self) -> Step:
        """The training step of a trial, as far as its memory depends on it."""
        training, scale = self.training, self.fidelity.image_scale
        half = training.precision == "bfloat16"
        return Step(scale, training.short_side, training.batch_size, self.detector, half, training.checkpointing)

    def gpu_of(self, architecture: Architecture | TableDesign) -> float:
        """GPUs that a trial of a design takes."""
        resources = self.resources
        if resources.gpu != "auto":
            return resources.gpu
        if resources.gpu_memory is None or isinstance(architecture, TableDesign):
            return 1.0  # a rehearsal trains nothing
        return share_of(training_bytes(architecture, self.step), resources.gpu_memory)

    def recipe(self, data_fingerprint: str) -> str:
        """Fingerprint of data and training: what a measurement depends on besides its candidate."""
        # Defaults are left out, so that a setting that comes later does not make old measurements strange.
        parts = self.model_dump(mode="json", include={"task", "training"}, exclude_defaults=True)
        for name in UNSEEN:
            parts.get("training", {}).pop(name, None)
        file = Path(self.training.detector)
        own = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
        return _fingerprint([parts, data_fingerprint, *([own] if own else [])])


def load_spec(path: Path) -> SearchSpec:
    """Reads and checks a search space.

    Raises:
        SpecError: The file cannot be read, is no YAML or breaks rules; all that was found, at once.
    """
    try:
        content = read_yaml(path)
    except YamlError as error:
        raise SpecError(path, [str(error)]) from None
    return parse_spec(content, path)


def parse_spec(content: object, source: Path | str = "search space") -> SearchSpec:
    """Checks what a search space file holds.

    Raises:
        SpecError: It breaks rules; all that was found, at once.
    """
    if not isinstance(content, dict):
        raise SpecError(source, ["must be a mapping with name, space, limit and data; `piip-search init` writes one"])
    problems: list[str] = []
    spec = None
    try:
        spec = SearchSpec.model_validate(content)
    except ValidationError as error:
        found = [dict(item) for item in error.errors()]
        # A list whose only item is wrong is also reported as too short: say the first alone.
        problems += [_explain(item) for item in found if item["type"] != "too_short" or item["input"] in ([], ())]
    problems += _meaning(content)
    if problems or spec is None:
        raise SpecError(source, problems)
    return spec


def _meaning(content: dict[str, Any]) -> list[str]:
    """What the types cannot say: whether models, sizes and interactions fit each other."""
    problems: list[str] = []
    metric = content.get("metric", "bbox_mAP")
    metrics = TASKS["detection"].metrics
    if isinstance(metric, str) and metric not in metrics:
        problems.append(f"metric: unknown metric {metric!r}{_closest(metric, metrics)}")
    section = content.get("space")
    if not isinstance(section, dict):
        return problems
    models: dict[str, Backbone] = {}
    for place, name in _items(section, "backbones", str):
        try:
            models[name] = _resampled(backbone_named(name), section.get("patch"))
        except ValueError as error:
            problems.append(f"{place}: {error}")
    facts = list(models.values())
    sides = _items(section, "resolutions", int)
    for place, side in sides:
        problems += _side_problem(place, side, facts)
    most = max((count for _, count in _items(section, "branches", int) if count <= MAX_BRANCHES), default=1)
    if facts and not problems and section.get("pairing", "inverted") == "inverted":
        distinct = {side for _, side in sides}
        if most > min(len(facts), len(distinct)):
            problems.append(
                f"space.branches: {most} inverted branches need as many models and image sizes, got {len(facts)} "
                f"and {len(distinct)}; list more of them, or fewer branches"
            )
    problems += _merge_problems(section, facts)
    heads = section.get("heads", 16)
    for place, count in _items(section, "interactions", int):
        problems += _interaction_problem(place, count, facts, most, heads)
    return problems


def _resampled(model: Backbone, patch: object) -> Backbone:
    wanted = isinstance(patch, int) and not isinstance(patch, bool) and patch > 0
    return with_patch(model, cast(int, patch)) if wanted and isinstance(model, Transformer) else model


def _side_problem(place: str, side: int, models: list[Backbone]) -> list[str]:
    """A size that suits no model is a mistake; one that suits some is a choice for these."""
    patches = sorted({model.patch for model in models} or {16})
    if side > MOST_TOKENS * patches[0]:
        return [f"{place}: at most {MOST_TOKENS} patches of {patches[0]} px, got {_shortened(side)}"]
    if any(side > 0 and side % patch == 0 for patch in patches):
        return []
    patch = patches[0]
    nearest = max(patch, round(side / patch) * patch)
    return [f"{place}: resolution must be a positive multiple of a patch of {patch} px, got {side}; nearest: {nearest}"]


def _merge_problems(section: dict[str, Any], models: list[Backbone]) -> list[str]:
    chosen = _items(section, "merges", str)
    problems = [
        f"{place}: {name} gives no maps to detect on, and the task is detection; choose conv, linear or pyramid"
        for place, name in chosen
        if name in KEEPS_PREFIX
    ]
    convolutional = [model.name for model in models if isinstance(model, ConvNeXt)]
    if convolutional and chosen and "pyramid" not in [name for _, name in chosen]:
        problems.append(
            f"space.merges: {convolutional[0]} can only be merged into a pyramid; add pyramid, or leave it out"
        )
    return problems


def _interaction_problem(place: str, count: int, models: list[Backbone], most: int, heads: object) -> list[str]:
    if count < 0 or most < 2 or not models:
        return []
    roomy = sorted(models, key=lambda model: (-most_interactions(model), -model.width))[:2]
    pair = sorted((roomy * 2)[:2], key=lambda model: -model.width)
    merge: Merge = "pyramid" if any(isinstance(model, ConvNeXt) for model in pair) else "linear"
    width = heads if type(heads) is int and heads > 0 else 16
    try:
        interaction = Interaction(count, width) if count else Interaction()
        Architecture(tuple(Branch(model.name, model.patch, None, 0, _changed_patch(model)) for model in pair),
                     interaction, merge)  # fmt: skip
    except ValueError as error:
        return [f"{place}: no two backbones of this space can interact {count} times: {error}"]
    return []


def _changed_patch(model: Backbone) -> int | None:
    return None if model.patch == backbone_named(model.name).patch else model.patch


def _items(section: dict[str, Any], key: str, kind: type) -> list[tuple[str, Any]]:
    values = section.get(key)
    if not isinstance(values, list):
        return []
    return [
        (f"space.{key}[{index}]", value)
        for index, value in enumerate(values)
        if isinstance(value, kind) and not isinstance(value, bool)
    ]


def _explain(item: dict[str, Any]) -> str:
    """One line for one of pydantic's findings."""
    place = _place(item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{place}: unknown key{_closest(str(item['loc'][-1]), _known_keys(item['loc'][:-1]))}"
    if item["type"] == "missing":
        return f"{place}: missing"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if item["type"] == "value_error":
        return f"{place}: {message}"
    return f"{place}: {message}, got {_shortened(item['input'])}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = SearchSpec
    for step in location:
        annotation = model.model_fields[str(step)].annotation if str(step) in model.model_fields else None
        inner = [kind for kind in (annotation, *getattr(annotation, "__args__", ())) if isinstance(kind, type)]
        models = [kind for kind in inner if issubclass(kind, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)


def _closest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def _place(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return text.removeprefix(".") or "file"


_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlong = 3, 60, 60, 60


def _shortened(value: object) -> str:
    """A value as a message shows it, however large it is."""
    text = _REPR.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fingerprint(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
