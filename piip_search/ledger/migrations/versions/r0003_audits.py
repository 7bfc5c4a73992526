"""Adds the audited search of an audit, which before was only in the name of the audit's run."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

MARK = ".audit-"
"""Text in the name of an audit's run between the audited run's name and the audit's question."""
REFUSAL = "the ledger is append-only"

search = sa.table(
    "search", *(sa.column(name) for name in ("id", "name", "question", "recipe", "spec", "uid", "audit_of"))
)


def upgrade() -> None:
    """Adds the column, and fills it for existing audits."""
    op.add_column("search", sa.Column("audit_of", sa.String(32), nullable=True))
    connection = op.get_bind()
    rows = connection.execute(sa.select(search)).all()
    audits = {row.id: _audited(row, rows) for row in rows if _is_audit(row)}
    if not audits:
        return
    _unguard()
    for number, uid in audits.items():
        connection.execute(search.update().where(search.c.id == number).values(audit_of=uid))
    _guard()


def downgrade() -> None:
    """Removes the column."""
    op.drop_column("search", "audit_of")


def _is_audit(row: Any) -> bool:
    """Whether a row is an audit: its question is the digest in its name, and a search's question is longer."""
    return f"{MARK}{row.question}" in row.name and len(row.question) == 6


def _audited(audit: Any, rows: Any) -> str:
    """The audited search: the only one, or the one with that name, among those with the same data, training and space.

    A merge may have renamed either of the two. Empty if the search is not in this ledger.
    """
    name = audit.name.partition(f"{MARK}{audit.question}")[0]
    alike = [
        row for row in rows if not _is_audit(row) and row.recipe == audit.recipe and _content(row) == _content(audit)
    ]
    named = [row for row in alike if row.name == name]
    return next((row.uid for row in (*named, *alike) if row.name == name or row.name.startswith(f"{name}-")), "")


def _content(row: Any) -> Any:
    spec = json.loads(row.spec) if isinstance(row.spec, str) else row.spec
    return {key: value for key, value in spec.items() if key not in ("name", "budget", "resources")}


def _unguard() -> None:
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.execute("DROP TRIGGER search_append_only ON search")
    elif dialect == "sqlite":
        op.execute("DROP TRIGGER search_no_update")


def _guard() -> None:
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.execute(
            "CREATE TRIGGER search_append_only BEFORE UPDATE OR DELETE ON search "
            "FOR EACH ROW EXECUTE FUNCTION piip_append_only()"
        )
    elif dialect == "sqlite":
        op.execute(
            f"CREATE TRIGGER search_no_update BEFORE UPDATE ON search BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
        )
