"""A list of all searches in a ledger."""

from dataclasses import dataclass, field
from datetime import datetime

from piip_dashboards.runs.run_cache import BROKEN_RUN, RunCache
from piip_dashboards.views.overview import MOST_LEFT_OUT, Overview, overview
from piip_dashboards.views.progress import Progress, progress_of
from piip_search.errors import UnreadableRunError
from piip_search.ledger import SearchRecord
from piip_search.ledger.row_reading import cut

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
    """All searches, newest first.

    Attributes:
        ledger: URL of the ledger, without password.
        searches: The searches.
        unreadable: Searches that are left out, with the reason.
    """

    ledger: str
    searches: list[ListedSearch]
    unreadable: list[str] = field(default_factory=list)


def listing(shelf: RunCache, now: datetime) -> Listing:
    """All searches of a ledger at a time, UTC."""
    searches = [_listed(shelf, record, now) for record in reversed(shelf.records())]
    return Listing(shelf.shown, searches, [str(row) for row in shelf.unreadable()[:MOST_LEFT_OUT]])


def _listed(shelf: RunCache, record: SearchRecord, now: datetime) -> ListedSearch:
    try:
        reading = shelf.reading(record.name)
        found, progress = overview(reading, shelf.driven(record.name), now), progress_of(reading)
    except (UnreadableRunError, *BROKEN_RUN) as error:  # one such run must not hide the others
        return ListedSearch(record.name, record.created_at, record.evaluations, None, None, cut(str(error)))
    return ListedSearch(record.name, record.created_at, record.evaluations, found, progress)
