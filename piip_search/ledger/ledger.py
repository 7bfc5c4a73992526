"""The ledger: reading, and writing by one process a search."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from sqlalchemy import Executable, func, insert, select
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design, ReadDesign
from piip_search.cost import Convention, price
from piip_search.errors import LedgerError
from piip_search.evaluation.evaluation import Candidate, Evaluation, Status
from piip_search.evaluation.facts import Facts
from piip_search.ledger.database import DATABASE_PATIENCE, Claim, Database, is_claimed
from piip_search.ledger.records import (
    Circumstances,
    Event,
    FrontSnapshot,
    PreparationRecord,
    Promotion,
    SearchRecord,
    Sitting,
)
from piip_search.ledger.tables import (
    EvaluationRow,
    FrontRow,
    LedgerTable,
    PreparationRow,
    PromotionRow,
    ProposalRow,
    SearchRow,
    SittingRow,
    utc,
)

_T = TypeVar("_T")
RECORDED: tuple[Convention, ...] = ("published", "backbone")
"""Costs stored beside a proposal for other readers of the database; they follow from the architecture."""


@dataclass
class _Writer:
    """A writer's state of its search, so that a row takes one statement."""

    search_id: int
    uid: str
    position: int
    sitting: int
    claim: Claim
    interruptions: int


class Ledger:
    """The evaluations of all searches in one database.

    Attributes:
        url: URL of the database.
        shown: The URL without password.
        uid: Uid of the search that was started last.
    """

    def __init__(
        self,
        url: str | URL,
        notify: Callable[[str], None] = lambda text: None,
        patience: float = DATABASE_PATIENCE,
        reading: bool = False,
        read_design: ReadDesign = Architecture.from_dict,
    ) -> None:
        """Opens the database, and creates or migrates its tables.

        Args:
            url: SQLAlchemy's URL: `sqlite:///runs/ledger.db`, `postgresql://user:password@host/database`.
            notify: Called when the database is away during an access, and when it is back.
            patience: Seconds to wait for it meanwhile.
            reading: Whether it is only read: no file is created, and a read-only file stays unchanged.
            read_design: Reads a design from its plain data; an architecture by default.

        Raises:
            LedgerError: The URL is invalid, or the database is unreachable.
        """
        self.url = url
        self._database = Database(url, notify, patience, reading)
        self.shown = self._database.shown
        self._read_design = read_design
        self._pens: dict[str, _Writer] = {}

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine, for queries of other programs."""
        return self._database.engine

    def close(self) -> None:
        """Releases all claims and database connections."""
        for pen in self._pens.values():
            pen.claim.release()
        self._pens.clear()
        self._database.engine.dispose()

    def start(
        self,
        name: str,
        question: str,
        recipe: str,
        spec: Mapping[str, Any],
        data: str = "",
        circumstances: Circumstances | None = None,
        audit_of: str | None = None,
    ) -> str:
        """Registers a search, or checks that the registered one is equal; makes this process its writer.

        Args:
            name: Name of the run.
            question: Fingerprint of the search (`SearchSpec.question`).
            recipe: Fingerprint of data and training.
            spec: Content of the search space file.
            data: Fingerprint of the data.
            circumstances: Circumstances of this process.
            audit_of: Uid of the search whose proxies are audited; None for a search.

        Returns:
            The search's uid, its name in every ledger.

        Raises:
            LedgerError: The name belongs to a search with another question or other data, or another process writes it.
        """
        row = self._found(name) or self._made(name, question, recipe, spec, data, audit_of)
        if (row.question, row.recipe) != (question, recipe):
            changed = ", ".join(_changes(row.spec, spec)) or "data"
            raise LedgerError(
                f"run {name!r} exists and asked something else (changed since: {changed}); "
                "nothing of it was touched: choose another --name, or restore the space to continue it"
            )
        self._take_up(name, row, circumstances or Circumstances())
        return row.uid

    def propose(self, name: str, candidate: Candidate, recipe: str) -> None:
        """Records that a candidate is being measured.

        Raises:
            LedgerError: Another process writes this search, or the database is unreachable for too long.
        """
        pen, now = self._pen(name), datetime.now(UTC)
        design = candidate.design
        rows: list[dict[str, Any]] = [
            {
                "search_id": pen.search_id,
                "position": pen.position,
                "number": candidate.number,
                "key": candidate.key(recipe),
                "architecture": design.name,
                "fingerprint": design.fingerprint,
                "candidate": candidate.to_dict(),
                "costs": _costs(design),
                "proposed_at": now,
                "sitting": pen.sitting,
            }
        ]
        reason = candidate.reason
        promotions = (
            [
                {
                    "search_id": pen.search_id,
                    "number": candidate.number,
                    "first": reason.first,
                    "rung": reason.rung,
                    "promoted_at": now,
                }
            ]
            if reason.source == "promotion"
            else []
        )
        self._write(name, {ProposalRow: rows, PromotionRow: promotions})

    def accept(
        self,
        name: str,
        evaluation: Evaluation,
        recipe: str,
        gpu_seconds: float = 0.0,
        moved: Sequence[FrontSnapshot] = (),
    ) -> None:
        """Records a candidate's evaluation.

        Args:
            name: Name of the run.
            evaluation: Evaluation of the candidate.
            recipe: Fingerprint of data and training.
            gpu_seconds: GPU time of the evaluation.
            moved: Fronts that it changed.

        Raises:
            LedgerError: Another process writes this search, or the database is unreachable for too long.
        """
        pen, now = self._pen(name), datetime.now(UTC)
        row = {
            "search_id": pen.search_id,
            "position": pen.position,
            "number": evaluation.candidate.number,
            "key": evaluation.candidate.key(recipe),
            "status": evaluation.status,
            "metrics": dict(evaluation.metrics),
            "error": evaluation.error,
            "seconds": evaluation.seconds,
            "history": [dict(row) for row in evaluation.history],
            "facts": evaluation.facts.to_dict(),
            "finished_at": now,
            "sitting": pen.sitting,
            "host": evaluation.facts.host[:255],
            "gpu_seconds": gpu_seconds,
        }
        fronts = [
            {
                "search_id": pen.search_id,
                "position": pen.position,
                "tier": front.tier,
                "members": list(front.members),
                "hypervolume": front.hypervolume,
                "found_at": now,
            }
            for front in moved
        ]
        self._write(name, {EvaluationRow: [row], FrontRow: fronts})

    def prepare(self, name: str, step: PreparationRecord) -> None:
        """Records a step in the preparation of a search's evaluator.

        Raises:
            LedgerError: Another process writes this search, or the database is unreachable for too long.
        """
        pen = self._pen(name)
        row = {
            "search_id": pen.search_id,
            "number": 1 + len(self.preparations(name)),
            "kind": step.kind,
            "digest": step.digest,
            "uid": step.uid,
            "state": step.state,
            "error": step.error,
            "seconds": step.seconds,
            "gpu_seconds": step.gpu_seconds,
            "facts": dict(step.facts),
            "noted_at": datetime.now(UTC),
            "sitting": pen.sitting,
        }
        self._insert(name, {PreparationRow: [row]})

    def events(self, name: str) -> Iterator[Candidate | Evaluation]:
        """Proposed candidates and evaluations of a search, in order."""
        yield from (event.item for event in self.happened(name))

    def happened(self, name: str, after: int = 0) -> list[Event]:
        """Events of a search after a position, in order, with their times."""
        search_id = self._id(name)
        tables = (ProposalRow, EvaluationRow)
        proposals, evaluations = (
            self._all(select(t).where(t.search_id == search_id, t.position > after)) for t in tables
        )
        candidates = {row.number: self._candidate(row.candidate) for row in proposals}
        if after:
            candidates |= self._asked(search_id, [row.number for row in evaluations if row.number not in candidates])
        found = [Event(row.position, utc(row.proposed_at), candidates[row.number]) for row in proposals]
        # An evaluation may have arrived between the two queries.
        found += [
            Event(row.position, utc(row.finished_at), _evaluation(row, candidates[row.number]))
            for row in evaluations
            if row.number in candidates
        ]
        return sorted(found, key=lambda event: event.position)

    def positions(self) -> dict[str, int]:
        """The last position of every search, 0 before its first proposal: it grows with every event."""
        last = dict.fromkeys(self._all(select(SearchRow.id)), 0)
        for table in (ProposalRow, EvaluationRow):
            for search_id, position in self._by_search(table, func.max(table.position)).items():
                last[search_id] = max(last.get(search_id, 0), position)
        return {row.name: last[row.id] for row in self._all(select(SearchRow)) if row.id in last}

    def driven(self, name: str) -> bool | None:
        """Whether a process drives a search at this moment; None if unknown."""
        row = self._found(name)
        return None if row is None else self._database.patiently(lambda: is_claimed(self._database.engine, row.uid))

    def evaluations(self, name: str) -> list[Evaluation]:
        """All evaluations of a search, in the order of their ends."""
        return [item for item in self.events(name) if isinstance(item, Evaluation)]

    def unfinished(self, name: str) -> dict[Candidate, float]:
        """Candidates of a search without an evaluation, with the seconds since each was proposed.

        A candidate may have run for less: it waited for a worker, or its run was interrupted.
        """
        search_id = self._id(name)
        ended = select(EvaluationRow.number).where(EvaluationRow.search_id == search_id)
        rows = self._all(
            select(ProposalRow).where(ProposalRow.search_id == search_id, ProposalRow.number.not_in(ended))
        )
        now = datetime.now(UTC)
        return {self._candidate(row.candidate): (now - utc(row.proposed_at)).total_seconds() for row in rows}

    def find(self, key: str) -> tuple[str, Evaluation] | None:
        """The first successful measurement with a key in any search, and that search's name."""
        if not self._database.patiently(lambda: self._holds(key)):  # a quick query for the usual case
            return None
        question = (
            select(SearchRow.name, EvaluationRow, ProposalRow.candidate)
            .join(SearchRow, SearchRow.id == EvaluationRow.search_id)
            .join(
                ProposalRow,
                (ProposalRow.search_id == EvaluationRow.search_id) & (ProposalRow.number == EvaluationRow.number),
            )
            .where(EvaluationRow.key == key, EvaluationRow.status == "done")
            .order_by(EvaluationRow.id)
            .limit(1)
        )
        row = self._read(lambda session: session.execute(question).first())
        return None if row is None else (row[0], _evaluation(row[1], self._candidate(row[2])))

    def searches(self) -> list[SearchRecord]:
        """All searches, oldest first."""
        rows = self._all(select(SearchRow).order_by(SearchRow.id))
        proposals, evaluations = (self._by_search(table, func.count()) for table in (ProposalRow, EvaluationRow))
        return [
            SearchRecord(
                row.name,
                row.question,
                row.recipe,
                row.spec,
                utc(row.created_at),
                proposals.get(row.id, 0),
                evaluations.get(row.id, 0),
                row.uid,
                row.data,
                row.audit_of,
            )
            for row in rows
        ]

    def search(self, name: str) -> SearchRecord:
        """The search with a name.

        Raises:
            LedgerError: No search has the name; the message lists those that exist.
        """
        records = {record.name: record for record in self.searches()}
        if name not in records:
            raise self._unknown(name, list(records))
        return records[name]

    def sittings(self, name: str) -> list[Sitting]:
        """The processes that drove a search, first one first."""
        rows = self._all(select(SittingRow).where(SittingRow.search_id == self._id(name)).order_by(SittingRow.number))
        return [
            Sitting(row.number, utc(row.began_at), Circumstances(row.host, row.process, row.revision, row.versions))
            for row in rows
        ]

    def promotions(self, name: str) -> list[Promotion]:
        """Promoted designs in order."""
        rows = self._all(
            select(PromotionRow).where(PromotionRow.search_id == self._id(name)).order_by(PromotionRow.number)
        )
        return [Promotion(row.number, row.first, row.rung, utc(row.promoted_at)) for row in rows]

    def preparations(self, name: str) -> list[PreparationRecord]:
        """The steps in which a search's evaluator was prepared, in order."""
        question = select(PreparationRow).where(PreparationRow.search_id == self._id(name))
        return [_preparation(row) for row in self._all(question.order_by(PreparationRow.number))]

    def front_snapshots(self, name: str) -> list[FrontSnapshot]:
        """All fronts of all tiers in the search's history, in order."""
        rows = self._all(select(FrontRow).where(FrontRow.search_id == self._id(name)).order_by(FrontRow.id))
        return [FrontSnapshot(row.tier, tuple(row.members), row.hypervolume, utc(row.found_at)) for row in rows]

    def _found(self, name: str) -> SearchRow | None:
        return next(iter(self._all(select(SearchRow).where(SearchRow.name == name))), None)

    def _made(
        self, name: str, question: str, recipe: str, spec: Mapping[str, Any], data: str, audit_of: str | None
    ) -> SearchRow:
        values = {
            "name": name,
            "question": question,
            "recipe": recipe,
            "spec": dict(spec),
            "created_at": datetime.now(UTC),
            "uid": secrets.token_hex(16),
            "data": data,
            "audit_of": audit_of,
        }

        def write() -> None:
            with Session(self._database.engine) as session, session.begin():
                session.add(SearchRow(**values))

        with suppress(IntegrityError):  # it exists: from another process, or from here before the connection broke
            self._database.patiently(write)
        row = self._found(name)
        if row is None:
            raise LedgerError(f"ledger {self.shown} lost run {name!r}; is it being restored from a backup?")
        return row

    def _take_up(self, name: str, row: SearchRow, circumstances: Circumstances) -> None:
        """Makes this process the writer of a search, from the next free position on."""
        earlier = self._pens.pop(name, None)
        claim = self._claim(name, row.uid) if earlier is None else earlier.claim
        tables = (ProposalRow, EvaluationRow)
        last_positions = self._read(
            lambda session: [session.scalar(select(func.max(t.position)).where(t.search_id == row.id)) for t in tables]
        )
        sitting = 1 + len(self._all(select(SittingRow.id).where(SittingRow.search_id == row.id)))
        position = 1 + max(place or 0 for place in last_positions)
        self._pens[name] = _Writer(row.id, row.uid, position, sitting, claim, self._database.interruptions)
        values = {"search_id": row.id, "number": sitting, "began_at": datetime.now(UTC), **asdict(circumstances)}
        self._insert(name, {SittingRow: [values]})

    def _claim(self, name: str, uid: str) -> Claim:
        try:
            return self._database.patiently(lambda: Claim(self._database.engine, uid))
        except BlockingIOError:
            last = self.sittings(name)[-1:]
            where = f" (process {last[0].circumstances.process} on {last[0].circumstances.host})" if last else ""
            raise LedgerError(
                f"another process{where} drives run {name!r} at this moment; "
                "end it to go on here, or choose another --name"
            ) from None

    def _write(self, name: str, rows: Mapping[type[LedgerTable], Sequence[dict[str, Any]]]) -> None:
        self._insert(name, rows)
        pen = self._pens[name]
        pen.position += 1
        if pen.interruptions != self._database.interruptions:  # the claim was lost with the connection
            pen.claim.release()
            pen.claim, pen.interruptions = self._claim(name, pen.uid), self._database.interruptions

    def _insert(self, name: str, rows: Mapping[type[LedgerTable], Sequence[dict[str, Any]]]) -> None:
        """Adds rows in one transaction; checks afterwards if their arrival is unknown."""

        def write() -> None:
            with self._database.engine.begin() as connection:
                for table, several in rows.items():
                    if several:
                        connection.execute(insert(table), several)

        try:
            self._database.patiently(write)
        except IntegrityError:
            if not self._is_there(rows):
                raise LedgerError(
                    f"another process has gone on with run {name!r} in the meantime; this one stops here: "
                    "what it measured is kept; run the same command again to go on"
                ) from None

    def _is_there(self, rows: Mapping[type[LedgerTable], Sequence[dict[str, Any]]]) -> bool:
        """Whether the first row is in the database, so that only the answer was lost."""
        table, values = next((table, several[0]) for table, several in rows.items() if several)
        same = ("search_id", "position", "number", "key", "sitting", "process", "host", "state")
        plain = {name: value for name, value in values.items() if name in same}
        return bool(self._all(select(table).filter_by(**plain)))

    def _pen(self, name: str) -> _Writer:
        if name not in self._pens:
            raise LedgerError(f"run {name!r} was not started here")
        return self._pens[name]

    def _id(self, name: str) -> int:
        row = self._found(name)
        if row is None:
            raise self._unknown(name, [record.name for record in self.searches()])
        return row.id

    def _unknown(self, name: str, known: Sequence[str]) -> LedgerError:
        holds = f"it holds: {', '.join(known)}" if known else "it is empty; start one with piip-search run"
        return LedgerError(f"no run {name!r} in ledger {self.shown}; {holds}")

    def _by_search(self, table: type[ProposalRow] | type[EvaluationRow], number: Any) -> dict[int, int]:
        question = select(table.search_id, number).group_by(table.search_id)
        return dict(self._read(lambda session: [(row[0], row[1]) for row in session.execute(question)]))

    def _asked(self, search_id: int, numbers: Sequence[int]) -> dict[int, Candidate]:
        question = select(ProposalRow).where(ProposalRow.search_id == search_id, ProposalRow.number.in_(numbers))
        return {row.number: self._candidate(row.candidate) for row in self._all(question)}

    def _candidate(self, data: Mapping[str, Any]) -> Candidate:
        return Candidate.from_dict(data, self._read_design)

    def _all(self, question: Executable) -> Sequence[Any]:
        return self._read(lambda session: session.scalars(question).all())

    def _holds(self, key: str) -> bool:
        done = select(EvaluationRow.id).where(EvaluationRow.key == key, EvaluationRow.status == "done").limit(1)
        with self._database.engine.connect() as connection:
            return connection.execute(done).first() is not None

    def _read(self, ask: Callable[[Session], _T]) -> _T:
        def read() -> _T:
            with Session(self._database.engine, expire_on_commit=False) as session:
                return ask(session)

        return self._database.patiently(read)


def _costs(design: Design) -> dict[str, Any]:
    """Costs of an architecture; the plain data of any other design has its cost."""
    if not isinstance(design, Architecture):
        return {}
    return {convention: asdict(price(design, convention)) for convention in RECORDED}


def _evaluation(row: EvaluationRow, candidate: Candidate) -> Evaluation:
    status, facts = cast(Status, row.status), Facts.from_dict(row.facts)
    return Evaluation(candidate, status, row.metrics, row.error, row.seconds, tuple(row.history), facts)


def _preparation(row: PreparationRow) -> PreparationRecord:
    same = ("kind", "digest", "state", "uid", "error", "seconds", "gpu_seconds", "facts", "number", "sitting")
    return PreparationRecord(**{name: getattr(row, name) for name in same}, at=utc(row.noted_at))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in now if key not in ("name", "budget", "resources") and before.get(key) != now[key]]
