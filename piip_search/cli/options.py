"""Options and arguments of several commands, and their shell completion."""

from pathlib import Path
from typing import Annotated

import typer

from piip_search.file_paths import expanded, expanded_url

DEFAULT_HOME = Path("runs")
"""Default home folder."""


def run_names(context: typer.Context, incomplete: str) -> list[str]:
    """Runs of the ledger that the command line names so far, for shell completion; empty without a ledger."""
    from piip_search.api.stores import read_ledger

    try:
        home, ledger = context.params.get("home") or DEFAULT_HOME, context.params.get("ledger")
        book = read_ledger(ledger and expanded_url(ledger), Path(expanded(str(home))))
        return [record.name for record in book.searches() if record.name.startswith(incomplete)]
    except Exception:  # a completion must never print an error
        return []


def shipped_names(incomplete: str) -> list[str]:
    """Shipped spaces, for shell completion."""
    from piip_search.config.shipped import shipped_spaces

    return [name for name in shipped_spaces() if name.startswith(incomplete)]


def space_names(incomplete: str) -> list[str]:
    """Shipped spaces and YAML files, for shell completion."""
    begun = Path(incomplete)
    folder = begun if incomplete.endswith("/") else begun.parent
    try:
        found = sorted(path for path in folder.iterdir() if path.is_dir() or path.suffix in (".yaml", ".yml"))
    except OSError:
        found = []
    paths = [f"{path}/" if path.is_dir() else str(path) for path in found if not path.name.startswith(".")]
    return [*shipped_names(incomplete), *(path for path in paths if path.startswith(incomplete))]


def expanded_store(context: typer.Context, value: str | None) -> str | None:
    """Expands a database, MLflow store or file in an option."""
    return value if value is None or context.resilient_parsing else expanded_url(value)


def expanded_space(context: typer.Context, value: str | None) -> str | None:
    """Expands a file or the name of a shipped space."""
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
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run programs that the run names, such as a configuration in Python, of anybody."),
]
SpaceName = Annotated[
    str,
    typer.Argument(
        help="A YAML file, or the name of a shipped space such as quickstart.",
        autocompletion=space_names,
        callback=expanded_space,
    ),
]
RunName = Annotated[str, typer.Argument(help="Name of a run.", autocompletion=run_names)]
Name = Annotated[str | None, typer.Option(help="Name of the run; the space's name by default.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Trials to measure, instead of the space's number.")]
Resume = Annotated[bool, typer.Option("--resume", help="Fail unless a run of that name exists to resume.")]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Measure every design again, even if another run of the ledger measured it.")
]
TakeOver = Annotated[
    bool,
    typer.Option(
        "--take-over",
        help="Go on with another user's run, or take it from the process that drives it.",
    ),
]
Mlflow = Annotated[
    str | None,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        callback=expanded_store,
        help="MLflow store or server, or none; by default mlflow.db in the home.",
    ),
]
