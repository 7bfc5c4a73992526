"""The tables of the ledger; `piip_search.ledger.migrations` creates them."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NEWEST = "0005"
"""Current revision of the tables."""


class LedgerTable(DeclarativeBase):
    """Base class of the ledger's tables. Rows are only added, claims apart: the database refuses changes."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a plain class attribute
        dict[str, Any]: JSON,
        list[dict[str, Any]]: JSON,
        list[int]: JSON,
        datetime: DateTime(timezone=True),
    }


class SearchRow(LedgerTable):
    """A search: `uid` is its name in every ledger, `name` in this one, `data` the fingerprint of the data.

    `audit_of` is the uid of the search that an audit or a list of baselines belongs to: empty if unknown, null for a
    search.
    """

    __tablename__ = "search"
    __table_args__ = (Index("search_uid", "uid", unique=True),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    question: Mapped[str] = mapped_column(String(16))
    recipe: Mapped[str] = mapped_column(String(16))
    spec: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    uid: Mapped[str] = mapped_column(String(32), server_default="")
    data: Mapped[str] = mapped_column(String(64), server_default="")
    audit_of: Mapped[str | None] = mapped_column(String(32))
    owner_user: Mapped[str] = mapped_column(String(255), server_default="")
    owner_host: Mapped[str] = mapped_column(String(255), server_default="")


class SittingRow(LedgerTable):
    """A process that drove a search: its start, host, versions and owner, and its budget and resources.

    Earlier versions stored no budget: it is that of the search.
    """

    __tablename__ = "sitting"
    __table_args__ = (UniqueConstraint("search_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("search.id"), index=True)
    number: Mapped[int]
    began_at: Mapped[datetime]
    host: Mapped[str] = mapped_column(String(255))
    process: Mapped[int]
    revision: Mapped[str] = mapped_column(String(80))
    versions: Mapped[dict[str, Any]]
    owner_user: Mapped[str] = mapped_column(String(255), server_default="")
    owner_host: Mapped[str] = mapped_column(String(255), server_default="")
    budget: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    resources: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class ProposalRow(LedgerTable):
    """A candidate to measure; `position` orders proposals and evaluations of a search."""

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
    sitting: Mapped[int] = mapped_column(server_default="0")


class EvaluationRow(LedgerTable):
    """The evaluation of a candidate."""

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
    sitting: Mapped[int] = mapped_column(server_default="0")
    host: Mapped[str] = mapped_column(String(255), server_default="")
    gpu_seconds: Mapped[float] = mapped_column(server_default="0")


class PromotionRow(LedgerTable):
    """A promoted design: candidate `number` continues the training that `first` began."""

    __tablename__ = "promotion"
    __table_args__ = (UniqueConstraint("search_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("search.id"), index=True)
    number: Mapped[int]
    first: Mapped[int]
    rung: Mapped[int]
    promoted_at: Mapped[datetime]


class FrontRow(LedgerTable):
    """The front of a tier after an evaluation: the evaluation's `position`, the members' numbers."""

    __tablename__ = "front"
    __table_args__ = (UniqueConstraint("search_id", "position", "tier"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("search.id"), index=True)
    position: Mapped[int]
    tier: Mapped[float]
    members: Mapped[list[int]]
    hypervolume: Mapped[float]
    found_at: Mapped[datetime]


class PreparationRow(LedgerTable):
    """A step in the preparation of a search's evaluator; the last row of a search has its state."""

    __tablename__ = "preparation"
    __table_args__ = (UniqueConstraint("search_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("search.id"), index=True)
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64), index=True)
    uid: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))
    error: Mapped[str]
    seconds: Mapped[float]
    gpu_seconds: Mapped[float]
    facts: Mapped[dict[str, Any]]
    noted_at: Mapped[datetime]
    sitting: Mapped[int]


class KeptFileRow(LedgerTable):
    """A file that a search names, with its content at the search's first start."""

    __tablename__ = "kept_file"
    __table_args__ = (UniqueConstraint("search_id", "number"), UniqueConstraint("search_id", "path", "digest"))
    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("search.id"), index=True)
    number: Mapped[int]
    path: Mapped[str] = mapped_column(String(1000))
    digest: Mapped[str] = mapped_column(String(64))
    content: Mapped[str]
    kept_at: Mapped[datetime]


class ActionRow(LedgerTable):
    """Who did what: `search` is the uid of the search, empty for an action on the whole ledger."""

    __tablename__ = "action"
    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    search: Mapped[str] = mapped_column(String(32), index=True)
    run: Mapped[str] = mapped_column(String(100))
    what: Mapped[str] = mapped_column(String(32))
    owner_user: Mapped[str] = mapped_column(String(255))
    owner_host: Mapped[str] = mapped_column(String(255))
    process: Mapped[int]
    detail: Mapped[dict[str, Any]]
    done_at: Mapped[datetime]


class LinkRow(LedgerTable):
    """A link of the hash chain of a search, or of the log of actions (an empty `search`).

    `digest` covers the row and the digest of the link before (`piip_search.ledger.chain`).
    """

    __tablename__ = "link"
    __table_args__ = (UniqueConstraint("search", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    search: Mapped[str] = mapped_column(String(32), index=True)
    number: Mapped[int]
    row: Mapped[str] = mapped_column(String(80))
    digest: Mapped[str] = mapped_column(String(64))


class ClaimRow(LedgerTable):
    """The right to do some work on a search, such as to drive it; the only rows that change.

    An empty `token` is a released claim.
    """

    __tablename__ = "claim"
    __table_args__ = (UniqueConstraint("search_id", "work"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("search.id"), index=True)
    work: Mapped[str] = mapped_column(String(40))
    token: Mapped[str] = mapped_column(String(32))
    owner_user: Mapped[str] = mapped_column(String(255))
    owner_host: Mapped[str] = mapped_column(String(255))
    process: Mapped[int]
    machine: Mapped[str] = mapped_column(String(255))
    taken_at: Mapped[datetime]
    beat_at: Mapped[datetime]


APPEND_ONLY = (
    "search",
    "sitting",
    "proposal",
    "evaluation",
    "promotion",
    "front",
    "preparation",
    "kept_file",
    "action",
    "link",
)
"""Tables in which the database refuses to change or delete rows."""


def utc(time: datetime) -> datetime:
    """A time with the time zone UTC, which SQLite does not store."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)
