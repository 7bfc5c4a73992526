"""`piip-search mirror`: bring MLflow up to what the ledger holds."""

from typing import Annotated

import typer
from rich.progress import track

from piip_search.cli.application import DEFAULT_HOME, Home, LedgerUrl, RunName, console, errors, expanded_store
from piip_search.wiring.extras import UserError, find_mlflow
from piip_search.wiring.history import history_of
from piip_search.wiring.stores import existing_ledger, keep_store, mirror_of, mlflow_uri, open_ledger


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
) -> None:
    """Write a run into MLflow from the ledger: all of it, or what a server that was away has missed.

    What is there already is recognised and left as it is.

    Example: piip-search mirror coco --mlflow http://mlflow:5000
    """
    store = mlflow_uri(mlflow, home)
    if store is None:
        raise UserError("--mlflow none is no store; leave it out for the one in the home, or give a server")
    find_mlflow()
    history = history_of(open_ledger(existing_ledger(ledger, home)), run)
    with mirror_of(store, home, run, history) as tracker:
        for evaluation, fronts in track(history.replay(), "mirroring", len(history.evaluations), console=errors):
            tracker.record(evaluation, fronts)
        tracker.finish(history.fronts)
    keep_store(store, home, run)
    console.print(f"{run}: {len(history.evaluations)} evaluations are in MLflow", markup=False, highlight=False)
