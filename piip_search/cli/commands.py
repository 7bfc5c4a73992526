"""All commands, and the errors that end with one message."""

import sys
from traceback import format_exc
from typing import Annotated, NoReturn

import typer

from piip_search import __version__
from piip_search.cli import (
    audit,
    compare,
    cost,
    dashboard,
    export,
    init,
    jobs,
    ledger,
    mirror,
    plan,
    report,
    run,
    show,
    simulate,
    tokens,
    train,
)
from piip_search.cli.application import HALTED, SHOW_TRACEBACK, USER_ERROR, Command, app, errors, shown
from piip_search.redact import user_message

COMMANDS = (
    run.run,
    jobs.submit,
    jobs.status,
    jobs.logs,
    jobs.stop,
    show.show,
    show.front,
    compare.compare,
    report.report,
    dashboard.dashboard,
    audit.audit,
    plan.plan,
    simulate.simulate,
    cost.cost,
    export.export,
    mirror.mirror,
    train.train,
    init.init,
)
"""Modules of commands in the order of the help."""
for command in COMMANDS:
    app.command(cls=Command)(command)
app.add_typer(ledger.ledger_app, name="ledger")
app.add_typer(tokens.tokens_app, name="tokens")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"piip-search {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    traceback: Annotated[
        bool, typer.Option(SHOW_TRACEBACK, help="Print the traceback of any error; also allowed after the command.")
    ] = False,
) -> None:
    """Choose a PIIP network by machine: search, show the front, export a design that trains."""
    Command.traceback = traceback


BUG = (
    "This is a bug of piip-search. Please report it with the lines above: open an issue where the code came from. "
    "Nothing that was measured is lost: run the same command again to go on."
)


def run_and_exit() -> NoReturn:
    """Runs the typed command; a user's error ends with exit code 2 and one message, and a bug keeps its traceback."""
    try:
        app(prog_name="piip-search")  # for any way of starting it: shells complete by this name
    except Exception as error:
        message = user_message(error)
        if message is None or Command.traceback:
            errors.print(shown(format_exc()), markup=False, highlight=False, soft_wrap=True)
        if message is None:
            errors.print(BUG, markup=False, highlight=False, soft_wrap=True)
            sys.exit(HALTED)
        errors.print(f"error: {shown(message)}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(USER_ERROR)
    sys.exit(0)
