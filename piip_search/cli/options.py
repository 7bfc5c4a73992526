"""Options and arguments that several commands have, and how a shell completes them."""

from pathlib import Path
from typing import Annotated

import typer

from piip_search.file_paths import expanded, expanded_url

DEFAULT_HOME = Path("runs")
"""Home folder of a command that names none."""


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
Name = Annotated[str | None, typer.Option(help="Name of the run; the space's name by default.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Trials to measure, in place of the space's.")]
Resume = Annotated[bool, typer.Option("--resume", help="Fail unless there is a run of that name to go on with.")]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Measure everything anew, whatever other runs of the ledger measured.")
]
Mlflow = Annotated[
    str | None,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        callback=expanded_store,
        help="MLflow store or server, or none; by default mlflow.db in the home.",
    ),
]
