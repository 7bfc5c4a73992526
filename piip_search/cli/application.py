"""The application that commands join, and what they share: consoles, options, exit codes."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console, RenderableType
from typer.core import TyperCommand

from piip_search.cli.interruption import INTERRUPTED, ToldExit
from piip_search.file_paths import expanded, expanded_url

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


def run_names(context: typer.Context, incomplete: str) -> list[str]:
    """Runs of the ledger that the command line names so far, for a shell that completes; none where there is none."""
    from piip_search.api.stores import read_ledger

    try:
        home, ledger = context.params.get("home") or DEFAULT_HOME, context.params.get("ledger")
        book = read_ledger(ledger and expanded_url(ledger), Path(expanded(str(home))))
        return [record.name for record in book.searches() if record.name.startswith(incomplete)]
    except Exception:  # a shell that waits for words is told none, whatever is wrong
        return []


def shipped_names(incomplete: str) -> list[str]:
    """Shipped spaces, for a shell that completes."""
    from piip_search.config.shipped import shipped_spaces

    return [name for name in shipped_spaces() if name.startswith(incomplete)]


def space_names(incomplete: str) -> list[str]:
    """Shipped spaces and YAML files, for a shell that completes."""
    begun = Path(incomplete)
    folder = begun if incomplete.endswith("/") else begun.parent
    try:
        found = sorted(path for path in folder.iterdir() if path.is_dir() or path.suffix in (".yaml", ".yml"))
    except OSError:
        found = []
    paths = [f"{path}/" if path.is_dir() else str(path) for path in found if not path.name.startswith(".")]
    return [*shipped_names(incomplete), *(path for path in paths if path.startswith(incomplete))]


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


def expanded_store(context: typer.Context, value: str | None) -> str | None:
    """A database or MLflow store, or a file, that an option names."""
    return value if value is None or context.resilient_parsing else expanded_url(value)


def expanded_space(context: typer.Context, value: str | None) -> str | None:
    """A file, or the name of a shipped space."""
    return value if value is None or context.resilient_parsing else expanded(value)


Home = Annotated[
    Path, typer.Option("--home", envvar="PIIP_SEARCH_HOME", help="Folder of ledger, checkpoints and MLflow store.")
]
LedgerUrl = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        envvar="PIIP_SEARCH_LEDGER",
        callback=expanded_store,
        help="Database URL; by default ledger.db in the home folder.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the bare result: no progress, notes or hints.")]
SpaceName = Annotated[
    str,
    typer.Argument(
        help="A YAML file, or the name of a shipped space such as quickstart.",
        autocompletion=space_names,
        callback=expanded_space,
    ),
]
RunName = Annotated[str, typer.Argument(help="Name of a run.", autocompletion=run_names)]
DEFAULT_HOME = Path("runs")


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
