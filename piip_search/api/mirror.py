"""Writes runs into MLflow from the ledger."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.api.extras import find_mlflow
from piip_search.api.notices import Notify, ignore
from piip_search.api.runs import history_of, measured_baselines
from piip_search.api.stores import keep_store, mirror_of, mlflow_uri, set_broken_store_aside
from piip_search.errors import LedgerError, StoreError, UserError
from piip_search.owner import this_owner
from piip_search.search.history import RunHistory

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.ledger import Ledger, SearchRecord

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
    force: bool = False,
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
        force: Whether to write another user's run.

    Raises:
        LedgerError: The ledger has no such run, or it is another user's.
        UnreachableStoreError: MLflow cannot be reached.
        StoreError: The store is damaged or locked, and a user has to fix it.
    """
    record, user = ledger.search(run), this_owner()
    if record.owner.known and not record.owner.is_same_user(user) and not force:
        raise LedgerError(
            f"run {run!r} belongs to {record.owner}, and this is {user}; with --force it is written all the same"
        )
    history = history_of(ledger, run)
    aside = set_broken_store_aside(store)
    _write(ledger, record, history, home, store, done, watch)
    if aside is None:
        return
    notify(
        f"the store was broken: its file is called {aside} now, and a new one was begun; "
        "full trainings and registered models were only in the old one"
    )
    for other in ledger.searches():
        if other.name != run:
            _write_other(ledger, other, home, store, notify, done, watch)


def _write_other(
    ledger: "Ledger",
    record: "SearchRecord",
    home: Path,
    store: str,
    notify: Notify,
    done: Callable[[str, int], None],
    watch: Watch,
) -> None:
    """Writes another run of the ledger, unless a process drives it or its spec cannot be read."""
    run = record.name
    if ledger.driven(run):
        notify(f"{run}: not written here: the process that drives it writes it")
        return
    try:
        history = history_of(ledger, run)
    except ValueError as error:
        notify(f"{run}: not written: {error}")
    else:
        _write(ledger, record, history, home, store, done, watch)


def mirror_baselines(ledger: "Ledger", run: str, home: Path, store: str, notify: Notify) -> None:
    """Shows the baselines of a run beside its front in MLflow; a store that is away is a note.

    Args:
        ledger: Ledger of the run.
        run: Name of the run.
        home: Home folder.
        store: Store that mirrors the run.
        notify: Called with the reason if they cannot be written, and the command that writes them.
    """
    try:
        find_mlflow()
    except UserError:
        return  # the search was not mirrored either, and has said so
    try:
        _write(ledger, ledger.search(run), history_of(ledger, run), home, store, lambda name, count: None, unwatched)
    except StoreError as error:
        notify(f"MLflow misses the baselines of {run}: {error}; to write them: piip-search mirror {run}")


def _write(
    ledger: "Ledger",
    record: "SearchRecord",
    history: RunHistory,
    home: Path,
    store: str,
    done: Callable[[str, int], None],
    watch: Watch,
) -> None:
    with mirror_of(store, record, history) as tracker:
        for evaluation, fronts in watch(history.replay(), len(history.evaluations)):
            tracker.record(evaluation, fronts)
        tracker.show_baselines(measured_baselines(ledger, record.name))
        tracker.finish(history.fronts)
    with suppress(PermissionError):  # a read-only home gets no note of the store
        keep_store(store, home, record.name)
    done(record.name, len(history.evaluations))
