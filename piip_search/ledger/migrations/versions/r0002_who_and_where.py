"""Adds hosts and versions of measurements, promotions, and fronts; makes rows immutable."""

import secrets
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

GUARDED = ("search", "sitting", "proposal", "evaluation", "promotion", "front")
REFUSAL = "the ledger is append-only"


def _columns() -> dict[str, list[sa.Column[Any]]]:
    return {
        "search": [
            sa.Column("uid", sa.String(32), nullable=False, server_default=""),
            sa.Column("data", sa.String(64), nullable=False, server_default=""),
        ],
        "proposal": [sa.Column("sitting", sa.Integer, nullable=False, server_default="0")],
        "evaluation": [
            sa.Column("sitting", sa.Integer, nullable=False, server_default="0"),
            sa.Column("host", sa.String(255), nullable=False, server_default=""),
            sa.Column("gpu_seconds", sa.Double, nullable=False, server_default="0"),
        ],
    }


def upgrade() -> None:
    """Adds columns and tables, names the searches, and guards the rows."""
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column)
    connection = op.get_bind()
    search = sa.table("search", sa.column("id"), sa.column("uid"))
    for (row,) in connection.execute(sa.select(search.c.id)).all():
        connection.execute(search.update().where(search.c.id == row).values(uid=secrets.token_hex(16)))
    op.create_index("search_uid", "search", ["uid"], unique=True)
    time = sa.DateTime(timezone=True)
    op.create_table(
        "sitting",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("search_id", sa.Integer, sa.ForeignKey("search.id"), nullable=False, index=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("began_at", time, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("process", sa.Integer, nullable=False),
        sa.Column("revision", sa.String(80), nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.UniqueConstraint("search_id", "number"),
    )
    op.create_table(
        "promotion",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("search_id", sa.Integer, sa.ForeignKey("search.id"), nullable=False, index=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("first", sa.Integer, nullable=False),
        sa.Column("rung", sa.Integer, nullable=False),
        sa.Column("promoted_at", time, nullable=False),
        sa.UniqueConstraint("search_id", "number"),
    )
    op.create_table(
        "front",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("search_id", sa.Integer, sa.ForeignKey("search.id"), nullable=False, index=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("tier", sa.Double, nullable=False),
        sa.Column("members", sa.JSON, nullable=False),
        sa.Column("hypervolume", sa.Double, nullable=False),
        sa.Column("found_at", time, nullable=False),
        sa.UniqueConstraint("search_id", "position", "tier"),
    )
    _guard()


def downgrade() -> None:
    """Removes the guards, the tables and the columns."""
    _unguard()
    for table in ("front", "promotion", "sitting"):
        op.drop_table(table)
    op.drop_index("search_uid", "search")
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name)


def _guard() -> None:
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.execute(
            "CREATE FUNCTION piip_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
        )
    for table in GUARDED:
        if dialect == "postgresql":
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION piip_append_only()"
            )
        elif dialect == "sqlite":
            for action in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
                )


def _unguard() -> None:
    dialect = op.get_bind().dialect.name
    for table in GUARDED:
        if dialect == "postgresql":
            op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
        elif dialect == "sqlite":
            for action in ("UPDATE", "DELETE"):
                op.execute(f"DROP TRIGGER {table}_no_{action.lower()}")
    if dialect == "postgresql":
        op.execute("DROP FUNCTION piip_append_only()")
