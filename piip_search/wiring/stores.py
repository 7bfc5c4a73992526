"""What keeps a search, the ledger, and what mirrors it, MLflow: where they are, and how they are opened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from piip_search.file_paths import located
from piip_search.tracker import Tracker
from piip_search.wiring.extras import UserError, find_mlflow
from piip_search.wiring.history import History
from piip_search.wiring.mlflow_store import check_store

if TYPE_CHECKING:  # they bring the database and MLflow with them, for which a message need not wait
    from piip_search.export import Provenance
    from piip_search.ledger import Ledger
    from piip_workers.tracking import MlflowTracker

STORE = "mlflow.txt"
"""File in a run's folder that names the MLflow store that it is mirrored into."""


def ledger_url(given: str | None, home: Path) -> str:
    return given or f"sqlite:///{home / 'ledger.db'}"


def existing_ledger(given: str | None, home: Path) -> str:
    """The ledger to read; reading makes no new one."""
    path = home / "ledger.db"
    if given is None and not path.exists():
        raise UserError(f"no ledger at {located(path)}; run a search first, or say where it is with --home or --ledger")
    return ledger_url(given, home)


def open_ledger(url: str, told: Callable[[str], None] = lambda text: None) -> "Ledger":
    """The ledger at a database URL, brought up to date.

    Args:
        url: The database's.
        told: Is told when the database is away later, and when it is back.

    Raises:
        LedgerError: It cannot be opened.
    """
    from piip_search.ledger import Ledger

    return Ledger(url, told)


def mlflow_uri(given: str | None, home: Path) -> str | None:
    """The MLflow store, which is in the home unless the user names one; None for none.

    Raises:
        UserError: MLflow could not use it.
    """
    if given == "none":
        return None
    if given:
        check_store(given)
    return given or f"sqlite:///{(home / 'mlflow.db').resolve()}"


def keep_store(uri: str, home: Path, run: str) -> None:
    """Notes beside a run's checkpoints where it is mirrored, without secrets: a training of an export looks there."""
    file = home / run / STORE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(shown_store(uri) + "\n", encoding="utf-8")


def kept_store(home: Path, run: str) -> str | None:
    """The MLflow store that a run was last mirrored into; None where it was not, as far as is known here."""
    file = home / run / STORE
    if file.is_file():
        return file.read_text(encoding="utf-8").strip()
    return mlflow_uri(None, home) if (home / "mlflow.db").exists() else None


def shown_store(uri: str) -> str:
    """An MLflow store's address without user, password and query; a path in it is absolute."""
    parts = urlsplit(uri)
    if parts.scheme == "sqlite":
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).resolve()}"
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
    from piip_workers.background import InBackground

    return InBackground(lambda: mirror(uri, home), note)


def mirror(uri: str, home: Path) -> "MlflowTracker":
    """MLflow's tracker itself; needs the extra."""
    from piip_workers.tracking import MlflowTracker

    return MlflowTracker(uri, (home / "mlartifacts").resolve().as_uri() if uri.startswith("sqlite:") else None)


@contextmanager
def mirror_of(uri: str, home: Path, run: str, history: History) -> Iterator["MlflowTracker"]:
    """The same for a run that the ledger holds, begun.

    Raises:
        ConnectionError: MLflow cannot be reached.
    """
    from piip_workers.tracking import reachable

    with reachable(uri):
        tracker = mirror(uri, home)
        tracker.begin(run, history.spec.model_dump(mode="json"), history.objectives)
        yield tracker


def register_model(uri: str, provenance: "Provenance", folder: Path, channels: tuple[int, ...]) -> str:
    """Puts an exported network into MLflow's registry; the arguments are those of `piip_workers.tracking.register`."""
    find_mlflow()
    from piip_workers.tracking import register

    return register(uri, provenance, folder, channels)
