"""Ledgers and MLflow stores: locates and opens them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from piip_search.api.extras import find_mlflow
from piip_search.api.mlflow_store import check_store, is_database
from piip_search.errors import UserError
from piip_search.evaluation.tracker import TrackedSearch, Tracker
from piip_search.file_paths import located, typed_path, typed_url
from piip_search.redact import without_secrets
from piip_search.search.history import RunHistory

if TYPE_CHECKING:  # these import the database and MLflow, which a message need not wait for
    from sqlalchemy.engine import URL

    from piip_search.export import Provenance
    from piip_search.ledger import Ledger, SearchRecord
    from piip_workers.tracking.search_run import MlflowTracker

STORE = "mlflow.txt"
"""File in a run's folder with the MLflow store of its mirror."""
OUTSIDE = "# outside of the home folder"
STORE_FILE = "mlflow.db"
"""File of the store in a home folder."""


def ledger_url(given: str | None, home: Path) -> "str | URL":
    from piip_search.ledger import sqlite_url

    return given or sqlite_url(home / "ledger.db")


def named_ledger(given: str | os.PathLike[str] | None, home: Path) -> "str | URL":
    """The URL of a ledger given as URL or SQLite file; the home's own by default."""
    from piip_search.ledger import sqlite_url

    text = os.fspath(given) if given is not None else None
    return ledger_url(text, home) if text is None or "://" in text else sqlite_url(Path(text))


def ledger_of(given: str) -> "URL":
    """The URL of a ledger given as URL, SQLite file or home folder.

    Raises:
        UserError: The text is none of these.
    """
    from piip_search.ledger import UrlError, database_url, sqlite_url

    try:
        if "://" in given:
            return database_url(given)
    except UrlError as error:
        raise UserError(f"ledger {without_secrets(given)}: {error}") from None
    path = Path(given) / "ledger.db" if Path(given).is_dir() else Path(given)
    if not path.is_file():
        raise UserError(f"no ledger at {located(path)}; give a database URL, a file, or the home folder of searches")
    return sqlite_url(path)


def existing_ledger(given: str | None, home: Path) -> "str | URL":
    """The URL of an existing ledger; none is created.

    Raises:
        UserError: The file does not exist.
    """
    from piip_search.ledger import UrlError, sqlite_file

    url = ledger_url(given, home)
    with suppress(UrlError):  # reported when it is opened
        file = sqlite_file(url)
        if file is not None and not file.exists():
            place = located(file if given else home / "ledger.db")
            raise UserError(f"no ledger at {place}; run a search first, or give its place with --home or --ledger")
    return url


def open_ledger(url: "str | URL", notify: Callable[[str], None] = lambda text: None, reading: bool = False) -> "Ledger":
    """The ledger at a database URL, with migrated tables.

    Args:
        url: URL of the database.
        notify: Called when the database is away later, and when it is back.
        reading: Whether it is only read: a read-only file stays unchanged.

    Raises:
        LedgerError: It cannot be opened.
    """
    from piip_search.ledger import Ledger

    return Ledger(url, notify, reading=reading)


def read_ledger(given: str | None, home: Path) -> "Ledger":
    """An existing ledger, opened for reading.

    Raises:
        UserError: The file does not exist.
        LedgerError: It cannot be opened.
    """
    return open_ledger(existing_ledger(given, home), reading=True)


def mlflow_uri(given: str | None, home: Path) -> str | None:
    """The MLflow store that a user named; the home's own by default, or None for none.

    Raises:
        UserError: MLflow cannot use it.
    """
    from piip_search.ledger import database_url, sqlite_url, url_text

    if given == "none":
        return None
    if not given:
        return url_text(sqlite_url(home / STORE_FILE))
    check_store(given)
    return url_text(database_url(given)) if is_database(given) else given


def keep_store(uri: str, home: Path, run: str) -> None:
    """Records the store of a run's mirror beside its checkpoints, without secrets, for trainings of exports.

    A file in the home is recorded by a relative path, so that it is found after the home has moved.
    """
    from piip_search.ledger import sqlite_file

    kept, path = shown_store(uri), sqlite_file(uri) if uri.startswith("sqlite:") else None
    base = Path(os.path.realpath(home))
    if path is not None:
        inside = path.is_relative_to(base)
        kept = f"./{quote(str(path.relative_to(base)))}" if inside else f"{kept}\n{OUTSIDE}"
    file = home / run / STORE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(kept + "\n", encoding="utf-8")


def kept_store(home: Path, run: str) -> str | None:
    """The MLflow store of a run's last mirror; None if none is recorded."""
    from piip_search.ledger import sqlite_file, sqlite_url, url_text

    own = mlflow_uri(None, home) if (home / STORE_FILE).exists() else None
    file = home / run / STORE
    if not file.is_file():
        return own
    kept, _, rest = file.read_text(encoding="utf-8").partition("\n")
    if kept.startswith("./"):
        return url_text(sqlite_url(home / unquote(kept)))
    # Earlier versions recorded the absolute path of the home's own, and the home may have moved since.
    path = sqlite_file(kept) if kept.startswith("sqlite:") and OUTSIDE not in rest else None
    moved = path is not None and path.name == STORE_FILE and not path.exists()
    return own if moved and own is not None else kept


def shown_store(uri: str) -> str:
    """An MLflow store's address without user, password and query; its path is absolute."""
    from piip_search.ledger import UrlError, database_url, url_text

    if uri.startswith("sqlite:"):
        try:
            return url_text(database_url(uri))
        except UrlError:
            return uri
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "the address given"
    if not parts.netloc:
        return uri
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def open_tracker(uri: str | None, home: Path, asked: bool, note: Callable[[str], None]) -> Tracker | None:
    """MLflow's tracker, in the background; a missing extra is a note, or an error if the user asked for a store."""
    if uri is None:
        return None
    try:
        find_mlflow()
    except UserError as error:
        if asked:
            raise
        note(f"note: not mirrored into MLflow: {error}")
        return None
    from piip_workers.tracking.background import InBackground

    return InBackground(lambda: _tracker(uri), note, options=_mirror_options(uri, home))


def _tracker(uri: str) -> "MlflowTracker":
    from piip_dashboards.drawing import front_files
    from piip_workers.tracking.search_run import MlflowTracker

    return MlflowTracker(uri, drawing=front_files)


def _mirror_options(uri: str, home: Path) -> str:
    """The options of `piip-search mirror RUN` that write into a store from the ledger of a home."""
    place = "" if home == Path("runs") else f" --home {typed_path(home)}"
    return place if uri == mlflow_uri(None, home) else f"{place} --mlflow {typed_url(shown_store(uri))}"


@contextmanager
def mirror_of(uri: str, record: "SearchRecord", history: RunHistory) -> Iterator["MlflowTracker"]:
    """MLflow's tracker for a run in the ledger, begun; needs the extra.

    Raises:
        UnreachableStoreError: MLflow cannot be reached.
        StoreError: The file of the store is damaged or locked, and a user has to fix it.
    """
    from piip_workers.tracking.store import reachable

    with reachable(uri):
        tracker = _tracker(uri)
        spec, objectives = history.spec.model_dump(mode="json"), history.objectives
        tracker.begin(TrackedSearch(record.name, record.uid, record.owner, record.created_at, spec, objectives))
        yield tracker


def set_broken_store_aside(uri: str) -> Path | None:
    """Renames the file of a broken store; see `piip_workers.tracking.store.set_aside`."""
    from piip_workers.tracking.store import reachable, set_aside

    with reachable(uri):
        return set_aside(uri)


def register_model(
    uri: str, provenance: "Provenance", folder: Path, channels: tuple[int, ...], classes: int | None = None
) -> str:
    """Adds an exported network to MLflow's registry; the arguments are those of `registry.register`."""
    find_mlflow()
    from piip_workers.tracking.registry import register

    return register(uri, provenance, folder, channels, classes)
