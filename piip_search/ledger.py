"""Every proposal and every evaluation ever made: append-only, in any SQL database.

One search writes its own rows; everybody else reads. Proposals and evaluations of a search share one sequence of
positions, so that reading them in order replays the search exactly as it went.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, String, UniqueConstraint, create_engine, event, func, select
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from piip_search.architecture import Architecture
from piip_search.cost import Convention, price
from piip_search.evaluation import Candidate, Evaluation
from piip_search.table_design import TableDesign

RECORDED: tuple[Convention, ...] = ("published", "backbone")
"""Costs kept beside a proposal, for whoever reads the database; they follow from the architecture alone."""


class LedgerError(ValueError):
    """The ledger cannot be opened or does not hold what was asked for; the message says what to do."""


class _Table(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a plain class attribute
        dict[str, Any]: JSON,
        list[dict[str, Any]]: JSON,
        datetime: DateTime(timezone=True),
    }


class _Search(_Table):
    __tablename__ = "search"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    question: Mapped[str] = mapped_column(String(16))
    recipe: Mapped[str] = mapped_column(String(16))
    spec: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class _Proposal(_Table):
    __tablename__ = "proposal"
    __table_args__ = (UniqueConstraint("search_id", "position"), UniqueConstraint("search_id", "number"))
    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("search.id"), index=True)
    position: Mapped[int]
    number: Mapped[int]
    key: Mapped[str] = mapped_column(String(16), index=True)
    architecture: Mapped[str] = mapped_column(String(400))
    fingerprint: Mapped[str] = mapped_column(String(16), index=True)
    candidate: Mapped[dict[str, Any]]
    costs: Mapped[dict[str, Any]]
    proposed_at: Mapped[datetime]


class _Evaluation(_Table):
    __tablename__ = "evaluation"
    __table_args__ = (UniqueConstraint("search_id", "position"), UniqueConstraint("search_id", "number", "key"))
    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("search.id"), index=True)
    position: Mapped[int]
    number: Mapped[int]
    key: Mapped[str] = mapped_column(String(16), index=True)
    status: Mapped[str] = mapped_column(String(16))
    metrics: Mapped[dict[str, Any]]
    error: Mapped[str]
    seconds: Mapped[float]
    history: Mapped[list[dict[str, Any]]]
    facts: Mapped[dict[str, Any]]
    finished_at: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """One search as the ledger knows it.

    Attributes:
        name: Name of the run.
        question: Fingerprint of what is searched (`SearchSpec.question`).
        recipe: Fingerprint of data and training.
        spec: The search space file's content.
        created_at: When it was first run, UTC.
        proposals: How many were made.
        evaluations: How many ended.
    """

    name: str
    question: str
    recipe: str
    spec: Mapping[str, Any]
    created_at: datetime
    proposals: int
    evaluations: int


class Ledger:
    """The evaluations of all searches in one database.

    Raises:
        LedgerError: The URL is none, or the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._engine = _engine(url)
            _migrate(self._engine)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, DBAPIError, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            shown = _without_password(url)
            raise LedgerError(
                f"ledger {shown} cannot be opened: {reason}; give a database URL such as sqlite:///runs/ledger.db"
            ) from None

    def close(self) -> None:
        """Releases the database connections."""
        self._engine.dispose()

    def start(self, name: str, question: str, recipe: str, spec: Mapping[str, Any]) -> None:
        """Makes a search known, or checks that the one of that name asks the same.

        Raises:
            LedgerError: The name belongs to a search of another question or on other data.
        """
        with Session(self._engine) as session, session.begin():
            row = session.scalar(select(_Search).where(_Search.name == name))
            if row is None:
                created_at = datetime.now(UTC)
                session.add(
                    _Search(name=name, question=question, recipe=recipe, spec=dict(spec), created_at=created_at)
                )
            elif (row.question, row.recipe) != (question, recipe):
                changed = ", ".join(_changes(row.spec, spec)) or "data"
                raise LedgerError(
                    f"run {name!r} exists and asked something else (changed since: {changed}); "
                    "nothing of it was touched: choose another --name, or restore the space to continue it"
                )

    def propose(self, name: str, candidate: Candidate, recipe: str) -> None:
        """Notes that a candidate is being measured."""
        architecture = candidate.architecture
        with Session(self._engine) as session, session.begin():
            search_id = self._id(session, name)
            session.add(
                _Proposal(
                    search_id=search_id,
                    position=_next_position(session, search_id),
                    number=candidate.number,
                    key=candidate.key(recipe),
                    architecture=architecture.name,
                    fingerprint=architecture.fingerprint,
                    candidate=candidate.to_dict(),
                    costs=_costs(architecture),
                    proposed_at=datetime.now(UTC),
                )
            )

    def accept(self, name: str, evaluation: Evaluation, recipe: str) -> None:
        """Keeps what came of a candidate."""
        with Session(self._engine) as session, session.begin():
            search_id = self._id(session, name)
            session.add(
                _Evaluation(
                    search_id=search_id,
                    position=_next_position(session, search_id),
                    number=evaluation.candidate.number,
                    key=evaluation.candidate.key(recipe),
                    status=evaluation.status,
                    metrics=dict(evaluation.metrics),
                    error=evaluation.error,
                    seconds=evaluation.seconds,
                    history=[dict(row) for row in evaluation.history],
                    facts=dict(evaluation.facts),
                    finished_at=datetime.now(UTC),
                )
            )

    def events(self, name: str) -> Iterator[Candidate | Evaluation]:
        """What happened in a search, in order: a candidate was proposed, or an evaluation came back."""
        with Session(self._engine) as session:
            search_id = self._id(session, name)
            proposals = session.scalars(select(_Proposal).where(_Proposal.search_id == search_id)).all()
            evaluations = session.scalars(select(_Evaluation).where(_Evaluation.search_id == search_id)).all()
        candidates = {row.number: Candidate.from_dict(row.candidate) for row in proposals}
        found: list[tuple[int, Candidate | Evaluation]] = [(row.position, candidates[row.number]) for row in proposals]
        found += [(row.position, _evaluation(row, candidates[row.number])) for row in evaluations]
        yield from (item for _, item in sorted(found, key=lambda pair: pair[0]))

    def evaluations(self, name: str) -> list[Evaluation]:
        """All evaluations of a search, in the order in which they ended."""
        return [item for item in self.events(name) if isinstance(item, Evaluation)]

    def unfinished(self, name: str) -> dict[Candidate, float]:
        """Candidates of a search without an evaluation, and the seconds since each was proposed.

        No candidate has run for longer, but it may for less: it waited for a worker, or its run was cut off.
        """
        with Session(self._engine) as session:
            search_id = self._id(session, name)
            ended = set(session.scalars(select(_Evaluation.number).where(_Evaluation.search_id == search_id)))
            rows = session.scalars(select(_Proposal).where(_Proposal.search_id == search_id)).all()
        now = datetime.now(UTC)
        return {
            Candidate.from_dict(row.candidate): (now - _utc(row.proposed_at)).total_seconds()
            for row in rows
            if row.number not in ended
        }

    def find(self, key: str) -> tuple[str, Evaluation] | None:
        """The first successful measurement of that key in any search, and that search's name."""
        with Session(self._engine) as session:
            row = session.execute(
                select(_Search.name, _Evaluation, _Proposal.candidate)
                .join(_Search, _Search.id == _Evaluation.search_id)
                .join(
                    _Proposal,
                    (_Proposal.search_id == _Evaluation.search_id) & (_Proposal.number == _Evaluation.number),
                )
                .where(_Evaluation.key == key, _Evaluation.status == "done")
                .order_by(_Evaluation.id)
                .limit(1)
            ).first()
        return None if row is None else (row[0], _evaluation(row[1], Candidate.from_dict(row[2])))

    def searches(self) -> list[SearchRecord]:
        """All searches, the oldest first."""
        with Session(self._engine) as session:
            rows = session.scalars(select(_Search).order_by(_Search.id)).all()
            proposals = _counts(session, _Proposal)
            evaluations = _counts(session, _Evaluation)
        return [
            SearchRecord(
                row.name, row.question, row.recipe, row.spec, row.created_at,
                proposals.get(row.id, 0), evaluations.get(row.id, 0),
            )
            for row in rows
        ]  # fmt: skip

    def search(self, name: str) -> SearchRecord:
        """The search of that name.

        Raises:
            LedgerError: There is none; the message lists those there are.
        """
        records = {record.name: record for record in self.searches()}
        if name not in records:
            known = f"it holds: {', '.join(records)}" if records else "it is empty; start one with piip-search run"
            raise LedgerError(f"no run {name!r} in ledger {_without_password(self.url)}; {known}")
        return records[name]

    def _id(self, session: Session, name: str) -> int:
        search_id = session.scalar(select(_Search.id).where(_Search.name == name))
        if search_id is None:
            self.search(name)
            raise AssertionError("a search without an id")
        return search_id


def _costs(architecture: Architecture | TableDesign) -> dict[str, Any]:
    if isinstance(architecture, TableDesign):
        return {"table": architecture.cost}
    return {convention: asdict(price(architecture, convention)) for convention in RECORDED}


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def _enforce_foreign_keys(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA foreign_keys=ON")

    return engine


def _migrate(engine: Engine) -> None:
    # Imported here: a tenth of a second that most errors of a search space need not wait for.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "piip_search:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _next_position(session: Session, search_id: int) -> int:
    last = [
        session.scalar(select(func.max(table.position)).where(table.search_id == search_id)) or 0
        for table in (_Proposal, _Evaluation)
    ]
    return max(last) + 1


def _counts(session: Session, table: type[_Proposal] | type[_Evaluation]) -> dict[int, int]:
    rows = session.execute(select(table.search_id, func.count()).group_by(table.search_id)).all()
    return dict(rows)


def _utc(time: datetime) -> datetime:
    """SQLite keeps no time zone; what is written is UTC."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _evaluation(row: _Evaluation, candidate: Candidate) -> Evaluation:
    return Evaluation.from_dict(
        {
            "candidate": candidate.to_dict(),
            "status": row.status,
            "metrics": row.metrics,
            "error": row.error,
            "seconds": row.seconds,
            "history": row.history,
            "facts": row.facts,
        }
    )


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in now if key not in ("name", "budget", "resources") and before.get(key) != now[key]]


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return repr(url)
