"""`piip-search mirror`: bring MLflow up to what the ledger holds."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track

from piip_search.api.extras import find_mlflow
from piip_search.api.runs import History, history_of
from piip_search.api.stores import keep_store, mirror_of, mlflow_uri, read_ledger, set_broken_store_aside
from piip_search.cli.application import console, errors, note
from piip_search.cli.options import DEFAULT_HOME, Home, LedgerUrl, RunName, expanded_store
from piip_search.errors import UserError

if TYPE_CHECKING:  # they bring the database with them, for which a message need not wait
    from piip_search.ledger import Ledger


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

    What is there already is recognised and left as it is. A store in a file that is broken is kept under another name,
    and all runs of the ledger are written into a new one.

    Example: piip-search mirror coco --mlflow http://mlflow:5000
    """
    store = mlflow_uri(mlflow, home)
    if store is None:
        raise UserError("--mlflow none is no store; leave it out for the one in the home, or give a server")
    find_mlflow()
    book = read_ledger(ledger, home)
    history = history_of(book, run)
    aside = set_broken_store_aside(store)
    _mirror(store, home, run, history)
    if aside is None:
        return
    note(
        f"the store was broken: its file is called {aside} now, and a new one was begun; "
        "full trainings and registered models were in the old one alone"
    )
    for record in book.searches():
        if record.name != run:
            _mirror_too(store, home, record.name, book)


def _mirror_too(store: str, home: Path, run: str, book: "Ledger") -> None:
    """Writes another run of a ledger into a store that was begun anew."""
    if book.driven(run):
        note(f"{run}: it is being driven, and the process that does writes it")
        return
    try:
        history = history_of(book, run)
    except ValueError as error:
        note(f"{run}: not written: {error}")
    else:
        _mirror(store, home, run, history)


def _mirror(store: str, home: Path, run: str, history: History) -> None:
    with mirror_of(store, run, history) as tracker:
        for evaluation, fronts in track(history.replay(), "mirroring", len(history.evaluations), console=errors):
            tracker.record(evaluation, fronts)
        tracker.finish(history.fronts)
    with suppress(PermissionError):  # a home that may only be read is mirrored elsewhere, and has no note of it
        keep_store(store, home, run)
    console.print(f"{run}: {len(history.evaluations)} evaluations are in MLflow", markup=False, highlight=False)
