"""Draws the embedded data set.

Small digits vanish when an image is shrunk, and large ones need context. So it matters which branch sees which image
size.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from piip_search.tasks.classification.section import DIGIT_CLASSES
from piip_workers.images.digit_drawing import digits_of, eight_bits, ink_of, put_ink, textured_ground

SIDE = 64
"""Side of an image in pixels."""
SIZES = (20.0, 60.0)
"""Smallest and largest side of a digit in pixels; sides are uniform on a logarithmic scale."""


GROUND_MEAN, STROKE = 70.0, 230.0
"""Mean of the ground, and ink."""
TEXTURE = 0.2
"""Strength of the ground's texture: with all of it, small networks learn nothing in a short training."""


def write_class_folders(folder: Path, counts: Mapping[str, int]) -> None:
    """Writes a folder of class folders for each part, with as many images of each digit.

    Args:
        folder: Folder for those of the parts.
        counts: Number of images of each part.
    """
    for seed, (part, count) in enumerate(counts.items()):
        random = np.random.RandomState(seed)
        digits, values = digits_of(part)
        for name in DIGIT_CLASSES:
            (folder / part / name).mkdir(parents=True)
        for number in range(count):
            value = number % len(DIGIT_CLASSES)
            digit = digits[random.choice(np.flatnonzero(values == value))]
            file = folder / part / DIGIT_CLASSES[value] / f"{number:04d}.png"
            if not cv2.imwrite(str(file), _picture(random, digit)):
                raise OSError(f"no space for {file}")


def _picture(random: np.random.RandomState, digit: NDArray[np.float64]) -> NDArray[np.uint8]:
    """An image of one digit, (SIDE, SIDE, 3)."""
    # Grey, as colours would tell images apart, and small networks would learn them by heart.
    grey = textured_ground(random, SIDE).mean(axis=2, keepdims=True)
    canvas = np.repeat(GROUND_MEAN + TEXTURE * (grey - grey.mean()), 3, axis=2)
    size = round(float(np.exp(random.uniform(*np.log(SIZES)))))
    left, top = (int(corner) for corner in random.randint(0, SIDE - size, size=2))
    put_ink(canvas[top : top + size, left : left + size], ink_of(digit, size), np.full(3, STROKE))
    return eight_bits(canvas)
