"""Creates embedded data sets in the cache folder: atomically, and once for all processes."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from piip_search.errors import CacheError
from piip_workers.cache import CACHE_WAY_OUT


def composed(target: Path, what: str, write: Callable[[Path], None]) -> Path:
    """A folder that is written if it is missing, also if several processes do it together.

    Args:
        target: The folder.
        what: Name of what is written, for an error.
        write: Writes it into an empty folder.

    Returns:
        The folder.

    Raises:
        CacheError: It cannot be written.
    """
    if not target.is_dir():
        try:
            _compose(target, write)
        except OSError as error:
            reason = error.strerror or error
            raise CacheError(f"{what} cannot be written into {target.parent} ({reason}); {CACHE_WAY_OUT}") from error
    return target


def _compose(target: Path, write: Callable[[Path], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name.partition('-')[0]}-"))
    try:
        write(work)
        work.rename(target)
    except OSError:
        if not target.is_dir():  # unless another process was first
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
