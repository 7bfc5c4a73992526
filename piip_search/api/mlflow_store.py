"""Checks an MLflow store that a user names, before training and without loading MLflow."""

import importlib.metadata
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from piip_search.errors import UserError

SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
STORE_WAY_OUT = (
    "give --mlflow or MLFLOW_TRACKING_URI a database such as sqlite:////shared/mlflow.db, a server such as "
    "http://mlflow:5000, or none"
)
IS_A_FOLDER = "it is a folder, and MLflow keeps runs only in databases and servers"
SQLITE = b"SQLite format 3\0"
"""First bytes of a database file."""


def check_store(uri: str) -> None:
    """Checks that MLflow could use a store; an unreachable server is accepted, as it may come back.

    Raises:
        UserError: MLflow could not use it.
    """
    problem = kind_problem(uri) or _place_problem(uri)
    if problem is not None:
        raise UserError(f"the MLflow store {uri} cannot be used: {problem}; {STORE_WAY_OUT}")


def is_database(uri: str) -> bool:
    """Whether a store is a database, including a file."""
    return ":" in uri and _kind(uri) in DATABASES


def _kind(uri: str) -> str:
    return uri.partition(":")[0].lower().partition("+")[0]


def kind_problem(uri: str) -> str | None:
    """The problem with the kind of a store, wherever it is; None without one."""
    scheme, colon, rest = uri.partition(":")
    if uri == "databricks":
        return None
    if not colon or scheme == "file" or uri.startswith(("/", ".", "~")):
        return None if _folders_are_allowed() else IS_A_FOLDER
    if re.fullmatch(r"\d+(/.*)?", rest):
        return f"it names no scheme; a server is http://{uri}"
    kind = _kind(uri)
    if kind in SERVERS:
        return _server_problem(uri)
    if kind in DATABASES:
        return _url_problem(uri)
    if kind == "databricks" or kind in _plugins():
        return None
    return f"MLflow knows no scheme {scheme!r}"


def _folders_are_allowed() -> bool:
    return os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")


def _plugins() -> set[str]:
    """Schemes of MLflow stores that installed packages provide."""
    return {point.name for point in importlib.metadata.entry_points(group="mlflow.tracking_store")}


def _server_problem(uri: str) -> str | None:
    try:
        host = urlsplit(uri).hostname
    except ValueError:  # for example unbalanced brackets
        host = None
    if not host or re.search(r"\s", uri):
        return "it names no host"
    try:
        known = urlsplit(uri).port != 0
    except ValueError:
        known = False
    return None if known else "its port is no number from 1 to 65535"


def _url_problem(uri: str) -> str | None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    from piip_search.ledger import UrlError, database_url

    try:
        make_url(uri).get_dialect()
        database_url(uri)
    except NoSuchModuleError:
        return "SQLAlchemy knows no such database driver"
    except UrlError as error:
        return str(error)
    except (ArgumentError, ValueError):
        return "it is no database URL; a file is sqlite:/// and its path, so that an absolute one has four slashes"
    return None


def _place_problem(uri: str) -> str | None:
    """The problem with a database on this machine: its driver or its file; None without one."""
    if not is_database(uri):
        return None
    from piip_search.ledger import database_url, sqlite_file

    url = database_url(uri)
    try:
        url.get_dialect().import_dbapi()
    except ImportError as error:
        return f"its driver {error.name} is not installed"
    if url.get_backend_name() != "sqlite":
        return None
    file = sqlite_file(url)
    return "it names no file: a store in memory is gone with its process" if file is None else _file_problem(file)


def _file_problem(file: Path) -> str | None:
    try:
        if file.is_file():
            with file.open("rb") as opened:
                begins = opened.read(len(SQLITE))
            if begins and begins != SQLITE:
                return f"{file} is no SQLite database"
            if not os.access(file, os.W_OK):
                return f"{file} is not writable"
            writable = os.access(file.parent, os.W_OK)  # for SQLite's journal
            return None if writable else f"nothing can be written into {file.parent}"
        if file.exists():
            return f"{file} is no file"
        there = next(parent for parent in file.absolute().parents if parent.exists())
    except OSError as error:
        return str(error)
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return None if writable else f"nothing can be written into {there}"
