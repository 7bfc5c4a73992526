"""Data sets for classification: classes, images, fingerprint and checks."""

from piip_workers.tasks.classification.image_sets.checks import (
    examine,
    shared_images,
    undecodable_images,
    undecodable_training_images,
)
from piip_workers.tasks.classification.image_sets.data_set import (
    Labelled,
    LabelledParts,
    contents,
    fingerprint,
    image_counts,
    prepare,
    resolved,
)
from piip_workers.tasks.classification.image_sets.reading import read_image
from piip_workers.tasks.classification.image_sets.samples import chosen, measured

__all__ = [
    "Labelled",
    "LabelledParts",
    "chosen",
    "contents",
    "examine",
    "fingerprint",
    "image_counts",
    "measured",
    "prepare",
    "read_image",
    "resolved",
    "shared_images",
    "undecodable_images",
    "undecodable_training_images",
]
