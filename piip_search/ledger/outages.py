"""Which errors of a database pass by themselves, and which a person has to mend."""

import re
import sqlite3

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, InternalError, OperationalError

LOST = (OperationalError, InterfaceError, InternalError)
"""Errors under which databases report an outage, among other faults."""
PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
)
"""SQLite's results that pass: a lock, a full disk, a file system that is away (https://sqlite.org/rescode.html)."""
PERMANENT_CLASSES = ("25", "28", "3D", "42")
"""PostgreSQL's classes of errors that stay: read-only, not authorised, no such database, no such table or right."""
PERMANENT_TEXTS = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|does not exist|permission denied"
    r"|certificate verify failed"
)
"""Refusals of a connection, which come without a class."""


def is_outage(error: DBAPIError) -> bool:
    """Whether a database may answer later without anybody's help."""
    if not isinstance(error, LOST):
        return False
    origin = error.orig
    code = getattr(origin, "sqlite_errorcode", None)
    if code is not None:
        return (code & 0xFF) in PASSING
    state = getattr(origin, "sqlstate", None)
    if state:
        return not state.startswith(PERMANENT_CLASSES)
    return not PERMANENT_TEXTS.search(str(origin))


def is_refusal(error: DBAPIError) -> bool:
    """Whether a person has to mend the reason: a missing right, a missing table, another program's file."""
    if isinstance(error, IntegrityError) or is_outage(error):
        return False
    if getattr(error.orig, "sqlite_errorcode", None) is not None:
        return True
    state = getattr(error.orig, "sqlstate", None)
    return isinstance(error, LOST) or bool(state and state.startswith(PERMANENT_CLASSES))


def reason_of(error: BaseException) -> str:
    """The first line of an error's message."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
