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
from piip_search.export import recipe
from piip_search.export.recipe import SCHEDULES, Schedule
from piip_search.spec import Training
from piip_search.stretches import PYRAMID_LEVELS

Settings = dict[str, Any]

MEAN = STD = [127.5, 127.5, 127.5]


@dataclass(frozen=True, slots=True)
class CocoSplit:
    """Absolute paths of an image folder and its annotation file."""

    images: Path
    annotations: Path


@dataclass(frozen=True, slots=True)
class CocoPaths:
    """A data set in COCO format, and its class names in the order of their labels."""

    train: CocoSplit
    val: CocoSplit
    classes: tuple[str, ...]


def proxy_config(
    architecture: Architecture, data: CocoPaths, training: Training, *, epochs: int, images: int, seed: int
) -> Settings:
    """A short training at the architecture's own image size.

    Args:
        architecture: What is trained, already scaled.
        data: Where the images are.
        training: Detector and recipe.
        epochs: Passes over the images.
        images: Training images a pass.
        seed: Of weights and order.
    """
    total = max(1, epochs) * math.ceil(images / training.batch_size)
    warmup = round(total * training.warmup)
    schedule = [
        {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": warmup},
        {
            "type": "CosineAnnealingLR", "by_epoch": False, "begin": warmup, "end": total,
            "T_max": max(1, total - warmup), "eta_min_ratio": 0.01,
        },
    ]  # fmt: skip
    clip = {"max_norm": training.clip_norm}
    return {
        **_base(training),
        "model": _model(architecture, training, len(data.classes), regularised=False),
        **_data(data, training, box(architecture, training), training.batch_size, training.loader_workers),
        "train_cfg": _replaced(type="EpochBasedTrainLoop", max_epochs=max(1, epochs), val_interval=max(1, epochs)),
        "param_scheduler": schedule[0 if warmup else 1 :],
        "optim_wrapper": _optimiser(
            architecture, training.learning_rate, training.weight_decay, clip, training.layer_decay
        ),
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


def full_config(
    architecture: Architecture,
    data: CocoPaths,
    training: Training,
    schedule: Schedule = SCHEDULES["1x"],
    images: int | None = None,
    weights: str | None = None,
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
    """
    decay = recipe.LAYER_DECAY if training.pretrained else 1.0
    if weights is not None:
        training = training.model_copy(update={"pretrained": None})
    settings = {
        **_base(training),
        "model": _model(architecture, training, len(data.classes), regularised=True),
        **_data(data, training, box(architecture, training), recipe.BATCH, max(2, training.loader_workers)),
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


def render(settings: Settings, title: str) -> str:
    """The configuration as the text of a Python file that mmengine reads."""
    parts = [f"{key} = {pprint.pformat(value, width=100, sort_dicts=False)}" for key, value in settings.items()]
    return "\n\n".join([f"# {title}", *parts]) + "\n"


def _base(training: Training) -> Settings:
    return {
        "_base_": [DETECTORS[training.detector].base],
        "custom_imports": {
            "imports": ["piip_workers.backbone", "piip_workers.layer_decay"],
            "allow_failed_imports": False,
        },
    }


def _replaced(**settings: Any) -> Settings:
    """Settings that take the place of the base's instead of being merged into them."""
    return {"_delete_": True, **settings}


def _model(architecture: Architecture, training: Training, classes: int, regularised: bool) -> Settings:
    detector = DETECTORS[training.detector]
    channels = training.channels
    rates = [branch.model.drop_path if regularised else 0.0 for branch in architecture.branches]
    model: Settings = {
        "data_preprocessor": {
            "mean": MEAN,
            "std": STD,
            "bgr_to_rgb": True,
            "pad_size_divisor": architecture.multiple,
        },
        "backbone": _replaced(
            type="PIIP",
            architecture=architecture.name,
            drop_path=rates,
            interaction_drop_path=recipe.INTERACTION_DROP_PATH if regularised else 0.0,
            pretrained=training.pretrained,
            checkpointing=training.checkpointing,
            bfloat16=training.precision == "bfloat16",
        ),
        "neck": {"in_channels": _pyramid_widths(architecture), "out_channels": channels},
    }
    return {**model, **detector.heads(training, classes)}


def _pyramid_widths(architecture: Architecture) -> list[int]:
    """Channels of the four maps that the neck reads."""
    return [width for width, _ in architecture.merged] * (PYRAMID_LEVELS // len(architecture.merged))


def _dense(training: Training, classes: int) -> Settings:
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
    return {"bbox_head": head, "test_cfg": {"max_per_img": training.max_detections}}


def _mask_rcnn(training: Training, classes: int) -> Settings:
    channels = training.channels
    rpn: Settings = {"in_channels": channels, "feat_channels": channels}
    if training.anchor_scale is not None:
        rpn["anchor_generator"] = {"scales": [training.anchor_scale]}
    return {
        "rpn_head": rpn,
        "roi_head": {
            "bbox_roi_extractor": {"out_channels": channels},
            "bbox_head": {"in_channels": channels, "fc_out_channels": 4 * channels, "num_classes": classes},
            "mask_roi_extractor": {"out_channels": channels},
            "mask_head": {"in_channels": channels, "conv_out_channels": channels, "num_classes": classes},
        },
        "test_cfg": {"rcnn": {"max_per_img": training.max_detections}},
    }


@dataclass(frozen=True, slots=True)
class _Detector:
    """An mmdet base configuration, what of it depends on recipe and classes, and whether it predicts masks."""

    base: str
    heads: Callable[[Training, int], Settings]
    masks: bool = False


DETECTORS: dict[str, _Detector] = {
    "retinanet": _Detector("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", _dense),
    # Its settings have the same names; its group norms take 32 groups of the head's channels.
    "fcos": _Detector("mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", _dense),
    "mask_rcnn": _Detector("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", _mask_rcnn, masks=True),
}


def _data(data: CocoPaths, training: Training, scale: tuple[int, int], batch: int, workers: int) -> Settings:
    masks = DETECTORS[training.detector].masks
    annotations: Settings = {"type": "LoadAnnotations", "with_bbox": True, "with_mask": masks}
    resize: Settings = {"type": "Resize", "scale": scale, "keep_ratio": True}
    train: list[Settings] = [
        {"type": "LoadImageFromFile"}, annotations, resize,
        {"type": "RandomFlip", "prob": training.flip}, {"type": "PackDetInputs"},
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
            dataset["filter_cfg"] = {"filter_empty_gt": True, "min_size": 1}
        return _replaced(
            batch_size=batch,
            num_workers=workers,
            persistent_workers=workers > 0,
            drop_last=False,
            sampler={"type": "DefaultSampler", "shuffle": training_part},
            dataset=dataset,
        )

    metric = ["bbox", "segm"] if masks else ["bbox"]
    evaluator = _replaced(type="CocoMetric", ann_file=str(data.val.annotations), metric=metric, format_only=False)
    val_loader = loader(data.val, val, training_part=False)
    return {
        "train_dataloader": loader(data.train, train, training_part=True),
        "val_dataloader": val_loader,
        "test_dataloader": val_loader,
        "val_evaluator": evaluator,
        "test_evaluator": evaluator,
    }


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
    undecayed = ("pos_embed", "gamma", "tau", "branch_weights", "prefix")
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
