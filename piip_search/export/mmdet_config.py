"""An architecture as an mmdet 3 configuration, as plain data: what proxies are trained from and what leaves.

Proxy and full training are built from the same parts, so that what was searched is what is exported. Nothing here
imports mmdet; `render` writes the text that mmengine reads.
"""

import math
import pprint
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piip_search.architecture import Architecture
from piip_search.cost import stacked_convolutions
from piip_search.evaluation import Fidelity
from piip_search.export import recipe
from piip_search.export.recipe import SCHEDULES, Schedule
from piip_search.spec import Training
from piip_search.stretches import PYRAMID_LEVELS, STRIDES

Settings = dict[str, Any]

MEAN = STD = [127.5, 127.5, 127.5]
USABLE = {"filter_empty_gt": True, "min_size": 1}
"""Training images that hold something to learn."""


@dataclass(frozen=True, slots=True)
class CocoSplit:
    """Absolute paths of an image folder and its annotation file."""

    images: Path
    annotations: Path


@dataclass(frozen=True, slots=True)
class ProxyImages:
    """What of a data set one proxy reads, and how.

    Attributes:
        count: Training images a pass.
        train: Positions of the training images among those that hold objects; None for all.
        val: Positions of the validation images; None for all.
        unreadable: File that lists training images that cannot be decoded.
    """

    count: int
    train: tuple[int, ...] | None = None
    val: tuple[int, ...] | None = None
    unreadable: Path | None = None


@dataclass(frozen=True, slots=True)
class CocoPaths:
    """A data set in COCO format, and its class names in the order of their labels."""

    train: CocoSplit
    val: CocoSplit
    classes: tuple[str, ...]


def proxy_config(
    architecture: Architecture,
    data: CocoPaths,
    training: Training,
    *,
    fidelity: Fidelity,
    images: ProxyImages,
    seed: int,
    reader: "Reader | None" = None,
    accumulated: int = 1,
) -> Settings:
    """A short training at the architecture's own image size.

    Args:
        architecture: What is trained, already scaled.
        data: Where the images are.
        training: Detector and recipe.
        fidelity: How many epochs of how long a schedule.
        images: What is read of the data.
        seed: Of weights and order.
        reader: The detector around the backbone; by default the recipe's, where its cost is known.
        accumulated: Steps whose gradients make one of the recipe's batches, to save memory.
    """
    reader = reader or READERS[training.detector]
    batch = max(1, training.batch_size // accumulated)
    total = max(1, fidelity.schedule_epochs) * math.ceil(images.count / batch)
    warmup = round(total * training.warmup)
    schedule = [
        {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": warmup},
        {
            "type": "CosineAnnealingLR", "by_epoch": False, "begin": warmup, "end": total,
            "T_max": max(1, total - warmup), "eta_min_ratio": 0.01,
        },
    ]  # fmt: skip
    clip = {"max_norm": training.clip_norm}
    optimiser = _optimiser(architecture, training.learning_rate, training.weight_decay, clip, training.layer_decay)
    if accumulated > 1:
        optimiser["accumulative_counts"] = accumulated
    parts = _data(data, training, reader.masks, box(architecture, training), batch, training.loader_workers)
    _read_as_proxies(parts, training, images, seed)
    epochs = max(1, fidelity.epochs)
    return {
        **_base(reader),
        "model": _model(architecture, training, reader, len(data.classes), regularised=False),
        **parts,
        "train_cfg": _replaced(
            type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=training.measure_every or epochs
        ),
        "param_scheduler": schedule[0 if warmup else 1 :],
        "optim_wrapper": optimiser,
        "default_hooks": _replaced(
            timer={"type": "IterTimerHook"},
            logger={"type": "LoggerHook", "interval": 1000},
            param_scheduler={"type": "ParamSchedulerHook"},
            checkpoint={"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 2},
            sampler_seed={"type": "DistSamplerSeedHook"},
        ),
        "visualizer": _replaced(type="Visualizer", vis_backends=[]),
        "log_level": "WARNING",
        "randomness": {"seed": seed},
    }


def _read_as_proxies(parts: Settings, training: Training, images: ProxyImages, seed: int) -> None:
    """Images are remembered from epoch to epoch and from trial to trial, and random numbers follow from the image."""
    parts["custom_imports"]["imports"].append("piip_workers.reading")
    train, val = parts["train_dataloader"], parts["val_dataloader"]
    for loader, chosen in ((train, images.train), (val, images.val)):
        dataset = loader["dataset"]
        dataset["pipeline"][0] = {"type": "ReadImage", "cache_mib": training.cache_mib}
        if chosen is not None:
            dataset["indices"] = list(chosen)
    if images.unreadable is not None:
        train["dataset"]["pipeline"][0]["unreadable"] = str(images.unreadable)
    train["dataset"] |= {"type": "SeededCocoDataset", "seed": seed}
    train["sampler"] = {"type": "EpochSampler", "shuffle": True, "seed": seed}


def full_config(
    architecture: Architecture,
    data: CocoPaths,
    training: Training,
    schedule: Schedule = SCHEDULES["1x"],
    *,
    images: int | None = None,
    weights: str | None = None,
    reader: "Reader | None" = None,
) -> Settings:
    """PIIP's detection recipe at full image size (official configurations, Mask R-CNN 1x and 3x).

    12 or 36 epochs in batches of 16, AdamW at 1e-4, 500 iterations of warm-up (a tenth of the training where that is
    less), steps after epochs 8 and 11, or 27 and 33. Images are fitted into the same box as the proxies' and padded
    until every branch's grid is exact. With pre-trained branches the learning rate decays by 0.85 from block to block;
    from random weights it does not.

    Args:
        architecture: What is trained.
        data: Where the images are.
        training: Detector and recipe; `pretrained` says whether the branches are.
        schedule: How long.
        images: Training images a pass, where they are known.
        weights: File to start from; else the branches' weights are taken from `training.pretrained`, if that is set.
        reader: The detector around the backbone; by default the recipe's, where its cost is known.
    """
    reader = reader or READERS[training.detector]
    decay = recipe.LAYER_DECAY if training.pretrained else 1.0
    if weights is not None:
        training = training.model_copy(update={"pretrained": None})
    settings = {
        **_base(reader),
        "model": _model(architecture, training, reader, len(data.classes), regularised=True),
        **_data(
            data, training, reader.masks, box(architecture, training), recipe.BATCH, max(2, training.loader_workers)
        ),
        "train_cfg": _replaced(type="EpochBasedTrainLoop", max_epochs=schedule.epochs, val_interval=1),
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0,
             "end": _warmup(schedule, images)},
            {
                "type": "MultiStepLR", "begin": 0, "end": schedule.epochs, "by_epoch": True,
                "milestones": list(schedule.steps), "gamma": 0.1,
            },
        ],
        "optim_wrapper": _optimiser(architecture, recipe.LEARNING_RATE, training.weight_decay, None, decay),
        "default_hooks": {"checkpoint": {"max_keep_ckpts": 2}},
        "auto_scale_lr": {"enable": False, "base_batch_size": recipe.BATCH},
        # One-stage heads read no map of stride 4, so that its level has no gradient.
        "find_unused_parameters": training.detector != "mask_rcnn",
    }  # fmt: skip
    return settings if weights is None else {**settings, "load_from": weights}


def _warmup(schedule: Schedule, images: int | None) -> int:
    """Iterations in which the learning rate rises."""
    if images is None:
        return recipe.WARMUP_ITERATIONS
    total = schedule.epochs * math.ceil(images / recipe.BATCH)
    return max(1, min(recipe.WARMUP_ITERATIONS, round(recipe.WARMUP_SHARE * total)))


def box(architecture: Architecture, training: Training) -> tuple[int, int]:
    """Pixels that the long and the short side of an image are fitted into."""
    side = architecture.resolution
    return side, int(side * training.short_side)


HERE = "{{ fileDirname }}"
"""What mmengine replaces by the folder of the configuration."""


def render(settings: Settings, title: str) -> str:
    """The configuration as the text of a Python file that mmengine reads.

    mmengine fills in what stands in double braces, from its own words and from the environment, before it runs it. So
    braces of users' names and paths are written in a way that it does not see; `HERE` in `load_from` is meant.
    """
    parts = []
    for key, value in settings.items():
        text = pprint.pformat(value, width=100, sort_dicts=False).replace("{{", "{\\x7b")
        if key == "load_from" and str(value).startswith(HERE):
            text = text.replace("{\\x7b", "{{", 1)
        parts.append(f"{key} = {text}")
    return "\n\n".join([f"# {title}", *parts]) + "\n"


def _base(reader: "Reader") -> Settings:
    return {"_base_": [reader.base]}


def _replaced(**settings: Any) -> Settings:
    """Settings that take the place of the base's instead of being merged into them."""
    return {"_delete_": True, **settings}


def _model(
    architecture: Architecture, training: Training, reader: "Reader", classes: int, regularised: bool
) -> Settings:
    rates = [branch.model.drop_path if regularised else 0.0 for branch in architecture.branches]
    backbone = _replaced(
        type="PIIP",
        architecture=architecture.name,
        drop_path=rates,
        interaction_drop_path=recipe.INTERACTION_DROP_PATH if regularised else 0.0,
        pretrained=training.pretrained,
        checkpointing=training.checkpointing,
        bfloat16=training.precision == "bfloat16",
    )
    if reader.strides != STRIDES:
        backbone["strides"] = list(reader.strides)
    processor = {"mean": MEAN, "std": STD, "bgr_to_rgb": True, "pad_size_divisor": architecture.multiple}
    widths = _map_widths(architecture, len(reader.strides))
    return {"data_preprocessor": processor, "backbone": backbone, **reader.settings(training, classes, widths)}


def _map_widths(architecture: Architecture, levels: int) -> tuple[int, ...]:
    """Channels of the maps that the neck reads; of a pyramid of four, the last ones."""
    widths = [width for width, _ in architecture.merged] * (PYRAMID_LEVELS // len(architecture.merged))
    return tuple(widths[-levels:])


@dataclass(frozen=True, slots=True)
class Reader:
    """What reads a backbone's maps: an mmdet base configuration, and what of it a search changes.

    Attributes:
        base: Name or path of the configuration.
        strides: Strides of the maps that its neck reads.
        masks: Whether it predicts masks.
        settings: The model's settings but the backbone's, from the recipe, the number of classes and the maps' widths.
    """

    base: str
    strides: tuple[int, ...]
    masks: bool
    settings: Callable[[Training, int, tuple[int, ...]], Settings]


def _dense(training: Training, classes: int, widths: tuple[int, ...]) -> Settings:
    """Heads of one-stage detectors. A narrow head is also a shallow one, for small models."""
    channels = training.channels
    head: Settings = {
        "num_classes": classes,
        "in_channels": channels,
        "feat_channels": channels,
        "stacked_convs": stacked_convolutions(channels),
    }
    if training.anchor_scale is not None:
        head["anchor_generator"] = {"octave_base_scale": training.anchor_scale}
    neck = {"in_channels": list(widths), "out_channels": channels}
    return {"neck": neck, "bbox_head": head, "test_cfg": {"max_per_img": training.max_detections}}


def _mask_rcnn(training: Training, classes: int, widths: tuple[int, ...]) -> Settings:
    channels = training.channels
    rpn: Settings = {"in_channels": channels, "feat_channels": channels}
    if training.anchor_scale is not None:
        rpn["anchor_generator"] = {"scales": [training.anchor_scale]}
    return {
        "neck": {"in_channels": list(widths), "out_channels": channels},
        "rpn_head": rpn,
        "roi_head": {
            "bbox_roi_extractor": {"out_channels": channels},
            "bbox_head": {"in_channels": channels, "fc_out_channels": 4 * channels, "num_classes": classes},
            "mask_roi_extractor": {"out_channels": channels},
            "mask_head": {"in_channels": channels, "conv_out_channels": channels, "num_classes": classes},
        },
        "test_cfg": {"rcnn": {"max_per_img": training.max_detections}},
    }


READERS: dict[str, Reader] = {
    "retinanet": Reader("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", STRIDES, False, _dense),
    # Its settings have the same names; its group norms take 32 groups of the head's channels.
    "fcos": Reader("mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", STRIDES, False, _dense),
    "mask_rcnn": Reader("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", STRIDES, True, _mask_rcnn),
}
"""The detectors whose cost is known in closed form. `piip_workers.detectors` reads any other configuration of mmdet."""


def _data(
    data: CocoPaths, training: Training, masks: bool, scale: tuple[int, int], batch: int, workers: int
) -> Settings:
    annotations: Settings = {"type": "LoadAnnotations", "with_bbox": True, "with_mask": masks}
    resize: Settings = {"type": "Resize", "scale": scale, "keep_ratio": True}
    train: list[Settings] = [
        {"type": "LoadImageFromFile"}, annotations, *_augmentation(training, resize), {"type": "PackDetInputs"},
    ]  # fmt: skip
    kept = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    val: list[Settings] = [
        {"type": "LoadImageFromFile"},
        resize,
        annotations,
        {"type": "PackDetInputs", "meta_keys": kept},
    ]

    def loader(split: CocoSplit, pipeline: list[Settings], training_part: bool) -> Settings:
        dataset: Settings = {
            "type": "CocoDataset",
            "ann_file": str(split.annotations),
            "data_prefix": {"img": str(split.images)},
            "metainfo": {"classes": data.classes},
            "test_mode": not training_part,
            "pipeline": pipeline,
        }
        if training_part:
            dataset["filter_cfg"] = USABLE
        return _replaced(
            batch_size=batch,
            num_workers=workers,
            persistent_workers=workers > 0,
            drop_last=False,
            sampler={"type": "DefaultSampler", "shuffle": training_part},
            dataset=dataset,
        )

    metric = ["bbox", "segm"] if masks else ["bbox"]
    evaluator = _replaced(
        type="CocoAverages", ann_file=str(data.val.annotations), metric=metric, detections=training.max_detections
    )
    val_loader = loader(data.val, val, training_part=False)
    return {
        "custom_imports": {
            "imports": ["piip_workers.backbone", "piip_workers.layer_decay", "piip_workers.metric"],
            "allow_failed_imports": False,
        },
        "train_dataloader": loader(data.train, train, training_part=True),
        "val_dataloader": val_loader,
        "test_dataloader": val_loader,
        "val_evaluator": evaluator,
        "test_evaluator": evaluator,
    }


def _augmentation(training: Training, resize: Settings) -> list[Settings]:
    """From the fitted image to what is trained on: another size inside the same box, mirrored, in other colours."""
    steps = [resize]
    if training.scale_jitter is not None:
        longest = max(resize["scale"])  # upright images are fitted with the box on end
        steps = [
            {**resize, "type": "RandomResize", "ratio_range": training.scale_jitter},
            {"type": "RandomCrop", "crop_size": (longest, longest), "recompute_bbox": True,
             "allow_negative_crop": True},
        ]  # fmt: skip
    if training.colour_jitter:
        steps.append({"type": "PhotoMetricDistortion"})
    return [*steps, {"type": "RandomFlip", "prob": training.flip}]


def _optimiser(
    architecture: Architecture, learning_rate: float, weight_decay: float, clip: Settings | None, layer_decay: float
) -> Settings:
    """AdamW without decay on norms, biases, gates, layer scales and position embeddings."""
    adamw = {"type": "AdamW", "lr": learning_rate, "betas": (0.9, 0.999), "weight_decay": weight_decay}
    if layer_decay < 1:
        return _replaced(
            type="OptimWrapper",
            constructor="PIIPLayerDecay",
            optimizer=adamw,
            paramwise_cfg={"architecture": architecture.name, "rate": layer_decay},
            clip_grad=clip,
        )
    undecayed = ("pos_embed", "relative_position", "q_bias", "v_bias", "gamma", "tau", "branch_weights", "prefix")
    return _replaced(
        type="OptimWrapper",
        optimizer=adamw,
        paramwise_cfg={
            "norm_decay_mult": 0.0,
            "bias_decay_mult": 0.0,
            "custom_keys": {name: {"decay_mult": 0.0} for name in undecayed},
        },
        clip_grad=clip,
    )
