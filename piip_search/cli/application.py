"""The application of all commands, with their consoles, printing and exit codes."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console, RenderableType
from typer.core import TyperCommand

from piip_search.cli.interruption import INTERRUPTED, InterruptedExit
from piip_search.cli.plain_console import PlainConsole
from piip_search.file_paths import expanded
from piip_search.redact import has_password
from piip_search.secret_file import load_secrets

if TYPE_CHECKING:  # imports the database, which a message need not wait for
    from piip_search.ledger import UnreadableRow

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
console = PlainConsole(width=None if sys.stdout.isatty() else 10_000)
errors = PlainConsole(stderr=True)


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
        if not ctx.resilient_parsing:
            load_secrets()
            self._note_passwords(typed)
        rest = super().parse_args(ctx, args)
        for parameter in self.params if not ctx.resilient_parsing else ():
            name = str(parameter.name)
            if isinstance(ctx.params.get(name), Path):
                ctx.params[name] = Path(expanded(str(parameter.consume_value(ctx, typed)[0])))
        return rest

    def _note_passwords(self, typed: Mapping[str, Any]) -> None:
        """Prints a note about each password of the command line, where other users can read it."""
        for parameter in self.params:
            value = typed.get(str(parameter.name))
            if isinstance(value, str) and has_password(value) and not typed.get("quiet"):
                variable = parameter.envvar
                instead = f"set {variable} instead, or " if variable else ""
                note(
                    f"note: other users of this machine can read the password of {parameter.opts[0]} in the list of "
                    f"processes; {instead}leave it out of the URL: ~/.pgpass, ?service=NAME"
                )


silent = PlainConsole(quiet=True, force_terminal=False)
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


def note_unreadable(rows: "Sequence[UnreadableRow]") -> None:
    """Prints a note about rows of the ledger that are left out."""
    from piip_search.ledger import unreadable_note

    if rows:
        note(f"note: {unreadable_note(rows)}")


def shown(text: object) -> str:
    """Foreign text without passwords in URLs; the consoles escape control sequences."""
    from piip_search.redact import without_secrets

    return without_secrets(str(text))


def stopped(text: str) -> NoReturn:
    """Ends a command that the user interrupted."""
    errors.print(text, markup=False, soft_wrap=True)
    raise InterruptedExit(INTERRUPTED)
