"""Reads an image for a classifier.

Every kind of image becomes RGB with 8 bits by one rule each, the same one in training and in measurement.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from piip_search.errors import ImageError
from piip_workers.images.pictures import ORIENTATION

READER_VERSION = 1
"""Version of the reader; raised whenever it reads more or fewer files."""
READ_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Formats that are read, by Pillow's names: others, such as EPS, would start programs."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Turns that make an image upright, by EXIF's orientation."""
_WHITE = (255, 255, 255, 255)
_STARTS = {
    b"<!doctype": "it is a page of a web site, saved in the place of the file",
    b"<html": "it is a page of a web site, saved in the place of the file",
    b"<?xml": "it is an XML file",
    b"<svg": "it is an SVG drawing; convert it to PNG",
    b"version https://git-lfs": "it is a Git LFS pointer in the place of the file; fetch the file with git lfs pull",
    b"pk\x03\x04": "it is a ZIP archive",
}


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image's pixels, (height, width, 3), red first.

    Images of 16 bits are scaled, so that 65535 becomes 255. Clear and half-clear pixels lie over white. EXIF's turn is
    obeyed. Grey, palette and CMYK images become RGB. Of several pages or frames the first one is read.

    Args:
        path: The file; its content decides on the format.

    Raises:
        ImageError: It cannot be decoded; the message has the file and the reason.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=READ_FORMATS) as image:
                return _pixels(image)
    except Image.DecompressionBombError:
        reason = "it has more pixels than are decoded (179 million); cut it, or shrink it"
    except ImageError as error:
        reason = str(error)
    except Exception as error:  # files of any content raise errors of any kind in the library
        reason = _reason(content, error)
    raise ImageError(f"{path} cannot be decoded: {reason}")


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    image.load()
    turn = _TURNS.get(_orientation(image))  # after load, which turns TIFF files by itself
    upright = image if turn is None else image.transpose(turn)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        levels = np.asarray(upright).astype(np.uint32)
        grey = ((levels * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        kind = "floating-point numbers" if image.mode == "F" else "whole numbers of 32 bits or with a sign"
        raise ImageError(f"it holds {kind}; write it with 8 or 16 bits without a sign")
    if image.has_transparency_data:
        opaque = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", opaque.size, _WHITE), opaque)
    return np.array(upright.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    try:
        found: Any = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged tag leaves the image as it is stored
        return 1
    return found if isinstance(found, int) else 1


def _reason(content: bytes, error: Exception) -> str:
    """The reason why a file cannot be decoded, in one line."""
    head = content[:200].lstrip()
    if not head:
        return "it is empty"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "it is a HEIC picture; convert it to JPEG or PNG"
    found = next((what for start, what in _STARTS.items() if head.lower().startswith(start)), None)
    if found is not None:
        return found
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a known format"
    return (str(error).splitlines() or [type(error).__name__])[0]
