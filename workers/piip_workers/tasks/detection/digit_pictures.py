"""Draws the embedded data set.

Small digits vanish when an image is shrunk, and large ones need context. So it matters which branch sees which image
size.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from piip_workers.images.digit_drawing import digits_of, eight_bits, ink_of, put_ink, textured_ground

IMAGE_SIDE = 256
DRAWN_DIGITS = (0, 1)
"""Two of the ten digits: models of this size learn to distinguish them within a minute."""
DIGIT_SIZES = (20.0, 100.0)
"""Smallest and largest side of a digit in pixels; sides are uniform on a logarithmic scale."""
DIGITS_AN_IMAGE = (4, 8)


def write_parts(folder: Path, counts: Mapping[str, int]) -> None:
    """Writes the images and annotations of each part.

    Args:
        folder: Folder for `train/`, `val/` and `annotations/`.
        counts: Number of images of each part.
    """
    for number, (split, count) in enumerate(counts.items()):
        _write_split(folder, split, count, *digits_of(split), seed=number)


def _write_split(folder: Path, split: str, count: int, digits: NDArray[Any], labels: NDArray[Any], seed: int) -> None:
    random = np.random.RandomState(seed)
    usable = np.flatnonzero(np.isin(labels, DRAWN_DIGITS))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (folder / split).mkdir()
    (folder / "annotations").mkdir(exist_ok=True)
    for index in range(count):
        picture, boxes = _picture(random, digits, labels, usable)
        name = f"{index:04d}.png"
        cv2.imwrite(str(folder / split / name), picture)
        images.append({"id": index + 1, "file_name": name, "height": IMAGE_SIDE, "width": IMAGE_SIDE})
        for label, (left, top, width, height) in boxes:
            right, bottom = left + width, top + height
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": DRAWN_DIGITS.index(label) + 1,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                }
            )
    categories = [{"id": number + 1, "name": f"digit {label}"} for number, label in enumerate(DRAWN_DIGITS)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")


def _picture(
    random: np.random.RandomState, digits: NDArray[Any], labels: NDArray[Any], usable: NDArray[Any]
) -> tuple[NDArray[np.uint8], list[tuple[int, tuple[int, int, int, int]]]]:
    """One image of shape (SIDE, SIDE, 3), and the label and box (left, top, width, height) of each digit."""
    canvas = textured_ground(random, IMAGE_SIDE)
    boxes: list[tuple[int, tuple[int, int, int, int]]] = []
    taken = np.zeros((IMAGE_SIDE, IMAGE_SIDE), dtype=bool)
    for _ in range(random.randint(DIGITS_AN_IMAGE[0], DIGITS_AN_IMAGE[1] + 1)):
        size = round(float(np.exp(random.uniform(*np.log(DIGIT_SIZES)))))
        index = random.choice(usable)
        left, top = (int(corner) for corner in random.randint(0, IMAGE_SIDE - size, size=2))
        colour = random.uniform(0, 255, size=3)
        ink = ink_of(digits[index], size)
        columns, rows = np.flatnonzero(ink.max(axis=0) > 0.3), np.flatnonzero(ink.max(axis=1) > 0.3)
        box = (left + int(columns[0]), top + int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
        area = (slice(box[1], box[1] + box[3]), slice(box[0], box[0] + box[2]))
        if taken[area].any():  # digits do not overlap
            continue
        taken[area] = True
        put_ink(canvas[top : top + size, left : left + size], ink, colour)
        boxes.append((int(labels[index]), box))
    return eight_bits(canvas), boxes
