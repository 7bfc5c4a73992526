"""Adds owners, budgets of sittings, kept files, the log of actions, claims, and a hash chain over all rows."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from piip_search.ledger.chain import FIRST_LINK, links_of, stored_rows
from piip_search.ledger.tables import LinkRow

revision = "0005"
down_revision = "0004"

EARLIER = ("search", "sitting", "proposal", "evaluation", "promotion", "front", "preparation")
GUARDED = ("kept_file", "action", "link")
REFUSAL = "the ledger is append-only"
TIME = sa.DateTime(timezone=True)


def _text(name: str, length: int | None = None, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length) if length else sa.String, nullable=False, **options)


def _columns() -> dict[str, list[sa.Column[Any]]]:
    plain = [sa.Column(name, sa.JSON, nullable=False, server_default="{}") for name in ("budget", "resources")]
    return {"search": _owner(), "sitting": [*_owner(), *plain]}


def _owner() -> list[sa.Column[Any]]:
    return [_text("owner_user", 255, server_default=""), _text("owner_host", 255, server_default="")]


def upgrade() -> None:
    """Adds columns and tables, guards them, and begins the chain of each search."""
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column)
    _create()
    _link()
    _guard()


def downgrade() -> None:
    """Removes the guards, the tables and the columns."""
    if op.get_bind().dialect.name == "postgresql":
        for table in EARLIER:
            op.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")
    for table in ("claim", "link", "action", "kept_file"):
        op.drop_table(table)
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name)


def _create() -> None:
    def key() -> tuple[sa.Column[Any], sa.Column[Any]]:
        search = sa.Column("search_id", sa.Integer, sa.ForeignKey("search.id"), nullable=False, index=True)
        return sa.Column("id", sa.Integer, primary_key=True), search

    op.create_table(
        "kept_file",
        *key(),
        sa.Column("number", sa.Integer, nullable=False),
        _text("path", 1000),
        _text("digest", 64),
        _text("content"),
        sa.Column("kept_at", TIME, nullable=False),
        sa.UniqueConstraint("search_id", "number"),
        sa.UniqueConstraint("search_id", "path", "digest"),
    )
    op.create_table(
        "action",
        sa.Column("id", sa.Integer, primary_key=True),
        _text("uid", 32, unique=True),
        _text("search", 32, index=True),
        _text("run", 100),
        _text("what", 32),
        _text("owner_user", 255),
        _text("owner_host", 255),
        sa.Column("process", sa.Integer, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("done_at", TIME, nullable=False),
    )
    op.create_table(
        "link",
        sa.Column("id", sa.Integer, primary_key=True),
        _text("search", 32, index=True),
        sa.Column("number", sa.Integer, nullable=False),
        _text("row", 80),
        _text("digest", 64),
        sa.UniqueConstraint("search", "number"),
    )
    op.create_table(
        "claim",
        *key(),
        _text("work", 40),
        _text("token", 32),
        _text("owner_user", 255),
        _text("owner_host", 255),
        sa.Column("process", sa.Integer, nullable=False),
        _text("machine", 255),
        sa.Column("taken_at", TIME, nullable=False),
        sa.Column("beat_at", TIME, nullable=False),
        sa.UniqueConstraint("search_id", "work"),
    )


def _link() -> None:
    connection = op.get_bind()
    search = sa.table("search", sa.column("id"), sa.column("uid"))
    for number, uid in connection.execute(sa.select(search.c.id, search.c.uid)).all():
        links = links_of(uid, 1, FIRST_LINK, stored_rows(connection, number))
        connection.execute(sa.insert(LinkRow), links)


def _guard() -> None:
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        for table in GUARDED:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION piip_append_only()"
            )
        for table in (*EARLIER, *GUARDED):
            op.execute(
                f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION piip_append_only()"
            )
    elif dialect == "sqlite":
        for table in GUARDED:
            for action in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
                )
