"""Edits of a SQLite ledger that its own triggers refuse, as a colleague's program or a broken disk makes them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any


def edit(
    path: Path, table: str, column: str, value: Callable[[Any], Any] | str, where: str = "1", every: bool = False
) -> int:
    """Changes a field of the first row of a table, or of all rows.

    Args:
        path: File of the ledger.
        table: Name of the table.
        column: Name of the column.
        value: Function of the present value, or an expression of SQL.
        where: Condition on the row.
        every: Whether to change every such row.

    Returns:
        The key of the last changed row.
    """
    with closing(sqlite3.connect(path)) as connection, connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        rows = connection.execute(f"SELECT id, {column} FROM {table} WHERE {where} ORDER BY id").fetchall()
        for key, kept in rows if every else rows[:1]:
            if isinstance(value, str):
                connection.execute(f"UPDATE {table} SET {column} = {value} WHERE id = ?", (key,))
            else:
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (value(kept), key))
    return int((rows if every else rows[:1])[-1][0])
