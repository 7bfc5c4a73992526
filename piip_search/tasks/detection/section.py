"""Sections `data` and `training` of the task detection."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, cast, get_args

from pydantic import AfterValidator, Field, model_validator

from piip_search.sections import DataSection, Orientation, Section, TrainingSection, closest
from piip_search.sections.fields import Count, FilePath, Positive
from piip_search.tasks.detection.head import DetectorName

DETECTORS = (*get_args(DetectorName), "atss", "cascade_rcnn", "cascade_mask_rcnn", "dino")
"""Short names of detectors; the cost of the first ones is known."""

MMDET = "mmdet::"
"""Beginning of the name of a configuration that mmdet ships."""

STOCK_DETECTORS = {
    "rtmdet_tiny": "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
    "rtmdet_s": "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py",
    "rtmdet_m": "mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py",
    "yolox_tiny": "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py",
    "yolox_s": "mmdet::yolox/yolox_s_8xb8-300e_coco.py",
    "retinanet_r18": "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py",
    "retinanet_r50": "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
    "faster_rcnn_r50": "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mask_rcnn_r50": "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
}
"""Detectors of mmdet with backbones of their own, by short name; a search is compared with them."""


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a jitter must be the least and the greatest factor, such as [0.8, 1.25], got {list(value)}")
    return value


Jitter = Annotated[tuple[Positive, Positive], Field(strict=False), AfterValidator(_ordered)]


class Split(Section):
    """One part of a COCO-format data set.

    Attributes:
        images: Folder of the images, relative to the data root.
        annotations: COCO instances JSON, relative to the data root.
        orientation: `exif` for annotations of pixels turned as EXIF says, `stored` for annotations of the pixels as
            stored; None determines it by the images' sizes.
        bits: Bits in use of images with 16 bits a channel, such as 12 for many cameras: the largest number of so many
            bits is white. None for all 16.
    """

    images: FilePath
    annotations: FilePath
    orientation: Orientation | None = None
    bits: Annotated[int, Field(ge=8, le=16)] | None = None


class DetectionData(DataSection):
    """The data set: a COCO-format folder, or `embedded: digits`, which needs no download.

    Attributes:
        embedded: A data set that is created on first use.
        root: Folder of the two parts; relative to the working directory.
        train: Part for training proxies.
        val: Part for measuring them.
    """

    embedded: Literal["digits"] | None = None
    train: Split | None = None
    val: Split | None = None

    @model_validator(mode="after")
    def _either_way(self) -> Self:
        own = (self.root, self.train, self.val)
        if self.embedded and any(part is not None for part in own):
            raise ValueError("give either embedded or root, train and val, not both")
        if not self.embedded and any(part is None for part in own):
            raise ValueError("give root, train and val of a COCO-format data set, or embedded: digits")
        return self

    @property
    def title(self) -> str:
        return self.embedded or super().title


class DetectionTraining(TrainingSection):
    """The training of a detector.

    Attributes:
        detector: Detector around the PIIP backbone: retinanet, fcos or mask_rcnn, whose cost is known; atss,
            cascade_rcnn, cascade_mask_rcnn or dino; or any configuration of mmdet, as mmdet::folder/name.py or a file.
        channels: Width of neck and head of a detector of known cost; others keep their own.
        flip: Probability of a horizontal flip.
        scale_jitter: Least and greatest factor on the fitted image's size, drawn for every image; larger images are
            cropped to the box. None for none.
        colour_jitter: Whether brightness, contrast, saturation and hue change at random.
        max_detections: Most boxes an image that the averages include, 100 in COCO's own.
        anchor_scale: Side of the smallest anchors over the stride of their map, smaller for smaller objects; None for
            the detector's own (4 in retinanet, 8 in mask_rcnn).
    """

    detector: str = "retinanet"
    channels: Annotated[int, Field(ge=16, le=8192, multiple_of=16)] = 256
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    scale_jitter: Jitter | None = None
    colour_jitter: bool = False
    max_detections: Count = 100
    anchor_scale: Positive | None = None

    @model_validator(mode="after")
    def _fits_the_detector(self) -> Self:
        if self.detector not in DETECTORS and not self.detector.endswith(".py"):
            raise ValueError(
                f"unknown detector {self.detector!r}{closest(self.detector, DETECTORS)}; "
                "or a configuration of mmdet, such as mmdet::atss/atss_r50_fpn_1x_coco.py or a file"
            )
        if self.detector.startswith(MMDET) and not is_shipped(self.detector):
            raise ValueError(f"{MMDET} names a configuration that mmdet ships, by a path in it, got {self.detector!r}")
        if self.known_detector is None and self.anchor_scale is not None:
            raise ValueError(f"anchor_scale is for retinanet and mask_rcnn; set anchors in the file of {self.detector}")
        if self.detector == "fcos" and self.anchor_scale is not None:
            raise ValueError("anchor_scale has no meaning for fcos, which has no anchors; leave it out")
        if self.detector == "fcos" and self.channels % 32:
            raise ValueError(f"channels must be a multiple of 32 for fcos's group norms, got {self.channels}")
        return self

    @property
    def known_detector(self) -> DetectorName | None:
        """The detector's name if its cost is known in closed form."""
        return cast(DetectorName, self.detector) if self.detector in get_args(DetectorName) else None

    @property
    def named_paths(self) -> Mapping[str, Path]:
        return {**super().named_paths, **self.programs}

    @property
    def programs(self) -> Mapping[str, Path]:
        """The configuration of the user's own detector: no known name, and none of mmdet's."""
        own = self.detector not in DETECTORS and not self.detector.startswith(MMDET)
        return {"detector": Path(self.detector)} if own else {}


def is_shipped(name: str) -> bool:
    """Whether a name of mmdet's stays inside mmdet: an absolute path, or one with `..`, would name any file."""
    path = name.removeprefix(MMDET)
    return bool(path) and not path.startswith("/") and ".." not in path.split("/")
