"""`piip-search submit`, `status`, `logs`, `stop`: a search whose driver runs on a Ray cluster."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from piip_search.api.checks import with_trials
from piip_search.api.mlflow_store import STORE_WAY_OUT, kind_problem
from piip_search.api.runners import jobs_at, sent_search
from piip_search.cli.application import HALTED, note, put, put_json, stopped
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
from piip_search.cli.run import checked_name
from piip_search.cli.terminal.tables import printable
from piip_search.config import DETECTORS, SearchSpec, SpecError, load_spec
from piip_search.config.shipped import find_space, shipped_spaces
from piip_search.errors import UserError
from piip_search.file_paths import escaped_url, located
from piip_search.search.feasible import feasible_designs

if TYPE_CHECKING:
    from piip_workers.runners.ray_jobs import Job

ClusterAddress = Annotated[
    str,
    typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard: http://HOST:8265."),
]
DASHBOARD = "http://127.0.0.1:8265"
JobName = Annotated[str, typer.Argument(metavar="JOB", help="What submit printed, or the name of a run: its last job.")]


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
            help="Folder that travels with the job, the space in it; by default the space's file alone travels.",
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Environment variable of this shell that the driver gets as well."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the search has ended, with its exit code.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Also print what it prints.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Send a search to a Ray cluster: its driver runs there, and this machine is free to leave.

    Paths are those of the cluster: home and data lie on storage that all its nodes share. URLs of ledger and MLflow go
    by the environment, so that no password is in a command line. The same command goes on with a run.

    Example: piip-search submit spaces/coco.yaml --address http://head:8265 --home /shared/runs
    """
    if working_dir is not None and not working_dir.is_dir():
        raise UserError(f"--working-dir: no folder {located(working_dir)}; name one that is there")
    file = find_space(space)
    spec = with_trials(load_spec(file), trials)
    feasible_designs(spec, file)
    run_name = checked_name(name, spec)
    problems = list(_bound_to_this_machine(spec, home, ledger, mlflow))
    if problems:
        raise SpecError(file, problems)
    environment = _environment(ledger, mlflow, env or [])
    options = [
        *(["--name", name] if name else []),
        *(["--trials", str(trials)] if trials else []),
        *(["--resume"] if resume else []),
        *(["--fresh"] if fresh else []),
    ]
    jobs = jobs_at(address)
    with _travelling(space, file, working_dir) as (folder, there):
        job = jobs.submit(sent_search(run_name, there, folder is not None, home, options), folder, environment)
    if as_json and not (wait or follow):
        put_json(_content(job))
        return
    if not as_json:
        put(job.id)
    if not quiet:
        at = "" if address == DASHBOARD else f" --address {address}"
        note(f"the search runs on the cluster; look at it with: piip-search logs {job.id}{at} --follow")
    if follow or wait:
        job = _followed(jobs, job.id) if follow else jobs.wait(job.id)
        if as_json:
            put_json(_content(job))
        sys.exit(_code(job))


def status(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="One of them; all searches by default.")] = None,
    address: ClusterAddress = DASHBOARD,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show how searches on a Ray cluster fare; with --quiet, the bare status.

    Example: piip-search status --address http://head:8265
    """
    jobs = jobs_at(address)
    found = jobs.all() if job is None else [jobs.job(_found(jobs, job))]
    if as_json:
        put_json([_content(one) for one in found] if job is None else _content(found[0]))
        return
    if quiet:
        put(*(one.status if job else f"{one.id} {one.status}" for one in found))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("job", "run", "status", "begun (UTC)"):
        table.add_column(heading)
    for one in found:
        began = "" if one.began is None else f"{one.began:%Y-%m-%d %H:%M}"
        table.add_row(one.id, one.run, one.status, began)
    put(table)
    if job is not None and found[0].status == "failed":
        put(printable(found[0].message))


def logs(
    job: JobName,
    address: ClusterAddress = DASHBOARD,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the search ends.")] = False,
) -> None:
    """Print what a search on a Ray cluster has printed.

    Example: piip-search logs coco --follow --address http://head:8265
    """
    jobs = jobs_at(address)
    name = _found(jobs, job)
    if follow:
        sys.exit(_code(_followed(jobs, name)))
    sys.stdout.write(jobs.log(name))


def stop(job: JobName, address: ClusterAddress = DASHBOARD) -> None:
    """Stop a search on a Ray cluster. Nothing that is measured is lost; submitting it again goes on.

    Example: piip-search stop coco --address http://head:8265
    """
    jobs = jobs_at(address)
    ended = jobs.stop(_found(jobs, job))
    put(f"{ended.id}: {ended.status}; the same submit goes on where this stopped")


def _bound_to_this_machine(spec: SearchSpec, home: Path, ledger: str | None, mlflow: str | None) -> Iterator[str]:
    """Paths that mean nothing on a cluster, a line each: the driver's folder is a copy that is gone afterwards."""
    shared = "on storage that all nodes share"
    if not home.is_absolute():
        yield f"--home must be an absolute path {shared}, such as /shared/runs, got {home}"
    if ledger is not None and _relative_file(ledger):
        yield f"--ledger must be a server, or a file by its absolute path (sqlite:////shared/ledger.db), got {ledger}"
    if mlflow not in (None, "none") and _relative_file(str(mlflow)):
        yield f"--mlflow must be a server, or a file by its absolute path (sqlite:////shared/mlflow.db), got {mlflow}"
    elif mlflow not in (None, "none") and (problem := kind_problem(str(mlflow))):
        yield f"--mlflow {mlflow} cannot be used: {problem}; {STORE_WAY_OUT}"
    if spec.data.root is not None and not spec.data.root.is_absolute():
        yield f"data.root must be an absolute path {shared}, got {spec.data.root}"
    pretrained, detector = spec.training.pretrained, spec.training.detector
    if pretrained not in (None, "hub") and not Path(str(pretrained)).is_absolute():
        yield f"training.pretrained must be hub or an absolute path {shared}, got {pretrained}"
    own = detector not in DETECTORS and not detector.startswith("mmdet::")
    if own and not Path(detector).is_absolute():
        yield f"training.detector must be a name, or the absolute path of a file {shared}, got {detector}"


def _relative_file(url: str) -> bool:
    """Whether a URL is a file's, and the file named from here."""
    if "://" not in url:
        return not Path(url).is_absolute()
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # of a port
        return False  # the driver says what is wrong with it
    return parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_absolute()


def _environment(ledger: str | None, mlflow: str | None, names: list[str]) -> dict[str, str]:
    """What goes by the environment: it is in no command line, and a dashboard hides it."""
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise UserError(f"--env {missing[0]}: this shell has no such variable; export it first")
    given = {"PIIP_SEARCH_LEDGER": ledger, "MLFLOW_TRACKING_URI": mlflow}
    return {
        **{name: os.environ[name] for name in names},
        **{key: escaped_url(url) for key, url in given.items() if url},
    }


@contextmanager
def _travelling(space: str, file: Path, working_dir: Path | None) -> Iterator[tuple[Path | None, str]]:
    """The folder that travels, and what the space is called there."""
    if file in shipped_spaces().values() and working_dir is None:
        yield None, space
    elif working_dir is not None:
        try:
            there = file.resolve().relative_to(working_dir.resolve())
        except ValueError:
            raise UserError(
                f"{file} is not in --working-dir {working_dir}; name a folder that holds the space"
            ) from None
        yield working_dir, there.as_posix()
    else:
        with tempfile.TemporaryDirectory(prefix="piip-search-") as folder:
            shutil.copyfile(file, Path(folder) / "space.yaml")
            yield Path(folder), "space.yaml"


def _found(jobs: Any, name: str) -> str:
    """The job of that name, or the last one of that run."""
    ours = [job for job in jobs.all() if name in (job.id, job.run)]
    return ours[-1].id if ours else name


def _followed(jobs: Any, name: str) -> "Job":
    try:
        job: Job = jobs.follow(name, _write)
    except KeyboardInterrupt:
        stopped(f"the search goes on; end it with piip-search stop {name}")
    return job


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _code(job: "Job") -> int:
    """The search's own exit code, where it has one."""
    if job.status == "succeeded":
        return 0
    return INTERRUPTED if job.status == "stopped" else job.code or HALTED


def _content(job: "Job") -> dict[str, Any]:
    content = json.loads(json.dumps(asdict(job), default=str))
    return {**content, "over": job.over}
