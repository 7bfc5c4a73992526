"""The application that commands join, and what they share: consoles, options, exit codes."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

USER_ERROR = 2
INTERRUPTED = 130

app = typer.Typer(
    name="piip-search",
    help="Choose a PIIP network by machine: search, look at the front, export a design that trains.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
# A table that goes into a file or a pipe is not wrapped at the width of a terminal that is not there.
console = Console(width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True)


Home = Annotated[
    Path, typer.Option("--home", envvar="PIIP_SEARCH_HOME", help="Folder of ledger, checkpoints and MLflow store.")
]
LedgerUrl = Annotated[
    str | None,
    typer.Option(
        "--ledger", envvar="PIIP_SEARCH_LEDGER", help="Database URL; by default ledger.db in the home folder."
    ),
]
DEFAULT_HOME = Path("runs")


def note(text: str) -> None:
    """Tells something beside the result, which may go into a file or a pipe."""
    errors.print(text, markup=False, soft_wrap=True)
