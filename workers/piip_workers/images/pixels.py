"""Pixels of image files, in the orientation of their annotations and as training sees them."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.errors import DataError
from piip_search.sections import Orientation

MOST_PIXELS = 178_956_970
"""Most pixels of an image that is decoded: twice the number from which Pillow warns.

A pixel takes three bytes, or six where a channel has 16 bits.
"""
# OpenCV's own bound is a gigapixel. OpenCV reads the variable when it is loaded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))

import cv2  # noqa: E402

TURNED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
"""Flags for pixels turned as EXIF says."""
STORED = TURNED | cv2.IMREAD_IGNORE_ORIENTATION
"""Flags for pixels as they are stored."""
Pixels = NDArray[np.uint8]


def raw(content: bytes, flags: int = TURNED) -> NDArray[Any] | None:
    """An image's pixels, (height, width, 3), blue first, of any depth; None if it cannot be decoded.

    Args:
        content: Content of the file.
        flags: Flags of OpenCV.
    """
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error:  # for example, too many pixels
        return None


def decoded(
    content: bytes, orientation: Orientation = "exif", bits: int = 16, size: tuple[int, int] | None = None
) -> Pixels:
    """An image's pixels in the orientation of its annotations, (height, width, 3), blue first.

    Args:
        content: Content of the file.
        orientation: Whether EXIF's turn applies, or the stored pixels, where the recorded size does not decide it.
        bits: Bits in use of an image with 16 bits a channel: the largest number of so many bits becomes white.
        size: Height and width that the annotations record; None without a record.

    Raises:
        DataError: It cannot be decoded, or has another size.
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
    raise DataError(f"has {found[1]} x {found[0]} pixels, but its annotations record {width} x {height}")


def _eight_bits(image: NDArray[Any], bits: int) -> Pixels:
    """The pixels in 8 bits; values above the bits in use are white.

    Raises:
        DataError: The pixels are floating-point numbers, or have more than 16 bits.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16:
        raise DataError(f"has pixels of {image.dtype}; convert it to 8 or 16 bits")
    eight: Pixels = np.minimum(image >> (bits - 8), 255).astype(np.uint8)
    return eight
