"""Runs a migration on the connection that the ledger hands over."""

from alembic import context

from piip_search.ledger.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata)
with context.begin_transaction():
    context.run_migrations()
