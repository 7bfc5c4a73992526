"""Any detector of mmdet around a PIIP backbone, with the settings that backbone, classes and data change.

All other settings stay as in its configuration. The three detectors of known cost (`DETECTOR_CONFIGS`) are written out
in full.
"""

import copy
from pathlib import Path
from typing import Any

from piip_search.architecture.segments import STRIDES
from piip_search.errors import UserError
from piip_search.export.settings import Settings
from piip_search.file_paths import located
from piip_search.tasks.detection.mmdet.detectors import DETECTOR_CONFIGS, DetectorConfig, DetectorMaps
from piip_search.tasks.detection.section import DetectionTraining
from piip_workers.mmlab.shims import install

SHORT_NAMES = {
    "atss": "mmdet::atss/atss_r50_fpn_1x_coco.py",
    "cascade_rcnn": "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
    "cascade_mask_rcnn": "mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py",
    "dino": "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py",
}
"""Configurations by short name."""


def detector_config_of(training: DetectionTraining) -> DetectorConfig:
    """The detector of a training recipe.

    Raises:
        UserError: The configuration cannot be read, or its neck does not read three or four maps.
    """
    name = training.detector
    if name in DETECTOR_CONFIGS:
        return DETECTOR_CONFIGS[name]
    base = SHORT_NAMES.get(name, name)
    base = base if base.startswith("mmdet::") else str(Path(base).resolve())
    config = read_config(base, "training.detector")
    model: Settings = config["model"]
    widths = _neck(model, 0).get("in_channels")
    if not isinstance(widths, list) or len(widths) not in (3, len(STRIDES)):
        raise UserError(
            f"training.detector: the neck of {base} must read 3 or 4 maps, got in_channels {widths}; "
            "choose a detector with an FPN or a channel mapper"
        )

    def settings(training: DetectionTraining, classes: int, maps: DetectorMaps) -> Settings:
        return _changes(model, training, classes, maps)

    return DetectorConfig(base, STRIDES[-len(widths) :], has_masks(model), settings, imports_of(config))


def imports_of(config: Settings) -> tuple[str, ...]:
    """The modules that a configuration imports."""
    imports = (config.get("custom_imports") or {}).get("imports") or ()
    return (imports,) if isinstance(imports, str) else tuple(imports)


def _neck(model: Settings, place: int) -> Settings:
    """Settings of a part of the neck, which may have several in sequence; empty if it has fewer."""
    neck = model.get("neck")
    part = neck[place] if isinstance(neck, list) and neck else neck
    return part if isinstance(part, dict) else {}


def read_config(base: str, place: str) -> Settings:
    """A configuration with a model as plain data.

    Args:
        base: Name or path of the configuration.
        place: Setting that names it, for messages.

    Raises:
        UserError: It cannot be read, or has no model with a backbone.
    """
    install()
    from mmengine.config import Config
    from mmengine.hub import get_config

    if not base.startswith("mmdet::") and not Path(base).is_file():
        raise UserError(
            f"{place}: no configuration {located(base)}; give a file, or a name such as {SHORT_NAMES['atss']}"
        )
    try:
        config = get_config(base) if base.startswith("mmdet::") else Config.fromfile(base)
    except (Exception, SystemExit) as error:  # a configuration is a program and raises anything
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{place}: {base} cannot be read: {type(error).__name__}: {reason}") from None
    if "backbone" not in (config.get("model") or {}):
        raise UserError(f"{place}: {base} has no model with a backbone; give a detector's configuration")
    plain: Settings = config.to_dict()
    return plain


def _changes(model: Settings, training: DetectionTraining, classes: int, maps: DetectorMaps) -> Settings:
    """The settings that differ from the configuration; a list replaces the configuration's whole list."""
    changed = {
        part: _with_classes(model[part], classes)
        for part in model
        if part not in ("backbone", "neck", "data_preprocessor") and _mentions(model[part], "num_classes")
    }
    neck = copy.deepcopy(model["neck"])
    (neck[0] if isinstance(neck, list) else neck)["in_channels"] = list(maps.widths)
    changed["neck"] = neck if isinstance(neck, list) else {"in_channels": list(maps.widths)}
    if (model.get("data_preprocessor") or {}).get("batch_augments"):
        # They change image sizes, so that grids are no longer exact.
        changed["data_preprocessor"] = {"batch_augments": None}
    queries = _queries(model, maps)
    if queries != model.get("num_queries"):
        changed["num_queries"] = queries
    test = model.get("test_cfg") or {}
    for place in (("rcnn",), ()):
        section = test
        for step in place:
            section = section.get(step) or {}
        if "max_per_img" in section:
            # A detector with queries fails if more detections are requested than queries x classes.
            most = training.max_detections if queries is None else queries * classes
            limit: Settings = {"max_per_img": min(training.max_detections, most)}
            changed["test_cfg"] = {place[0]: limit} if place else limit
            break
    return changed


def _queries(model: Settings, maps: DetectorMaps) -> int | None:
    """Number of queries of a detector, at most the number of positions that it selects them from; None without queries.

    Positions are counted in the smallest image, so that the detector is equal in every batch.
    """
    queries: int | None = model.get("num_queries")
    if queries is None or not model.get("as_two_stage"):
        return queries
    strides = list(STRIDES[-len(maps.widths) :])
    while len(strides) < _neck(model, -1).get("num_outs", 0):
        strides.append(2 * strides[-1])
    height, width = maps.smallest
    return min(queries, sum(max(1, height // stride) * max(1, width // stride) for stride in strides))


def _with_classes(value: Any, classes: int) -> Any:
    if isinstance(value, list):
        return [_with_classes(item, classes) for item in value]
    if isinstance(value, dict):
        return {key: classes if key == "num_classes" else _with_classes(item, classes) for key, item in value.items()}
    return value


def _mentions(value: Any, key: str) -> bool:
    if isinstance(value, dict):
        return key in value or any(_mentions(item, key) for item in value.values())
    return isinstance(value, list) and any(_mentions(item, key) for item in value)


def has_masks(model: Settings) -> bool:
    """Whether a model predicts masks."""
    return _mentions(model, "mask_head")
