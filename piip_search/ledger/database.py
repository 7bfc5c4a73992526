"""Access to the database: opens and migrates it, retries while it is unreachable, and admits one writer."""

import os
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, create_engine, func, inspect, select, text
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError, SQLAlchemyError

from piip_search.errors import LedgerError, UnfinishedError, UrlError
from piip_search.ledger.sqlite import file_engine, may_write, reading_engine
from piip_search.ledger.tables import NEWEST
from piip_search.ledger.urls import FORMS, database_url, sqlite_file, without_password

if TYPE_CHECKING:  # the import takes a tenth of a second
    from alembic.config import Config

_T = TypeVar("_T")
DATABASE_PATIENCE = 600.0
"""Seconds for which a database may be unreachable before a search gives up."""
LONGEST_PAUSE = 10.0
MIGRATING = 0x7069_6970
"""Key of the PostgreSQL lock for migrations."""
DRIVER = 'pip install "piip-search[postgres]"'
DIALECTS = ("sqlite", "postgresql")
"""Supported databases."""
AWAY = (OperationalError, InterfaceError, InternalError)
"""Errors of databases that are unreachable, are shutting down, or have a full disk."""


class _RefusalError(Exception):
    """A database cannot be used; the message has the reason and the way out."""


class Database:
    """A database that is retried while it is unreachable.

    Attributes:
        engine: SQLAlchemy's engine.
        shown: The URL without password.
        interruptions: Number of failed attempts.
    """

    def __init__(
        self, url: str | URL, notify: Callable[[str], None], patience: float = DATABASE_PATIENCE, reading: bool = False
    ) -> None:
        """Opens the database and migrates its tables.

        Args:
            url: SQLAlchemy's URL.
            notify: Called once when the database is away, and once when it is back.
            patience: Seconds to wait for it meanwhile.
            reading: Whether it is only read: no file is created, and a read-only file stays unchanged.

        Raises:
            LedgerError: The URL is invalid, or the database is unreachable.
        """
        self.shown = without_password(url)
        self._notify = notify
        self._patience = patience
        self.interruptions = 0
        try:
            self.engine = _opened(database_url(url), reading)
        except ModuleNotFoundError as error:
            way = DRIVER if (error.name or "").startswith("psycopg") else f"pip install {error.name}"
            raise self._not_opened(f"{error.name} is not installed; {way}") from None
        except (UrlError, UnfinishedError, _RefusalError) as error:
            raise self._not_opened(str(error)) from None
        except (SQLAlchemyError, OSError, ValueError, TypeError) as error:
            raise self._not_opened(f"{_reason(error)}; give a database URL such as {FORMS}") from None

    def patiently(self, work: Callable[[], _T]) -> _T:
        """Runs a function on the database, repeatedly while it is unreachable.

        Raises:
            LedgerError: The database did not come back.
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
                        "once it is back, run the same command again"
                    ) from None
                if not away and now > deadline - self._patience:
                    self._notify(f"the ledger is away ({reason}); trying again for {self._patience / 60:.3g} minutes")
                    away = True
                self.interruptions += 1
                self.engine.dispose()
                time.sleep(min(pause, max(deadline - now, 0)))
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if away:
                    self._notify("the ledger is back")
                return result

    def _not_opened(self, reason: str) -> LedgerError:
        return LedgerError(f"ledger {self.shown} cannot be opened: {reason}")


class Claim:
    """The right of one process to write a search; it ends with the process at the latest.

    It warns a second process early. The unique positions of rows exclude two writers.
    """

    def __init__(self, engine: Engine, uid: str) -> None:
        """Claims a search.

        Raises:
            BlockingIOError: Another process has the claim.
        """
        self._connection: Connection | None = None
        self._file: int | None = None
        backend, database = engine.url.get_backend_name(), engine.url.database
        if backend == "postgresql":
            self._connection = _locked(engine, uid)
        elif backend == "sqlite" and database and database != ":memory:":
            self._file = _locked_file(Path(f"{database}-writers"), int(uid[:12], 16))

    def release(self) -> None:
        """Releases the claim."""
        if self._connection is not None:
            with suppress(DBAPIError):
                self._connection.close()
        if self._file is not None:
            os.close(self._file)
        self._connection = self._file = None


def is_claimed(engine: Engine, uid: str) -> bool | None:
    """Whether a process has the claim on a search; None if unknown. The query claims nothing."""
    backend, database = engine.url.get_backend_name(), engine.url.database
    if backend == "postgresql":
        key = int(uid[:15], 16)
        held = text(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND "
            "(classid::bigint << 32) | objid::bigint = :key"
        )
        with engine.connect() as connection:
            return bool(connection.scalar(held, {"key": key}))
    if backend != "sqlite" or not database or database == ":memory:" or sys.platform != "linux" or not uid:
        return None
    return _is_locked(Path(f"{database}-writers"), int(uid[:12], 16))


def _is_locked(path: Path, byte: int) -> bool | None:
    """Queries the kernel (F_GETLK) instead of trying the lock, which could hinder a starting writer."""
    import fcntl

    wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    try:
        with path.open("rb") as file:
            holder = fcntl.fcntl(file, fcntl.F_GETLK, wanted)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return bool(struct.unpack("hhqqi", holder)[0] != fcntl.F_UNLCK)


def _locked(engine: Engine, uid: str) -> Connection:
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    connection.detach()  # this claim owns and closes it
    # A dead machine should not keep its claim for hours.
    for setting, seconds in (("idle", 30), ("interval", 10), ("count", 3)):
        connection.execute(text(f"SET tcp_keepalives_{setting} = {seconds}"))
    if not connection.scalar(select(func.pg_try_advisory_lock(int(uid[:15], 16)))):
        connection.close()
        raise BlockingIOError
    return connection


def _locked_file(path: Path, byte: int) -> int | None:
    """Locks one byte of a file beside the database; does nothing on a file system without locks."""
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
        if isinstance(error, PermissionError):  # some systems raise this for a held lock
            raise BlockingIOError from error
        return None
    return file


def _opened(url: URL, reading: bool) -> Engine:
    """Opens the database with migrated tables."""
    dialect, file = url.get_backend_name(), sqlite_file(url)
    if dialect not in (*DIALECTS, "postgres"):
        raise _RefusalError(f"a ledger must be in SQLite or PostgreSQL, got {dialect}; give {FORMS}")
    if file is not None and reading and not file.exists():
        raise _RefusalError(f"there is no file {file}; run a search first, or give its place with --home or --ledger")
    frozen = file is not None and file.exists() and not may_write(file)
    if frozen and not reading:
        raise _RefusalError(
            f"{file} may only be read here; name a place of your own with --home or --ledger "
            "(piip-search ledger merge copies searches there)"
        )
    engine = reading_engine(url) if frozen else file_engine(url) if dialect == "sqlite" else _server_engine(url)
    try:
        if reading and file is not None:
            _check_readable(engine, frozen)
        if not frozen:
            _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _server_engine(url: URL) -> Engine:
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    # Checked before use: a connection may have died meanwhile.
    return create_engine(url, pool_pre_ping=True, pool_size=2, connect_args={"connect_timeout": 10})


def _check_readable(engine: Engine, frozen: bool) -> None:
    """Refuses a file that is no ledger, or has older tables that cannot be migrated.

    Raises:
        _RefusalError: One of these holds.
    """
    found = _revision(engine)
    if found is None:
        raise _RefusalError("the file is no ledger; give the ledger's place with --home or --ledger")
    if frozen and found != NEWEST and _is_known(found):
        raise _RefusalError(
            f"its tables are of an older version ({found}, this version reads {NEWEST}), and it is read-only here; "
            "whoever may write it opens it once (piip-search show), or copy it into a folder of yours"
        )
    if frozen and found != NEWEST:
        raise _newer(engine)


def _migrate(engine: Engine) -> None:
    """Migrates the tables; several processes may try at once.

    Raises:
        _RefusalError: A newer version of this package, or another program, wrote the database.
    """
    if _revision(engine) == NEWEST:
        return
    # A late import: it takes a tenth of a second, which most errors of a search space need not wait for.
    from alembic import command
    from alembic.util.exc import CommandError

    config = _migrations()
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATING)))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError:
            raise _newer(engine) from None
        connection.commit()


def _migrations() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "piip_search.ledger:migrations")
    return config


def _is_known(revision: str) -> bool:
    """Whether this version can migrate tables of a revision."""
    from alembic.script import ScriptDirectory

    return any(script.revision == revision for script in ScriptDirectory.from_config(_migrations()).walk_revisions())


def _newer(engine: Engine) -> _RefusalError:
    if not inspect(engine).has_table("proposal"):
        return _RefusalError("it is the database of another program; give the ledger's place with --home or --ledger")
    return _RefusalError(
        f"a newer version wrote it (its tables are {_revision(engine)}, this version knows {NEWEST}); "
        "pip install --upgrade piip-search"
    )


def _revision(engine: Engine) -> str | None:
    """Revision of the tables; None without tables."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found


def _reason(error: BaseException) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
