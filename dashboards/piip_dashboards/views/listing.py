"""A list of all searches in a ledger."""

from dataclasses import dataclass
from datetime import datetime

from piip_dashboards.runs.run_cache import RunCache
from piip_dashboards.views.overview import Overview, overview
from piip_dashboards.views.progress import Progress, progress_of
from piip_search.errors import UnreadableRunError
from piip_search.ledger import LedgerError, SearchRecord

SPARK = (140.0, 32.0)
"""Width and height of a sparkline, in pixels."""


@dataclass(frozen=True)
class ListedSearch:
    """A search in the list.

    Attributes:
        run: Name of the run.
        created_at: Start in UTC.
        evaluations: Number of evaluations.
        overview: Its results; None if it cannot be read.
        progress: Its fronts over time.
        problem: Reason why it cannot be read; empty if it can.
    """

    run: str
    created_at: datetime
    evaluations: int
    overview: Overview | None
    progress: Progress | None
    problem: str = ""


@dataclass(frozen=True)
class Listing:
    """All searches, newest first."""

    ledger: str
    searches: list[ListedSearch]


def listing(shelf: RunCache, now: datetime) -> Listing:
    """All searches of a ledger at a time, UTC."""
    return Listing(shelf.shown, [_listed(shelf, record, now) for record in reversed(shelf.records())])


def _listed(shelf: RunCache, record: SearchRecord, now: datetime) -> ListedSearch:
    try:
        reading = shelf.reading(record.name)
    except (LedgerError, UnreadableRunError) as error:
        return ListedSearch(record.name, record.created_at, record.evaluations, None, None, str(error))
    found = overview(reading, shelf.driven(record.name), now)
    return ListedSearch(record.name, record.created_at, record.evaluations, found, progress_of(reading))
