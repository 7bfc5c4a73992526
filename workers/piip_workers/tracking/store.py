"""Opens MLflow stores; a store in a file is created atomically, and works after its folder has moved.

MLflow itself creates its tables step by step in the file, as does every process that finds them missing. Two that start
together, or one that is killed meanwhile, leave a file that MLflow never opens again.
"""

import atexit
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from glob import escape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
from alembic.script import ScriptDirectory
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from piip_search.errors import BrokenStoreError, MachineError, StoreError, UnreachableStoreError
from piip_search.ledger import SPECIAL, shell_command, sqlite_file, sqlite_url, url_text
from piip_search.redact import without_secrets
from piip_workers.jobs.job import alone

ARTIFACTS = "mlartifacts"
"""Folder beside a file's store for the artifacts of its runs."""
LONGEST_MIGRATION = 300.0
"""Seconds to wait for another process that creates the tables: it takes 8 on an idle machine."""
STORE_BUSY_SECONDS = 20.0
"""Seconds to wait for another process's transaction."""
LONGEST_STORE_PATH = 450
"""Most bytes of a store's path: SQLite opens 511, for the paths of its draft and of the draft's journal."""
WRITERS_POLL = 0.01
"""Seconds between two attempts to write beside another process, whose requests take some milliseconds."""
BESIDE = ("", "-journal", "-wal", "-shm")
"""Endings of SQLite's files for a database."""
PLACES = ("/tmp", "/var/tmp", "/dev/shm")
"""Folders for temporary links."""
MOVED = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""Columns in which MLflow records folders of files."""


def open_store(uri: str) -> MlflowClient:
    """A client of a store, for its runs and its models.

    Args:
        uri: `sqlite:///…` for a file, or a server's address.

    Raises:
        StoreError: The file is damaged or locked, and a user has to fix it.
        MachineError: Another process does not release it.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it logs every table that it creates
    file = sqlite_file(uri) if uri.startswith("sqlite:") else None
    if file is None:
        return MlflowClient(uri, registry_uri=uri)
    if len(os.fsencode(file)) > LONGEST_STORE_PATH:
        raise StoreError(
            f"SQLite opens no path as long as MLflow's store {file}; name another --home, or --mlflow none"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(file if file.exists() else file.parent, os.W_OK) or not os.access(file.parent, os.W_OK):
        raise StoreError(f"MLflow's store {file} may only be read here; name another one with --mlflow, or none")
    newest, address = _newest(), _address(file)
    with _held(file):
        if _revision(file) != newest:
            _migrate(file)
        client = MlflowClient(address, registry_uri=address)
        client.search_experiments(max_results=1)  # opens it, creating its tables and its default experiment
        _follow(file, client)
    return client


def artifacts_of(uri: str) -> str | None:
    """Place of a new experiment's files: beside the file of a store; None for the store's own choice."""
    file = sqlite_file(uri) if uri.startswith("sqlite:") else None
    return None if file is None else (file.parent / ARTIFACTS).as_uri()


def set_aside(uri: str) -> Path | None:
    """Renames a broken store, so that a new one can be created.

    Returns:
        The new name of the broken file; None for a store outside a file, or a sound one.

    Raises:
        StoreError: The file is not broken but cannot be used.
    """
    file = sqlite_file(uri) if uri.startswith("sqlite:") else None
    if file is None or not file.exists():
        return None
    with _held(file):
        try:
            if _revision(file) != _newest():
                _migrate(file)
            _check_pages(file)
        except BrokenStoreError:
            aside = file.with_name(f"{file.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
            for ending in BESIDE:
                part = Path(f"{file}{ending}")
                if part.exists():
                    part.rename(f"{aside}{ending}")
            return aside
    return None


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Turns MLflow's errors into one with a way out.

    Raises:
        UnreachableStoreError: The store is unreachable, or refuses.
        StoreError: It is damaged or locked, and a user has to fix it.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, MachineError) as error:
        reason = without_secrets(" ".join(str(error).split()))[:300]
        hint = "" if uri.startswith("sqlite:") else "; is its server running?"
        raise UnreachableStoreError(f"MLflow at {without_secrets(uri)}: {reason}{hint}") from None


@contextmanager
def one_writer(uri: str) -> Iterator[None]:
    """Keeps our other processes from writing into the file of a store meanwhile.

    A server, and a file system without locks, give no lock.
    """
    file = sqlite_file(uri) if uri.startswith("sqlite:") else None
    with ExitStack() as held:
        if file is not None:
            with suppress(OSError):
                held.enter_context(alone(Path(f"{file}-writers"), LONGEST_MIGRATION, WRITERS_POLL))
        yield


@contextmanager
def _held(file: Path) -> Iterator[None]:
    """Keeps our other processes from opening the store meanwhile; the lock ends with the process.

    A file system without locks gives none.
    """
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(alone(Path(f"{file}-lock"), LONGEST_MIGRATION))
        yield


def _revision(file: Path) -> str | None:
    """Revision of a store's tables: None without tables, empty if it was never recorded.

    Raises:
        BrokenStoreError: The file is no database, or is incomplete.
        StoreError: It is the database of another program.
    """
    if not file.exists() or not file.stat().st_size:
        return None
    with _reading(file) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        if pages * size > file.stat().st_size:
            raise _broken(file, f"it has {file.stat().st_size} of {pages * size} bytes")
        own = {name for name in tables if not name.startswith(("alembic_", "_alembic_", "sqlite_"))}
        if own and "experiments" not in own:
            raise StoreError(f"{file} is no store of MLflow, but the database of another program; name another file")
        found = (
            connection.execute("SELECT version_num FROM alembic_version").fetchone()
            if ("alembic_version" in tables)
            else None
        )
    if not tables:
        return None
    return "" if found is None else str(found[0])


def _check_pages(file: Path) -> None:
    """Reads all of a store.

    Raises:
        BrokenStoreError: A part of it cannot be read.
    """
    with _reading(file) as connection:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise _broken(file, str(said))


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(file, timeout=STORE_BUSY_SECONDS)) as connection:
            connection.execute("BEGIN")
            yield connection
    except sqlite3.OperationalError:  # it is locked, or its disk is full
        raise
    except sqlite3.DatabaseError as error:
        raise _broken(file, str(error)) from None


def _broken(file: Path, reason: str) -> BrokenStoreError:
    return BrokenStoreError(
        f"MLflow's store {file} is broken ({reason}); piip-search mirror RUN keeps the file under another name and "
        "writes a new one from the ledger"
    )


@cache
def _migrations() -> ScriptDirectory:
    return ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))


@cache
def _newest() -> str:
    """Revision of the tables for this version of MLflow."""
    return str(_migrations().get_current_head())


def _migrate(file: Path) -> None:
    """Creates the tables in a draft, which replaces the file once it is complete.

    Raises:
        BrokenStoreError: MLflow cannot migrate the file: a process was interrupted, or two wrote together.
        StoreError: Another version of MLflow wrote it.
    """
    found = _revision(file)
    if found and all(script.revision != found for script in _migrations().walk_revisions()):
        raise StoreError(f"a newer MLflow wrote {file} ({found}); pip install --upgrade mlflow, or name another file")
    for left in file.parent.glob(f"{escape(file.name)}-draft-*"):  # from killed processes
        left.unlink(missing_ok=True)
    draft = file.with_name(f"{file.name}-draft-{os.getpid()}-{time.monotonic_ns()}")
    try:
        if found is not None:
            _copy(file, draft)
        _make_tables(file, draft, found)
        draft.replace(file)
    finally:
        for ending in BESIDE:
            Path(f"{draft}{ending}").unlink(missing_ok=True)


def _make_tables(file: Path, draft: Path, found: str | None) -> None:
    try:
        MlflowClient(_address(draft)).search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError) as error:
        reason = _line(error)
        if found is None:  # nothing was lost: the disk is full, or similar
            raise
        if "out-of-date" in reason and _can_be_upgraded(draft):
            raise StoreError(
                f"an older MLflow wrote {file}; copy the file, then bring it up to date with: "
                f"{shell_command('mlflow db upgrade', url_text(sqlite_url(file)))}"
            ) from None
        raise _broken(file, reason) from None


def _can_be_upgraded(draft: Path) -> bool:
    from mlflow.db import upgrade

    assert upgrade.callback is not None, "a click command has a callback"
    try:
        upgrade.callback(_address(draft))
    except (MlflowException, SQLAlchemyError):
        return False
    return True


def _copy(file: Path, draft: Path) -> None:
    with _reading(file) as source, closing(sqlite3.connect(draft)) as target:
        source.rollback()
        source.backup(target)


def _follow(file: Path, client: MlflowClient) -> None:
    """Updates the recorded folders to the store's present one: it may have been moved or copied with all files."""
    for experiment in client.search_experiments():
        before = experiment.artifact_location
        known = _folder_of(before)
        if known is None or known.parent == file.parent or known.name != ARTIFACTS:
            continue
        now = file.parent / known.name
        if now.is_dir() or not known.is_dir():
            _rewrite(file, before, now.as_uri())


def _folder_of(location: str) -> Path | None:
    """The folder of an artifact location; None if it is not on this machine."""
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" and not parts.netloc else None


def _rewrite(file: Path, before: str, now: str) -> None:
    """Replaces the prefix of every location in the old folder."""
    with closing(sqlite3.connect(file, timeout=STORE_BUSY_SECONDS)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in tables & set(MOVED):
            there = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
            for column in there & set(MOVED[table]):
                connection.execute(
                    f"UPDATE {table} SET {column} = :now || substr({column}, :size) "
                    f"WHERE {column} = :before OR substr({column}, 1, :size) = :before || '/'",
                    {"now": now, "before": before, "size": len(before) + 1},
                )


def _address(file: Path) -> str:
    """The URL of a file for MLflow.

    MLflow decodes no `%` when it creates the folder of a file, and would create another one beside it. Such a folder
    gets a temporary plain name while this process lives.
    """
    if not SPECIAL.search(str(file)):
        return url_text(sqlite_url(file))
    return url_text(URL.create("sqlite", database=str(_plain(file.parent) / file.name)))


@cache
def _plain(folder: Path) -> Path:
    for place in (tempfile.gettempdir(), *PLACES):
        if not SPECIAL.search(place) and os.access(place, os.W_OK):
            link = Path(tempfile.mkdtemp(prefix="piip-search-", dir=place)) / "store"
            link.symlink_to(folder, target_is_directory=True)
            atexit.register(shutil.rmtree, link.parent, ignore_errors=True)
            return link
    raise StoreError(
        f"MLflow cannot use {folder}: its name has %, ? or a line end; name another --home, or --mlflow none"
    )


def _line(error: BaseException) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())[:200]
