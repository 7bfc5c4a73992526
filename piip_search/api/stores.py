"""What keeps a search, the ledger, and what mirrors it, MLflow: where they are, and how they are opened."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from piip_search.api.extras import find_mlflow
from piip_search.api.mlflow_store import check_store, is_database
from piip_search.errors import UserError
from piip_search.evaluation.tracker import Tracker
from piip_search.file_paths import located, typed_path, typed_url
from piip_search.redact import without_secrets
from piip_search.search.history import RunHistory

if TYPE_CHECKING:  # they bring the database and MLflow with them, for which a message need not wait
    from sqlalchemy.engine import URL

    from piip_search.export import Provenance
    from piip_search.ledger import Ledger
    from piip_workers.tracking.search_run import MlflowTracker

STORE = "mlflow.txt"
"""File in a run's folder that names the MLflow store that it is mirrored into."""
OUTSIDE = "# outside of the home folder"
STORE_FILE = "mlflow.db"
"""The store in a home folder."""


def ledger_url(given: str | None, home: Path) -> "str | URL":
    from piip_search.ledger import sqlite_url

    return given or sqlite_url(home / "ledger.db")


def named_ledger(given: str | os.PathLike[str] | None, home: Path) -> "str | URL":
    """The URL of a ledger that is given as one or as a SQLite file; the home's own where none is given."""
    from piip_search.ledger import sqlite_url

    text = os.fspath(given) if given is not None else None
    return ledger_url(text, home) if text is None or "://" in text else sqlite_url(Path(text))


def ledger_of(given: str) -> "URL":
    """The URL of a ledger that is given as one, as a SQLite file, or as the home folder that holds it.

    Raises:
        UserError: It is none of these.
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
    """The ledger that holds a run already; no new one is made.

    Raises:
        UserError: It is a file that is not there.
    """
    from piip_search.ledger import UrlError, sqlite_file

    url = ledger_url(given, home)
    with suppress(UrlError):  # who opens it says what is wrong
        file = sqlite_file(url)
        if file is not None and not file.exists():
            place = located(file if given else home / "ledger.db")
            raise UserError(f"no ledger at {place}; run a search first, or say where it is with --home or --ledger")
    return url


def open_ledger(url: "str | URL", told: Callable[[str], None] = lambda text: None, reading: bool = False) -> "Ledger":
    """The ledger at a database URL, brought up to date.

    Args:
        url: The database's.
        told: Is told when the database is away later, and when it is back.
        reading: Whether it is only asked: then a file that may only be read is left as it is.

    Raises:
        LedgerError: It cannot be opened.
    """
    from piip_search.ledger import Ledger

    return Ledger(url, told, reading=reading)


def read_ledger(given: str | None, home: Path) -> "Ledger":
    """The ledger that holds a run already, to be asked alone.

    Raises:
        UserError: It is a file that is not there.
        LedgerError: It cannot be opened.
    """
    return open_ledger(existing_ledger(given, home), reading=True)


def mlflow_uri(given: str | None, home: Path) -> str | None:
    """The MLflow store that a user named, the home's own where none was named, or None for none.

    Raises:
        UserError: MLflow could not use it.
    """
    from piip_search.ledger import database_url, sqlite_url, url_text

    if given == "none":
        return None
    if not given:
        return url_text(sqlite_url(home / STORE_FILE))
    check_store(given)
    return url_text(database_url(given)) if is_database(given) else given


def keep_store(uri: str, home: Path, run: str) -> None:
    """Notes beside a run's checkpoints where it is mirrored, without secrets: a training of an export looks there.

    A file in the home is named from there, so that it is found when the home is somewhere else.
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
    """The MLflow store that a run was last mirrored into; None where it was not, as far as is known here."""
    from piip_search.ledger import sqlite_file, sqlite_url, url_text

    own = mlflow_uri(None, home) if (home / STORE_FILE).exists() else None
    file = home / run / STORE
    if not file.is_file():
        return own
    kept, _, rest = file.read_text(encoding="utf-8").partition("\n")
    if kept.startswith("./"):
        return url_text(sqlite_url(home / unquote(kept)))
    # Earlier versions named the home's own by its absolute path as well, and the home may have been moved since.
    path = sqlite_file(kept) if kept.startswith("sqlite:") and OUTSIDE not in rest else None
    moved = path is not None and path.name == STORE_FILE and not path.exists()
    return own if moved and own is not None else kept


def shown_store(uri: str) -> str:
    """An MLflow store's address without user, password and query; a path in it is absolute."""
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
    """MLflow's tracker, in the background; without the extra a note, unless the user asked for a store."""
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
    """What is typed after `piip-search mirror RUN` to write into a store from the ledger of a home."""
    place = "" if home == Path("runs") else f" --home {typed_path(home)}"
    return place if uri == mlflow_uri(None, home) else f"{place} --mlflow {typed_url(shown_store(uri))}"


@contextmanager
def mirror_of(uri: str, run: str, history: RunHistory) -> Iterator["MlflowTracker"]:
    """MLflow's tracker itself for a run that the ledger holds, begun; needs the extra.

    Raises:
        ConnectionError: MLflow cannot be reached.
        StoreError: The file of the store cannot be used until somebody mends it.
    """
    from piip_workers.tracking.store import reachable

    with reachable(uri):
        tracker = _tracker(uri)
        tracker.begin(run, history.spec.model_dump(mode="json"), history.objectives)
        yield tracker


def set_broken_store_aside(uri: str) -> Path | None:
    """Gives the file of a broken store another name; the rest as for `piip_workers.tracking.store.set_aside`."""
    from piip_workers.tracking.store import reachable, set_aside

    with reachable(uri):
        return set_aside(uri)


def register_model(uri: str, provenance: "Provenance", folder: Path, channels: tuple[int, ...]) -> str:
    """Puts an exported network into MLflow's registry, with the arguments of `registry.register`."""
    find_mlflow()
    from piip_workers.tracking.registry import register

    return register(uri, provenance, folder, channels)
