"""Runs a migration on the connection that the ledger hands over."""

from alembic import context

from piip_search.ledger import _Table

context.configure(
    connection=context.config.attributes["connection"], target_metadata=_Table.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
