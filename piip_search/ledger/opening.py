"""Opens the database of a ledger, and migrates its tables for a writer."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, func, inspect, select, text
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError

from piip_search.errors import RefusalError
from piip_search.ledger.older_tables import older_views
from piip_search.ledger.sqlite import belongs_to_this_user, file_engine, may_write, owner_text, reading_engine
from piip_search.ledger.tables import NEWEST
from piip_search.ledger.urls import FORMS, database_url, sqlite_file

if TYPE_CHECKING:  # the import takes a tenth of a second
    from alembic.config import Config

MIGRATING = 0x7069_6970
"""Key of the PostgreSQL lock for migrations."""
DIALECTS = ("sqlite", "postgresql")
"""Supported databases."""

KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Settings of libpq by which a server that vanished is noticed within a minute."""


def opened(given: str | URL, reading: bool, notify: Callable[[str], None]) -> Engine:
    """Opens a database: for a writer with migrated tables, for a reader as it is.

    Args:
        given: URL of the database.
        reading: Whether it is only read: nothing is created, migrated or left behind.
        notify: Called with a line about a migration.

    Raises:
        RefusalError: The database is no ledger, has tables of a newer version, or may not be written.
    """
    url = database_url(given)
    dialect, file = url.get_backend_name(), sqlite_file(url)
    if dialect not in (*DIALECTS, "postgres"):
        raise RefusalError(f"a ledger must be in SQLite or PostgreSQL, got {dialect}; give {FORMS}")
    if file is not None:
        _check_file(file, reading)
    engine = _engine(url, file, reading)
    try:
        if reading:
            _check_readable(engine)
            _fill_in(engine)
        else:
            _migrate(engine, file, notify)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _check_file(file: Path, reading: bool) -> None:
    if reading and not file.exists():
        raise RefusalError(f"there is no file {file}; run a search first, or give its place with --home or --ledger")
    if not reading and file.exists() and not may_write(file):
        raise RefusalError(
            f"{file} may only be read here ({owner_text(file)}); name a place of your own with --home or --ledger "
            "(piip-search ledger merge copies searches there)"
        )


def _engine(url: URL, file: Path | None, reading: bool) -> Engine:
    if file is None:
        return file_engine(url) if url.get_backend_name() == "sqlite" else _server_engine(url)
    if not reading:
        return file_engine(url)
    # The owner of a file leaves nothing in anybody's way, and reads safely while a writer begins.
    return file_engine(url, reading=True) if belongs_to_this_user(file) and may_write(file) else reading_engine(url)


def _server_engine(url: URL) -> Engine:
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    # Checked before use: a connection may have died meanwhile.
    return create_engine(url, pool_pre_ping=True, pool_size=2, connect_args={"connect_timeout": 10, **KEEPALIVES})


def _check_readable(engine: Engine) -> None:
    """Refuses a database that is no ledger, or has tables of a newer version.

    Raises:
        RefusalError: One of these holds.
    """
    found = revision_of(engine)
    if found is None:
        what = "file" if engine.dialect.name == "sqlite" else "database"
        raise RefusalError(f"the {what} is no ledger; give the ledger's place with --home or --ledger")
    if found != NEWEST and not _is_known(found):
        raise _newer(engine)


def _fill_in(engine: Engine) -> None:
    """Shows tables of an earlier version to each connection as tables of this one."""
    if revision_of(engine) == NEWEST or engine.url.database in (None, "", ":memory:"):
        return
    with engine.connect() as connection:
        statements = older_views(connection)
    engine.dispose()

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        with closing(connection.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)
        connection.commit()


def _migrate(engine: Engine, file: Path | None, notify: Callable[[str], None]) -> None:
    """Migrates the tables; several processes may try at once.

    Raises:
        RefusalError: A newer version of this package, or another program, wrote the database, or this user may not.
    """
    if revision_of(engine) == NEWEST:
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
        earlier = revision_of(engine)
        kept = _keep(file, earlier) if file is not None and earlier is not None and earlier != NEWEST else None
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError:
            raise _newer(engine) from None
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") != "42501":
                raise
            raise RefusalError(
                f"its tables are of version {earlier or 'none'}, this version writes {NEWEST}, and this user may not "
                "change them; the owner of the tables runs piip-search ledger upgrade"
            ) from None
        connection.commit()
    if earlier not in (None, NEWEST):
        before = f"; the file of before is kept as {kept}" if kept else ""
        notify(f"the ledger's tables were upgraded from version {earlier} to {NEWEST}{before}")


def _keep(file: Path, revision: str) -> Path:
    """Copies a file before its migration; the writers wait meanwhile."""
    kept = file.with_name(f"{file.name}-{revision}")
    if kept.exists():  # of an earlier attempt
        return kept
    draft = kept.with_name(f"{kept.name}.draft")
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(draft)) as target:
            source.backup(target)
        draft.replace(kept)
    finally:
        draft.unlink(missing_ok=True)
    return kept


def _migrations() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "piip_search.ledger:migrations")
    return config


def _is_known(revision: str) -> bool:
    """Whether this version can read tables of a revision."""
    from alembic.script import ScriptDirectory

    return any(script.revision == revision for script in ScriptDirectory.from_config(_migrations()).walk_revisions())


def _newer(engine: Engine) -> RefusalError:
    if not inspect(engine).has_table("proposal"):
        return RefusalError("it is the database of another program; give the ledger's place with --home or --ledger")
    return RefusalError(
        f"a newer version wrote it (its tables are {revision_of(engine)}, this version knows {NEWEST}); "
        "pip install --upgrade piip-search"
    )


def revision_of(engine: Engine) -> str | None:
    """Revision of the tables; None without tables."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found
