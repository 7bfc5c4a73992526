"""The cache folder: embedded data sets, and the known facts of image files."""

import os
import stat
import tempfile
from pathlib import Path

from piip_search.errors import CacheError

CACHE_VARIABLE = "PIIP_SEARCH_CACHE"
CACHE_WAY_OUT = f"set {CACHE_VARIABLE} to a folder that you may write to, such as {CACHE_VARIABLE}=/tmp/piip-cache"


def cache_folder() -> Path:
    """The folder that `PIIP_SEARCH_CACHE` names, or `piip-search` in the user's cache folder.

    Containers and batch systems often give a process no home folder, or one without write permission. The cache is then
    a folder of this user in the system's temporary folder.

    Raises:
        CacheError: None of these folders can be used.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return _expanded(given)
    folder = _of_the_user()
    if folder is not None and _can_be_used(folder):
        return folder
    return _temporary()


def _expanded(given: str) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise CacheError(
            f"{CACHE_VARIABLE} is {given}, and this user has no home folder; give the whole path"
        ) from None


def _of_the_user() -> Path | None:
    """`XDG_CACHE_HOME`, or `.cache` in the home folder; None for a user id without account and HOME."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():  # the XDG standard ignores relative paths
        return given / "piip-search"
    try:
        return Path.home() / ".cache" / "piip-search"
    except RuntimeError:
        return None


def _can_be_used(folder: Path) -> bool:
    """Whether a folder exists or can be created; a read-only folder may hold all that is needed."""
    try:
        if folder.is_dir():
            return True
        there = next(parent for parent in folder.parents if parent.exists())
    except OSError:  # permission to look into a parent may be missing
        return False
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """Creates a folder that only this user can write to: others could put images of their own into it."""
    try:
        folder = Path(tempfile.gettempdir()) / f"piip-search-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise CacheError(f"no folder for a cache: {error.strerror or error}; {CACHE_WAY_OUT}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise CacheError(f"no folder for a cache: other users can write to {folder}; {CACHE_WAY_OUT}")
    return folder
