"""Data settings of a training as plain data for mmdet: loaders, pipelines and the metric."""

from dataclasses import dataclass
from pathlib import Path

from piip_search.architecture import Architecture
from piip_search.export.settings import Settings, replaced
from piip_search.sections import Orientation
from piip_search.tasks.detection.section import DetectionTraining

DATA_MODULES = (
    "piip_workers.tasks.detection.annotations",
    "piip_workers.tasks.detection.metric",
    "piip_workers.tasks.detection.images",
)
"""Modules of the data set, the metric and the transforms."""
USABLE = {"filter_empty_gt": True, "min_size": 1}
"""Filter for training images with objects."""


@dataclass(frozen=True, slots=True)
class CocoSplit:
    """Absolute paths of an image folder and its annotation file.

    Attributes:
        images: Path of the folder.
        annotations: Path of the file.
        orientation: Orientation of the annotated pixels: turned as an image's EXIF says, or as stored; None if it was
            not determined.
        bits: Bits in use of images with 16 bits a channel; None for all 16.
    """

    images: Path
    annotations: Path
    orientation: Orientation | None = None
    bits: int | None = None


@dataclass(frozen=True, slots=True)
class CocoPaths:
    """A data set in COCO format.

    Attributes:
        train: Part for training.
        val: Part for measuring.
        classes: Class names in the order of their labels, which is that of the training file.
        same_order: Whether the validation file lists them in the same order.
        aspects: The least and the greatest ratio of an image's long side to its short one.
    """

    train: CocoSplit
    val: CocoSplit
    classes: tuple[str, ...]
    same_order: bool = True
    aspects: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class ProxyImages:
    """The images that one proxy reads.

    Attributes:
        count: Training images a pass.
        train: Positions of the training images among those with objects; None for all.
        val: Positions of the validation images; None for all.
        unreadable: File that lists undecodable training images.
        pinned: Whether batches are in pinned memory, for quick copies to a GPU.
    """

    count: int
    train: tuple[int, ...] | None = None
    val: tuple[int, ...] | None = None
    unreadable: Path | None = None
    pinned: bool = False


def smallest_image(
    architecture: Architecture, training: DetectionTraining, aspects: tuple[float, float]
) -> tuple[int, int]:
    """Sides in pixels of the smallest padded image of a data set.

    At its aspect, a fitted image fills the box on at least one side. So the smallest is the squarest or the most oblong
    one.

    Args:
        architecture: Network that reads the images.
        training: Settings for fitting and jitter.
        aspects: Aspects of the data set (`CocoPaths.aspects`).
    """
    long, short = training.box(architecture.resolution)
    factor = min(1.0, training.scale_jitter[0]) if training.scale_jitter else 1.0
    found = []
    for aspect in aspects:
        side = factor * min(long / aspect, short)
        found.append(architecture.image(max(1, int(side)), max(1, int(side * aspect))))
    return min(found, key=lambda sides: sides[0] * sides[1])


def loaders(
    side: int,
    data: CocoPaths,
    training: DetectionTraining,
    *,
    masks: bool,
    batch: int,
    measured: int,
    workers: int,
    unreadable: str | None,
) -> Settings:
    """Settings of loaders and evaluators for training and validation.

    All images of a batch are upright, or all are lying, as in PIIP's recipe: this needs less padding.

    Args:
        side: Long side in pixels of the box for an image.
        data: Paths of the data set.
        training: Settings for fitting and augmentation.
        masks: Whether objects have masks.
        batch: Training images a step.
        measured: Validation images at a time.
        workers: Number of reading processes.
        unreadable: File that lists undecodable training images; None stops at the first.
    """
    annotations: Settings = {"type": "LoadAnnotations", "with_bbox": True, "with_mask": masks}
    resize: Settings = {"type": "Resize", "scale": training.box(side), "keep_ratio": True}
    train: list[Settings] = [
        {"type": "ReadImage", "unreadable": unreadable, **_pixels(data.train)},
        annotations,
        *_augmentation(training, resize),
        {"type": "PackDetInputs"},
    ]
    kept = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    val: list[Settings] = [
        {"type": "ReadImage", **_pixels(data.val)},
        resize,
        annotations,
        {"type": "PackDetInputs", "meta_keys": kept},
    ]

    def dataset(split: CocoSplit, pipeline: list[Settings], training_part: bool) -> Settings:
        return {
            "type": "CocoByName",
            "ann_file": str(split.annotations),
            "data_prefix": {"img": str(split.images)},
            "metainfo": {"classes": data.classes},
            "masks": masks,
            "test_mode": not training_part,
            "pipeline": pipeline,
            **({"filter_cfg": USABLE} if training_part else {}),
        }

    shared = {"num_workers": workers, "persistent_workers": workers > 0, "drop_last": False}
    train_loader = replaced(
        batch_size=batch,
        **shared,
        sampler={"type": "DefaultSampler", "shuffle": True},
        batch_sampler={"type": "AspectRatioBatchSampler"},
        dataset=dataset(data.train, train, training_part=True),
    )
    val_loader = replaced(
        batch_size=measured,
        **shared,
        sampler={"type": "DefaultSampler", "shuffle": False},
        dataset=dataset(data.val, val, training_part=False),
    )
    metric = ["bbox", "segm"] if masks else ["bbox"]
    evaluator = replaced(
        type="CocoAverages", ann_file=str(data.val.annotations), metric=metric, detections=training.max_detections
    )
    return {
        "train_dataloader": train_loader,
        "val_dataloader": val_loader,
        "test_dataloader": val_loader,
        "val_evaluator": evaluator,
        "test_evaluator": evaluator,
    }


def read_as_proxies(parts: Settings, training: DetectionTraining, images: ProxyImages, seed: int) -> None:
    """Changes loaders in place: caches decoded images, and derives random numbers from image and epoch.

    A reading process keeps them between epochs; if the training process reads by itself, it keeps them between trials
    too.
    """
    train, val = parts["train_dataloader"], parts["val_dataloader"]
    for loader, chosen in ((train, images.train), (val, images.val)):
        dataset = loader["dataset"]
        dataset["pipeline"][0]["cache_mib"] = training.cache_mib
        if chosen is not None:
            dataset["indices"] = list(chosen)
        if images.pinned:
            loader["pin_memory"] = True
    train["dataset"] |= {"type": "SeededCocoDataset", "seed": seed}
    train["sampler"] = {"type": "EpochSampler", "shuffle": True, "seed": seed}


def _pixels(split: CocoSplit) -> Settings:
    """Settings for the pixels of a file, without default values."""
    stored: Settings = {"orientation": "stored"} if split.orientation == "stored" else {}
    return stored if split.bits is None else {**stored, "bits": split.bits}


def _augmentation(training: DetectionTraining, resize: Settings) -> list[Settings]:
    """Augmentations after fitting: another size inside the same box, a flip, other colours."""
    steps = [resize]
    if training.scale_jitter is not None:
        longest = max(resize["scale"])  # the box of upright images stands on end
        steps = [
            {**resize, "type": "RandomResize", "ratio_range": training.scale_jitter},
            {
                "type": "RandomCrop",
                "crop_size": (longest, longest),
                "recompute_bbox": True,
                "allow_negative_crop": True,
            },
        ]
    if training.colour_jitter:
        steps.append({"type": "PhotoMetricDistortion"})
    return [*steps, {"type": "RandomFlip", "prob": training.flip}]
