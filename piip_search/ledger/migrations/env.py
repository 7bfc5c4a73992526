"""Runs a migration on the connection that the ledger hands over."""

from alembic import context

from piip_search.ledger.tables import LedgerTable

context.configure(connection=context.config.attributes["connection"], target_metadata=LedgerTable.metadata)
with context.begin_transaction():
    context.run_migrations()
