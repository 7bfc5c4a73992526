"""`piip-search ledger`: lists, exports and merges ledgers."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from piip_search.api.ledgers import (
    TableFormat,
    last_hosts,
    ledger_content,
    merge_ledgers,
    table_format_of,
    write_table,
)
from piip_search.api.stores import ledger_url, read_ledger
from piip_search.cli.application import Command, console, print_json, print_result
from piip_search.cli.options import DEFAULT_HOME, Home, Json, LedgerUrl, Quiet, expanded_store, run_names

ledger_app = typer.Typer(help="List, export and merge ledgers.", no_args_is_help=True)


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
    if as_json:
        print_json(ledger_content(book))
        return
    records, hosts = book.searches(), last_hosts(book)
    if quiet:
        print_result(*(record.name for record in records))
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
            hosts[record.name],
            record.uid[:12],
        )
    print_result(table)


@ledger_app.command(cls=Command)
def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs to write; all by default.", autocompletion=run_names)
    ] = None,
    form: Annotated[
        TableFormat | None, typer.Option("--format", help="csv or parquet; by default from the file's ending.")
    ] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
) -> None:
    """Write every proposal with its evaluation as one flat table.

    Example: piip-search ledger export quickstart -o quickstart.parquet
    """
    chosen = form or table_format_of(out)
    count = write_table(read_ledger(ledger, home), out, runs or (), chosen)
    console.print(f"wrote {count} rows to {out}", markup=False, highlight=False)


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
    """Copy all searches of another ledger into this one; searches in both are completed.

    Example: piip-search ledger merge colleague/ledger.db --ledger postgresql://host/piip
    """
    for merged in merge_ledgers(source, ledger_url(ledger, home)):
        named = "" if merged.into == merged.name else f" as {merged.into}: the name was taken by another search"
        console.print(f"{merged.name}: {merged.rows} rows added{named}", markup=False, highlight=False)
