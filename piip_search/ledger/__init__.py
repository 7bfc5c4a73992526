"""Every proposal and every evaluation ever made: append-only, in SQLite or PostgreSQL.

One search writes its own rows; everybody else reads. Proposals and evaluations of a search share one sequence of
positions, so that reading them in order replays the search exactly as it went, and so that a second writer is refused.
"""

from piip_search.ledger.book import Ledger
from piip_search.ledger.connection import LedgerError, without_password
from piip_search.ledger.records import Circumstances, Event, FrontSnapshot, Promotion, SearchRecord, Sitting

__all__ = [
    "Circumstances",
    "Event",
    "FrontSnapshot",
    "Ledger",
    "LedgerError",
    "Promotion",
    "SearchRecord",
    "Sitting",
    "without_password",
]
