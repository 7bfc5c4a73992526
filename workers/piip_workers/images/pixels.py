"""Pixels of image files, as annotations are of them and as trainings see them."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.config import Orientation
from piip_search.errors import DataError

MOST_PIXELS = 178_956_970
"""Most pixels of an image that is decoded: twice what Pillow warns of.

A pixel takes three bytes, or six where a channel has 16 bits.
"""
# OpenCV's own bound is a gigapixel. It is read when the library is loaded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))

import cv2  # noqa: E402

TURNED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
"""Flags for pixels that are turned as EXIF says."""
STORED = TURNED | cv2.IMREAD_IGNORE_ORIENTATION
"""Flags for pixels as they are stored."""
Pixels = NDArray[np.uint8]


def raw(content: bytes, flags: int = TURNED) -> NDArray[Any] | None:
    """An image's pixels, (height, width, 3), blue first, of any depth; None where it cannot be decoded.

    Args:
        content: Content of the file.
        flags: OpenCV's.
    """
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error:  # it has too many pixels, among others
        return None


def decoded(
    content: bytes, orientation: Orientation = "exif", bits: int = 16, size: tuple[int, int] | None = None
) -> Pixels:
    """An image's pixels as annotations are of them, (height, width, 3), blue first.

    Args:
        content: Content of the file.
        orientation: Whether it is turned as its EXIF says, or left as it is stored, where its size does not tell.
        bits: Bits that an image of 16 bits a channel uses: the largest number of so many bits becomes white.
        size: Height and width that the annotations record; None where there are none.

    Raises:
        DataError: It cannot be decoded, or is of another size.
    """
    ways = (TURNED, STORED) if orientation == "exif" else (STORED, TURNED)
    found: tuple[int, ...] = ()
    for flags in ways:
        image = raw(content, flags)
        if image is None:
            raise DataError("cannot be decoded")
        found = image.shape[:2]
        if size in (None, found):
            return _eight_bits(image, bits)
    height, width = size or (0, 0)
    raise DataError(f"has {found[1]} x {found[0]} pixels, and its annotations are of {width} x {height}")


def _eight_bits(image: NDArray[Any], bits: int) -> Pixels:
    """The pixels in 8 bits; what exceeds the bits that are used is white.

    Raises:
        DataError: They are floating-point numbers, or have more than 16 bits.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16:
        raise DataError(f"has pixels of {image.dtype}, and 8 or 16 bits are read")
    eight: Pixels = np.minimum(image >> (bits - 8), 255).astype(np.uint8)
    return eight
