"""Draws handwritten digits on textured ground, for embedded data sets.

The digits are the real ones in scikit-learn (UCI ML hand-written digits, 8x8 pixels).
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits


def digits_of(part: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Digits of a part, (N, 8, 8) from 0 to 16, and their values; every fifth one is reserved for the part `val`.

    The source does not identify writers.
    """
    source = load_digits()
    every = np.arange(len(source.target)) % 5
    chosen = (every == 0) == (part == "val")
    return source.images[chosen], source.target[chosen]


def textured_ground(random: np.random.RandomState, side: int) -> NDArray[np.float64]:
    """A smooth coloured texture with grain, (side, side, 3)."""
    canvas = np.full((side, side, 3), random.uniform(60, 195, size=3))
    for cells, strength in ((4, 40.0), (16, 20.0), (64, 10.0)):
        noise = random.normal(0, strength, size=(cells, cells, 3))
        canvas += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    grain: NDArray[np.float64] = random.normal(0, 4, size=canvas.shape)
    return (canvas + grain).clip(0, 255)


def ink_of(digit: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """A digit's ink from 0 to 1, (size, size)."""
    ink: NDArray[np.float64] = cv2.resize(digit / 16.0, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return ink


def put_ink(ground: NDArray[np.float64], ink: NDArray[np.float64], colour: NDArray[np.float64]) -> None:
    """Draws ink on a part of the ground, in a colour that is readable there."""
    ground += ink[:, :, None] * (_contrasting(colour, ground.mean(axis=(0, 1))) - ground)


def eight_bits(canvas: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The canvas as pixels of an image."""
    return canvas.round().clip(0, 255).astype(np.uint8)


def _contrasting(colour: NDArray[np.float64], ground: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour, moved away from the ground until it is readable."""
    darker = ground.mean() > 127
    return colour * 0.3 if darker else 255 - (255 - colour) * 0.3
