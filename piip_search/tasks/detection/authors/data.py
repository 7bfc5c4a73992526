"""Data settings of the authors' code base: pipelines of mmdet 2.25 with the sizes of their recipes."""

from dataclasses import dataclass

from piip_search.architecture import Architecture
from piip_search.export.settings import Settings
from piip_search.tasks.detection.mmdet.data import CocoPaths, CocoSplit
from piip_search.tasks.detection.section import DetectionTraining

Mmdet2Norm = dict[str, list[float]]
HALF_NORM: Mmdet2Norm = {"mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5]}
IMAGENET: Mmdet2Norm = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
SHORT_SIDES = tuple(range(480, 801, 32))
"""Short sides of DINO's training images, with the long side `LONG_SIDE`, for networks of `DESIGN_SIDE` pixels."""
FIRST_SHORT_SIDES = (400, 500, 600)
"""Short sides of images before the random crop."""
CROP = (384, 600)
"""Least and greatest side of their random crops, in pixels."""
LONG_SIDE = 1333
"""Longest side of their training images, in pixels."""
DESIGN_SIDE = 1024
"""Image size in pixels to which both sides belong."""


@dataclass(frozen=True, slots=True)
class ImagePipeline:
    """Settings for reading images.

    Attributes:
        norm: Mean and standard deviation for the normalisation of pixels.
        padding: Multiple of both sides after padding, in pixels.
        masks: Whether objects have masks.
        queried: Whether DINO's recipe draws its own sizes and crops.
        images_per_gpu: Images of a step on each GPU.
    """

    norm: Mmdet2Norm
    padding: int
    masks: bool
    queried: bool
    images_per_gpu: int


def data_settings(
    architecture: Architecture, data: CocoPaths, training: DetectionTraining, reading: ImagePipeline
) -> Settings:
    """Data sets and pipelines."""
    scale = training.box(architecture.resolution)
    if reading.queried:
        factor = architecture.resolution / DESIGN_SIDE
        scale = int(LONG_SIDE * factor), int(SHORT_SIDES[-1] * factor)
    normalise: Settings = {"type": "Normalize", **reading.norm, "to_rgb": True}
    pad: Settings = {"type": "Pad", "size_divisor": reading.padding}
    keys = ["img", "gt_bboxes", "gt_labels", *(["gt_masks"] if reading.masks else [])]
    load = _load(data.train)
    if training.colour_jitter:
        load["to_float32"] = True  # PhotoMetricDistortion of mmdet 2 requires it
    sizes = _queried_sizes(architecture) if reading.queried else _sizes(training, scale)
    train: list[Settings] = [
        load,
        {"type": "LoadAnnotations", "with_bbox": True, "with_mask": reading.masks},
        *sizes,
        *([{"type": "PhotoMetricDistortion"}] if training.colour_jitter else []),
        {"type": "RandomFlip", "flip_ratio": training.flip},
        normalise,
        pad,
        {"type": "DefaultFormatBundle"},
        {"type": "Collect", "keys": keys},
    ]
    steps: list[Settings] = [
        {"type": "Resize", "keep_ratio": True},
        {"type": "RandomFlip"},
        normalise,
        pad,
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "Collect", "keys": ["img"]},
    ]
    test: list[Settings] = [
        _load(data.val),
        {"type": "MultiScaleFlipAug", "img_scale": scale, "flip": False, "transforms": steps},
    ]

    def part(split: CocoSplit, pipeline: list[Settings]) -> Settings:
        return {
            "type": "CocoDataset",
            "ann_file": str(split.annotations),
            "img_prefix": f"{split.images}/",
            "classes": data.classes,
            "pipeline": pipeline,
        }

    val = part(data.val, test)
    return {
        "samples_per_gpu": reading.images_per_gpu,
        "workers_per_gpu": 2,
        "train": part(data.train, train),
        "val": val,
        "test": val,
    }


def _load(split: CocoSplit) -> Settings:
    """Loading step of an image, with EXIF's turn unless its annotations are of the stored pixels."""
    stored = {"color_type": "color_ignore_orientation"} if split.orientation == "stored" else {}
    return {"type": "LoadImageFromFile", **stored}


def _sizes(training: DetectionTraining, scale: tuple[int, int]) -> list[Settings]:
    resize: Settings = {"type": "Resize", "img_scale": scale, "keep_ratio": True}
    if training.scale_jitter is None:
        return [resize]
    return [
        {**resize, "ratio_range": training.scale_jitter},
        {"type": "RandomCrop", "crop_size": (max(scale),) * 2, "recompute_bbox": True, "allow_negative_crop": True},
    ]


def _queried_sizes(architecture: Architecture) -> list[Settings]:
    """Steps that resize to one of many sizes, half of the time after a crop, and fit the network's square."""
    side = architecture.resolution
    factor = side / DESIGN_SIDE

    def resize(short_sides: tuple[int, ...], **more: object) -> Settings:
        scales = [(int(short * factor), int(LONG_SIDE * factor)) for short in short_sides]
        return {"type": "Resize", "img_scale": scales, "multiscale_mode": "value", "keep_ratio": True, **more}

    def crop(least: float, most: float) -> Settings:
        return {
            "type": "RandomCrop",
            "crop_type": "absolute_range",
            "crop_size": (int(least), int(most)),
            "allow_negative_crop": True,
        }

    cropped = [resize(FIRST_SHORT_SIDES), crop(CROP[0] * factor, CROP[1] * factor), resize(SHORT_SIDES, override=True)]
    return [{"type": "AutoAugment", "policies": [[resize(SHORT_SIDES)], cropped]}, crop(side, side)]
