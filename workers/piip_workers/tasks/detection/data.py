"""Data sets in COCO format: paths, contents, fingerprint and checks."""

from piip_workers.tasks.detection.coco.checks import (
    SAMPLE,
    check,
    examine,
    shared_images,
    undecodable_images,
    undecodable_training_images,
    unsuited,
)
from piip_workers.tasks.detection.coco.data_set import (
    Contents,
    chosen,
    contents,
    count_images,
    fingerprint,
    image_counts,
    measured_images,
    prepare,
    resolved,
)
from piip_workers.tasks.detection.digits import DIGITS

__all__ = [
    "DIGITS",
    "SAMPLE",
    "Contents",
    "check",
    "chosen",
    "contents",
    "count_images",
    "examine",
    "fingerprint",
    "image_counts",
    "measured_images",
    "prepare",
    "resolved",
    "shared_images",
    "undecodable_images",
    "undecodable_training_images",
    "unsuited",
]
