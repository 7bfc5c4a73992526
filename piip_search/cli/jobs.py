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
    submit_search,
    submitted_note,
    wait_for_job,
)
from piip_search.api.notices import ignore
from piip_search.api.stores import read_ledger
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
    TakeOver,
    Trials,
)
from piip_search.cli.terminal.tables import one_line
from piip_search.plain_text import printable

if TYPE_CHECKING:
    from piip_workers.runners.cluster_job import Job

ClusterAddress = Annotated[
    str,
    typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard: http://HOST:8265."),
]
JobName = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="Id from submit, or the name of a run: your live job, or your last one if none is live."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Also take a job of another user.")]


def submit(
    space: SpaceName,
    address: ClusterAddress = DASHBOARD,
    name: Name = None,
    trials: Trials = None,
    resume: Resume = False,
    fresh: Fresh = False,
    take_over: TakeOver = False,
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
        typer.Option(
            metavar="NAME",
            help="Environment variable of this shell to pass on to the search; a secret goes into a private file.",
        ),
    ] = None,
    secrets: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="File of the cluster with secrets of the search, lines NAME=value, which only its user can read; by "
            "default submit writes one into the home.",
        ),
    ] = None,
    no_token_needed: Annotated[
        bool,
        typer.Option("--no-token-needed", help="Also use a cluster of other machines that takes jobs without a token."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the search has ended, with its exit code.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Also print the output of the search.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Send a search to a Ray cluster: its driver runs there, and this machine may be switched off.

    Paths are those of the cluster: home and data must be on storage that all its nodes share. Passwords travel in a
    file of the home that only you can read. The same command resumes a run.

    Example: piip-search submit spaces/coco.yaml --address http://head:8265 --home /shared/runs
    """
    options = SubmitOptions(
        name,
        trials,
        resume,
        fresh,
        take_over,
        ledger,
        mlflow,
        working_dir,
        tuple(env or ()),
        secrets,
        without_token=no_token_needed,
    )
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
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the state of searches on a Ray cluster; with --quiet, only the status.

    Example: piip-search status --address http://head:8265
    """
    found = list_jobs(address) if job is None else [find_job(job, address, force)]
    if as_json:
        print_json([job_content(one) for one in found] if job is None else job_content(found[0]))
        return
    if quiet:
        print_result(*(one.status if job else f"{printable(one.id)} {one.status}" for one in found))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("job", "run", "status", "owner", "home", "begun (UTC)"):
        table.add_column(heading)
    for one in found:
        began = "" if one.began is None else f"{one.began:%Y-%m-%d %H:%M}"
        table.add_row(*map(printable, (one.id, one.run, one.status, str(one.mark.owner), one.mark.home)), began)
    print_result(table)
    if job is not None and found[0].status == "failed":
        print_result(one_line(found[0].message))


def logs(
    job: JobName,
    address: ClusterAddress = DASHBOARD,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the search ends.")] = False,
    force: Force = False,
) -> None:
    """Print the output of a search on a Ray cluster.

    Example: piip-search logs coco --follow --address http://head:8265
    """
    if follow:
        sys.exit(_code(_followed(find_job(job, address, force).id, address, force)))
    sys.stdout.write(job_log(job, address, force))


def stop(
    job: JobName,
    address: ClusterAddress = DASHBOARD,
    force: Force = False,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
) -> None:
    """Stop a search on a Ray cluster. Measured results are kept; submit the search again to resume it.

    If the ledger of --home or --ledger holds the search, its log records who stopped it.

    The exit code is 0 if the job was stopped, 1 if it was over before, and 2 if no job is meant.

    Example: piip-search stop coco --address http://head:8265
    """
    # A ledger on the cluster's storage alone is out of reach: its log then says that the driver was stopped.
    book = read_ledger(ledger, home) if ledger or (home / "ledger.db").exists() else None
    ended = stop_job(job, address, force, book)
    print_result(printable(str(ended)))
    if not ended.stopped:
        sys.exit(HALTED)


def _followed(name: str, address: str, force: bool = False) -> "Job":
    try:
        return follow_job(name, _write, address, force)
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
