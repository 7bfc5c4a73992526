"""Database URLs: from paths, from a user's text, and as text."""

import os
import re
import shlex
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from piip_search.errors import UrlError
from piip_search.redact import without_secrets

IN_MEMORY = (None, "", ":memory:")
OPTIONS = ("timeout",)
"""Allowed parameters of a SQLite URL."""
SPECIAL = re.compile(r"[%?\x00-\x1f\x7f]")
"""Characters that are percent-encoded in the path of a URL: they have a meaning there, or end a line."""
FORMS = "sqlite:////folder/ledger.db or postgresql://user:password@host/database"


def sqlite_url(path: Path) -> URL:
    """URL of a SQLite file; `%`, `?` and `#` are ordinary characters of the path."""
    return URL.create("sqlite", database=os.path.realpath(path))


def database_url(given: str | URL) -> URL:
    """Parses a database URL; the path of a SQLite file becomes absolute.

    Raises:
        UrlError: The URL is invalid.
    """
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise UrlError(f"it is no database URL, such as {_form_for(given)}") from None
    if url.drivername.startswith("sqlite+") or "async" in url.drivername:
        raise UrlError(f"{url.drivername} is no supported database; give {FORMS}")
    return _checked_sqlite(url) if url.get_backend_name() == "sqlite" else url


def sqlite_file(given: str | URL) -> Path | None:
    """The file of a SQLite URL; None for other databases, and for a database in memory.

    Raises:
        UrlError: The URL is invalid.
    """
    url = database_url(given)
    in_file = url.get_backend_name() == "sqlite" and url.database not in IN_MEMORY
    return Path(str(url.database)) if in_file else None


def url_text(url: URL) -> str:
    """A URL with password as text that `database_url` can parse.

    SQLAlchemy would percent-encode letters beyond ASCII, and MLflow takes the codes for names of folders.
    """
    if url.get_backend_name() != "sqlite" or url.database in IN_MEMORY:
        return url.render_as_string(hide_password=False)
    query = "&".join(f"{name}={value}" for name, value in url.query.items())
    path = SPECIAL.sub(lambda found: quote(found[0]), str(url.database))
    return f"{url.drivername}:///{path}{'?' if query else ''}{query}"


def shell_command(command: str, uri: str) -> str:
    """A command of MLflow for a store, as a shell command.

    MLflow decodes no `%` in the folder of a file: for such a folder the command changes into it first.
    """
    file = sqlite_file(uri) if uri.startswith("sqlite:") else None
    if file is None or not SPECIAL.search(str(file)):
        return f"{command} {shlex.quote(uri)}"
    here = url_text(URL.create("sqlite", database=file.name))
    return f"cd {shlex.quote(str(file.parent))} && {command} {shlex.quote(here)}"


def without_password(given: str | URL) -> str:
    """A database URL for display, without password."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        return repr(without_secrets(str(given)))
    if url.get_backend_name() == "sqlite":
        return url_text(url)
    return without_secrets(url.render_as_string(hide_password=True))


def _checked_sqlite(url: URL) -> URL:
    if url.username or url.password or url.host or url.port:
        raise UrlError(f"a SQLite URL has three slashes before the path, as in {_form_for(url.host or '')}")
    unknown = sorted(set(url.query) - set(OPTIONS))
    if unknown:
        raise UrlError(f"{unknown[0]} is no option of a SQLite URL; it may have {', '.join(OPTIONS)}")
    try:
        float(str(url.query.get("timeout", 0)))
    except ValueError:
        raise UrlError(f"timeout must be a number of seconds, got {url.query['timeout']!r}") from None
    if url.database in IN_MEMORY:
        return url
    path = str(url.database)
    if "\0" in path:
        raise UrlError("a path must not have a null byte")
    return url.set(database=os.path.realpath(path))


def _form_for(given: str | URL) -> str:
    """The URL that was probably meant by a path."""
    path = str(given)
    if path and "://" not in path and "\0" not in path and (Path(path).is_file() or path.endswith(".db")):
        return url_text(sqlite_url(Path(path)))
    return FORMS
