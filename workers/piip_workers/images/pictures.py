"""What the image files of a data set are: sizes, turning, depth, a hash of their contents, whether they decode.

All of it is looked at once for each file: the user's cache folder keeps it by path, size, times of change and inode.
"""

import hashlib
import importlib.util
import io
import json
import os
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from piip_workers.cache import cache_folder
from piip_workers.images.image_files import image_file
from piip_workers.whole_files import write_whole

CACHE_VERSION = 2
"""Raised whenever what is kept of a file changes its meaning."""
SETTLED = 2.0
"""Seconds after which a file that changed again has another time of change on every file system."""
THREADS = min(8, os.cpu_count() or 1)
FILES_A_BATCH = 16 * THREADS
"""Files that are looked at between two looks at whether somebody waits for the end."""
LARGE = 2**25
"""Pixels of an image that is decoded while no other is."""
BRIGHT = 99.9
"""Percentile of an image's values that is taken for its brightest: single pixels of a sensor are often broken."""
ORIENTATION = 0x0112
"""Tag of EXIF: how an image is to be turned."""
BITS_A_SAMPLE = 258
"""Tag of TIFF."""
SAMPLE_FORMAT = 339
"""Tag of TIFF."""
UNSIGNED = 1
"""Sample format of whole numbers without a sign."""
PLAIN_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "MPO")
"""Formats whose depth the first bytes say."""

ProgressCallback = Callable[[int, int], None]
_T = TypeVar("_T")


def _untold(done: int, total: int) -> None:
    """Where nobody wants to know how far it is."""


@cache
def has_opencv() -> bool:
    """Whether OpenCV can be used; on a cluster the workers have it, and the machine that submits need not.

    It is loaded here, before threads use it: while one of them imports it, others find half a module.
    """
    if importlib.util.find_spec("cv2") is None:
        return False
    try:
        from piip_workers.images import pixels  # noqa: F401
    except ImportError:  # its libraries are missing; who decodes an image says so
        return False
    return True


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an image file say.

    Attributes:
        width: Width of the pixels as they are stored; 0 where the file is no image that is known.
        height: Height, likewise.
        orientation: How they are to be turned to stand upright, 1 to 8 as in EXIF; 1 is upright.
        obeyed: Whether OpenCV turns it when asked to, and only then; it does not in every format.
        bits: Bits of a channel.
        odd: Whether channels hold floating-point numbers, or numbers with a sign.
        too_large: Whether it has more pixels than are decoded.
    """

    width: int = 0
    height: int = 0
    orientation: int = 1
    obeyed: bool = True
    bits: int = 8
    odd: bool = False
    too_large: bool = False

    @property
    def is_turned(self) -> bool:
        return self.orientation != 1

    @property
    def swaps(self) -> bool:
        """Whether height and width are exchanged by turning."""
        return self.orientation >= 5

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width as they are stored."""
        return self.height, self.width

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width once it stands upright."""
        return (self.width, self.height) if self.swaps and self.obeyed else (self.height, self.width)


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a file; None for what was not looked at.

    Attributes:
        size: Size of the file in bytes.
        changed: When its contents, and when anything about it, changed last, in nanoseconds.
        inode: Its number in the file system.
        header: What its first bytes say.
        hash: Hash of its contents, 32 hexadecimal digits.
        decodes: Whether OpenCV decodes it.
        brightest: Largest value of a channel, but for a few pixels (`BRIGHT`).
    """

    size: int
    changed: tuple[int, int]
    inode: int
    header: Header | None = None
    hash: str | None = None
    decodes: bool | None = None
    brightest: int | None = None


class Pictures:
    """The images of a folder. Files that are missing are none of it.

    Args:
        folder: Where they are.
        names: Names of the files, as an annotation file has them.

    Attributes:
        odd: Names of what is no regular file: a folder, a pipe, a device.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._files = {name: image_file(folder, name) for name in names}
        key = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._cache = cache_folder() / "pictures" / f"{key}.json"
        kept = _read(self._cache)
        self._known: dict[str, Picture] = {}
        self.odd: list[str] = []
        for name, file in self._files.items():
            with suppress(OSError, ValueError):
                state = file.stat()
                if not stat.S_ISREG(state.st_mode):
                    self.odd.append(name)
                    continue
                now = Picture(state.st_size, (state.st_mtime_ns, state.st_ctime_ns), state.st_ino)
                then = kept.get(name)
                same = then is not None and (then.size, then.changed, then.inode) == (now.size, now.changed, now.inode)
                self._known[name] = then if same and then is not None else now
        self._kept = kept

    def file(self, name: str) -> Path:
        """Where an image is."""
        return self._files[name]

    @property
    def missing(self) -> list[str]:
        odd = set(self.odd)
        return [name for name in self._files if name not in self._known and name not in odd]

    def headers(self, names: Sequence[str], told: ProgressCallback = _untold) -> list[Header | None]:
        """What the first bytes of files say; None of those that are missing."""
        return self._look(names, "header", _header, told)

    def hashes(self, names: Sequence[str], told: ProgressCallback = _untold) -> list[str | None]:
        """Hashes of the files' contents."""
        return self._look(names, "hash", _hash, told)

    def undecodable(
        self, names: Sequence[str], told: ProgressCallback = _untold, ended: Callable[[], bool] = lambda: False
    ) -> list[str]:
        """Which files cannot be decoded, with OpenCV, which is installed; missing files are among them.

        Args:
            names: Names of the files.
            told: Is told how many of how many were decoded.
            ended: Whether to stop: what was not looked at then is not among them.
        """
        found = self._look(names, "decodes", _is_decodable, told, ended)
        return [name for name, decodes in zip(names, found, strict=True) if decodes is False or name not in self._known]

    def brightest(self, names: Sequence[str], told: ProgressCallback = _untold) -> list[int]:
        """Largest value of a channel of files, but for a few pixels; 0 of those that cannot be decoded."""
        return [found or 0 for found in self._look(names, "brightest", _brightest, told)]

    def _look(
        self,
        names: Sequence[str],
        what: str,
        look: Callable[[Path], _T],
        told: ProgressCallback,
        ended: Callable[[], bool] = lambda: False,
    ) -> list[_T | None]:
        new = [name for name in names if name in self._known and getattr(self._known[name], what) is None]
        if new:
            has_opencv()
            with ThreadPoolExecutor(THREADS) as pool:
                # A pool ends what it was given before a program may end: it is given little at a time.
                for start in range(0, len(new), FILES_A_BATCH):
                    if ended():
                        break
                    batch = new[start : start + FILES_A_BATCH]
                    # A thread gets several files at a time: handing one over takes as long as reading its header.
                    groups = [list(map(self.file, batch[at::THREADS])) for at in range(THREADS)]
                    answers = list(pool.map(lambda files: [look(file) for file in files], groups))
                    for at, name in enumerate(batch):
                        found = answers[at % THREADS][at // THREADS]
                        changed: dict[str, Any] = {what: found}
                        self._known[name] = replace(self._known[name], **changed)
                    told(start + len(batch), len(new))
            self._keep()
        return [getattr(self._known[name], what) if name in self._known else None for name in names]

    def _keep(self) -> None:
        """Writes what is known of files that changed a while ago; where nobody may write, they are looked at again."""
        last = time.time_ns() - int(SETTLED * 1e9)
        self._kept |= {name: picture for name, picture in self._known.items() if max(picture.changed) < last}
        with suppress(OSError):
            content = {"version": CACHE_VERSION, "pictures": {name: _content(one) for name, one in self._kept.items()}}
            write_whole(self._cache, json.dumps(content))


def _read(file: Path) -> dict[str, Picture]:
    """What was kept; nothing where that cannot be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["version"] != CACHE_VERSION:
            return {}
        return {name: _picture(one) for name, one in content["pictures"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _content(picture: Picture) -> dict[str, Any]:
    """What is kept of a file; `asdict` copies each value and takes ten times as long."""
    header = picture.header
    content = {name: getattr(picture, name) for name in Picture.__slots__}
    return content | {"header": header and {name: getattr(header, name) for name in Header.__slots__}}


def _picture(content: dict[str, Any]) -> Picture:
    header, changed = content.pop("header"), tuple(content.pop("changed"))
    return Picture(**content, changed=changed, header=None if header is None else Header(**header))


def _header(file: Path) -> Header:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with file.open("rb") as opened:
                head = opened.read(32)
                opened.seek(0)
                with Image.open(opened) as image:
                    kind, orientation = str(image.format), _orientation(image)
                    bits, odd = _depth(image, head)
                    width, height = image.size
    except Image.DecompressionBombError:
        return Header(too_large=True)
    except Exception:  # a library that meets a file of any content
        return _header_of_pixels(file)
    header = Header(width, height, orientation, True, bits, odd)
    if kind in PLAIN_FORMATS and (orientation == 1 or _obeys(file, orientation)):
        return header
    return _header_of_pixels(file, header)


def _orientation(image: Any) -> int:
    """The tag that says how an image is to be turned; 1 where there is none."""
    if image.format == "PNG" and "exif" not in image.info:  # else the library decodes the image to look behind it
        return 1
    found = image.getexif().get(ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _obeys(file: Path, orientation: int) -> bool:
    """Whether OpenCV turns an image as its tag says, and leaves it where it is asked to; looked at in an eighth."""
    if not has_opencv():  # on a cluster the workers have it
        return True
    stored, upright = (_decoded(file, as_stored, reduced=True) for as_stored in (True, False))
    return stored is not None and upright is not None and np.array_equal(_turned(stored, orientation), upright)


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (height, width, 3) turned upright, as each of EXIF's orientations means."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    rows, columns = _FLIPS[orientation]
    return pixels[::rows, ::columns]


_FLIPS = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
"""Steps along rows and columns, after rows and columns were exchanged from the fifth on."""


def _header_of_pixels(file: Path, said: Header | None = None) -> Header:
    """The same as OpenCV decodes it, where the first bytes do not say, or do not bind it.

    Args:
        file: The image.
        said: What the first bytes say, and what is known where OpenCV is not installed or cannot decode it.
    """
    said = said or Header()
    if not has_opencv():
        return said
    pixels = _decoded(file)
    if pixels is None:
        return said
    height, width = pixels.shape[:2]
    odd = not np.issubdtype(pixels.dtype, np.unsignedinteger)
    return Header(width, height, said.orientation, said.orientation == 1, 8 * pixels.dtype.itemsize, odd)


def _depth(image: Any, head: bytes) -> tuple[int, bool]:
    """Bits of a channel, and whether it holds floating-point numbers or such with a sign."""
    if image.format == "PNG":
        return head[24], False  # what the file has; the library turns 16 bits of colours into 8
    if image.format == "TIFF":
        bits, kind = image.tag_v2.get(BITS_A_SAMPLE, 8), image.tag_v2.get(SAMPLE_FORMAT, 1)
        largest = max(bits) if isinstance(bits, tuple) else bits
        return int(largest), set(kind if isinstance(kind, tuple) else (kind,)) != {UNSIGNED}
    return (16 if image.mode.startswith("I;16") else 32 if image.mode in ("I", "F") else 8), image.mode == "F"


def _hash(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _is_decodable(file: Path) -> bool:
    from piip_workers.images.pixels import decoded

    try:
        content = file.read_bytes()
        with _place_for(content):
            decoded(content)
    except (OSError, ValueError):
        return False
    return True


def _brightest(file: Path) -> int:
    pixels = _decoded(file)
    if pixels is None or not np.issubdtype(pixels.dtype, np.integer):
        return 0
    return int(np.percentile(pixels, BRIGHT, method="higher"))


_one_large = threading.Lock()


def _decoded(file: Path, as_stored: bool = False, reduced: bool = False) -> NDArray[Any] | None:
    """Pixels of a file, blue first; None where it cannot be read or decoded.

    Args:
        file: The image.
        as_stored: Whether they are left as they are stored, whatever EXIF says.
        reduced: Whether they are of an eighth of the size, which is quicker, and of 8 bits.
    """
    import cv2

    from piip_workers.images.pixels import raw

    size = cv2.IMREAD_REDUCED_COLOR_8 if reduced else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    try:
        content = file.read_bytes()
    except OSError:
        return None
    with _place_for(content):
        return raw(content, size | (cv2.IMREAD_IGNORE_ORIENTATION if as_stored else 0))


@contextmanager
def _place_for(content: bytes) -> Iterator[None]:
    """Waits for other large images to be done with, where this is one."""
    with _one_large if _may_be_large(content) else nullcontext():
        yield


def _may_be_large(content: bytes) -> bool:
    """Whether an image takes much memory when it is decoded, as far as its first bytes tell."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                return bool(image.width * image.height > LARGE)
    except Exception:  # a library that meets a file of any content
        return True
