"""The first ledger: searches, proposals, evaluations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates the three tables."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "search",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(100), nullable=False, unique=True),
        sa.Column("question", sa.String(16), nullable=False),
        sa.Column("recipe", sa.String(16), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("created_at", time, nullable=False),
    )
    op.create_table(
        "proposal",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("search_id", sa.Integer, sa.ForeignKey("search.id"), nullable=False, index=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("key", sa.String(16), nullable=False, index=True),
        sa.Column("architecture", sa.String(400), nullable=False),
        sa.Column("fingerprint", sa.String(16), nullable=False, index=True),
        sa.Column("candidate", sa.JSON, nullable=False),
        sa.Column("costs", sa.JSON, nullable=False),
        sa.Column("proposed_at", time, nullable=False),
        sa.UniqueConstraint("search_id", "position"),
        sa.UniqueConstraint("search_id", "number"),
    )
    op.create_table(
        "evaluation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("search_id", sa.Integer, sa.ForeignKey("search.id"), nullable=False, index=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("key", sa.String(16), nullable=False, index=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("history", sa.JSON, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("finished_at", time, nullable=False),
        sa.UniqueConstraint("search_id", "position"),
        sa.UniqueConstraint("search_id", "number", "key"),
    )


def downgrade() -> None:
    """Drops the three tables."""
    for table in ("evaluation", "proposal", "search"):
        op.drop_table(table)
