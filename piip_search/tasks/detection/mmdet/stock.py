"""Stock detectors of mmdet, with backbones of their own, as configurations for the proxies' training."""

from dataclasses import dataclass
from typing import Any

from piip_search.evaluation.evaluation import Fidelity
from piip_search.export.settings import Settings, replaced
from piip_search.tasks.detection.mmdet.config import ProxyNetwork, base_settings, proxy_settings
from piip_search.tasks.detection.mmdet.data import CocoPaths, ProxyImages
from piip_search.tasks.detection.section import DetectionTraining

PADDING = 32
"""Multiple in pixels of the sides of a padded image: the coarsest stride of the detectors' own backbones."""


@dataclass(frozen=True, slots=True)
class StockDetector:
    """A detector of mmdet as its configuration describes it.

    Attributes:
        base: Name of the configuration.
        model: Settings of the model.
        masks: Whether it predicts masks.
        imports: Modules that the configuration imports.
    """

    base: str
    model: Settings
    masks: bool
    imports: tuple[str, ...] = ()


def stock_side(side: int, image_scale: float) -> int:
    """The long side in pixels of the images that a proxy trains, a multiple of the padding if it is scaled."""
    return side if image_scale == 1 else max(1, round(side * image_scale / PADDING)) * PADDING


def stock_config(
    detector: StockDetector,
    side: int,
    data: CocoPaths,
    training: DetectionTraining,
    *,
    fidelity: Fidelity,
    images: ProxyImages,
    seed: int,
    accumulated: int = 1,
) -> Settings:
    """The short training of a stock detector with the recipe of the proxies.

    Equal are the images and their box, augmentation, batches, epochs, AdamW with its rate, decay, warm-up and clipping,
    and the seed. Its own are model, losses and pixel norm. Settings for branches have no meaning here: pre-trained
    branches, layer decay, precision, checkpointing, CUDA graphs, and channels and anchors of the searched head.

    Args:
        detector: Detector to train.
        side: Long side in pixels of the box for an image.
        data: Paths of the data set.
        training: Recipe.
        fidelity: Epochs, and epochs of the schedule.
        images: Images that the training reads.
        seed: Seed of weights and image order.
        accumulated: Number of steps whose gradients make one batch of the recipe, to save memory.
    """
    model = stock_model(detector.model, len(data.classes), training.max_detections)
    adamw = {
        "type": "AdamW",
        "lr": training.learning_rate,
        "betas": (0.9, 0.999),
        "weight_decay": training.weight_decay,
        "fused": True,
    }
    optimiser = replaced(
        type="OptimWrapper",
        optimizer=adamw,
        # Some heads share convolutions between levels.
        paramwise_cfg={"norm_decay_mult": 0.0, "bias_decay_mult": 0.0, "bypass_duplicate": True},
        clip_grad={"max_norm": training.clip_norm},
    )
    network = ProxyNetwork(
        base_settings(detector.base, detector.imports), replaced(**model), optimiser, side, detector.masks
    )
    return proxy_settings(network, data, training, fidelity, images, seed, accumulated)


def stock_model(model: Settings, classes: int, detections: int) -> Settings:
    """The settings of a model for other classes, from random weights, on one device.

    Frozen stages and norms are trained: from random weights they would stay random. Batch norms over several devices
    become those of one, and images keep their sizes.

    Args:
        model: Settings of the configuration.
        classes: Number of classes.
        detections: Most boxes an image.
    """
    changed: Settings = {name: _for_one_device(part) for name, part in _without_weights(model).items()}
    for name, part in changed.items():
        if name != "backbone":
            changed[name] = _with(part, "num_classes", classes)
    backbone = changed["backbone"]
    if "init_cfg" in backbone:
        backbone["init_cfg"] = None
    processor = {**(changed.get("data_preprocessor") or {"type": "DetDataPreprocessor"})}
    processor["pad_size_divisor"] = max(PADDING, processor.get("pad_size_divisor", 1))
    if "batch_augments" in processor:
        processor["batch_augments"] = None
    changed["data_preprocessor"] = processor
    if changed.get("test_cfg"):
        changed["test_cfg"] = _with(changed["test_cfg"], "max_per_img", detections, outside=("rpn",))
    return changed


def _with(value: Any, key: str, new: int, outside: tuple[str, ...] = ()) -> Any:
    """Settings with a value at every place of a key, except in some parts."""
    if isinstance(value, list):
        return [_with(item, key, new, outside) for item in value]
    if isinstance(value, dict):
        return {
            name: new if name == key else part if name in outside else _with(part, key, new, outside)
            for name, part in value.items()
        }
    return value


UNFROZEN = {"frozen_stages": -1, "norm_eval": False}
"""Settings of backbones, at any depth, whose first layers are pre-trained."""


def _without_weights(value: Any) -> Any:
    """Settings without files of weights and frozen parts, at any depth: necks and heads may have backbones too."""
    if isinstance(value, list):
        return [_without_weights(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "Pretrained":
        return None
    changed = {name: UNFROZEN.get(name, _without_weights(part)) for name, part in value.items()}
    if changed.get("pretrained"):
        changed["pretrained"] = False if changed["pretrained"] is True else None
    return changed


def _for_one_device(value: Any) -> Any:
    if isinstance(value, list):
        return [_for_one_device(item) for item in value]
    if isinstance(value, dict):
        return {name: "BN" if part == "SyncBN" else _for_one_device(part) for name, part in value.items()}
    return value
