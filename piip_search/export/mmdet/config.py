"""An architecture as an mmdet 3 configuration, as plain data: what proxies are trained from and what leaves.

Proxy and full training are built from the same parts, so that what was searched is what is exported. Nothing here
imports mmdet; `render` writes the text that mmengine reads.
"""

import math

from piip_search.architecture import Architecture
from piip_search.architecture.segments import PYRAMID_LEVELS, STRIDES
from piip_search.config import Training
from piip_search.evaluation.evaluation import Fidelity
from piip_search.export.mmdet import recipe
from piip_search.export.mmdet.data import DATA_MODULES as READING
from piip_search.export.mmdet.data import CocoPaths, ProxyImages, loaders, read_as_proxies, smallest_image
from piip_search.export.mmdet.detectors import DETECTOR_CONFIGS, DetectorConfig, DetectorMaps
from piip_search.export.mmdet.recipe import SCHEDULES, TrainingLength
from piip_search.export.settings import Settings, replaced

MEAN = STD = [127.5, 127.5, 127.5]
CONFIG_MODULES = ("piip_workers.tasks.detection.backbone", "piip_workers.tasks.detection.layer_decay", *READING)
"""Modules that a configuration needs imported."""
FEWEST_WARMUP = 2
"""Steps below which the learning rate does not rise: mmengine would leave it where a rise of one step begins."""


def proxy_config(
    architecture: Architecture,
    data: CocoPaths,
    training: Training,
    *,
    fidelity: Fidelity,
    images: ProxyImages,
    seed: int,
    reader: DetectorConfig | None = None,
    accumulated: int = 1,
) -> Settings:
    """A short training at the architecture's own image size.

    Args:
        architecture: What is trained, already scaled.
        data: Where the images are.
        training: Detector and recipe.
        fidelity: How many epochs of how long a schedule.
        images: What is read of the data.
        seed: Seed of weights and order.
        reader: The detector around the backbone; by default the recipe's, where its cost is known.
        accumulated: Steps whose gradients make one of the recipe's batches, to save memory.
    """
    reader = reader or DETECTOR_CONFIGS[training.detector]
    batch = max(1, training.batch_size // accumulated)
    total = max(1, fidelity.schedule_epochs) * math.ceil(images.count / batch)
    rise = _rise(0.01, round(total * training.warmup))
    begin = rise[0]["end"] if rise else 0
    fall: Settings = {
        "type": "CosineAnnealingLR",
        "by_epoch": False,
        "begin": begin,
        "end": total,
        "T_max": max(1, total - begin),
        "eta_min_ratio": 0.01,
    }
    clip = {"max_norm": training.clip_norm}
    optimiser = _optimiser(architecture, training.learning_rate, training.weight_decay, clip, training.layer_decay)
    if accumulated > 1:
        optimiser["accumulative_counts"] = accumulated
    parts = loaders(
        architecture,
        data,
        training,
        masks=reader.masks,
        batch=batch,
        measured=batch,
        workers=training.loader_workers,
        unreadable=None if images.unreadable is None else str(images.unreadable),
    )
    read_as_proxies(parts, training, images, seed)
    epochs = max(1, fidelity.epochs)
    model = _model(architecture, training, reader, data, regularised=False)
    if training.cuda_graphs:
        model["backbone"]["cuda_graphs"] = True
    return {
        **_base(reader),
        "model": model,
        **parts,
        "train_cfg": replaced(
            type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=training.measure_every or epochs
        ),
        "param_scheduler": [*rise, fall],
        "optim_wrapper": optimiser,
        "default_hooks": replaced(
            timer={"type": "IterTimerHook"},
            logger={"type": "LoggerHook", "interval": 1000},
            param_scheduler={"type": "ParamSchedulerHook"},
            checkpoint={"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 2},
            sampler_seed={"type": "DistSamplerSeedHook"},
        ),
        "visualizer": replaced(type="Visualizer", vis_backends=[]),
        "log_level": "WARNING",
        "randomness": {"seed": seed},
    }


def full_config(
    architecture: Architecture,
    data: CocoPaths,
    training: Training,
    schedule: TrainingLength = SCHEDULES["1x"],
    *,
    images: int | None = None,
    weights: str | None = None,
    reader: DetectorConfig | None = None,
    seed: int = 0,
    unreadable: str | None = None,
) -> Settings:
    """PIIP's detection recipe at full image size (official configurations, Mask R-CNN 1x and 3x).

    12 or 36 epochs in batches of 16, AdamW at 1e-4, 500 iterations of warm-up (a tenth of the training where that is
    less), steps after epochs 8 and 11, or 27 and 33. Images are fitted into the same box as the proxies' and padded
    until every branch's grid is exact; they are measured one at a time. With pre-trained branches the learning rate
    decays by 0.85 from block to block; from random weights it does not.

    Args:
        architecture: What is trained.
        data: Where the images are.
        training: Detector and recipe; `pretrained` says whether the branches are.
        schedule: How long.
        images: Training images a pass, where they are known.
        weights: File to start from; else the branches' weights are taken from `training.pretrained`, if that is set.
        reader: The detector around the backbone; by default the recipe's, where its cost is known.
        seed: Seed of weights and order.
        unreadable: File that lists training images that cannot be decoded, and that others take the place of; None
            stops at the first.
    """
    reader = reader or DETECTOR_CONFIGS[training.detector]
    decay = recipe.LAYER_DECAY if training.pretrained else 1.0
    if weights is not None:
        training = training.model_copy(update={"pretrained": None})
    return {
        **_base(reader),
        "load_from": weights,
        "model": _model(architecture, training, reader, data, regularised=True),
        **loaders(
            architecture,
            data,
            training,
            masks=reader.masks,
            batch=recipe.IMAGES_A_STEP,
            measured=1,
            workers=max(2, training.loader_workers),
            unreadable=unreadable,
        ),
        "train_cfg": replaced(type="EpochBasedTrainLoop", max_epochs=schedule.epochs, val_interval=1),
        "param_scheduler": [
            *_rise(0.001, _warmup(schedule, images)),
            {
                "type": "MultiStepLR",
                "begin": 0,
                "end": schedule.epochs,
                "by_epoch": True,
                "milestones": list(schedule.steps),
                "gamma": 0.1,
            },
        ],
        "optim_wrapper": _optimiser(architecture, recipe.LEARNING_RATE, training.weight_decay, None, decay),
        "default_hooks": {"checkpoint": {"interval": 1, "max_keep_ckpts": 2}},
        "auto_scale_lr": {"enable": False, "base_batch_size": recipe.IMAGES_A_STEP},
        # One-stage heads read no map of stride 4, so that its level has no gradient.
        "find_unused_parameters": training.detector != "mask_rcnn",
        "randomness": {"seed": seed},
    }


def _warmup(schedule: TrainingLength, images: int | None) -> int:
    """Iterations in which the learning rate rises."""
    if images is None:
        return recipe.WARMUP_ITERATIONS
    total = schedule.epochs * math.ceil(images / recipe.IMAGES_A_STEP)
    return min(recipe.WARMUP_ITERATIONS, round(recipe.WARMUP_SHARE * total))


def _rise(start: float, steps: int) -> list[Settings]:
    """The learning rate's rise from a share of it; none where it takes too few steps."""
    if steps < FEWEST_WARMUP:
        return []
    return [{"type": "LinearLR", "start_factor": start, "by_epoch": False, "begin": 0, "end": steps}]


def _base(reader: DetectorConfig) -> Settings:
    """The detector's configuration, without what belongs to its own data and weights rather than to its model."""
    imports = [*CONFIG_MODULES, *(name for name in reader.imports if name not in CONFIG_MODULES)]
    return {
        "_base_": [reader.base],
        "custom_imports": {"imports": imports, "allow_failed_imports": False},
        "custom_hooks": [],
        "load_from": None,
    }


def _model(
    architecture: Architecture, training: Training, reader: DetectorConfig, data: CocoPaths, regularised: bool
) -> Settings:
    rates = [branch.model.drop_path if regularised else 0.0 for branch in architecture.branches]
    backbone = replaced(
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
    smallest = smallest_image(architecture, training, data.aspects)
    maps = DetectorMaps(_map_widths(architecture, len(reader.strides)), smallest)
    settings = reader.settings(training, len(data.classes), maps)
    processor = {"mean": MEAN, "std": STD, "bgr_to_rgb": True, "pad_size_divisor": architecture.multiple}
    return {**settings, "data_preprocessor": processor | settings.get("data_preprocessor", {}), "backbone": backbone}


def _map_widths(architecture: Architecture, levels: int) -> tuple[int, ...]:
    """Channels of the maps that the neck reads; of a pyramid of four, the last ones."""
    widths = [width for width, _ in architecture.merged] * (PYRAMID_LEVELS // len(architecture.merged))
    return tuple(widths[-levels:])


def _optimiser(
    architecture: Architecture, learning_rate: float, weight_decay: float, clip: Settings | None, layer_decay: float
) -> Settings:
    """AdamW without decay on norms, biases, gates, layer scales and position embeddings.

    Its constructor puts parameters of one rate and decay into one group: mmengine's own makes a group of each, and a
    PIIP network has a thousand, of which each would then be updated by itself.
    """
    adamw = {"type": "AdamW", "lr": learning_rate, "betas": (0.9, 0.999), "weight_decay": weight_decay, "fused": True}
    return replaced(
        type="OptimWrapper",
        constructor="PIIPLayerDecay",
        optimizer=adamw,
        paramwise_cfg={"architecture": architecture.name, "rate": layer_decay},
        clip_grad=clip,
    )
