"""Writes the rows of one search: under a claim, in one transaction with their links in the hash chain."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Executable, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design
from piip_search.cost import Convention, price
from piip_search.errors import LedgerError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.ledger.chain import ACTION_LOG, FIRST_LINK, links_of
from piip_search.ledger.claims import Claim
from piip_search.ledger.database import Database
from piip_search.ledger.records import Circumstances, FrontSnapshot, KeptFile, PreparationRecord
from piip_search.ledger.tables import (
    ActionRow,
    EvaluationRow,
    FrontRow,
    KeptFileRow,
    LedgerTable,
    LinkRow,
    PreparationRow,
    PromotionRow,
    ProposalRow,
    SittingRow,
)
from piip_search.owner import LONGEST_OWNER, Owner

RowsOfTables = Mapping[type[LedgerTable], Sequence[dict[str, Any]]]
TELLING = ("search_id", "position", "number", "key", "sitting", "process", "host", "state", "digest")
"""Columns by which a row is recognised."""
RECORDED: tuple[Convention, ...] = ("published", "backbone")
"""Costs stored beside a proposal for other readers of the database; they follow from the architecture."""
LOG_TRIES = 50
"""Attempts to add to the log of actions while other processes do."""


class SearchWriter:
    """The writer of one search.

    Attributes:
        search_id: Id of the search in this ledger.
        uid: Uid of the search.
        position: Position of the next proposal or evaluation.
        sitting: Number of this process among those that drove the search.
    """

    def __init__(
        self, database: Database, name: str, search_id: int, uid: str, claim: Claim, position: int, sitting: int
    ) -> None:
        """Goes on where the rows of the search end.

        Args:
            database: Database of the ledger.
            name: Name of the run.
            search_id: Id of the search in this ledger.
            uid: Uid of the search.
            claim: Claim on driving the search.
            position: Position of the next proposal or evaluation.
            sitting: Number of this process among those that drove the search.
        """
        self.search_id, self.uid = search_id, uid
        self.position, self.sitting = position, sitting
        self._database, self._name, self._claim = database, name, claim
        self._links, self._head = self._last_link()

    def begin_sitting(self, owner: Owner, circumstances: Circumstances, sections: Mapping[str, Any]) -> None:
        """Adds this process, with the sections of the space that may differ from those of the process before."""
        whose = {"owner_user": owner.user[:LONGEST_OWNER], "owner_host": owner.host[:LONGEST_OWNER]}
        row = {"number": self.sitting, "began_at": datetime.now(UTC), **whose, **sections, **asdict(circumstances)}
        self._insert({SittingRow: [self._of_search(row)]})

    def propose(self, candidate: Candidate, recipe: str) -> None:
        """Adds a proposal; the arguments are those of `Ledger.propose`."""
        now, design, reason = datetime.now(UTC), candidate.design, candidate.reason
        row = {
            "position": self.position,
            "number": candidate.number,
            "key": candidate.key(recipe),
            "architecture": design.name,
            "fingerprint": design.fingerprint,
            "candidate": candidate.to_dict(),
            "costs": _costs(design),
            "proposed_at": now,
            "sitting": self.sitting,
        }
        promotion = {"number": candidate.number, "first": reason.first, "rung": reason.rung, "promoted_at": now}
        promotions = [self._of_search(promotion)] if reason.source == "promotion" else []
        self._insert({ProposalRow: [self._of_search(row)], PromotionRow: promotions})
        self.position += 1

    def accept(self, evaluation: Evaluation, recipe: str, gpu_seconds: float, moved: Sequence[FrontSnapshot]) -> None:
        """Adds an evaluation; the arguments are those of `Ledger.accept`."""
        now = datetime.now(UTC)
        row = {
            "position": self.position,
            "number": evaluation.candidate.number,
            "key": evaluation.candidate.key(recipe),
            "status": evaluation.status,
            "metrics": dict(evaluation.metrics),
            "error": evaluation.error,
            "seconds": evaluation.seconds,
            "history": [dict(line) for line in evaluation.history],
            "facts": evaluation.facts.to_dict(),
            "finished_at": now,
            "sitting": self.sitting,
            "host": evaluation.facts.host[:LONGEST_OWNER],
            "gpu_seconds": gpu_seconds,
        }
        fronts = [
            {
                "position": self.position,
                "tier": front.tier,
                "members": list(front.members),
                "hypervolume": front.hypervolume,
                "found_at": now,
            }
            for front in moved
        ]
        self._insert({EvaluationRow: [self._of_search(row)], FrontRow: [self._of_search(front) for front in fronts]})
        self.position += 1

    def prepare(self, step: PreparationRecord, number: int) -> None:
        """Adds a step in the preparation of the evaluator, with its number."""
        row = {
            "number": number,
            "kind": step.kind,
            "digest": step.digest,
            "uid": step.uid,
            "state": step.state,
            "error": step.error,
            "seconds": step.seconds,
            "gpu_seconds": step.gpu_seconds,
            "facts": dict(step.facts),
            "noted_at": datetime.now(UTC),
            "sitting": self.sitting,
        }
        self._insert({PreparationRow: [self._of_search(row)]})

    def keep(self, file: KeptFile, number: int) -> None:
        """Adds a file that the search names, with its number."""
        row = {"number": number, **asdict(file), "kept_at": datetime.now(UTC)}
        self._insert({KeptFileRow: [self._of_search(row)]})

    def _of_search(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {"search_id": self.search_id, **row}

    def _insert(self, rows: RowsOfTables) -> None:
        """Adds rows in one transaction; checks afterwards if their arrival is unknown.

        Raises:
            LedgerError: Another process writes this search, or the database is unreachable for too long.
        """
        flat = [(table, values) for table, several in rows.items() for values in several]
        links = links_of(self.uid, self._links + 1, self._head, flat)

        def write() -> None:
            with self._database.engine.begin() as connection:
                self._claim.renew(connection)
                _add(connection, rows)
                connection.execute(insert(LinkRow), links)

        try:
            self._database.patiently(write)
        except IntegrityError:
            if not self._is_there(rows):
                raise LedgerError(
                    f"another process has gone on with run {self._name!r} in the meantime; this one stops here: "
                    "what it measured is kept; run the same command again to go on"
                ) from None
        self._links, self._head = self._links + len(links), links[-1]["digest"]

    def release(self) -> None:
        """Releases the claim."""
        self._claim.release()

    def _is_there(self, rows: RowsOfTables) -> bool:
        """Whether the first row is in the database, so that only the answer was lost."""
        table, values = next((table, several[0]) for table, several in rows.items() if several)
        plain = {name: value for name, value in values.items() if name in TELLING}
        return bool(self._ask(select(table).filter_by(**plain)))

    def _last_link(self) -> tuple[int, str]:
        last = select(LinkRow).where(LinkRow.search == self.uid).order_by(LinkRow.number.desc()).limit(1)
        found = self._ask(last)
        return (found[0].number, found[0].digest) if found else (0, FIRST_LINK)

    def _ask(self, question: Executable) -> Sequence[Any]:
        def read() -> Sequence[Any]:
            with Session(self._database.engine, expire_on_commit=False) as session:
                return session.scalars(question).all()

        return self._database.patiently(read)


def add_search(database: Database, table: type[LedgerTable], values: dict[str, Any]) -> None:
    """Adds the row of a search, and begins its chain; any error of the database is the caller's."""
    links = links_of(values["uid"], 1, FIRST_LINK, [(table, values)])

    def write() -> None:
        with database.engine.begin() as connection:
            _add(connection, {table: [values]})
            connection.execute(insert(LinkRow), links)

    database.patiently(write)


def add_action(database: Database, values: dict[str, Any]) -> None:
    """Adds an action to the log, whose chain several processes extend."""
    last = (
        select(LinkRow.number, LinkRow.digest)
        .where(LinkRow.search == ACTION_LOG)
        .order_by(LinkRow.number.desc())
        .limit(1)
    )

    def write() -> None:
        with database.engine.begin() as connection:
            number, digest = connection.execute(last).first() or (0, FIRST_LINK)
            _add(connection, {ActionRow: [values]})
            connection.execute(insert(LinkRow), links_of(ACTION_LOG, number + 1, digest, [(ActionRow, values)]))

    for left in reversed(range(LOG_TRIES)):
        try:
            return database.patiently(write)
        except IntegrityError:  # another process was quicker, or only the answer was lost
            if _is_logged(database, values["uid"]):
                return
            if not left:
                raise


def _is_logged(database: Database, uid: str) -> bool:
    with database.engine.connect() as connection:
        return connection.execute(select(ActionRow.id).where(ActionRow.uid == uid)).first() is not None


def _costs(design: Design) -> dict[str, Any]:
    """Costs of an architecture; the plain data of any other design has its cost."""
    if not isinstance(design, Architecture):
        return {}
    return {convention: asdict(price(design, convention)) for convention in RECORDED}


def _add(connection: Connection, rows: RowsOfTables) -> None:
    for table, several in rows.items():
        if several:
            connection.execute(insert(table), several)
