"""The way to the database: opened, brought up to date, tried again while it is away, written by one process."""

import os
import sqlite3
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event, func, select, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
)

from piip_search.ledger.tables import NEWEST
from piip_search.texts import without_secrets

T = TypeVar("T")
PATIENCE = 600.0
"""Seconds for which a database may be away before a search gives up."""
LONGEST_PAUSE = 10.0
BUSY = 60
"""Seconds that a writer waits for another one's transaction."""
MIGRATING = 0x7069_6970
"""Number of PostgreSQL's lock for those who bring the tables up to date."""
DRIVER = 'pip install "piip-search[postgres]"'
LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay")
"""File systems that no other machine writes."""
AWAY = (OperationalError, InterfaceError, InternalError)
"""What databases raise when they cannot be reached, are shutting down, or their disk is full."""


class LedgerError(ValueError):
    """The ledger cannot be opened or does not hold what was asked for; the message says what to do."""


class Database:
    """One database, with patience.

    Attributes:
        engine: SQLAlchemy's.
        shown: Its URL without a password.
        interruptions: How often something failed for want of it.
    """

    def __init__(self, url: str, told: Callable[[str], None], patience: float = PATIENCE) -> None:
        """Opens it and brings its tables up to date.

        Args:
            url: SQLAlchemy's.
            told: Is told, once, when the database is away, and when it is back.
            patience: Seconds to wait for it then.

        Raises:
            LedgerError: The URL is none, or the database cannot be reached.
        """
        self.shown = without_password(url)
        self._told = told
        self._patience = patience
        self.interruptions = 0
        try:
            self.engine = _engine(url)
            try:
                _migrate(self.engine)
            except BaseException:
                self.engine.dispose()
                raise
        except ModuleNotFoundError as error:
            way = DRIVER if (error.name or "").startswith("psycopg") else f"pip install {error.name}"
            raise self._not_opened(f"{error.name} is not installed; {way}") from None
        except (ArgumentError, NoSuchModuleError, DBAPIError, OSError) as error:
            raise self._not_opened(f"{_reason(error)}; give a database URL such as sqlite:///runs/ledger.db") from None

    def patiently(self, work: Callable[[], T]) -> T:
        """Does something with the database; while that is away, again and again.

        Raises:
            LedgerError: It did not come back.
        """
        deadline, pause, away = None, 0.1, False
        while True:
            try:
                result = work()
            except AWAY as error:
                now = time.monotonic()
                deadline = now + self._patience if deadline is None else deadline
                reason = _reason(error)
                if now >= deadline:
                    raise LedgerError(
                        f"ledger {self.shown} cannot be reached: {reason}; nothing measured is lost: "
                        "once it is back, the same command goes on"
                    ) from None
                if not away and now > deadline - self._patience:
                    self._told(f"the ledger is away ({reason}); trying again for {self._patience / 60:.3g} minutes")
                    away = True
                self.interruptions += 1
                self.engine.dispose()
                time.sleep(min(pause, max(deadline - now, 0)))
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if away:
                    self._told("the ledger is back")
                return result

    def _not_opened(self, reason: str) -> LedgerError:
        return LedgerError(f"ledger {self.shown} cannot be opened: {reason}")


class Claim:
    """The right of one process to write a search; given up when the process ends, however it does.

    It warns the second process early. That no two write is ensured by the positions of the rows, which are unique.
    """

    def __init__(self, engine: Engine, uid: str) -> None:
        """Claims a search.

        Raises:
            BlockingIOError: Another process holds it.
        """
        self._connection: Connection | None = None
        self._file: int | None = None
        backend, database = engine.url.get_backend_name(), engine.url.database
        if backend == "postgresql":
            self._connection = _locked(engine, uid)
        elif backend == "sqlite" and database and database != ":memory:":
            self._file = _locked_file(Path(f"{database}-writers"), int(uid[:12], 16))

    def release(self) -> None:
        """Gives it up."""
        if self._connection is not None:
            with suppress(DBAPIError):
                self._connection.close()
        if self._file is not None:
            os.close(self._file)
        self._connection = self._file = None


def is_claimed(engine: Engine, uid: str) -> bool | None:
    """Whether a process holds the claim on a search; None where that cannot be told. Nothing is claimed by asking."""
    backend, database = engine.url.get_backend_name(), engine.url.database
    if backend == "postgresql":
        key = int(uid[:15], 16)
        held = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND "
                    "(classid::bigint << 32) | objid::bigint = :key")  # fmt: skip
        with engine.connect() as connection:
            return bool(connection.scalar(held, {"key": key}))
    if backend != "sqlite" or not database or database == ":memory:" or sys.platform != "linux" or not uid:
        return None
    return _is_locked(Path(f"{database}-writers"), int(uid[:12], 16))


def _is_locked(path: Path, byte: int) -> bool | None:
    """Asks the kernel (F_GETLK) instead of trying: who tries is in the way of a writer that begins."""
    import fcntl

    wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    try:
        with path.open("r+b") as file:
            holder = fcntl.fcntl(file, fcntl.F_GETLK, wanted)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return bool(struct.unpack("hhqqi", holder)[0] != fcntl.F_UNLCK)


def _locked(engine: Engine, uid: str) -> Connection:
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    connection.detach()  # it is no one else's, and closed where it is released
    # A machine that is gone should not hold its claim for hours.
    for setting, seconds in (("idle", 30), ("interval", 10), ("count", 3)):
        connection.execute(text(f"SET tcp_keepalives_{setting} = {seconds}"))
    if not connection.scalar(select(func.pg_try_advisory_lock(int(uid[:15], 16)))):
        connection.close()
        raise BlockingIOError
    return connection


def _locked_file(path: Path, byte: int) -> int | None:
    """One byte of a file beside the database. Where the file system has no locks, there is no warning."""
    import fcntl

    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        return None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except BlockingIOError:
        os.close(file)
        raise
    except OSError as error:
        os.close(file)
        if isinstance(error, PermissionError):  # some systems say so of a lock that is held
            raise BlockingIOError from error
        return None
    return file


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    # Checked before use: a connection may have died since.
    return create_engine(parsed, pool_pre_ping=True, pool_size=2, connect_args={"connect_timeout": 10})


def _sqlite(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={} if "timeout" in url.query else {"timeout": BUSY})
    local = bool(url.database) and url.database != ":memory:" and is_local(Path(str(url.database)))

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA foreign_keys=ON")
        if local:
            with suppress(sqlite3.OperationalError):  # another one is at it, or the file may only be read
                connection.execute("PRAGMA journal_mode=WAL")
                # A row survives whatever ends the process; one that power takes with it is proposed again, equal, and
                # what was measured is read from the results folder.
                connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def is_local(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether a file is on a disk of this machine, as far as can be told: a log beside it saves most of the waiting.

    Args:
        path: The file; it need not be there.
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


def _migrate(engine: Engine) -> None:
    """Brings the tables up to date; several processes may try at once.

    Raises:
        ArgumentError: The database was written by a newer version of this package.
    """
    if _revision(engine) == NEWEST:
        return
    # Imported here: a tenth of a second that most errors of a search space need not wait for.
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", "piip_search:migrations")
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATING)))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError:
            raise ArgumentError(
                f"a newer version wrote it (its tables are {_revision(engine)}, this version knows {NEWEST}); "
                "pip install --upgrade piip-search"
            ) from None
        connection.commit()


def _revision(engine: Engine) -> str | None:
    """Of the tables; None where there are none."""
    with engine.connect() as connection, suppress(DBAPIError):
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found
    return None


def _reason(error: BaseException) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def without_password(url: str) -> str:
    """A database URL as it may be shown."""
    try:
        return without_secrets(make_url(url).render_as_string(hide_password=True))
    except (ArgumentError, ValueError):
        return repr(without_secrets(url))
