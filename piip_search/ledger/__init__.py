"""The append-only record of all proposals and evaluations, in SQLite or PostgreSQL.

One search writes its own rows; all other processes read. Proposals and evaluations of a search share one sequence of
positions. Reading them in order replays the search exactly, and a second writer is refused.
"""

from piip_search.errors import LedgerError, UrlError
from piip_search.ledger.ledger import Ledger
from piip_search.ledger.records import (
    Circumstances,
    Event,
    FrontSnapshot,
    PreparationRecord,
    Promotion,
    SearchRecord,
    Sitting,
)
from piip_search.ledger.urls import (
    SPECIAL,
    database_url,
    shell_command,
    sqlite_file,
    sqlite_url,
    url_text,
    without_password,
)

__all__ = [
    "SPECIAL",
    "Circumstances",
    "Event",
    "FrontSnapshot",
    "Ledger",
    "LedgerError",
    "PreparationRecord",
    "Promotion",
    "SearchRecord",
    "Sitting",
    "UrlError",
    "database_url",
    "shell_command",
    "sqlite_file",
    "sqlite_url",
    "url_text",
    "without_password",
]
