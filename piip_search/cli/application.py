"""The application that commands join, and what they share: consoles, printing, exit codes."""

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console, RenderableType
from typer.core import TyperCommand

from piip_search.cli.interruption import INTERRUPTED, ToldExit
from piip_search.file_paths import expanded

HALTED = 1
"""Exit code of a search that has to be mended by a person: of a full disk, of failures alone, of a bug."""
USER_ERROR = 2
SHOW_TRACEBACK = "--traceback"

app = typer.Typer(
    name="piip-search",
    help="Choose a PIIP network by machine: search, look at the front, export a design that trains.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
# What goes into a file or a pipe is not wrapped at the width of a terminal that is not there.
console = Console(width=None if sys.stdout.isatty() else 10_000)
errors = Console(stderr=True)


class Command(TyperCommand):
    """A command in whose paths `~` and variables mean what they mean in a shell.

    A shell leaves them as they are in `--home=~/runs`, in quotes, and where a file of variables gives the home folder.

    Attributes:
        traceback: Whether somebody asked for the traceback of an error that they can mend.
    """

    traceback = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the arguments, and the environment variables that stand for them.

        Paths are taken as they were typed: a `Path` of `./~` is one of `~`.
        """
        if SHOW_TRACEBACK in args:  # wherever it stands
            Command.traceback, args = True, [one for one in args if one != SHOW_TRACEBACK]
        typed, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        rest = super().parse_args(ctx, args)
        for parameter in self.params if not ctx.resilient_parsing else ():
            name = str(parameter.name)
            if isinstance(ctx.params.get(name), Path):
                ctx.params[name] = Path(expanded(str(parameter.consume_value(ctx, typed)[0])))
        return rest


silent = Console(quiet=True, force_terminal=False)
"""For what somebody asked not to be told."""


def put(*shown: RenderableType) -> None:
    """Prints a result; into a file or a pipe without the spaces that fill up columns."""
    if not shown:
        return
    plain = all(isinstance(one, str) for one in shown)  # so that a path or a command can be copied
    if console.is_terminal:
        console.print(*shown, sep="\n", markup=False, highlight=False, soft_wrap=plain)
        return
    with console.capture() as captured:
        console.print(*shown, sep="\n", markup=False, highlight=False, soft_wrap=plain)
    for line in captured.get().splitlines():
        print(line.rstrip())


def put_json(content: Any) -> None:
    """Prints one JSON document."""
    print(json.dumps(content, indent=2))


def progress(as_json: bool, quiet: bool) -> Console:
    """Where progress is shown: nowhere if it should be quiet, and beside a JSON document."""
    return silent if quiet else errors if as_json else console


def note(text: str) -> None:
    """Tells something beside the result, which may go into a file or a pipe."""
    errors.print(shown(text), markup=False, soft_wrap=True)


def shown(text: object) -> str:
    """What somebody else wrote, as a terminal may be given it: without passwords of URLs, and without its commands."""
    from piip_search.cli.terminal.tables import printable
    from piip_search.redact import without_secrets

    return "\n".join(printable(line) for line in without_secrets(str(text)).split("\n"))


def stopped(text: str) -> NoReturn:
    """Ends a command that the user interrupted."""
    errors.print(text, markup=False, soft_wrap=True)
    raise ToldExit(INTERRUPTED)


def pass_over(text: str) -> None:
    """Tells it nobody."""
