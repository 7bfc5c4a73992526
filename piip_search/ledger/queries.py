"""Queries over the tables of a ledger, whose rows are checked as they are read."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Executable, Select, func, select
from sqlalchemy.orm import Session

from piip_search.architecture.design import ReadDesign
from piip_search.errors import LedgerError
from piip_search.evaluation.evaluation import Candidate
from piip_search.ledger.chain import ACTION_LOG, FIRST_LINK, ChainReport, stored_actions, stored_rows, verified
from piip_search.ledger.database import Database
from piip_search.ledger.records import Circumstances, Event, KeptFile, PreparationRecord, Sitting, UnreadableRow
from piip_search.ledger.row_reading import read_candidate, read_evaluation, readable_rows
from piip_search.ledger.tables import (
    EvaluationRow,
    KeptFileRow,
    LedgerTable,
    LinkRow,
    PreparationRow,
    ProposalRow,
    SearchRow,
    SittingRow,
    utc,
)
from piip_search.owner import Owner

_T = TypeVar("_T")
_Row = TypeVar("_Row", bound=LedgerTable)
_Event = TypeVar("_Event", ProposalRow, EvaluationRow)
CHANGEABLE = ("budget", "resources")
"""Sections of a space that a search may change between two processes that drive it."""

PAGE = 5000
"""Proposals of a search whose rows are in memory at a time, with the evaluations between them."""


class LedgerQueries:
    """Queries over the tables of one ledger."""

    def __init__(self, database: Database, read_design: ReadDesign) -> None:
        """Queries a database.

        Args:
            database: Database of the ledger.
            read_design: Reads a design from its plain data.
        """
        self._database, self._read_design = database, read_design

    def read(self, ask: Callable[[Session], _T]) -> _T:
        """The result of a function of a session, tried again while the database is away."""

        def read() -> _T:
            with Session(self._database.engine, expire_on_commit=False) as session:
                return ask(session)

        return self._database.patiently(read)

    def all(self, question: Executable) -> Sequence[Any]:
        """The first column, or the row object, of each row of a query."""
        return self.read(lambda session: session.scalars(question).all())

    def readable(self, table: type[_Row], question: Select[_Row]) -> tuple[list[_Row], list[UnreadableRow]]:
        """The rows of a query whose fields can be read, and the others."""
        return self.read(lambda session: readable_rows(session, table, question))

    def holds(self, key: str) -> bool:
        """Whether any search has a successful measurement with a key."""
        done = select(EvaluationRow.id).where(EvaluationRow.key == key, EvaluationRow.status == "done").limit(1)
        return self.read(lambda session: session.execute(done).first() is not None)

    def searches(self) -> list[SearchRow]:
        """All searches that can be read, oldest first."""
        return self.readable(SearchRow, select(SearchRow).order_by(SearchRow.id))[0]

    def search(self, name: str) -> SearchRow | None:
        """The search with a name; None without one."""
        return next(iter(self.readable(SearchRow, select(SearchRow).where(SearchRow.name == name))[0]), None)

    def id_of(self, name: str) -> int:
        """The id of a search in this ledger.

        Raises:
            LedgerError: No search has the name.
        """
        row = self.search(name)
        if row is None:
            raise self.unknown(name, [record.name for record in self.searches()])
        return row.id

    def unknown(self, name: str, known: Sequence[str]) -> LedgerError:
        """The error about a name that no search has."""
        holds = f"it holds: {', '.join(known)}" if known else "it is empty; start one with piip-search run"
        return LedgerError(f"no run {name!r} in ledger {self._database.shown}; {holds}")

    def next_places(self, search_id: int) -> tuple[int, int]:
        """The position of the next row of a search, and the number of the next process that drives it."""
        lasts = [
            select(func.max(table.position)).where(table.search_id == search_id)
            for table in (ProposalRow, EvaluationRow)
        ]
        sittings = select(func.count()).select_from(SittingRow).where(SittingRow.search_id == search_id)
        *places, sat = self.read(lambda session: [session.scalar(one) for one in (*lasts, sittings)])
        return 1 + max(place or 0 for place in places), 1 + (sat or 0)

    def by_search(self, table: type[ProposalRow] | type[EvaluationRow], number: Any) -> dict[int, int]:
        """A number of each search, such as the count of its rows in a table."""
        question = select(table.search_id, number).group_by(table.search_id)
        return dict(self.read(lambda session: [(row[0], row[1]) for row in session.execute(question)]))

    def last_changes(self) -> dict[int, dict[str, Any]]:
        """What the last process that drove each search changed of its space: the budget and the resources."""
        last = select(func.max(SittingRow.id)).group_by(SittingRow.search_id)
        rows, _ = self.readable(SittingRow, select(SittingRow).where(SittingRow.id.in_(last)))
        return {row.search_id: {name: getattr(row, name) for name in CHANGEABLE if getattr(row, name)} for row in rows}

    def happened(self, search_id: int, after: int) -> tuple[list[Event], list[UnreadableRow]]:
        """Events of a search after a position, in order, and the rows that cannot be read.

        Rows are read in pages, as a row takes more memory than its event.
        """
        found: list[Event] = []
        unreadable: list[UnreadableRow] = []
        candidates: dict[int, tuple[int, Candidate]] = {}
        for start, end in self._pages(search_id, after):
            proposals, problems = self._between(ProposalRow, search_id, start, end)
            evaluations, others = self._between(EvaluationRow, search_id, start, end)
            new, more = self.candidates(proposals)
            unreadable += [*problems, *others, *more]
            candidates |= new
            if after:
                candidates |= self.asked(search_id, [r.number for r in evaluations if r.number not in candidates])
            found += [
                Event(row.position, utc(row.proposed_at), new[row.number][1]) for row in proposals if row.number in new
            ]
            for row in evaluations:
                # An evaluation may have arrived between the two queries, or its proposal cannot be read.
                if row.number not in candidates:
                    continue
                position, candidate = candidates[row.number]
                evaluation = read_evaluation(row, candidate, position)
                if isinstance(evaluation, UnreadableRow):
                    unreadable.append(evaluation)
                else:
                    found.append(Event(row.position, utc(row.finished_at), evaluation))
        return sorted(found, key=lambda event: event.position), unreadable

    def _pages(self, search_id: int, after: int) -> list[tuple[int | None, int | None]]:
        """Positions between which a search's rows are read: each after the first, and up to the second.

        The first page has no beginning and the last no end, so that rows with a wrong position are found too.
        """
        places = select(ProposalRow.position).where(ProposalRow.search_id == search_id, ProposalRow.position > after)
        found = self.read(lambda session: session.scalars(places).all())
        ends = sorted(place for place in found if isinstance(place, int))[PAGE::PAGE]
        return list(zip([after or None, *ends], [*ends, None], strict=True))

    def _between(
        self, table: type[_Event], search_id: int, start: int | None, end: int | None
    ) -> tuple[list[_Event], list[UnreadableRow]]:
        question = select(table).where(table.search_id == search_id)
        question = question if start is None else question.where(table.position > start)
        return self.readable(table, question if end is None else question.where(table.position <= end))

    def asked(self, search_id: int, numbers: Sequence[int]) -> dict[int, tuple[int, Candidate]]:
        """Position and candidate of each proposal with one of some numbers."""
        question = select(ProposalRow).where(ProposalRow.search_id == search_id, ProposalRow.number.in_(numbers))
        return self.candidates(self.readable(ProposalRow, question)[0])[0]

    def candidates(self, rows: Iterable[ProposalRow]) -> tuple[dict[int, tuple[int, Candidate]], list[UnreadableRow]]:
        """Position and candidate of each proposal by its number, and the proposals that cannot be read."""
        found, unreadable = {}, []
        for row in rows:
            candidate = read_candidate(row, self._read_design)
            if isinstance(candidate, UnreadableRow):
                unreadable.append(candidate)
            else:
                found[row.number] = (row.position, candidate)
        return found, unreadable

    def sittings(self, search_id: int) -> tuple[list[Sitting], list[UnreadableRow]]:
        """The processes that drove a search, and the rows that cannot be read."""
        question = select(SittingRow).where(SittingRow.search_id == search_id).order_by(SittingRow.number)
        rows, unreadable = self.readable(SittingRow, question)
        return [
            Sitting(
                row.number,
                utc(row.began_at),
                Circumstances(row.host, row.process, row.revision, row.versions),
                Owner(row.owner_user, row.owner_host),
                row.budget,
                row.resources,
            )
            for row in rows
        ], unreadable

    def preparations(self, search_id: int) -> tuple[list[PreparationRecord], list[UnreadableRow]]:
        """The steps of a search's preparation, and the rows that cannot be read."""
        question = select(PreparationRow).where(PreparationRow.search_id == search_id).order_by(PreparationRow.number)
        rows, unreadable = self.readable(PreparationRow, question)
        return [_preparation(row) for row in rows], unreadable

    def kept_files(self, search_id: int) -> list[KeptFile]:
        """All files that a search names, oldest first."""
        question = select(KeptFileRow).where(KeptFileRow.search_id == search_id).order_by(KeptFileRow.number)
        rows, _ = self.readable(KeptFileRow, question)
        return [KeptFile(row.path, row.digest, row.content) for row in rows]

    def verified(self, chain: str, search_id: int | None, earlier: str | None) -> ChainReport:
        """Compares the rows of a search, or the log without an id, with a chain."""
        links = self.all(select(LinkRow).where(LinkRow.search == chain).order_by(LinkRow.number))
        if not links and search_id is not None:
            return ChainReport(0, FIRST_LINK, ("it has no chain yet: piip-search ledger upgrade begins one",))

        def read() -> ChainReport:
            with self._database.engine.connect() as connection:
                rows = stored_actions(connection) if search_id is None else stored_rows(connection, search_id)
                return verified(links, rows, earlier)

        return self._database.patiently(read)

    def lost_searches(self) -> list[str]:
        """A line for each search that has a chain, and whose own row is missing or cannot be read."""
        there = {row.uid for row in self.searches()}
        chains = self.all(select(LinkRow.search).where(LinkRow.search != ACTION_LOG).distinct())
        return [f"search {uid} is missing, or cannot be read: its chain is there" for uid in chains if uid not in there]


def _preparation(row: PreparationRow) -> PreparationRecord:
    same = ("kind", "digest", "state", "uid", "error", "seconds", "gpu_seconds", "facts", "number", "sitting")
    return PreparationRecord(**{name: getattr(row, name) for name in same}, at=utc(row.noted_at))
