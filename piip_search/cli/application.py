"""The application of all commands, with their consoles, printing and exit codes."""

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console, RenderableType
from typer.core import TyperCommand

from piip_search.cli.interruption import INTERRUPTED, InterruptedExit
from piip_search.file_paths import expanded

HALTED = 1
"""Exit code of a search that a person has to fix: after a full disk, failures only, or a bug."""
USER_ERROR = 2
SHOW_TRACEBACK = "--traceback"

app = typer.Typer(
    name="piip-search",
    help="Choose a PIIP network by machine: search, show the front, export a design that trains.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
# Output into a file or a pipe is not wrapped at a terminal's width.
console = Console(width=None if sys.stdout.isatty() else 10_000)
errors = Console(stderr=True)


class Command(TyperCommand):
    """A command that expands `~` and variables in paths as a shell does.

    A shell does not expand them in `--home=~/runs`, in quotes, and in a file of variables that names the home folder.

    Attributes:
        traceback: Whether to print the traceback of a user's error.
    """

    traceback = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments, and the environment variables of options.

        Paths are parsed as typed: a `Path` of `./~` would be `~`.
        """
        if SHOW_TRACEBACK in args:  # at any position
            Command.traceback, args = True, [one for one in args if one != SHOW_TRACEBACK]
        typed, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        rest = super().parse_args(ctx, args)
        for parameter in self.params if not ctx.resilient_parsing else ():
            name = str(parameter.name)
            if isinstance(ctx.params.get(name), Path):
                ctx.params[name] = Path(expanded(str(parameter.consume_value(ctx, typed)[0])))
        return rest


silent = Console(quiet=True, force_terminal=False)
"""Console for suppressed output."""


def print_result(*shown: RenderableType) -> None:
    """Prints a result; into a file or a pipe without the spaces that fill up columns."""
    if not shown:
        return
    plain = all(isinstance(one, str) for one in shown)  # a path or a command can then be copied
    if console.is_terminal:
        console.print(*shown, sep="\n", markup=False, highlight=False, soft_wrap=plain)
        return
    with console.capture() as captured:
        console.print(*shown, sep="\n", markup=False, highlight=False, soft_wrap=plain)
    for line in captured.get().splitlines():
        print(line.rstrip())


def print_json(content: Any) -> None:
    """Prints one JSON document."""
    print(json.dumps(content, indent=2))


def progress(as_json: bool, quiet: bool) -> Console:
    """The console for progress, which is silent if `quiet`, and stderr beside a JSON document."""
    return silent if quiet else errors if as_json else console


def note(text: str) -> None:
    """Prints a note to stderr, as the result may go into a file or a pipe."""
    errors.print(shown(text), markup=False, soft_wrap=True)


def shown(text: object) -> str:
    """Foreign text, safe to print: passwords in URLs and control sequences are removed."""
    from piip_search.cli.terminal.tables import printable
    from piip_search.redact import without_secrets

    return "\n".join(printable(line) for line in without_secrets(str(text)).split("\n"))


def stopped(text: str) -> NoReturn:
    """Ends a command that the user interrupted."""
    errors.print(text, markup=False, soft_wrap=True)
    raise InterruptedExit(INTERRUPTED)
