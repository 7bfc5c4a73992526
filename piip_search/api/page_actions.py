"""The actions of the dashboard's pages: each function runs in its own process, and reports in lines."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from piip_search.api.export import ExportOptions, check_proofs, export_designs
from piip_search.api.extras import extra
from piip_search.api.jobs import SubmitOptions, mark_of, stop_search, submit_search, submitted_note
from piip_search.api.ledgers import log_action
from piip_search.api.notices import Notify
from piip_search.api.programs import with_trusted_programs
from piip_search.api.runs import history_of
from piip_search.api.stores import read_ledger
from piip_search.evaluation.evaluation import EXAMPLES_FOLDER
from piip_search.file_paths import expanded_url
from piip_search.owner import this_owner
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

    return PageActions(
        partial(export_here, ledger, home),
        partial(resume_run, ledger, home),
        partial(stop_run, ledger, home),
        write_examples,
    )


def export_here(
    ledger: str | None, home: Path, run: str, fingerprint: str, folder: Path, token: str, notify: Notify
) -> None:
    """Exports a design as `piip-search export` does without options.

    Args:
        ledger: Database URL; None for ledger.db in the home folder.
        home: Home folder.
        run: Name of the run.
        fingerprint: Fingerprint of the design.
        folder: Folder of the design.
        token: Name of the token of whoever asked for it.
        notify: Called with notes about the design, and with the result.

    Raises:
        LedgerError: The ledger has no such run.
        ExportError: The folder cannot take the design, or a check failed.
        UserError: Data, weights or an extra are missing, or MLflow cannot use the store.
    """
    options = ExportOptions(mlflow=_named_store(), token=token)
    exports = export_designs(read_ledger(ledger, home), run, fingerprint, folder, home, options, notify)
    for design in exports:
        notify(design.summary)
    check_proofs(exports)


def resume_run(ledger: str | None, home: Path, space: Path, run: str, address: str, token: str, notify: Notify) -> None:
    """Sends the driver of a run to a cluster, where the run resumes.

    Args:
        ledger: Database URL; None for ledger.db in the home folder.
        home: Home folder.
        space: File with the space of the run.
        run: Name of the run.
        address: Address of the cluster's dashboard.
        token: Name of the token of whoever asked for it.
        notify: Called with the name of the job, and the command that shows it.

    Raises:
        SpecError: The space cannot be searched, or names files that exist only on this machine.
        LedgerError: The ledger has no such run.
        ClusterError: The cluster does not answer, or refuses.
        UserError: An extra is missing, or the run names a program that is not one's own.
    """
    book = read_ledger(ledger, home)
    with_trusted_programs(book, run, history_of(book, run).spec, home, trust=False)
    options = SubmitOptions(run, resume=True, ledger=ledger, mlflow=_named_store(), uid=book.search(run).uid)
    job = submit_search(str(space), home, address, options, notify)
    log_action(book, "submitted", run, token, job=job.id)
    notify(job.id)
    notify(submitted_note(job, address))


def stop_run(ledger: str | None, home: Path, run: str, address: str, token: str, notify: Notify) -> None:
    """Stops the driver of a run of this ledger on a cluster; measured results are kept.

    Args:
        ledger: Database URL; None for ledger.db in the home folder.
        home: Home folder.
        run: Name of the run.
        address: Address of the cluster's dashboard.
        token: Name of the token of whoever asked for it.
        notify: Called with the end of the job.

    Raises:
        LedgerError: The ledger has no such run.
        ClusterError: The cluster does not answer, no job drives the run, or it is another user's.
        UserError: An extra is missing.
    """
    book = read_ledger(ledger, home)
    end = stop_search(mark_of(run, home, ledger, this_owner(), book.search(run).uid), address)
    if end.stopped:
        log_action(book, "stopped", run, token, job=end.job.id)
    notify(str(end))


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
