"""Reads the tables of an earlier version as they are: views fill in what a migration would add.

The views are temporary, belong to one connection, and change nothing in the database.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import JSON, Column, Connection, DateTime, Dialect, Float, Integer, inspect

from piip_search.ledger.tables import LedgerTable

AUDIT = "length(question) = 6 AND {position} > 0"
"""Whether a search of a version without `audit_of` is an audit: its question is the digest in its name."""


def older_views(connection: Connection) -> Sequence[str]:
    """The statements that create the views, in the language of the connection's database."""
    found = inspect(connection)
    schema = "main" if connection.dialect.name == "sqlite" else found.default_schema_name or "public"
    there = set(found.get_table_names())
    statements = []
    for table in LedgerTable.metadata.sorted_tables:
        known = {column["name"] for column in found.get_columns(table.name)} if table.name in there else set()
        lacking = [column for column in table.columns if column.name not in known]
        if lacking:
            columns = ", ".join(f'{_value(column, connection.dialect)} AS "{column.name}"' for column in lacking)
            rows = f'SELECT t.*, {columns} FROM {schema}."{table.name}" t' if known else f"SELECT {columns} WHERE 1 = 0"
            statements.append(f'CREATE TEMPORARY VIEW "{table.name}" AS {rows}')
    # A connection that refuses changes refuses temporary views too.
    return ["PRAGMA query_only=OFF", *statements, "PRAGMA query_only=ON"] if schema == "main" else statements


def _value(column: Column[Any], dialect: Dialect) -> str:
    """What a column that is not there yet has: its default, or what the migration would find out."""
    sqlite = dialect.name == "sqlite"
    if (column.table.name, column.name) == ("search", "uid"):
        return "printf('%032x', id)" if sqlite else "lpad(to_hex(id), 32, '0')"
    if (column.table.name, column.name) == ("search", "audit_of"):
        position = "instr(name, '.audit-' || question)" if sqlite else "position('.audit-' || question in name)"
        return f"CASE WHEN {AUDIT.format(position=position)} THEN '' END"
    kind = column.type.compile(dialect)
    return f"CAST({_default(column)} AS {'TEXT' if sqlite and isinstance(column.type, JSON) else kind})"


def _default(column: Column[Any]) -> str:
    if column.nullable or isinstance(column.type, DateTime):
        return "NULL"
    if isinstance(column.type, JSON):
        return "'{}'"
    return "0" if isinstance(column.type, Integer | Float) else "''"
