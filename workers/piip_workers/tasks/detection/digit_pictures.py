"""Draws the embedded data set.

The digits are the real ones in scikit-learn (UCI ML hand-written digits, 8x8 pixels). Small ones vanish when an image
is shrunk, and large ones need context. So it matters which branch sees which image size.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

IMAGE_SIDE = 256
DIGIT_CLASSES = (0, 1)
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
    source = load_digits()
    # The source does not identify writers; every fifth digit is reserved for the validation images.
    every = np.arange(len(source.target)) % 5
    for number, (split, count) in enumerate(counts.items()):
        chosen = (every == 0) == (split == "val")
        _write_split(folder, split, count, source.images[chosen], source.target[chosen], seed=number)


def _write_split(folder: Path, split: str, count: int, digits: NDArray[Any], labels: NDArray[Any], seed: int) -> None:
    random = np.random.RandomState(seed)
    usable = np.flatnonzero(np.isin(labels, DIGIT_CLASSES))
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
                    "category_id": DIGIT_CLASSES.index(label) + 1,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                }
            )
    categories = [{"id": number + 1, "name": f"digit {label}"} for number, label in enumerate(DIGIT_CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")


def _picture(
    random: np.random.RandomState, digits: NDArray[Any], labels: NDArray[Any], usable: NDArray[Any]
) -> tuple[NDArray[np.uint8], list[tuple[int, tuple[int, int, int, int]]]]:
    """One image of shape (SIDE, SIDE, 3), and the label and box (left, top, width, height) of each digit."""
    canvas = _ground(random)
    boxes: list[tuple[int, tuple[int, int, int, int]]] = []
    taken = np.zeros((IMAGE_SIDE, IMAGE_SIDE), dtype=bool)
    for _ in range(random.randint(DIGITS_AN_IMAGE[0], DIGITS_AN_IMAGE[1] + 1)):
        size = round(float(np.exp(random.uniform(*np.log(DIGIT_SIZES)))))
        index = random.choice(usable)
        left, top = (int(corner) for corner in random.randint(0, IMAGE_SIDE - size, size=2))
        colour = random.uniform(0, 255, size=3)
        ink = cv2.resize(digits[index] / 16.0, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        columns, rows = np.flatnonzero(ink.max(axis=0) > 0.3), np.flatnonzero(ink.max(axis=1) > 0.3)
        box = (left + int(columns[0]), top + int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
        area = (slice(box[1], box[1] + box[3]), slice(box[0], box[0] + box[2]))
        if taken[area].any():  # digits do not overlap
            continue
        taken[area] = True
        part = canvas[top : top + size, left : left + size]
        part += ink[:, :, None] * (_contrasting(colour, part.mean(axis=(0, 1))) - part)
        boxes.append((int(labels[index]), box))
    return canvas.round().clip(0, 255).astype(np.uint8), boxes


def _ground(random: np.random.RandomState) -> NDArray[np.float64]:
    """A smooth coloured texture with grain."""
    canvas = np.full((IMAGE_SIDE, IMAGE_SIDE, 3), random.uniform(60, 195, size=3))
    for cells, strength in ((4, 40.0), (16, 20.0), (64, 10.0)):
        noise = random.normal(0, strength, size=(cells, cells, 3))
        canvas += cv2.resize(noise, (IMAGE_SIDE, IMAGE_SIDE), interpolation=cv2.INTER_CUBIC)
    grain: NDArray[np.float64] = random.normal(0, 4, size=canvas.shape)
    return (canvas + grain).clip(0, 255)


def _contrasting(colour: NDArray[np.float64], ground: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour, moved away from the ground until it is readable."""
    darker = ground.mean() > 127
    return colour * 0.3 if darker else 255 - (255 - colour) * 0.3
