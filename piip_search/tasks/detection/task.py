"""The task detection, put together from its parts."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, get_args

from piip_search.architecture.segments import Merge
from piip_search.architecture.stock import OWN_FILE
from piip_search.cost import Convention, Head
from piip_search.sections import DataSection, TrainingSection
from piip_search.tasks.detection.facts import DETECTION_METRICS
from piip_search.tasks.detection.head import COCO_MASK_RCNN, DetectorHead, DetectorName
from piip_search.tasks.detection.mmdet.recipe import IMAGES_A_STEP, SCHEDULES
from piip_search.tasks.detection.plan import CONFIG, OFFICIAL, UNREADABLE
from piip_search.tasks.detection.section import (
    DETECTORS,
    MMDET,
    STOCK_DETECTORS,
    DetectionData,
    DetectionTraining,
    is_shipped,
)
from piip_search.tasks.task import Metric, Task


class Detection:
    """Boxes, and masks, of objects in images."""

    name = "detection"
    extra = "detection"
    packages: Mapping[str, str] = MappingProxyType({"mmengine": "mmengine", "mmcv": "mmcv-lite", "mmdet": "mmdet"})
    metrics: tuple[Metric, ...] = DETECTION_METRICS
    merges: tuple[Merge, ...] = ("conv", "linear", "pyramid", "residual")
    published: str | None = "detection"
    stock: Mapping[str, str] = MappingProxyType(STOCK_DETECTORS)
    shares = True
    data: type[DataSection] = DetectionData
    training: type[TrainingSection] = DetectionTraining
    paths: tuple[tuple[str, ...], ...] = (
        ("data", "root"),
        ("data", "train", "images"),
        ("data", "train", "annotations"),
        ("data", "val", "images"),
        ("data", "val", "annotations"),
        ("training", "pretrained"),
        ("training", "detector"),
    )
    heads: Mapping[str, Head] = MappingProxyType(
        {"mask_rcnn": COCO_MASK_RCNN, "retinanet": DetectorHead("retinanet"), "fcos": DetectorHead("fcos")}
    )
    formats: tuple[str, ...] = ("mmdet", "torch", "onnx")
    files: tuple[str, ...] = (CONFIG, OFFICIAL, UNREADABLE)
    schedules: tuple[str, ...] = tuple(SCHEDULES)
    images_a_step = IMAGES_A_STEP
    batch_setting = "train_dataloader.batch_size"

    def stock_config(self, name: str) -> str | None:
        if name.startswith(MMDET):
            return name if is_shipped(name) else None
        return OWN_FILE if name.endswith(".py") else STOCK_DETECTORS.get(name)

    def model(self, training: Any) -> str:
        return str(training.detector)

    def head(self, training: Any) -> Head | None:
        """The detector's neck and head for COCO's 80 classes, so that pricing needs no data."""
        if training.known_detector is None:
            return None
        return DetectorHead(training.known_detector, training.channels, detections=training.max_detections)

    def problems(self, metrics: Sequence[str], convention: Convention, training: Any) -> Iterator[str]:
        detector = training.detector
        of_masks = [metric for metric in metrics if metric.startswith("segm")]
        if of_masks and detector in DETECTORS and "mask" not in detector:
            yield (
                f"metric {of_masks[0]} needs a detector with masks, got {detector}; "
                "set training.detector to mask_rcnn, or metric to a bbox_mAP"
            )
        if convention == "whole" and training.known_detector is None:
            yield (
                f"limit.convention whole counts {', '.join(get_args(DetectorName))}, not {detector}; "
                "set it to backbone or published"
            )


DETECTION: Task = Detection()
