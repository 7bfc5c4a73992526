"""All commands, and what of them ends with one message."""

import sys
from typing import Annotated, NoReturn

import typer

from piip_search import __version__
from piip_search.api.extras import UserError
from piip_search.cli import (
    audit,
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
    train,
)
from piip_search.cli.application import USER_ERROR, Command, app, errors, shown
from piip_search.file_paths import located

COMMANDS = (
    run.run,
    jobs.submit,
    jobs.status,
    jobs.logs,
    jobs.stop,
    show.show,
    show.front,
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
"""In the order of the help."""
for command in COMMANDS:
    app.command(cls=Command)(command)
app.add_typer(ledger.ledger_app, name="ledger")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"piip-search {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Choose a PIIP network by machine: search, look at the front, export a design that trains."""


def _said(error: Exception) -> str:
    """An error as a person reads it; where the system has no such file, the whole path."""
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str):
        return f"{error.strerror}: {located(error.filename)}"
    return str(error)


def typed() -> NoReturn:
    """Runs what was typed; what the user can mend ends with exit code 2 and no traceback."""
    try:
        app(prog_name="piip-search")  # however it was started: shells complete by it
    except (UserError, ValueError, OSError) as error:
        errors.print(f"error: {shown(_said(error))}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(USER_ERROR)
    sys.exit(0)
