"""SQLite files: opened for reading and writing, or read-only without a trace."""

import os
import pwd
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.pool import NullPool

from piip_search.errors import UnfinishedError, UrlError
from piip_search.ledger.urls import IN_MEMORY

BUSY_SECONDS = 60
"""Seconds that a writer waits for another writer's transaction."""
LONGEST_DATABASE_PATH = 503
"""Most bytes of a database's path: SQLite opens 511, and the journal's name has eight more."""
LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay")
"""File systems that only this machine writes."""
AHEAD = b"\x02\x02"
"""Bytes 18 and 19 of a database with a write-ahead log (https://sqlite.org/fileformat.html)."""


def file_engine(url: URL, reading: bool = False) -> Engine:
    """Opens a database; creates its file if it is missing.

    Args:
        url: URL of the database.
        reading: Whether connections refuse to change it.

    Raises:
        UrlError: SQLite opens no path of that length.
        OSError: Its folder cannot be created.
    """
    path = _path_of(url)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={} if "timeout" in url.query else {"timeout": BUSY_SECONDS})
    local = path is not None and is_local(path)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA foreign_keys=ON")
        if reading:
            connection.execute("PRAGMA query_only=ON")
        elif local:
            with suppress(sqlite3.OperationalError):  # another process holds it, or the file is read-only
                connection.execute("PRAGMA journal_mode=WAL")
                # A row survives the death of any process. A row that a power failure removes is proposed again, equal,
                # and its measurement is read from the results folder.
                connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def reading_engine(url: URL) -> Engine:
    """Opens a file for reading: nothing is written into it or beside it.

    A connection lives for one query: a later writer changes how the file has to be opened.
    """
    path = _path_of(url)
    assert path is not None, "a database in memory is its process's own"
    return create_engine(url, creator=_opener(path), poolclass=NullPool)


def may_write(path: Path) -> bool:
    """Whether this process may change a database: its file, and the folder of its journal."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def belongs_to_this_user(path: Path) -> bool:
    """Whether a file belongs to the user of this process."""
    return path.stat().st_uid == os.geteuid()


def owner_text(path: Path) -> str:
    """The owner and the mode of a file, for a message."""
    found = path.stat()
    try:
        name = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        name = f"user {found.st_uid}"
    return f"it belongs to {name}, mode {found.st_mode & 0o777:04o}"


def is_local(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether a file seems to be on a disk of this machine, where a write-ahead log saves most of the waiting.

    Args:
        path: The file, which may be missing.
        mounts: The kernel's list of file systems.
    """
    try:
        lines = [line.split(" ") for line in mounts.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return False
    whole = path.resolve()
    places = {Path(place.replace("\\040", " ")): kind for _, place, kind, *_ in lines}
    own = next((places[folder] for folder in (whole, *whole.parents) if folder in places), "")
    return own in LOCAL


def _path_of(url: URL) -> Path | None:
    if url.database in IN_MEMORY:
        return None
    size = len(os.fsencode(str(url.database)))
    if size > LONGEST_DATABASE_PATH:
        raise UrlError(
            f"SQLite opens paths of up to {LONGEST_DATABASE_PATH} bytes, this one has {size}; use a shorter one"
        )
    return Path(str(url.database))


def _opener(path: Path) -> Callable[[], sqlite3.Connection]:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{path.as_uri()}?{_reading(path)}", uri=True, timeout=BUSY_SECONDS, check_same_thread=False
        )

    return connect


def _reading(path: Path) -> str:
    """The way in which SQLite has to open a read-only file, as URL parameters.

    A database with a write-ahead log has the log and its index beside it while somebody writes. Both have to be read
    too. SQLite would create missing ones, which needs write permission, or leaves files of this user in the way of the
    next writer. Without them nobody writes, and the file is complete.

    Raises:
        UnfinishedError: There is a log without its index.
    """
    with path.open("rb") as file:
        ahead = file.read(20)[18:] == AHEAD
    if not ahead:
        return "mode=ro"
    log, index = Path(f"{path}-wal"), Path(f"{path}-shm")
    if log.exists() and index.exists():
        return "mode=ro&readonly_shm=1"
    if log.exists() and log.stat().st_size:
        raise UnfinishedError(
            f"{log.name} holds changes that are not in the file yet, and it may only be read here; whoever may write "
            "it opens it once (piip-search ledger list), or copy both into a folder of yours"
        )
    return "immutable=1"
