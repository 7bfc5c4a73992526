"""`piip-search ledger`: what the ledger holds, as tables, and joined with another one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from piip_search.api.extras import extra
from piip_search.api.stores import ledger_of, ledger_url, open_ledger, read_ledger
from piip_search.cli.application import Command, console, put, put_json
from piip_search.cli.options import DEFAULT_HOME, Home, Json, LedgerUrl, Quiet, expanded_store, run_names
from piip_search.errors import UserError

ledger_app = typer.Typer(help="List, export and merge ledgers.", no_args_is_help=True)


class TableFormat(StrEnum):
    """Format of an export."""

    CSV = "csv"
    PARQUET = "parquet"


@ledger_app.command("list", cls=Command)
def list_searches(
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the searches of a ledger, with who drove them; with --quiet, their names.

    Example: piip-search ledger list --json
    """
    book = read_ledger(ledger, home)
    records = book.searches()
    hosts = {record.name: [s.circumstances.host for s in book.sittings(record.name)][-1:] for record in records}
    if as_json:
        put_json(
            [
                {
                    "name": record.name,
                    "uid": record.uid,
                    "created_at": record.created_at.isoformat(),
                    "proposals": record.proposals,
                    "evaluations": record.evaluations,
                    "recipe": record.recipe,
                    "data": record.data,
                    "host": "".join(hosts[record.name]),
                    "audit_of": record.audit_of,
                }
                for record in records
            ]
        )
        return
    if quiet:
        put(*(record.name for record in records))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "begun (UTC)", "proposals", "evaluations", "last driven from", "uid"):
        table.add_column(heading, justify="right" if heading in ("proposals", "evaluations") else "left")
    for record in records:
        table.add_row(
            record.name,
            f"{record.created_at:%Y-%m-%d %H:%M}",
            str(record.proposals),
            str(record.evaluations),
            "".join(hosts[record.name]),
            record.uid[:12],
        )
    put(table)


@ledger_app.command(cls=Command)
def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs to write; all by default.", autocompletion=run_names)
    ] = None,
    form: Annotated[
        TableFormat | None, typer.Option("--format", help="csv or parquet; by default as the file's name ends.")
    ] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
) -> None:
    """Write every proposal and what came of it as one flat table.

    Example: piip-search ledger export quickstart -o quickstart.parquet
    """
    from piip_search.ledger.copies import rows, write_csv, write_parquet

    chosen = form or _format_of(out)
    book = read_ledger(ledger, home)
    table = list(rows(book, runs or [record.name for record in book.searches()]))
    out.parent.mkdir(parents=True, exist_ok=True)
    with extra("parquet"):
        (write_csv if chosen is TableFormat.CSV else write_parquet)(table, out)
    console.print(f"wrote {len(table)} rows to {out}", markup=False, highlight=False)


@ledger_app.command(cls=Command)
def merge(
    source: Annotated[
        str,
        typer.Argument(
            help="Ledger to copy from: a database URL, a SQLite file, or a home folder.", callback=expanded_store
        ),
    ],
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
) -> None:
    """Copy all searches of another ledger into this one; what both hold stays as it is.

    Example: piip-search ledger merge colleague/ledger.db --ledger postgresql://host/piip
    """
    from piip_search.ledger.copies import merge as merge_ledgers

    there = open_ledger(ledger_of(source), reading=True)
    for merged in merge_ledgers(there, open_ledger(ledger_url(ledger, home))):
        named = "" if merged.into == merged.name else f" as {merged.into}: the name was taken by another search"
        console.print(f"{merged.name}: {merged.rows} rows added{named}", markup=False, highlight=False)


def _format_of(path: Path) -> TableFormat:
    ending = path.suffix.removeprefix(".")
    if ending not in list(TableFormat):
        raise UserError(f"a table ends in .csv or .parquet, got {path.name!r}; name one, or give --format")
    return TableFormat(ending)
