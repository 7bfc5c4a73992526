"""Tables of a ledger, and merges of two ledgers."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.api.extras import extra
from piip_search.api.stores import ledger_of, open_ledger
from piip_search.errors import UserError

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from sqlalchemy.engine import URL

    from piip_search.ledger import Ledger
    from piip_search.ledger.copies import MergeReport


class TableFormat(StrEnum):
    """Format of a table of a ledger."""

    CSV = "csv"
    PARQUET = "parquet"


def table_format_of(path: Path) -> TableFormat:
    """The format of a file's ending.

    Args:
        path: Path of the file.

    Raises:
        UserError: The ending is unknown.
    """
    ending = path.suffix.removeprefix(".")
    if ending not in list(TableFormat):
        raise UserError(f"a table must end in .csv or .parquet, got {path.name!r}; name one, or give --format")
    return TableFormat(ending)


def write_table(ledger: "Ledger", out: Path, runs: Sequence[str] = (), form: TableFormat | None = None) -> int:
    """Writes every proposal with its evaluation as one flat table.

    Args:
        ledger: Ledger.
        out: File to write.
        runs: Runs to write; all by default.
        form: Format of the file; by default that of its ending.

    Returns:
        The number of rows.

    Raises:
        LedgerError: The ledger has no such run.
        UserError: The ending is unknown, or an extra is missing.
    """
    from piip_search.ledger.copies import rows, write_csv, write_parquet

    chosen = form or table_format_of(out)
    table = list(rows(ledger, runs or [record.name for record in ledger.searches()]))
    out.parent.mkdir(parents=True, exist_ok=True)
    with extra("parquet"):
        (write_csv if chosen is TableFormat.CSV else write_parquet)(table, out)
    return len(table)


def merge_ledgers(source: str, target: "str | URL") -> "list[MergeReport]":
    """Copies all searches of a ledger into another one; searches in both are completed.

    Args:
        source: Database URL, SQLite file or home folder of the ledger to copy.
        target: Database URL of the ledger to write.

    Returns:
        The result for each search.

    Raises:
        LedgerError: A ledger cannot be opened, or a search went on separately in both.
        UserError: The source is no ledger.
    """
    from piip_search.ledger.copies import merge

    there = open_ledger(ledger_of(source), reading=True)
    return merge(there, open_ledger(target))


def last_hosts(ledger: "Ledger") -> dict[str, str]:
    """The host that last drove each search, by the search's name; empty if none did.

    Args:
        ledger: Ledger.
    """
    sittings = {record.name: ledger.sittings(record.name) for record in ledger.searches()}
    return {name: found[-1].circumstances.host if found else "" for name, found in sittings.items()}


def ledger_content(ledger: "Ledger") -> list[dict[str, Any]]:
    """The searches of a ledger as plain data, with their hosts.

    Args:
        ledger: Ledger.
    """
    records, hosts = ledger.searches(), last_hosts(ledger)
    return [
        {
            "name": record.name,
            "uid": record.uid,
            "created_at": record.created_at.isoformat(),
            "proposals": record.proposals,
            "evaluations": record.evaluations,
            "recipe": record.recipe,
            "data": record.data,
            "host": hosts[record.name],
            "audit_of": record.audit_of,
        }
        for record in records
    ]
