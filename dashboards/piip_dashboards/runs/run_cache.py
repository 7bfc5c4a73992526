"""The runs of a ledger, read as far as they got; a run that grew is read on, not again."""

import threading
from collections import defaultdict
from pathlib import Path

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_search.config import SpecError, parse_spec
from piip_search.errors import UnreadableRunError
from piip_search.ledger import Ledger, LedgerError, SearchRecord


def is_addressable(name: str) -> bool:
    """Whether a run's name can be a part of an address, and of a path."""
    return "/" not in name and name not in ("", ".", "..")


class RunCache:
    """Readings of the runs of a ledger.

    Attributes:
        home: Folder of checkpoints; None where it is not known.
    """

    def __init__(self, ledger: Ledger, home: Path | None = None) -> None:
        self._ledger = ledger
        self.home = home
        self._readings: dict[str, RunSnapshot] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    @property
    def shown(self) -> str:
        """The ledger's URL without a password."""
        return self._ledger.shown

    def positions(self) -> dict[str, int]:
        """Position of every run; it grows whenever something happens. Cheap."""
        return self._ledger.positions()

    def records(self) -> list[SearchRecord]:
        """All runs, the oldest first. Cheap."""
        return self._ledger.searches()

    def record(self, name: str) -> SearchRecord:
        """One run.

        Raises:
            LedgerError: There is none of that name.
        """
        return self._ledger.search(name)

    def driven(self, name: str) -> bool | None:
        """Whether a process drives a run at this moment; None where that cannot be told."""
        return self._ledger.driven(name)

    def known(self, name: str) -> RunSnapshot | None:
        """A run as it was last read; None before the first time."""
        return self._readings.get(name)

    def reading(self, name: str) -> RunSnapshot:
        """A run as it is now.

        Raises:
            LedgerError: There is none of that name.
            UnreadableRunError: Its space cannot be understood by this version.
        """
        with self._locks[name]:
            known = self._readings.get(name)
            now = self._first(name) if known is None else self._later(known)
            self._readings[name] = now
            return now

    def read_all(self) -> None:
        """Reads every run, the newest first, so that nobody waits for it later."""
        for record in reversed(self.records()):
            try:
                reading = self.reading(record.name)
                reading.front  # noqa: B018  worked out, and kept
            except (LedgerError, UnreadableRunError):
                continue

    def _first(self, name: str) -> RunSnapshot:
        if not is_addressable(name):
            raise UnreadableRunError(f"a run named {name!r} has no address here; piip-search run makes no such name")
        record = self._ledger.search(name)
        try:
            spec = parse_spec(dict(record.spec), f"run {name}", recorded=True)
            events = self._ledger.happened(name)
        except (SpecError, ValueError, KeyError, TypeError) as error:
            raise UnreadableRunError(f"run {name!r} cannot be read by this version: {error}") from None
        return RunSnapshot.of(record, spec, events, self._ledger.sittings(name))

    def _later(self, known: RunSnapshot) -> RunSnapshot:
        events = self._ledger.happened(known.name, known.position)
        sittings = self._ledger.sittings(known.name)
        if not events and len(sittings) == len(known.sittings):
            return known
        return known.with_events(events, sittings)
