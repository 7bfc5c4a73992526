"""The ledger: reading, and writing by one process a search."""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import IntegrityError

from piip_search.architecture.design import ReadDesign, design_from_dict
from piip_search.errors import ClaimedError, LedgerError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.ledger.answers import find_answer
from piip_search.ledger.chain import ACTION_LOG, ChainReport
from piip_search.ledger.claims import DRIVE, Claim, ClaimRecord, claim_of
from piip_search.ledger.database import DATABASE_PATIENCE, Database
from piip_search.ledger.opening import revision_of
from piip_search.ledger.queries import CHANGEABLE, LedgerQueries
from piip_search.ledger.records import (
    Action,
    AnswerRule,
    Circumstances,
    Deed,
    Event,
    FrontSnapshot,
    KeptFile,
    PreparationRecord,
    Promotion,
    SearchRecord,
    SearchRows,
    Sitting,
    UnreadableRow,
)
from piip_search.ledger.tables import (
    NEWEST,
    ActionRow,
    EvaluationRow,
    FrontRow,
    PromotionRow,
    ProposalRow,
    SearchRow,
    utc,
)
from piip_search.ledger.writer import SearchWriter, add_action, add_search
from piip_search.owner import LONGEST_OWNER, Owner, this_owner

_T = TypeVar("_T")


class Ledger:
    """The evaluations of all searches in one database.

    Attributes:
        url: URL of the database.
        shown: The URL without password.
        owner: Owner of what this process writes.
    """

    def __init__(
        self,
        url: str | URL,
        notify: Callable[[str], None] = lambda text: None,
        patience: float = DATABASE_PATIENCE,
        reading: bool = False,
        read_design: ReadDesign = design_from_dict,
        owner: Owner | None = None,
    ) -> None:
        """Opens the database; a writer creates or migrates its tables.

        Args:
            url: SQLAlchemy's URL: `sqlite:///runs/ledger.db`, `postgresql://user:password@host/database`.
            notify: Called when the database is away during an access, when it is back, and about a migration.
            patience: Seconds to wait for it meanwhile.
            reading: Whether it is only read: nothing is created, migrated or left behind.
            read_design: Reads a design from its plain data; an architecture or a stock network by default.
            owner: Owner of what is written; by default that of this process.

        Raises:
            LedgerError: The URL is invalid, or the database is unreachable.
        """
        self.url = url
        self._database = Database(url, notify, patience, reading)
        self.shown = self._database.shown
        self.owner = owner or this_owner()
        self._queries = LedgerQueries(self._database, read_design)
        self._pens: dict[str, SearchWriter] = {}

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine, for queries of other programs."""
        return self._database.engine

    @property
    def is_current(self) -> bool:
        """Whether the tables are of this version."""
        return self._database.patiently(lambda: revision_of(self._database.engine)) == NEWEST

    def close(self) -> None:
        """Releases all claims and database connections."""
        for pen in self._pens.values():
            pen.release()
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
        take_over: bool = False,
    ) -> str:
        """Registers a search, or checks that the registered one is equal; makes this process its writer.

        Args:
            name: Name of the run.
            question: Fingerprint of the search (`SearchSpec.question`).
            recipe: Fingerprint of data and training.
            spec: Content of the search space file.
            data: Fingerprint of the data.
            circumstances: Circumstances of this process.
            audit_of: Uid of the search that an audit or a list of baselines belongs to; None for a search.
            take_over: Whether to go on with another owner's search, and to take it from a process that drives it.

        Returns:
            The search's uid, its name in every ledger.

        Raises:
            LedgerError: The name belongs to a search with another question or other data, or of another owner, or
                another process writes it.
        """
        row = self._queries.search(name) or self._made(name, question, recipe, spec, data, audit_of)
        if (row.question, row.recipe) != (question, recipe):
            changed = ", ".join(_changes(row.spec, spec)) or "data"
            raise LedgerError(
                f"run {name!r} exists and asked something else (changed since: {changed}); "
                "nothing of it was touched: choose another --name, or restore the space to continue it"
            )
        owner = Owner(row.owner_user, row.owner_host)
        if owner.known and not owner.is_same_user(self.owner) and not take_over:
            raise LedgerError(
                f"run {name!r} belongs to {owner}, and this is {self.owner}; choose another --name, or go on with it "
                "on purpose: --take-over"
            )
        self._take_up(name, row, circumstances or Circumstances(), spec, take_over)
        return row.uid

    def propose(self, name: str, candidate: Candidate, recipe: str) -> None:
        """Records that a candidate is being measured.

        Raises:
            LedgerError: Another process writes this search, or the database is unreachable for too long.
        """
        self._pen(name).propose(candidate, recipe)

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
        self._pen(name).accept(evaluation, recipe, gpu_seconds, moved)

    def prepare(self, name: str, step: PreparationRecord) -> None:
        """Records a step in the preparation of a search's evaluator.

        Raises:
            LedgerError: Another process writes this search, or the database is unreachable for too long.
        """
        self._pen(name).prepare(step, 1 + len(self.preparations(name)))

    def keep_file(self, name: str, path: str, content: str) -> KeptFile:
        """Records a file that a search names; the same content is recorded once.

        Raises:
            LedgerError: Another process writes this search, or the database is unreachable for too long.
        """
        pen, digest = self._pen(name), hashlib.sha256(content.encode()).hexdigest()
        files = self._queries.kept_files(pen.search_id)
        known = next((file for file in files if (file.path, file.digest) == (path, digest)), None)
        if known is not None:
            return known
        kept = KeptFile(path, digest, content)
        pen.keep(kept, 1 + len(files))
        return kept

    def kept_files(self, name: str) -> dict[str, KeptFile]:
        """The files that a search names, by path, with their last content."""
        return {file.path: file for file in self._queries.kept_files(self._queries.id_of(name))}

    def note(self, what: Deed, name: str = "", **detail: Any) -> None:
        """Adds an action to the log.

        Args:
            what: What was done.
            name: Name of the run; empty for an action on the whole ledger.
            detail: Further facts.
        """
        row = self._queries.search(name) if name else None
        values = {
            "uid": secrets.token_hex(16),
            "search": "" if row is None else row.uid,
            "run": name,
            "what": what,
            "owner_user": self.owner.user,
            "owner_host": self.owner.host,
            "process": os.getpid(),
            "detail": detail,
            "done_at": datetime.now(UTC),
        }
        add_action(self._database, values)

    def actions(self, name: str = "") -> list[Action]:
        """The log: who did what, first one first; of one search if a run is named."""
        question = select(ActionRow).order_by(ActionRow.id)
        if name:
            question = question.where(ActionRow.search == self.search(name).uid)
        return [
            Action(
                row.what,
                row.run,
                row.search,
                Owner(row.owner_user, row.owner_host),
                row.process,
                utc(row.done_at),
                row.detail,
            )
            for row in self._queries.readable(ActionRow, question)[0]
        ]

    @contextmanager
    def claim(self, name: str, work: str) -> Iterator[Claim]:
        """Claims some work on a search while a block runs.

        Args:
            name: Name of the run.
            work: Work, such as to drive it.

        Raises:
            LedgerError: Another process holds the claim.
        """
        held = self._claim(name, self._queries.id_of(name), work)
        try:
            yield held
        finally:
            held.release()

    def claim_of(self, name: str, work: str = DRIVE) -> ClaimRecord | None:
        """The claim on some work on a search, alive or not; None if it is free, or there is no such search."""
        row = self._queries.search(name)
        if row is None:
            return None

        def read() -> ClaimRecord | None:
            with self._database.engine.connect() as connection:
                return claim_of(connection, row.id, work)

        return self._database.patiently(read)

    def verify(self, name: str, earlier: str | None = None) -> ChainReport:
        """Compares the rows of a search with its hash chain.

        Args:
            name: Name of the run.
            earlier: Digest that the chain must contain: the head of an earlier verification.
        """
        row = self.search(name)
        return self._queries.verified(row.uid, self._queries.id_of(name), earlier)

    def verify_log(self, earlier: str | None = None) -> ChainReport:
        """Compares the log of actions with its hash chain, and looks for searches that are gone.

        The argument is that of `verify`.
        """
        report = self._queries.verified(ACTION_LOG, None, earlier)
        return replace(report, problems=(*report.problems, *self._queries.lost_searches()))

    def events(self, name: str) -> Iterator[Candidate | Evaluation]:
        """Proposed candidates and evaluations of a search, in order."""
        yield from (event.item for event in self.happened(name))

    def happened(self, name: str, after: int = 0) -> list[Event]:
        """Events of a search after a position, in order, with their times; rows that cannot be read are left out."""
        return self._queries.happened(self._queries.id_of(name), after)[0]

    def rows(self, name: str, after: int = 0) -> SearchRows:
        """What the ledger holds about a search, with its events after a position.

        Raises:
            LedgerError: No search has the name.
        """
        search_id = self._queries.id_of(name)
        events, unreadable = self._queries.happened(search_id, after)
        sittings, others = self._queries.sittings(search_id)
        preparations, more = self._queries.preparations(search_id)
        return SearchRows(tuple(events), tuple(sittings), tuple(preparations), (*unreadable, *others, *more))

    def unreadable_searches(self) -> list[UnreadableRow]:
        """Searches that cannot be read, and are left out of all lists."""
        return self._queries.readable(SearchRow, select(SearchRow).order_by(SearchRow.id))[1]

    def positions(self) -> dict[str, int]:
        """The last position of every search, 0 before its first proposal: it grows with every event."""
        last = dict.fromkeys(self._queries.all(select(SearchRow.id)), 0)
        for table in (ProposalRow, EvaluationRow):
            for search_id, position in self._queries.by_search(table, func.max(table.position)).items():
                last[search_id] = max(last.get(search_id, 0), position if isinstance(position, int) else 0)
        return {row.name: last[row.id] for row in self._queries.searches() if row.id in last}

    def driven(self, name: str) -> bool | None:
        """Whether a process drives a search at this moment; None if there is no such search."""
        if self._queries.search(name) is None:
            return None
        found = self.claim_of(name)
        return found is not None and found.alive

    def evaluations(self, name: str) -> list[Evaluation]:
        """All evaluations of a search, in the order of their ends."""
        return [item for item in self.events(name) if isinstance(item, Evaluation)]

    def unfinished(self, name: str) -> dict[Candidate, float]:
        """Candidates of a search without an evaluation, with the seconds since each was proposed.

        A candidate may have run for less: it waited for a worker, or its run was interrupted.
        """
        search_id = self._queries.id_of(name)
        ended = select(EvaluationRow.number).where(EvaluationRow.search_id == search_id)
        rows, _ = self._queries.readable(
            ProposalRow,
            select(ProposalRow).where(ProposalRow.search_id == search_id, ProposalRow.number.not_in(ended)),
        )
        candidates, now = self._queries.candidates(rows)[0], datetime.now(UTC)
        return {
            candidates[row.number][1]: (now - utc(row.proposed_at)).total_seconds()
            for row in rows
            if row.number in candidates
        }

    def find(
        self,
        key: str,
        rule: AnswerRule = "all",
        versions: Mapping[str, str] | None = None,
        kin: str | None = None,
    ) -> tuple[str, Evaluation] | None:
        """The first successful measurement with a key, and its search's name.

        Args:
            key: Key of the candidate (`Candidate.key`).
            rule: Searches that may answer.
            versions: Versions of the packages that would measure it here; others are no answer (`same_versions`).
            kin: Uid of a search of the same owner that may answer under any rule, and so may its audits and baselines.
        """
        return find_answer(self._queries, key, rule, versions or {}, self.owner, kin)

    def searches(self) -> list[SearchRecord]:
        """All searches, oldest first."""
        rows = self._queries.searches()
        tables = (ProposalRow, EvaluationRow)
        proposals, evaluations = (self._queries.by_search(table, func.count()) for table in tables)
        changed = self._queries.last_changes()
        return [
            SearchRecord(
                row.name,
                row.question,
                row.recipe,
                {**row.spec, **changed.get(row.id, {})},
                utc(row.created_at),
                proposals.get(row.id, 0),
                evaluations.get(row.id, 0),
                row.uid,
                row.data,
                row.audit_of,
                Owner(row.owner_user, row.owner_host),
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
            raise self._queries.unknown(name, list(records))
        return records[name]

    def sittings(self, name: str) -> list[Sitting]:
        """The processes that drove a search, first one first."""
        return self._queries.sittings(self._queries.id_of(name))[0]

    def promotions(self, name: str) -> list[Promotion]:
        """Promoted designs in order."""
        question = select(PromotionRow).where(PromotionRow.search_id == self._queries.id_of(name))
        rows, _ = self._queries.readable(PromotionRow, question.order_by(PromotionRow.number))
        return [Promotion(row.number, row.first, row.rung, utc(row.promoted_at)) for row in rows]

    def preparations(self, name: str) -> list[PreparationRecord]:
        """The steps in which a search's evaluator was prepared, in order."""
        return self._queries.preparations(self._queries.id_of(name))[0]

    def front_snapshots(self, name: str) -> list[FrontSnapshot]:
        """All fronts of all tiers in the search's history, in order."""
        question = select(FrontRow).where(FrontRow.search_id == self._queries.id_of(name)).order_by(FrontRow.id)
        rows, _ = self._queries.readable(FrontRow, question)
        return [FrontSnapshot(row.tier, tuple(row.members), row.hypervolume, utc(row.found_at)) for row in rows]

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
            "owner_user": self.owner.user[:LONGEST_OWNER],
            "owner_host": self.owner.host[:LONGEST_OWNER],
        }
        with suppress(IntegrityError):  # it exists: from another process, or from here before the connection broke
            add_search(self._database, SearchRow, values)
        row = self._queries.search(name)
        if row is None:
            raise LedgerError(f"ledger {self.shown} lost run {name!r}; is it being restored from a backup?")
        return row

    def _take_up(
        self, name: str, row: SearchRow, circumstances: Circumstances, spec: Mapping[str, Any], take_over: bool
    ) -> None:
        """Makes this process the writer of a search, from the next free position on."""
        earlier = self._pens.pop(name, None)
        if earlier is not None:
            earlier.release()
        before = self.search(name).spec
        claim = self._claim(name, row.id, DRIVE, take_over)
        position, sitting = self._queries.next_places(row.id)
        pen = SearchWriter(self._database, name, row.id, row.uid, claim, position, sitting)
        self._pens[name] = pen
        pen.begin_sitting(self.owner, circumstances, {section: dict(spec.get(section) or {}) for section in CHANGEABLE})
        self._log_start(name, row, sitting, claim, before, spec)

    def _log_start(
        self,
        name: str,
        row: SearchRow,
        sitting: int,
        claim: Claim,
        before: Mapping[str, Any],
        spec: Mapping[str, Any],
    ) -> None:
        owner = Owner(row.owner_user, row.owner_host)
        if claim.earlier is not None or (owner.known and not owner.is_same_user(self.owner)):
            holder = "" if claim.earlier is None else str(claim.earlier)
            self.note("took over", name, owner=str(owner), holder=holder)
        self.note("began" if sitting == 1 else "resumed", name, sitting=sitting)
        for section in CHANGEABLE:
            if sitting > 1 and section in spec and before.get(section) != spec[section]:
                self.note("changed", name, section=section, before=before.get(section), now=spec[section])

    def _claim(self, name: str, search_id: int, work: str, take_over: bool = False) -> Claim:
        try:
            return self._database.patiently(
                lambda: Claim(self._database.engine, search_id, work, self.owner, take_over)
            )
        except ClaimedError as error:
            does = "drives" if work == DRIVE else f"has the claim {work!r} on"
            raise LedgerError(
                f"another process ({error}) {does} run {name!r} at this moment; "
                "end it to go on here, choose another --name, or take it over on purpose: --take-over"
            ) from None

    def _pen(self, name: str) -> SearchWriter:
        if name not in self._pens:
            raise LedgerError(f"run {name!r} was not started here")
        return self._pens[name]


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in now if key not in ("name", "answers", *CHANGEABLE) and before.get(key) != now[key]]
