"""Facts about the image files of a data set: size, orientation, depth, content hash, and whether they decode.

All facts of a file are read at once. The user's cache folder keeps them by path, size, change times and inode.
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
"""Version of the cached facts; raised whenever one changes its meaning."""
SETTLED = 2.0
"""Seconds after which a file that changed again has another time of change on every file system."""
THREADS = min(8, os.cpu_count() or 1)
FILES_A_BATCH = 16 * THREADS
"""Files that are read between two checks for a request to stop."""
LARGE = 2**25
"""Pixels from which an image is decoded alone, while no other image is."""
BRIGHT = 99.9
"""Percentile of an image's values that counts as its brightest value: single sensor pixels are often broken."""
ORIENTATION = 0x0112
"""EXIF tag of an image's orientation."""
BITS_A_SAMPLE = 258
"""TIFF tag of the bits a sample."""
SAMPLE_FORMAT = 339
"""TIFF tag of the sample format."""
UNSIGNED = 1
"""Sample format of unsigned integers."""
PLAIN_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "MPO")
"""Formats whose first bytes give the depth."""

ProgressCallback = Callable[[int, int], None]
_T = TypeVar("_T")


def _no_progress(done: int, total: int) -> None:
    """Reports no progress."""


@cache
def has_opencv() -> bool:
    """Whether OpenCV can be used; on a cluster the workers have it, and the machine that submits need not.

    OpenCV is loaded here, before threads use it: while one thread imports it, others find half a module.
    """
    if importlib.util.find_spec("cv2") is None:
        return False
    try:
        from piip_workers.images import pixels  # noqa: F401
    except ImportError:  # a library of OpenCV is missing; the code that decodes an image reports it
        return False
    return True


@dataclass(frozen=True, slots=True)
class Header:
    """The facts that the first bytes of an image file give.

    Attributes:
        width: Width of the pixels as they are stored; 0 where the image format is unknown.
        height: Height of the pixels as they are stored; 0 where the image format is unknown.
        orientation: Turn that makes the image upright, 1 to 8 as in EXIF; 1 is upright.
        obeyed: Whether OpenCV turns it on request, and only then; it does not in every format.
        bits: Bits of a channel.
        odd: Whether channels hold floating-point numbers, or numbers with a sign.
        too_large: Whether it has too many pixels to be decoded.
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
        """Whether the turn exchanges height and width."""
        return self.orientation >= 5

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width as they are stored."""
        return self.height, self.width

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width of the upright image."""
        return (self.width, self.height) if self.swaps and self.obeyed else (self.height, self.width)


@dataclass(frozen=True, slots=True)
class Picture:
    """The known facts of a file; None for a fact that was not read.

    Attributes:
        size: Size of the file in bytes.
        changed: Times of the last change of its contents and of its metadata, in nanoseconds.
        inode: Its number in the file system.
        header: Facts from its first bytes.
        hash: Hash of its contents, 32 hexadecimal digits.
        decodes: Whether OpenCV decodes it.
        brightest: Largest value of a channel, without a few outlier pixels (`BRIGHT`).
    """

    size: int
    changed: tuple[int, int]
    inode: int
    header: Header | None = None
    hash: str | None = None
    decodes: bool | None = None
    brightest: int | None = None


class Pictures:
    """The images of a folder; missing files are left out.

    Args:
        folder: Folder of the images.
        names: Names of the files, as an annotation file has them.

    Attributes:
        odd: Names of folders, pipes and devices, which are no regular files.
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
        """The path of an image."""
        return self._files[name]

    @property
    def missing(self) -> list[str]:
        odd = set(self.odd)
        return [name for name in self._files if name not in self._known and name not in odd]

    def headers(self, names: Sequence[str], progress: ProgressCallback = _no_progress) -> list[Header | None]:
        """Reads the first bytes of files; None for missing files."""
        return self._look(names, "header", _header, progress)

    def hashes(self, names: Sequence[str], progress: ProgressCallback = _no_progress) -> list[str | None]:
        """Hashes the contents of files."""
        return self._look(names, "hash", _hash, progress)

    def undecodable(
        self, names: Sequence[str], progress: ProgressCallback = _no_progress, ended: Callable[[], bool] = lambda: False
    ) -> list[str]:
        """The files that OpenCV cannot decode, missing files among them; OpenCV must be installed.

        Args:
            names: Names of the files.
            progress: Called with the number of decoded files and the number of all files.
            ended: Whether to stop; files that are not read by then are left out of the answer.
        """
        found = self._look(names, "decodes", _is_decodable, progress, ended)
        return [name for name, decodes in zip(names, found, strict=True) if decodes is False or name not in self._known]

    def brightest(self, names: Sequence[str], progress: ProgressCallback = _no_progress) -> list[int]:
        """Largest channel value of files, without a few outlier pixels; 0 for files that cannot be decoded."""
        return [found or 0 for found in self._look(names, "brightest", _brightest, progress)]

    def _look(
        self,
        names: Sequence[str],
        what: str,
        look: Callable[[Path], _T],
        progress: ProgressCallback,
        ended: Callable[[], bool] = lambda: False,
    ) -> list[_T | None]:
        new = [name for name in names if name in self._known and getattr(self._known[name], what) is None]
        if new:
            has_opencv()
            with ThreadPoolExecutor(THREADS) as pool:
                # A pool finishes all its tasks before a program may end, so it gets few at a time.
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
                    progress(start + len(batch), len(new))
            self._keep()
        return [getattr(self._known[name], what) if name in self._known else None for name in names]

    def _keep(self) -> None:
        """Writes the facts of files that have not changed for a while; without write permission they are read again."""
        last = time.time_ns() - int(SETTLED * 1e9)
        self._kept |= {name: picture for name, picture in self._known.items() if max(picture.changed) < last}
        with suppress(OSError):
            content = {"version": CACHE_VERSION, "pictures": {name: _content(one) for name, one in self._kept.items()}}
            write_whole(self._cache, json.dumps(content))


def _read(file: Path) -> dict[str, Picture]:
    """The cached facts; empty where they cannot be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["version"] != CACHE_VERSION:
            return {}
        return {name: _picture(one) for name, one in content["pictures"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _content(picture: Picture) -> dict[str, Any]:
    """The cached form of a file's facts; `asdict` copies each value and takes ten times as long."""
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
    except Exception:  # files of any content raise errors of any kind in the library
        return _header_of_pixels(file)
    header = Header(width, height, orientation, True, bits, odd)
    if kind in PLAIN_FORMATS and (orientation == 1 or _obeys(file, orientation)):
        return header
    return _header_of_pixels(file, header)


def _orientation(image: Any) -> int:
    """The orientation tag of an image; 1 without one."""
    if image.format == "PNG" and "exif" not in image.info:  # else the library decodes the image to look behind it
        return 1
    found = image.getexif().get(ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _obeys(file: Path, orientation: int) -> bool:
    """Whether OpenCV turns an image as its tag says and leaves it stored on request; tried at an eighth of the size."""
    if not has_opencv():  # a cluster has it on the workers
        return True
    stored, upright = (_decoded(file, as_stored, reduced=True) for as_stored in (True, False))
    return stored is not None and upright is not None and np.array_equal(_turned(stored, orientation), upright)


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns pixels (height, width, 3) upright, as each of EXIF's orientations means."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    rows, columns = _FLIPS[orientation]
    return pixels[::rows, ::columns]


_FLIPS = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
"""Steps along rows and columns; orientations from the fifth on exchange rows and columns first."""


def _header_of_pixels(file: Path, said: Header | None = None) -> Header:
    """The header as OpenCV decodes the image, for formats whose first bytes do not give it or are not binding.

    Args:
        file: The image.
        said: Header from the first bytes, the answer where OpenCV is not installed or cannot decode the image.
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
    """Bits of a channel, and whether it holds floating-point or signed numbers."""
    if image.format == "PNG":
        return head[24], False  # the depth of the file; the library reduces colours of 16 bits to 8
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
    """Pixels of a file, blue first; None if it cannot be read or decoded.

    Args:
        file: The image.
        as_stored: Whether pixels stay as they are stored, without EXIF's turn.
        reduced: Whether to decode an eighth of the size in 8 bits, which is quicker.
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
    """Waits until no other large image is being decoded, if this one is large."""
    with _one_large if _may_be_large(content) else nullcontext():
        yield


def _may_be_large(content: bytes) -> bool:
    """Whether decoding an image takes much memory, judged by its first bytes."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                return bool(image.width * image.height > LARGE)
    except Exception:  # files of any content raise errors of any kind in the library
        return True
