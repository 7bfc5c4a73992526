"""Caches the runs of a ledger; only new events of a run are read."""

import threading
from collections import defaultdict
from pathlib import Path

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_search.config import SpecError, parse_spec
from piip_search.errors import UnreadableRunError
from piip_search.ledger import Ledger, LedgerError, SearchRecord


def is_addressable(name: str) -> bool:
    """Whether a run's name can be a part of a URL and of a path."""
    return "/" not in name and name not in ("", ".", "..")


class RunCache:
    """Snapshots of the runs of a ledger.

    Attributes:
        home: Folder of checkpoints; None if unknown.
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
        """Position of every run, which grows with every event; quick to read."""
        return self._ledger.positions()

    def records(self) -> list[SearchRecord]:
        """All runs, oldest first; quick to read."""
        return self._ledger.searches()

    def record(self, name: str) -> SearchRecord:
        """The record of a run.

        Raises:
            LedgerError: No run has that name.
        """
        return self._ledger.search(name)

    def driven(self, name: str) -> bool | None:
        """Whether a process drives a run at this moment; None if unknown."""
        return self._ledger.driven(name)

    def known(self, name: str) -> RunSnapshot | None:
        """The last snapshot of a run; None before the first."""
        return self._readings.get(name)

    def reading(self, name: str) -> RunSnapshot:
        """The present snapshot of a run.

        Raises:
            LedgerError: No run has that name.
            UnreadableRunError: This version cannot read the run's space.
        """
        with self._locks[name]:
            known = self._readings.get(name)
            now = self._first(name) if known is None else self._later(known)
            self._readings[name] = now
            return now

    def read_all(self) -> None:
        """Reads every run, newest first, so that pages need not wait."""
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
