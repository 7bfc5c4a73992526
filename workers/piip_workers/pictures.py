"""What the image files of a data set are: sizes, turning, depth, a hash of their contents, whether they decode.

All of it is looked at once for each file: the user's cache folder keeps it by path, size, time of change and inode.

Legend: M images.
"""

import hashlib
import importlib.util
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from piip_workers.cache import cache_folder
from piip_workers.image_files import image_file

VERSION = 1
"""Raised whenever what is kept of a file changes its meaning."""
SETTLED = 2.0
"""Seconds after which a file that changed again has another time of change on every file system."""
THREADS = min(8, os.cpu_count() or 1)
ORIENTATION, BITS_A_SAMPLE, SAMPLE_FORMAT, FLOATS = 0x0112, 258, 339, 3
"""Tags of EXIF and TIFF, and the sample format of floating-point numbers."""

Told = Callable[[int, int], None]
T = TypeVar("T")


def _untold(done: int, total: int) -> None:
    """Where nobody wants to know how far it is."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an image file say.

    Attributes:
        width: Of the pixels as they are stored; 0 where the file is no image that is known.
        height: Likewise.
        orientation: How they are to be turned to stand upright, 1 to 8 as in EXIF; 1 is upright.
        bits: Of a channel.
        floats: Whether channels hold floating-point numbers.
        too_large: Whether it has more pixels than are decoded.
    """

    width: int = 0
    height: int = 0
    orientation: int = 1
    bits: int = 8
    floats: bool = False
    too_large: bool = False

    @property
    def is_turned(self) -> bool:
        return self.orientation != 1

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width as they are stored."""
        return self.height, self.width

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width once it stands upright."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a file; None for what was not looked at.

    Attributes:
        size: Of the file in bytes.
        changed: When it changed, in nanoseconds.
        inode: Its number in the file system.
        header: What its first bytes say.
        hash: Of its contents, 32 hexadecimal digits.
        decodes: Whether OpenCV decodes it.
        brightest: Largest value of a channel.
    """

    size: int
    changed: int
    inode: int
    header: Header | None = None
    hash: str | None = None
    decodes: bool | None = None
    brightest: int | None = None


class Pictures:
    """The images of a folder. Files that are missing are none of it.

    Args:
        folder: Where they are.
        names: Of the files, as an annotation file has them.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._files = {name: image_file(folder, name) for name in names}
        key = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._cache = cache_folder() / "pictures" / f"{key}.json"
        kept = _read(self._cache)
        self._known: dict[str, Picture] = {}
        for name, file in self._files.items():
            with suppress(OSError, ValueError):
                state = file.stat()
                now = Picture(state.st_size, state.st_mtime_ns, state.st_ino)
                then = kept.get(name)
                same = then is not None and (then.size, then.changed, then.inode) == (now.size, now.changed, now.inode)
                self._known[name] = then if same and then is not None else now
        self._kept = kept

    def file(self, name: str) -> Path:
        """Where an image is."""
        return self._files[name]

    @property
    def missing(self) -> list[str]:
        return [name for name in self._files if name not in self._known]

    def headers(self, names: Sequence[str], told: Told = _untold) -> list[Header | None]:
        """What the first bytes of files say; None of those that are missing."""
        return self._look(names, "header", _header, told)

    def hashes(self, names: Sequence[str], told: Told = _untold) -> list[str | None]:
        """Hashes of the files' contents."""
        return self._look(names, "hash", _hash, told)

    def decodable(self, names: Sequence[str], told: Told = _untold) -> list[bool]:
        """Whether files can be decoded, with OpenCV, which is installed; those that are missing cannot."""
        return [bool(found) for found in self._look(names, "decodes", _is_decodable, told)]

    def brightest(self, names: Sequence[str], told: Told = _untold) -> list[int]:
        """Largest value of a channel of files; 0 of those that cannot be decoded."""
        return [found or 0 for found in self._look(names, "brightest", _brightest, told)]

    def _look(self, names: Sequence[str], what: str, look: Callable[[Path], T], told: Told) -> list[T | None]:
        new = [name for name in names if name in self._known and getattr(self._known[name], what) is None]
        if new:
            with ThreadPoolExecutor(THREADS) as pool:
                for done, (name, found) in enumerate(zip(new, pool.map(look, map(self.file, new)), strict=True), 1):
                    changed: dict[str, Any] = {what: found}
                    self._known[name] = replace(self._known[name], **changed)
                    told(done, len(new))
            self._keep()
        return [getattr(self._known[name], what) if name in self._known else None for name in names]

    def _keep(self) -> None:
        """Writes what is known of files that changed a while ago; where nobody may write, they are looked at again."""
        last = time.time_ns() - int(SETTLED * 1e9)
        self._kept |= {name: picture for name, picture in self._known.items() if picture.changed < last}
        with suppress(OSError):
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            draft = self._cache.with_name(f".{self._cache.name}.{os.getpid()}")
            content = {"version": VERSION, "pictures": {name: asdict(one) for name, one in self._kept.items()}}
            draft.write_text(json.dumps(content), encoding="utf-8")
            draft.replace(self._cache)


def _read(file: Path) -> dict[str, Picture]:
    """What was kept; nothing where that cannot be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            return {}
        return {name: _picture(one) for name, one in content["pictures"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _picture(content: dict[str, Any]) -> Picture:
    header = content.pop("header")
    return Picture(**content, header=None if header is None else Header(**header))


def _header(file: Path) -> Header:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with file.open("rb") as opened:
                head = opened.read(32)
                opened.seek(0)
                with Image.open(opened) as image:
                    tags = image.getexif()
                    orientation = tags.get(ORIENTATION, 1)
                    bits, floats = _depth(image, head)
                    width, height = image.size
    except Image.DecompressionBombError:
        return Header(too_large=True)
    except Exception:  # a library that meets a file of any content
        return _header_of_pixels(file)
    known = isinstance(orientation, int) and 1 <= orientation <= 8
    return Header(width, height, orientation if known else 1, bits, floats)


def _header_of_pixels(file: Path) -> Header:
    """The same of a file of which only OpenCV knows the format, or nobody, which is told where it should be decoded."""
    pixels = _decoded(file) if importlib.util.find_spec("cv2") else None
    if pixels is None:
        return Header()
    height, width = pixels.shape[:2]
    return Header(width, height, bits=8 * pixels.dtype.itemsize, floats=np.issubdtype(pixels.dtype, np.floating))


def _depth(image: Any, head: bytes) -> tuple[int, bool]:
    """Bits of a channel, and whether it holds floating-point numbers."""
    if image.format == "PNG":
        return head[24], False  # what the file has; the library turns 16 bits of colours into 8
    if image.format == "TIFF":
        bits, kind = image.tag_v2.get(BITS_A_SAMPLE, 8), image.tag_v2.get(SAMPLE_FORMAT, 1)
        largest = max(bits) if isinstance(bits, tuple) else bits
        return int(largest), FLOATS in (kind if isinstance(kind, tuple) else (kind,))
    return (16 if image.mode.startswith("I;16") else 32 if image.mode in ("I", "F") else 8), image.mode == "F"


def _hash(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _is_decodable(file: Path) -> bool:
    pixels = _decoded(file)
    return pixels is not None and pixels.dtype in (np.uint8, np.uint16)


def _brightest(file: Path) -> int:
    pixels = _decoded(file)
    return 0 if pixels is None or not np.issubdtype(pixels.dtype, np.integer) else int(pixels.max())


def _decoded(file: Path) -> Any:
    import cv2

    try:
        return cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
