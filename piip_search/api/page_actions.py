"""What the pages of the dashboard start: each function runs in a process of its own, and says what it does in lines."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from piip_search.api.export import ExportOptions, check_proofs, export_designs
from piip_search.api.extras import extra
from piip_search.api.jobs import SubmitOptions, stop_job, stopped_note, submit_search, submitted_note
from piip_search.api.notices import Notify
from piip_search.api.stores import read_ledger
from piip_search.evaluation.evaluation import EXAMPLES_FOLDER
from piip_search.file_paths import expanded_url

if TYPE_CHECKING:  # an extra, which the dashboard asks for
    from piip_dashboards.web.actions import PageActions


def page_actions(ledger: str | None, home: Path) -> "PageActions":
    """What pages can start in a ledger and its home folder.

    Args:
        ledger: Database URL; None for ledger.db in the home folder.
        home: The home folder.
    """
    from piip_dashboards.web.actions import PageActions

    return PageActions(partial(export_here, ledger, home), partial(resume_run, ledger, home), stop_run, detect_examples)


def export_here(ledger: str | None, home: Path, run: str, fingerprint: str, folder: Path, notify: Notify) -> None:
    """Exports a design as `piip-search export` does where it is given no options.

    Args:
        ledger: Database URL; None for ledger.db in the home folder.
        home: The home folder.
        run: Name of the run.
        fingerprint: The design.
        folder: The folder of the design.
        notify: Gets what a user should know of the design, and what was written.

    Raises:
        LedgerError: The ledger has no such run.
        ExportError: The folder cannot take the design, or a check failed.
        UserError: Data, weights or an extra are missing, or MLflow cannot use the store.
    """
    options = ExportOptions(mlflow=_named_store())
    exports = export_designs(read_ledger(ledger, home), run, fingerprint, folder, home, options, notify)
    for design in exports:
        notify(design.summary)
    check_proofs(exports)


def resume_run(ledger: str | None, home: Path, space: Path, run: str, address: str, notify: Notify) -> None:
    """Sends the driver of a run to a cluster; it goes on where the run was left.

    Args:
        ledger: Database URL; None for ledger.db in the home folder.
        home: The home folder.
        space: File with the space of the run.
        run: Name of the run.
        address: Address of the cluster's dashboard.
        notify: Gets the name of the job, and how to look at it.

    Raises:
        SpecError: The space cannot be searched, or names what is on this machine alone.
        ClusterError: The cluster does not answer, or refuses.
        UserError: An extra is missing.
    """
    options = SubmitOptions(run, resume=True, ledger=ledger, mlflow=_named_store())
    job = submit_search(str(space), home, address, options)
    notify(job.id)
    notify(submitted_note(job, address))


def stop_run(run: str, address: str, notify: Notify) -> None:
    """Stops the driver of a run on a cluster. Nothing that is measured is lost.

    Args:
        run: Name of the run.
        address: Address of the cluster's dashboard.
        notify: Gets how the job ended.

    Raises:
        ClusterError: The cluster does not answer, or has no job of that run.
        UserError: An extra is missing.
    """
    notify(stopped_note(stop_job(run, address)))


def detect_examples(folder: Path, notify: Notify) -> None:
    """Detects on some validation images with the newest checkpoint of a training.

    Args:
        folder: The folder of the training.
        notify: Gets how many images there are.

    Raises:
        DataError: The folder holds nothing to load, or no validation image holds an object.
        UserError: An extra is missing.
    """
    with extra("detection"):
        from piip_workers.tasks.detection.examples import write_examples
    count = write_examples(folder.resolve())
    notify(f"wrote {count} images to {folder / EXAMPLES_FOLDER}")


def _named_store() -> str | None:
    """The MLflow store that the environment names, as the commands read it."""
    named = os.environ.get("MLFLOW_TRACKING_URI")
    return expanded_url(named) if named else None
