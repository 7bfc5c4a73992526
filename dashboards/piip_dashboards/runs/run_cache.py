"""Caches the runs of a ledger; only new events of a run are read."""

import threading
from collections import defaultdict
from pathlib import Path

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_search.analysis.baselines import Baseline, baselines_of
from piip_search.config import SpecError, parse_spec
from piip_search.errors import UnreadableRunError
from piip_search.ledger import Ledger, LedgerError, SearchRecord, UnreadableRow
from piip_search.ledger.row_reading import cut
from piip_search.search.baselines import baseline_objectives
from piip_search.search.history import RunHistory, without_garbage

BROKEN_RUN = (SpecError, ValueError, KeyError, TypeError, ArithmeticError, AttributeError, LookupError)
"""Errors of a run whose rows can be read one by one, and not together."""


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
        """All searches and audits, oldest first; quick to read. Baselines are shown with their search."""
        return [record for record in self._ledger.searches() if not record.holds_baselines]

    def baselines(self, reading: RunSnapshot) -> tuple[Baseline, ...]:
        """The baselines of a run with their results, cheapest first; none if their rows cannot be read together."""
        uid, spec = reading.record.uid, reading.spec
        objectives = baseline_objectives(spec.objectives)
        lists = [one.name for one in self._ledger.searches() if one.holds_baselines and one.audit_of == uid]
        try:
            events = (event.item for event in self._ledger.rows(lists[-1]).events) if lists else ()
            return baselines_of(RunHistory(spec, events, objectives), reading.objectives)
        except BROKEN_RUN:
            return ()

    def unreadable(self) -> list[UnreadableRow]:
        """Runs whose row cannot be read; `records` lacks them."""
        return self._ledger.unreadable_searches()

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
        if record.holds_baselines:
            raise UnreadableRunError(f"run {name!r} holds the baselines of a search; open that search to see them")
        try:
            spec = parse_spec(dict(record.spec), f"run {name}", recorded=True)
            with without_garbage():
                return RunSnapshot.of(record, spec, self._ledger.rows(name))
        except BROKEN_RUN as error:
            raise UnreadableRunError(f"run {name!r} cannot be read by this version: {cut(str(error))}") from None

    def _later(self, known: RunSnapshot) -> RunSnapshot:
        rows = self._ledger.rows(known.name, known.position)
        grown = len(rows.sittings) + len(rows.preparations) > len(known.sittings) + len(known.preparations)
        return known.with_rows(rows) if rows.events or grown else known
