"""The actions of the dashboard's pages: each function runs in its own process, and reports in lines."""

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
from piip_search.tasks import TASKS
from piip_workers.tasks import worker_of

if TYPE_CHECKING:  # an extra of the dashboard
    from piip_dashboards.web.actions import PageActions


def page_actions(ledger: str | None, home: Path) -> "PageActions":
    """The actions of pages in a ledger and its home folder.

    Args:
        ledger: Database URL; None for ledger.db in the home folder.
        home: Home folder.
    """
    from piip_dashboards.web.actions import PageActions

    return PageActions(partial(export_here, ledger, home), partial(resume_run, ledger, home), stop_run, write_examples)


def export_here(ledger: str | None, home: Path, run: str, fingerprint: str, folder: Path, notify: Notify) -> None:
    """Exports a design as `piip-search export` does without options.

    Args:
        ledger: Database URL; None for ledger.db in the home folder.
        home: Home folder.
        run: Name of the run.
        fingerprint: Fingerprint of the design.
        folder: Folder of the design.
        notify: Called with notes about the design, and with the result.

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
    """Sends the driver of a run to a cluster, where the run resumes.

    Args:
        ledger: Database URL; None for ledger.db in the home folder.
        home: Home folder.
        space: File with the space of the run.
        run: Name of the run.
        address: Address of the cluster's dashboard.
        notify: Called with the name of the job, and the command that shows it.

    Raises:
        SpecError: The space cannot be searched, or names files that exist only on this machine.
        ClusterError: The cluster does not answer, or refuses.
        UserError: An extra is missing.
    """
    options = SubmitOptions(run, resume=True, ledger=ledger, mlflow=_named_store())
    job = submit_search(str(space), home, address, options, notify)
    notify(job.id)
    notify(submitted_note(job, address))


def stop_run(run: str, address: str, notify: Notify) -> None:
    """Stops the driver of a run on a cluster; measured results are kept.

    Args:
        run: Name of the run.
        address: Address of the cluster's dashboard.
        notify: Called with the end of the job.

    Raises:
        ClusterError: The cluster does not answer, or has no job of that run.
        UserError: An extra is missing.
    """
    notify(stopped_note(stop_job(run, address)))


def write_examples(task: str, folder: Path, notify: Notify) -> None:
    """Runs the newest checkpoint of a training on some validation images.

    Args:
        task: Task of the search.
        folder: Folder of the training.
        notify: Called with the number of images.

    Raises:
        DataError: The folder has nothing to load, or no validation image is suitable.
        UserError: An extra is missing.
    """
    with extra(TASKS[task].extra):
        count = worker_of(task).write_examples(folder.resolve())
    notify(f"wrote {count} images to {folder / EXAMPLES_FOLDER}")


def _named_store() -> str | None:
    """The MLflow store in the environment, as for the commands."""
    named = os.environ.get("MLFLOW_TRACKING_URI")
    return expanded_url(named) if named else None
