"""A small detection data set that needs no download: handwritten digits at very different sizes on textured ground."""

import shutil
import tempfile
from pathlib import Path

from piip_search.errors import CacheError
from piip_workers.cache import CACHE_WAY_OUT

DIGITS = {"train": 160, "val": 40}
"""Images of each part."""
DIGITS_VERSION = 1
"""Raised whenever the images change, so that no old cache is taken for a new set."""


def compose(folder: Path) -> Path:
    """Writes the set as ordinary COCO files, unless it is there; equal on every machine.

    The folder appears whole or not at all, also when several processes compose it at once.

    Returns:
        The folder of `train/`, `val/` and `annotations/`.

    Raises:
        CacheError: It cannot be written.
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
        if not target.is_dir():  # otherwise another process was first
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
