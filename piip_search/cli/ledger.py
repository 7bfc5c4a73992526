"""`piip-search ledger`: lists, exports, merges, verifies and upgrades ledgers."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from piip_search.api.ledgers import (
    TableFormat,
    action_content,
    earlier_heads,
    last_hosts,
    ledger_content,
    merge_ledgers,
    role_statements,
    table_format_of,
    upgrade_ledger,
    verification_content,
    verify_ledger,
    write_table,
)
from piip_search.api.stores import existing_ledger, ledger_url, read_ledger
from piip_search.cli.application import Command, console, note, note_unreadable, print_json, print_result
from piip_search.cli.options import DEFAULT_HOME, Home, Json, LedgerUrl, Quiet, expanded_store, run_names
from piip_search.plain_text import printable

ledger_app = typer.Typer(help="List, export, merge, verify and upgrade ledgers.", no_args_is_help=True)


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
    note_unreadable(book.unreadable_searches())
    if as_json:
        print_json(ledger_content(book))
        return
    records, hosts = book.searches(), last_hosts(book)
    if quiet:
        print_result(*(printable(record.name) for record in records))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "owner", "begun (UTC)", "proposals", "evaluations", "last driven from", "uid"):
        table.add_column(heading, justify="right" if heading in ("proposals", "evaluations") else "left")
    for record in records:
        table.add_row(
            printable(record.name),
            printable(str(record.owner)),
            f"{record.created_at:%Y-%m-%d %H:%M}",
            str(record.proposals),
            str(record.evaluations),
            printable(hosts[record.name]),
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
    written = write_table(read_ledger(ledger, home), out, runs or (), chosen)
    note_unreadable(written.unreadable)
    console.print(f"wrote {written.rows} rows to {out}", markup=False, highlight=False)


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
        if merged.unreadable:
            console.print(f"{merged.name}: not copied", markup=False, highlight=False)
            note_unreadable(merged.unreadable)
            continue
        named = "" if merged.into == merged.name else f" as {merged.into}: the name was taken by another search"
        console.print(f"{merged.name}: {merged.rows} rows added{named}", markup=False, highlight=False)


@ledger_app.command("log", cls=Command)
def show_log(
    run: Annotated[str | None, typer.Argument(help="Name of a run; all by default.", autocompletion=run_names)] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    as_json: Json = False,
) -> None:
    """Show who began, resumed, took over, changed, stopped and exported searches, oldest first.

    Example: piip-search ledger log quickstart
    """
    actions = read_ledger(ledger, home).actions(run or "")
    if as_json:
        print_json(action_content(actions))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("when (UTC)", "who", "what", "run", "detail"):
        table.add_column(heading)
    for action in actions:
        when, detail = f"{action.at:%Y-%m-%d %H:%M:%S}", json.dumps(dict(action.detail)) if action.detail else ""
        table.add_row(when, *map(printable, (str(action.owner), action.what, action.run, detail)))
    print_result(table)


@ledger_app.command(cls=Command)
def verify(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs to verify; all by default.", autocompletion=run_names)
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="File with the output of an earlier verify --json, kept elsewhere.")
    ] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    as_json: Json = False,
) -> None:
    """Compare all rows with the hash chain; the exit code is 1 if a row was changed, removed or put in.

    Example: piip-search ledger verify --json > heads.json
    """
    book = read_ledger(ledger, home)
    reports = verify_ledger(book, runs or (), earlier_heads(against) if against else None)
    if as_json:
        print_json(verification_content(book, reports))
    else:
        for name, report in reports.items():
            state = "whole" if not report.problems else f"{len(report.problems)} problems"
            print_result(f"{name or 'log of actions'}: {report.rows} rows, {state}, head {report.head[:16]}")
            print_result(*(f"  {problem}" for problem in report.problems))
    if any(report.problems for report in reports.values()):
        raise typer.Exit(1)


@ledger_app.command(cls=Command)
def upgrade(home: Home = DEFAULT_HOME, ledger: LedgerUrl = None) -> None:
    """Migrate the tables of an earlier version to this one; a copy of a SQLite file is kept.

    Example: piip-search ledger upgrade --ledger postgresql://host/piip
    """
    if not upgrade_ledger(existing_ledger(ledger, home), note):
        note("the ledger's tables are of this version")


@ledger_app.command(cls=Command)
def roles(
    schema: Annotated[str, typer.Option(help="Schema of the tables.")] = "public",
    prefix: Annotated[str, typer.Option(help="Beginning of the names of the roles.")] = "piip",
) -> None:
    """Print the SQL that gives owner, drivers and readers of a ledger in PostgreSQL their rights.

    Example: piip-search ledger roles --prefix team
    """
    print_result(*role_statements(schema, prefix))
