"""The detectors around a backbone: their mmdet configurations, and the settings that a search changes."""

from collections.abc import Callable
from dataclasses import dataclass

from piip_search.architecture.segments import STRIDES
from piip_search.export.settings import Settings
from piip_search.tasks.detection.head import stacked_convolutions
from piip_search.tasks.detection.section import DetectionTraining


@dataclass(frozen=True, slots=True)
class DetectorMaps:
    """The input maps of a detector's neck.

    Attributes:
        widths: Channels of each map.
        smallest: Height and width in pixels of the smallest image.
    """

    widths: tuple[int, ...]
    smallest: tuple[int, int]


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """A detector around a backbone: an mmdet base configuration, and the settings that a search changes.

    Attributes:
        base: Name or path of the configuration.
        strides: Strides of the maps that its neck reads.
        masks: Whether it predicts masks.
        settings: Function for the model's settings except the backbone's, given recipe, number of classes and maps.
        imports: Modules that the configuration imports.
    """

    base: str
    strides: tuple[int, ...]
    masks: bool
    settings: Callable[[DetectionTraining, int, DetectorMaps], Settings]
    imports: tuple[str, ...] = ()


def _dense(training: DetectionTraining, classes: int, maps: DetectorMaps) -> Settings:
    """Settings of a one-stage detector; a narrow head is also shallow, for small models."""
    channels = training.channels
    head: Settings = {
        "num_classes": classes,
        "in_channels": channels,
        "feat_channels": channels,
        "stacked_convs": stacked_convolutions(channels),
    }
    if training.anchor_scale is not None:
        head["anchor_generator"] = {"octave_base_scale": training.anchor_scale}
    neck = {"in_channels": list(maps.widths), "out_channels": channels}
    return {"neck": neck, "bbox_head": head, "test_cfg": {"max_per_img": training.max_detections}}


def _mask_rcnn(training: DetectionTraining, classes: int, maps: DetectorMaps) -> Settings:
    channels = training.channels
    rpn: Settings = {"in_channels": channels, "feat_channels": channels}
    if training.anchor_scale is not None:
        rpn["anchor_generator"] = {"scales": [training.anchor_scale]}
    return {
        "neck": {"in_channels": list(maps.widths), "out_channels": channels},
        "rpn_head": rpn,
        "roi_head": {
            "bbox_roi_extractor": {"out_channels": channels},
            "bbox_head": {"in_channels": channels, "fc_out_channels": 4 * channels, "num_classes": classes},
            "mask_roi_extractor": {"out_channels": channels},
            "mask_head": {"in_channels": channels, "conv_out_channels": channels, "num_classes": classes},
        },
        "test_cfg": {"rcnn": {"max_per_img": training.max_detections}},
    }


DETECTOR_CONFIGS: dict[str, DetectorConfig] = {
    "retinanet": DetectorConfig("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", STRIDES, False, _dense),
    # Its settings have the same names; its group norms take 32 groups of the head's channels.
    "fcos": DetectorConfig("mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", STRIDES, False, _dense),
    "mask_rcnn": DetectorConfig("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", STRIDES, True, _mask_rcnn),
}
"""The detectors with a known cost in closed form.

`piip_workers.tasks.detection.detectors` reads any other configuration of mmdet.
"""
