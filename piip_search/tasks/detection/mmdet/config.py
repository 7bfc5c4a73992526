"""An architecture as an mmdet 3 configuration in plain data, for proxies and for export.

Proxy and full training are built from the same parts, so that the searched design is the exported one. Nothing here
imports mmdet; `render` writes the text that mmengine reads.
"""

import math
from dataclasses import dataclass

from piip_search.architecture import Architecture
from piip_search.architecture.segments import PYRAMID_LEVELS, STRIDES
from piip_search.evaluation.evaluation import Fidelity
from piip_search.export.settings import Settings, replaced
from piip_search.tasks.detection.mmdet import recipe
from piip_search.tasks.detection.mmdet.data import DATA_MODULES as READING
from piip_search.tasks.detection.mmdet.data import CocoPaths, ProxyImages, loaders, read_as_proxies, smallest_image
from piip_search.tasks.detection.mmdet.detectors import DETECTOR_CONFIGS, DetectorConfig, DetectorMaps
from piip_search.tasks.detection.mmdet.recipe import SCHEDULES, TrainingLength
from piip_search.tasks.detection.section import DetectionTraining

MEAN = STD = [127.5, 127.5, 127.5]
CONFIG_MODULES = ("piip_workers.tasks.detection.backbone", "piip_workers.mmlab.layer_decay", *READING)
"""Modules that a configuration imports."""
FEWEST_WARMUP = 2
"""Fewest steps of a warm-up: mmengine would leave the rate at the start of a rise of one step."""


def proxy_config(
    architecture: Architecture,
    data: CocoPaths,
    training: DetectionTraining,
    *,
    fidelity: Fidelity,
    images: ProxyImages,
    seed: int,
    detector_config: DetectorConfig | None = None,
    accumulated: int = 1,
) -> Settings:
    """A short training at the architecture's own image size.

    Args:
        architecture: Architecture to train, already scaled.
        data: Paths of the data set.
        training: Detector and recipe.
        fidelity: Epochs, and epochs of the schedule.
        images: Images that the proxy reads.
        seed: Seed of weights and image order.
        detector_config: The detector around the backbone; by default the recipe's, where its cost is known.
        accumulated: Number of steps whose gradients make one batch of the recipe, to save memory.
    """
    detector_config = detector_config or DETECTOR_CONFIGS[training.detector]
    clip = {"max_norm": training.clip_norm}
    optimiser = _optimiser(architecture, training.learning_rate, training.weight_decay, clip, training.layer_decay)
    model = _model(architecture, training, detector_config, data, regularised=False)
    if training.cuda_graphs:
        model["backbone"]["cuda_graphs"] = True
    network = ProxyNetwork(_base(detector_config), model, optimiser, architecture.resolution, detector_config.masks)
    return proxy_settings(network, data, training, fidelity, images, seed, accumulated)


@dataclass(frozen=True, slots=True)
class ProxyNetwork:
    """The settings of a network for a short training.

    Attributes:
        base: Base configuration, without its data and weights.
        model: Settings of the model.
        optimiser: Settings of the optimiser.
        side: Long side in pixels of the box for an image.
        masks: Whether the model predicts masks.
    """

    base: Settings
    model: Settings
    optimiser: Settings
    side: int
    masks: bool


def proxy_settings(
    network: ProxyNetwork,
    data: CocoPaths,
    training: DetectionTraining,
    fidelity: Fidelity,
    images: ProxyImages,
    seed: int,
    accumulated: int,
) -> Settings:
    """The configuration of a short training of any network; the arguments are those of `proxy_config`."""
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
    steps: Settings = {"accumulative_counts": accumulated} if accumulated > 1 else {}
    parts = loaders(
        network.side,
        data,
        training,
        masks=network.masks,
        batch=batch,
        measured=batch,
        workers=training.loader_workers,
        unreadable=None if images.unreadable is None else str(images.unreadable),
    )
    read_as_proxies(parts, training, images, seed)
    epochs = max(1, fidelity.epochs)
    return {
        **network.base,
        "model": network.model,
        **parts,
        "train_cfg": replaced(
            type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=training.measure_every or epochs
        ),
        "param_scheduler": [*rise, fall],
        "optim_wrapper": {**network.optimiser, **steps},
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
    training: DetectionTraining,
    schedule: TrainingLength = SCHEDULES["1x"],
    *,
    images: int | None = None,
    weights: str | None = None,
    detector_config: DetectorConfig | None = None,
    seed: int = 0,
    unreadable: str | None = None,
) -> Settings:
    """PIIP's detection recipe at full image size (official configurations, Mask R-CNN 1x and 3x).

    12 or 36 epochs in batches of 16, AdamW at 1e-4, 500 iterations of warm-up (at most a tenth of the training), steps
    after epochs 8 and 11, or 27 and 33. Images are fitted into the same box as the proxies' and padded until every
    branch's grid is exact; they are measured one at a time. With pre-trained branches the learning rate decays by 0.85
    from block to block; with random weights it does not.

    Args:
        architecture: Architecture to train.
        data: Paths of the data set.
        training: Detector and recipe; `pretrained` tells whether the branches are pre-trained.
        schedule: Length of the training.
        images: Training images a pass, if known.
        weights: File of the starting weights; else the branches' weights come from `training.pretrained`, if set.
        detector_config: The detector around the backbone; by default the recipe's, where its cost is known.
        seed: Seed of weights and image order.
        unreadable: File that lists undecodable training images, which others replace; None stops at the first.
    """
    detector_config = detector_config or DETECTOR_CONFIGS[training.detector]
    decay = recipe.LAYER_DECAY if training.pretrained else 1.0
    if weights is not None:
        training = training.model_copy(update={"pretrained": None})
    return {
        **_base(detector_config),
        "load_from": weights,
        "model": _model(architecture, training, detector_config, data, regularised=True),
        **loaders(
            architecture.resolution,
            data,
            training,
            masks=detector_config.masks,
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
        # One-stage heads read no map of stride 4, so its level has no gradient.
        "find_unused_parameters": training.detector != "mask_rcnn",
        "randomness": {"seed": seed},
    }


def _warmup(schedule: TrainingLength, images: int | None) -> int:
    """Iterations of the learning rate's warm-up."""
    if images is None:
        return recipe.WARMUP_ITERATIONS
    total = schedule.epochs * math.ceil(images / recipe.IMAGES_A_STEP)
    return min(recipe.WARMUP_ITERATIONS, round(recipe.WARMUP_SHARE * total))


def _rise(start: float, steps: int) -> list[Settings]:
    """The learning rate's rise from a share of it; empty for too few steps."""
    if steps < FEWEST_WARMUP:
        return []
    return [{"type": "LinearLR", "start_factor": start, "by_epoch": False, "begin": 0, "end": steps}]


def _base(detector_config: DetectorConfig) -> Settings:
    """The detector's base configuration without its data and weights."""
    return base_settings(detector_config.base, detector_config.imports)


def base_settings(base: str, imports: tuple[str, ...]) -> Settings:
    """A base configuration without its data, hooks and weights.

    Args:
        base: Name or path of the configuration.
        imports: Modules that it imports.
    """
    imports = (*CONFIG_MODULES, *(name for name in imports if name not in CONFIG_MODULES))
    return {
        "_base_": [base],
        "custom_imports": {"imports": list(imports), "allow_failed_imports": False},
        "custom_hooks": [],
        "load_from": None,
    }


def _model(
    architecture: Architecture,
    training: DetectionTraining,
    detector_config: DetectorConfig,
    data: CocoPaths,
    regularised: bool,
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
    if detector_config.strides != STRIDES:
        backbone["strides"] = list(detector_config.strides)
    smallest = smallest_image(architecture, training, data.aspects)
    maps = DetectorMaps(_map_widths(architecture, len(detector_config.strides)), smallest)
    settings = detector_config.settings(training, len(data.classes), maps)
    processor = {"mean": MEAN, "std": STD, "bgr_to_rgb": True, "pad_size_divisor": architecture.multiple}
    return {**settings, "data_preprocessor": processor | settings.get("data_preprocessor", {}), "backbone": backbone}


def _map_widths(architecture: Architecture, levels: int) -> tuple[int, ...]:
    """Channels of the maps that the neck reads; the last ones of a pyramid's four."""
    widths = [width for width, _ in architecture.merged] * (PYRAMID_LEVELS // len(architecture.merged))
    return tuple(widths[-levels:])


def _optimiser(
    architecture: Architecture, learning_rate: float, weight_decay: float, clip: Settings | None, layer_decay: float
) -> Settings:
    """AdamW without decay on norms, biases, gates, layer scales and position embeddings.

    Its constructor groups parameters of one rate and decay. mmengine's own makes a group of each parameter, of which a
    PIIP network has a thousand, and each would then be updated separately.
    """
    adamw = {"type": "AdamW", "lr": learning_rate, "betas": (0.9, 0.999), "weight_decay": weight_decay, "fused": True}
    return replaced(
        type="OptimWrapper",
        constructor="PIIPLayerDecay",
        optimizer=adamw,
        paramwise_cfg={"architecture": architecture.name, "rate": layer_decay},
        clip_grad=clip,
    )
