"""Files that belong to this user: only these are believed, or run without being asked for."""

import os
import stat
from pathlib import Path

from piip_search.errors import UserError


def is_own(path: Path) -> bool:
    """Whether a file belongs to this user or to root, and others than its owner and a group cannot change it.

    A file that is away or cannot be looked at is nobody's own.
    """
    try:
        return _is_own(path.stat())
    except (OSError, ValueError):
        return False


def read_own(path: Path, most: int) -> bytes | None:
    """The content of a file that is one's own (`is_own`); None for a longer one, or one that cannot be read.

    Args:
        path: File.
        most: Most bytes.
    """
    try:
        # A named pipe would wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            content = file.read(most + 1) if _is_own(found) else None
    except (OSError, ValueError):
        return None
    return None if content is None or len(content) > most else content


def check_private(path: Path, found: os.stat_result, what: str, by_root: bool = False) -> None:
    """Checks that nobody else can read or change an open file.

    Args:
        path: Path of the file.
        found: Its status, from the open file.
        what: What it holds, for messages.
        by_root: Whether root may use a file of another user.

    Raises:
        UserError: It is no plain file, belongs to another user, or others can read or change it.
    """
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"the {what} {path} is no file; name a plain file")
    if os.geteuid() != found.st_uid and not (by_root and os.geteuid() == 0):
        raise UserError(
            f"the {what} {path} belongs to another user (id {found.st_uid}), and is not trusted; it must belong to the "
            f"user with id {os.geteuid()}"
        )
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UserError(f"others can read or change the {what} {path}; run: chmod 600 {path}")


def no_link(path: str, flags: int) -> int:
    """An opener for `open` that follows no link: whoever may write the folder could have put it there."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _is_own(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid in (os.geteuid(), 0) and not found.st_mode & stat.S_IWOTH
