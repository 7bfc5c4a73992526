"""The append-only record of all proposals and evaluations, in SQLite or PostgreSQL.

One search writes its own rows; all other processes read. Proposals and evaluations of a search share one sequence of
positions. Reading them in order replays the search exactly, and a second writer is refused.
"""

from piip_search.errors import LedgerError, UrlError
from piip_search.ledger.chain import ChainReport
from piip_search.ledger.claims import Claim, ClaimRecord
from piip_search.ledger.ledger import Ledger
from piip_search.ledger.records import (
    Action,
    AnswerRule,
    Circumstances,
    Event,
    FrontSnapshot,
    KeptFile,
    PreparationRecord,
    PreparationSummary,
    Promotion,
    SearchRecord,
    SearchRows,
    Sitting,
    UnreadableRow,
    unreadable_note,
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
    "Action",
    "AnswerRule",
    "ChainReport",
    "Circumstances",
    "Claim",
    "ClaimRecord",
    "Event",
    "FrontSnapshot",
    "KeptFile",
    "Ledger",
    "LedgerError",
    "PreparationRecord",
    "PreparationSummary",
    "Promotion",
    "SearchRecord",
    "SearchRows",
    "Sitting",
    "UnreadableRow",
    "UrlError",
    "database_url",
    "shell_command",
    "sqlite_file",
    "sqlite_url",
    "unreadable_note",
    "url_text",
    "without_password",
]
