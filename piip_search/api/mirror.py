"""Writes runs into MLflow from the ledger."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.api.extras import find_mlflow
from piip_search.api.notices import Notify, ignore
from piip_search.api.runs import history_of
from piip_search.api.stores import keep_store, mirror_of, mlflow_uri, set_broken_store_aside
from piip_search.errors import StoreError
from piip_search.search.history import RunHistory

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.ledger import Ledger

Watch = Callable[[Iterable[Any], int], Iterable[Any]]
"""Returns the elements of an iterable, and may show how many of the given number are done."""


def unwatched(items: Iterable[Any], count: int) -> Iterable[Any]:
    """Returns the elements without showing progress."""
    return items


def mirror_store(mlflow: str | None, home: Path) -> str:
    """The MLflow store to write runs into.

    Args:
        mlflow: Store or server; by default the one in the home folder.
        home: Home folder.

    Raises:
        StoreError: The store is `none`.
        UserError: MLflow cannot use the store, or is not installed.
    """
    store = mlflow_uri(mlflow, home)
    if store is None:
        raise StoreError("--mlflow none is no store; leave it out for the one in the home, or give a server")
    find_mlflow()
    return store


def mirror_run(
    ledger: "Ledger",
    run: str,
    home: Path,
    store: str,
    notify: Notify = ignore,
    done: Callable[[str, int], None] = lambda run, evaluations: None,
    watch: Watch = unwatched,
) -> None:
    """Writes a run into MLflow, or the part that MLflow lacks.

    A broken store in a file is set aside, and all runs of the ledger are written into a new one.

    Args:
        ledger: Ledger of the run.
        run: Name of the run.
        home: Home folder.
        store: Store, as from `mirror_store`.
        notify: Called with notes about the store, and about runs that are not written.
        done: Called with the name of each run in MLflow, and the number of its evaluations.
        watch: Shows the progress of a run's evaluations.

    Raises:
        LedgerError: The ledger has no such run.
        ConnectionError: MLflow cannot be reached.
        StoreError: The store is damaged or locked, and a user has to fix it.
    """
    history = history_of(ledger, run)
    aside = set_broken_store_aside(store)
    _write(run, history, home, store, done, watch)
    if aside is None:
        return
    notify(
        f"the store was broken: its file is called {aside} now, and a new one was begun; "
        "full trainings and registered models were only in the old one"
    )
    for record in ledger.searches():
        if record.name != run:
            _write_other(ledger, record.name, home, store, notify, done, watch)


def _write_other(
    ledger: "Ledger",
    run: str,
    home: Path,
    store: str,
    notify: Notify,
    done: Callable[[str, int], None],
    watch: Watch,
) -> None:
    """Writes another run of the ledger, unless a process drives it or its spec cannot be read."""
    if ledger.driven(run):
        notify(f"{run}: not written here: the process that drives it writes it")
        return
    try:
        history = history_of(ledger, run)
    except ValueError as error:
        notify(f"{run}: not written: {error}")
    else:
        _write(run, history, home, store, done, watch)


def _write(
    run: str, history: RunHistory, home: Path, store: str, done: Callable[[str, int], None], watch: Watch
) -> None:
    with mirror_of(store, run, history) as tracker:
        for evaluation, fronts in watch(history.replay(), len(history.evaluations)):
            tracker.record(evaluation, fronts)
        tracker.finish(history.fronts)
    with suppress(PermissionError):  # a read-only home gets no note of the store
        keep_store(store, home, run)
    done(run, len(history.evaluations))
