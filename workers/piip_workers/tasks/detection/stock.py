"""Stock detectors of mmdet: read from its configurations, built and counted."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from piip_search.architecture.stock import StockNetwork
from piip_search.config import SearchSpec
from piip_search.config.baselines import own_config
from piip_search.errors import MachineError, UserError
from piip_search.export.settings import Settings
from piip_search.tasks.detection.head import PROPOSALS
from piip_search.tasks.detection.mmdet.stock import PADDING, StockDetector, stock_model
from piip_search.tasks.detection.section import MMDET, is_shipped
from piip_workers.jobs.job import reason_of
from piip_workers.networks.counting import counted_macs
from piip_workers.tasks.detection.detectors import has_masks, imports_of, read_config

COUNTED_CLASSES = 80
"""Classes of a counted head: COCO's, as in the closed form of the searched head."""


def stock_detector_of(config: str, files: Mapping[str, str | Path]) -> StockDetector:
    """The detector of one of mmdet's configurations, or of a user's own.

    A configuration is a program. The name may come from a ledger that others write, so it never names a file.

    Args:
        config: Name of the configuration.
        files: Own files by their configurations, as the user's space names them.

    Raises:
        UserError: The name is none of mmdet's and no own file's, the configuration cannot be read or has no model with
            a backbone.
        MachineError: An own file has changed since its network was counted.
    """
    base = str(files.get(config, config))
    if config in files and _content(Path(base)) != config:
        raise MachineError(
            f"baselines: {base} has changed since the command began; put the old content back, or run the command "
            "again for the new content, which is another baseline"
        )
    if config not in files and not (config.startswith(MMDET) and is_shipped(config)):
        raise UserError(f"baselines: {config!r} is no configuration that mmdet ships; name one with {MMDET}")
    read = read_config(base, "baselines")
    model = read["model"]
    return StockDetector(base, model, has_masks(model), imports_of(read))


def _content(file: Path) -> str:
    """The configuration that a file's content stands for; empty for none."""
    try:
        return own_config(file.read_text(encoding="utf-8")) if file.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return ""


def counted_stock(network: StockNetwork, spec: SearchSpec, files: Mapping[str, Path]) -> StockNetwork:
    """A stock detector with the parameters and multiply-accumulates that torch's operator counter counts.

    It is built without values. As the searched designs, it is counted at the priced image. The conventions `published`
    and `backbone` count its own backbone. `whole` counts neck and heads too, at 1000 proposals where it has proposals.

    Args:
        network: Stock detector.
        spec: Search with the convention and the priced image.
        files: Users' own files, by the configurations of their networks.

    Raises:
        UserError: It cannot be built, or its operators cannot be counted.
    """
    detector = stock_detector_of(network.config, files)
    pricing, detections = spec.pricing, getattr(spec.training, "max_detections", 100)
    short_side = 1.0 if pricing.convention == "published" else pricing.short_side
    height, width = (math.ceil(int(side) / PADDING) * PADDING for side in (network.side * short_side, network.side))
    whole = pricing.convention == "whole"
    try:
        with torch.device("meta"):
            model = _built(stock_model(detector.model, COUNTED_CLASSES, detections))
            image = torch.empty(1, 3, height, width)
        part = model if whole else model.backbone
        macs = _whole_macs(model, image, detections) if whole else counted_macs(model.backbone, image)
    except (Exception, SystemExit) as error:  # a configuration is a program and raises anything
        way_out = "; set limit.convention to backbone, or leave it out" if whole else "; leave it out"
        raise UserError(f"baselines: {network.name} cannot be counted: {reason_of(error)[:300]}{way_out}") from None
    return replace(network, macs=macs, params=sum(parameter.numel() for parameter in part.parameters()))


def _built(model: Settings) -> Any:
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(ConfigDict(model))


def _whole_macs(model: Any, image: Tensor, detections: int) -> int:
    """Multiply-accumulates of backbone, neck and heads, those of regions as in the closed form of Mask R-CNN."""
    total = counted_macs(model.backbone, image)
    with torch.no_grad():
        maps = model.backbone(image)
        if getattr(model, "neck", None) is not None:
            total += counted_macs(model.neck, maps)
            maps = model.neck(maps)
    if not hasattr(model, "roi_head"):
        return total + counted_macs(model.bbox_head, maps)
    channels = maps[0].shape[1]
    total += counted_macs(model.rpn_head, maps)
    total += counted_macs(model.roi_head.bbox_head, torch.empty(PROPOSALS, channels, 7, 7, device="meta"))
    if getattr(model.roi_head, "mask_head", None) is not None:
        total += counted_macs(model.roi_head.mask_head, torch.empty(detections, channels, 14, 14, device="meta"))
    return total
