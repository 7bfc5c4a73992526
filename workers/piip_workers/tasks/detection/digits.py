"""A small detection data set without download: handwritten digits of very different sizes on textured ground."""

import shutil
import tempfile
from pathlib import Path

from piip_search.errors import CacheError
from piip_workers.cache import CACHE_WAY_OUT

DIGITS = {"train": 160, "val": 40}
"""Number of images of each part."""
DIGITS_VERSION = 1
"""Version of the images; raised with each change, so that no old cache is used."""


def compose(folder: Path) -> Path:
    """Writes the set as ordinary COCO files if it is missing; equal on every machine.

    The folder is created atomically, also if several processes do it together.

    Returns:
        The folder of `train/`, `val/` and `annotations/`.

    Raises:
        CacheError: The set cannot be written.
    """
    target = folder / f"digits-{DIGITS_VERSION}"
    if not target.is_dir():
        try:
            _compose(target)
        except OSError as error:
            reason = error.strerror or error
            raise CacheError(f"the digits cannot be written into {folder} ({reason}); {CACHE_WAY_OUT}") from error
    return target


def _compose(target: Path) -> None:
    from piip_workers.tasks.detection.digit_pictures import write_parts

    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".digits-"))
    try:
        write_parts(work, DIGITS)
        work.rename(target)
    except OSError:
        if not target.is_dir():  # unless another process was first
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
