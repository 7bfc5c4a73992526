"""`piip-search mirror`: updates MLflow from the ledger."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.progress import track

from piip_search.api.mirror import mirror_run, mirror_store
from piip_search.api.stores import read_ledger
from piip_search.cli.application import console, errors, note
from piip_search.cli.options import DEFAULT_HOME, Home, LedgerUrl, RunName, expanded_store


def mirror(
    run: RunName,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI",
            callback=expanded_store,
            help="MLflow store or server; by default mlflow.db in the home.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also write another user's run.")] = False,
) -> None:
    """Write a run into MLflow from the ledger: all of it, or the part that an unreachable server missed.

    Existing entries are recognised and left unchanged. A broken store in a file is renamed, and all runs of the ledger
    are written into a new one.

    Example: piip-search mirror coco --mlflow http://mlflow:5000
    """
    store = mirror_store(mlflow, home)
    mirror_run(read_ledger(ledger, home), run, home, store, note, _done, _watch, force)


def _done(run: str, evaluations: int) -> None:
    console.print(f"{run}: {evaluations} evaluations are in MLflow", markup=False, highlight=False)


def _watch(items: Iterable[Any], count: int) -> Iterable[Any]:
    return track(items, "mirroring", count, console=errors)
