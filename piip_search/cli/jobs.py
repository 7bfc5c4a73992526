"""`piip-search submit`, `status`, `logs`, `stop`: searches whose driver runs on a Ray cluster."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from piip_search.api.jobs import (
    DASHBOARD,
    SubmitOptions,
    find_job,
    follow_job,
    job_content,
    job_log,
    list_jobs,
    stop_job,
    stopped_note,
    submit_search,
    submitted_note,
    wait_for_job,
)
from piip_search.api.notices import ignore
from piip_search.cli.application import HALTED, note, print_json, print_result, stopped
from piip_search.cli.interruption import INTERRUPTED
from piip_search.cli.options import (
    DEFAULT_HOME,
    Fresh,
    Home,
    Json,
    LedgerUrl,
    Mlflow,
    Name,
    Quiet,
    Resume,
    SpaceName,
    Trials,
)
from piip_search.cli.terminal.tables import printable

if TYPE_CHECKING:
    from piip_workers.runners.ray_jobs import Job

ClusterAddress = Annotated[
    str,
    typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard: http://HOST:8265."),
]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="Id from submit, or the name of a run: its last job.")]


def submit(
    space: SpaceName,
    address: ClusterAddress = DASHBOARD,
    name: Name = None,
    trials: Trials = None,
    resume: Resume = False,
    fresh: Fresh = False,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    mlflow: Mlflow = None,
    working_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder that is copied with the job, including the space; by default only the space's file.",
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Environment variable of this shell to pass on to the driver."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the search has ended, with its exit code.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Also print the output of the search.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Send a search to a Ray cluster: its driver runs there, and this machine may be switched off.

    Paths are those of the cluster: home and data must be on storage that all its nodes share. URLs of ledger and MLflow
    go through the environment, so that no password is in a command line. The same command resumes a run.

    Example: piip-search submit spaces/coco.yaml --address http://head:8265 --home /shared/runs
    """
    options = SubmitOptions(name, trials, resume, fresh, ledger, mlflow, working_dir, tuple(env or ()))
    job = submit_search(space, home, address, options, ignore if quiet else note)
    if as_json and not (wait or follow):
        print_json(job_content(job))
        return
    if not as_json:
        print_result(job.id)
    if not quiet:
        note(submitted_note(job, address))
    if follow or wait:
        job = _followed(job.id, address) if follow else wait_for_job(job.id, address)
        if as_json:
            print_json(job_content(job))
        sys.exit(_code(job))


def status(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="A job; all searches by default.")] = None,
    address: ClusterAddress = DASHBOARD,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the state of searches on a Ray cluster; with --quiet, only the status.

    Example: piip-search status --address http://head:8265
    """
    found = list_jobs(address) if job is None else [find_job(job, address)]
    if as_json:
        print_json([job_content(one) for one in found] if job is None else job_content(found[0]))
        return
    if quiet:
        print_result(*(one.status if job else f"{one.id} {one.status}" for one in found))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("job", "run", "status", "begun (UTC)"):
        table.add_column(heading)
    for one in found:
        began = "" if one.began is None else f"{one.began:%Y-%m-%d %H:%M}"
        table.add_row(one.id, one.run, one.status, began)
    print_result(table)
    if job is not None and found[0].status == "failed":
        print_result(printable(found[0].message))


def logs(
    job: JobName,
    address: ClusterAddress = DASHBOARD,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the search ends.")] = False,
) -> None:
    """Print the output of a search on a Ray cluster.

    Example: piip-search logs coco --follow --address http://head:8265
    """
    if follow:
        sys.exit(_code(_followed(find_job(job, address).id, address)))
    sys.stdout.write(job_log(job, address))


def stop(job: JobName, address: ClusterAddress = DASHBOARD) -> None:
    """Stop a search on a Ray cluster. Measured results are kept; submit the search again to resume it.

    Example: piip-search stop coco --address http://head:8265
    """
    print_result(stopped_note(stop_job(job, address)))


def _followed(name: str, address: str) -> "Job":
    try:
        return follow_job(name, _write, address)
    except KeyboardInterrupt:
        stopped(f"the search goes on; end it with piip-search stop {name}")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _code(job: "Job") -> int:
    """The search's own exit code, if it has one."""
    if job.status == "succeeded":
        return 0
    return INTERRUPTED if job.status == "stopped" else job.code or HALTED
