"""Searches as jobs of a Ray cluster: submits, lists, follows and stops them."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.api.checks import with_trials
from piip_search.api.extras import extra
from piip_search.api.job_secrets import job_environment, public_url
from piip_search.api.ledgers import log_action
from piip_search.api.mlflow_store import STORE_WAY_OUT, kind_problem
from piip_search.api.notices import Notify, ignore
from piip_search.api.search import run_name
from piip_search.config import SearchSpec, SpecError, load_spec
from piip_search.config.shipped import find_space, shipped_spaces
from piip_search.errors import UserError
from piip_search.file_paths import located
from piip_search.owner import Owner, this_owner
from piip_search.search.feasible import feasible_designs

if TYPE_CHECKING:
    from piip_search.ledger import Ledger
    from piip_workers.runners.cluster_job import Job, JobMark
    from piip_workers.runners.ray_jobs import ClusterJobs

DASHBOARD = "http://127.0.0.1:8265"
"""Default address of a Ray cluster's dashboard, on this machine."""
SHARED = "on storage that all nodes share"


@dataclass(frozen=True)
class SubmitOptions:
    """The settings of a search on a cluster.

    Attributes:
        name: Name of the run; that of the space by default.
        trials: Trials to measure, instead of the space's number.
        resume: Whether a run of that name must exist.
        fresh: Whether to ignore measurements of other runs in the ledger.
        take_over: Whether to go on with another owner's run, and to take it from a process that drives it.
        ledger: Database URL; by default ledger.db in the home folder.
        mlflow: MLflow store or server, or none; by default mlflow.db in the home folder.
        working_dir: Folder that is copied with the job, including the space; by default only the space's file.
        variables: Environment variables of this process to pass on to the job.
        secrets: File of the cluster with secrets of the job; by default they go into a file of the home folder.
        uid: Name of the search in every ledger, if known.
        without_token: Whether a cluster at another machine may take jobs without a token.
    """

    name: str | None = None
    trials: int | None = None
    resume: bool = False
    fresh: bool = False
    take_over: bool = False
    ledger: str | None = None
    mlflow: str | None = None
    working_dir: Path | None = None
    variables: tuple[str, ...] = ()
    secrets: Path | None = None
    uid: str = ""
    without_token: bool = False


def submit_search(
    space: str,
    home: Path,
    address: str = DASHBOARD,
    options: SubmitOptions = SubmitOptions(),
    notify: Notify = ignore,
) -> "Job":
    """Sends a search to a cluster, where `piip-search run` drives it; the same call resumes a run.

    Args:
        space: Path of a YAML file, or name of a shipped space.
        home: Home folder, as a path on the cluster's nodes.
        address: Address of the cluster's dashboard.
        options: Settings of the search on the cluster.
        notify: Called with a line about each former word in the file, and about each secret that is not sent.

    Returns:
        The job, which is running or waiting.

    Raises:
        SpecError: The space cannot be searched, or names files that exist only on this machine.
        ClusterError: The cluster does not answer, or refuses.
        UserError: The space, folder or variable does not exist, or an extra is missing.
    """
    _check_folder(options.working_dir)
    file = find_space(space)
    spec = with_trials(load_spec(file, notify), options.trials)
    feasible_designs(spec, file)
    run = run_name(options.name, spec)
    problems = [*_bound_to_this_machine(spec, home, options.ledger, options.mlflow)]
    if options.secrets is not None and not options.secrets.is_absolute():
        problems.append(f"--secrets must be an absolute path of the cluster, got {options.secrets}")
    if problems:
        raise SpecError(file, problems)
    owner = this_owner()
    environment = job_environment(options.variables, options.ledger, options.mlflow, owner)
    jobs = _jobs_at(address)
    jobs.check_token(options.without_token)
    if options.secrets is not None:
        for name in environment.secret:
            notify(f"the secret in {name} is not sent: {options.secrets} on the cluster must have it")
    variables = environment.with_file(home, run, owner, options.secrets)
    from piip_workers.runners.ray_jobs import JobRequest

    mark = mark_of(run, home, options.ledger, owner, options.uid)
    with _travelling(space, file, options.working_dir) as (folder, there):
        return jobs.submit(JobRequest(mark, there, folder is not None, _words(options)), folder, variables)


def mark_of(run: str, home: Path, ledger: str | None, owner: Owner, uid: str = "") -> "JobMark":
    """The mark of a search in the metadata of its jobs.

    Args:
        run: Name of the run.
        home: Home folder, as a path on the cluster's nodes.
        ledger: Database URL; None for ledger.db in the home folder.
        owner: Owner of the search.
        uid: Name of the search in every ledger, if known.
    """
    from piip_workers.runners.cluster_job import JobMark

    given = public_url(ledger) if ledger else f"sqlite:///{home / 'ledger.db'}"
    return JobMark(run, owner, str(home), given or "", uid)


def list_jobs(address: str = DASHBOARD) -> "list[Job]":
    """All searches of a cluster, oldest first.

    Args:
        address: Address of the cluster's dashboard.

    Raises:
        ClusterError: The cluster does not answer.
        UserError: An extra is missing.
    """
    return _jobs_at(address).all()


def find_job(name: str, address: str = DASHBOARD, force: bool = False) -> "Job":
    """A search of a cluster.

    Args:
        name: The job's id, or the name of a run: one's own live job, or the last one if none is live.
        address: Address of the cluster's dashboard.
        force: Whether another user's job may be meant.

    Raises:
        ClusterError: The cluster does not answer, has no such job, or it is another user's.
        UserError: An extra is missing.
    """
    return _jobs_at(address).choose(name, this_owner(), force)


def job_log(name: str, address: str = DASHBOARD, force: bool = False) -> str:
    """The output of a search on a cluster so far.

    Args:
        name: The job, as for `find_job`.
        address: Address of the cluster's dashboard.
        force: Whether another user's job may be meant.

    Raises:
        ClusterError: The cluster does not answer, has no such job, or it is another user's.
        UserError: An extra is missing.
    """
    jobs = _jobs_at(address)
    return jobs.log(jobs.choose(name, this_owner(), force).id)


def follow_job(name: str, write: Callable[[str], None], address: str = DASHBOARD, force: bool = False) -> "Job":
    """Passes on the output of a search on a cluster until it ends.

    Args:
        name: The job, as for `find_job`.
        write: Called with new output.
        address: Address of the cluster's dashboard.
        force: Whether another user's job may be meant.

    Returns:
        The job, which has ended.

    Raises:
        ClusterError: The cluster does not answer, has no such job, or it is another user's.
        UserError: An extra is missing.
    """
    jobs = _jobs_at(address)
    return jobs.follow(jobs.choose(name, this_owner(), force).id, write)


def wait_for_job(name: str, address: str = DASHBOARD, force: bool = False) -> "Job":
    """Waits for the end of a search on a cluster.

    Args:
        name: The job, as for `find_job`.
        address: Address of the cluster's dashboard.
        force: Whether another user's job may be meant.

    Returns:
        The job, which has ended.

    Raises:
        ClusterError: The cluster does not answer, has no such job, or it is another user's.
        UserError: An extra is missing.
    """
    jobs = _jobs_at(address)
    return jobs.wait(jobs.choose(name, this_owner(), force).id)


@dataclass(frozen=True)
class JobStop:
    """What became of a job that was to be stopped.

    Attributes:
        job: The job, which has ended.
        stopped: Whether the call stopped it; false for a job that was over before.
    """

    job: "Job"
    stopped: bool

    def __str__(self) -> str:
        if not self.stopped:
            return f"{self.job.id}: {self.job.status} before; nothing was stopped"
        return f"{self.job.id}: stopped; run the same submit again: the search goes on where it stopped"


def stop_job(name: str, address: str = DASHBOARD, force: bool = False, ledger: "Ledger | None" = None) -> JobStop:
    """Stops a search on a cluster; measured results are kept.

    Args:
        name: The job, as for `find_job`.
        address: Address of the cluster's dashboard.
        force: Whether another user's job may be meant.
        ledger: Ledger, opened for reading, whose log records who stopped the search if it holds it. The place that
            the job names is not followed: anybody may write the mark of a job.

    Raises:
        ClusterError: The cluster does not answer, has no such job, or it is another user's.
        UserError: An extra is missing.
    """
    jobs = _jobs_at(address)
    end = JobStop(*jobs.stop(jobs.choose(name, this_owner(), force)))
    mark = end.job.mark
    if end.stopped and ledger is not None and _holds(ledger, mark):
        log_action(ledger, "stopped", mark.run, job=end.job.id)
    return end


def _holds(ledger: "Ledger", mark: "JobMark") -> bool:
    """Whether a ledger holds the search of a job: by its uid, or by its name if the job has none."""
    return any(record.name == mark.run and mark.uid in ("", record.uid) for record in ledger.searches())


def stop_search(search: "JobMark", address: str = DASHBOARD) -> JobStop:
    """Stops the job that drives a search on a cluster; measured results are kept.

    Args:
        search: The search, and the user who stops it.
        address: Address of the cluster's dashboard.

    Raises:
        ClusterError: The cluster does not answer, no job drives the search, or it is another user's.
        UserError: An extra is missing.
    """
    jobs = _jobs_at(address)
    return JobStop(*jobs.stop(jobs.choose_of(search)))


def job_content(job: "Job") -> dict[str, Any]:
    """A job as plain data.

    Args:
        job: Job.
    """
    mark = job.mark
    marked = {"run": mark.run, "owner": str(mark.owner), "home": mark.home, "ledger": mark.ledger, "uid": mark.uid}
    own = {name: value for name, value in asdict(job).items() if name not in ("id", "mark")}
    return {"id": job.id, **marked, **json.loads(json.dumps(own, default=str)), "over": job.over}


def submitted_note(job: "Job", address: str = DASHBOARD) -> str:
    """One line with the command that shows a submitted search.

    Args:
        job: Job.
        address: Address of the cluster's dashboard.
    """
    at = "" if address == DASHBOARD else f" --address {address}"
    return f"the search runs on the cluster; follow it with: piip-search logs {job.id}{at} --follow"


def _jobs_at(address: str) -> "ClusterJobs":
    """The jobs of the cluster with a dashboard at an address."""
    with extra("cluster"):
        import aiohttp  # noqa: F401 - without it Ray's own module can be imported, and nothing else

        from piip_workers.runners.ray_jobs import ClusterJobs
    return ClusterJobs(address)


def _check_folder(working_dir: Path | None) -> None:
    if working_dir is not None and not working_dir.is_dir():
        raise UserError(f"--working-dir: no folder {located(working_dir)}; name an existing one")


def _bound_to_this_machine(spec: SearchSpec, home: Path, ledger: str | None, mlflow: str | None) -> Iterator[str]:
    """Problems of paths that do not exist on a cluster, one line each: the driver's folder is a temporary copy."""
    if not home.is_absolute():
        yield f"--home must be an absolute path {SHARED}, such as /shared/runs, got {home}"
    if ledger is not None and _is_relative_file(ledger):
        yield f"--ledger must be a server, or a file by its absolute path (sqlite:////shared/ledger.db), got {ledger}"
    if mlflow not in (None, "none") and _is_relative_file(str(mlflow)):
        yield f"--mlflow must be a server, or a file by its absolute path (sqlite:////shared/mlflow.db), got {mlflow}"
    elif mlflow not in (None, "none") and (problem := kind_problem(str(mlflow))):
        yield f"--mlflow {mlflow} cannot be used: {problem}; {STORE_WAY_OUT}"
    yield from _local_paths(spec)


def _local_paths(spec: SearchSpec) -> Iterator[str]:
    """Problems of relative paths in a space, one line each."""
    for section, paths in (("data", spec.data.named_paths), ("training", spec.training.named_paths)):
        for field, path in paths.items():
            if not path.is_absolute():
                yield f"{section}.{field} must be a known name, or an absolute path {SHARED}, got {path}"
    for path in spec.baseline_files:
        if not path.is_absolute():
            yield f"baselines: a file must have an absolute path {SHARED}, got {path}"


def _is_relative_file(url: str) -> bool:
    """Whether a URL is a file with a relative path."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if "://" not in url:
        return not Path(url).is_absolute()
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # for example an invalid port
        return False  # the driver reports it
    return parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_absolute()


def _words(options: SubmitOptions) -> tuple[str, ...]:
    """The options of `piip-search run` on the cluster."""
    return (
        *(["--name", options.name] if options.name else []),
        *(["--trials", str(options.trials)] if options.trials else []),
        *(["--resume"] if options.resume else []),
        *(["--fresh"] if options.fresh else []),
        *(["--take-over"] if options.take_over else []),
    )


@contextmanager
def _travelling(space: str, file: Path, working_dir: Path | None) -> Iterator[tuple[Path | None, str]]:
    """The folder to copy, and the space's name in it."""
    if file in shipped_spaces().values() and working_dir is None:
        yield None, space
    elif working_dir is not None:
        yield working_dir, _place_in(working_dir, file)
    else:
        with tempfile.TemporaryDirectory(prefix="piip-search-") as folder:
            shutil.copyfile(file, Path(folder) / "space.yaml")
            yield Path(folder), "space.yaml"


def _place_in(working_dir: Path, file: Path) -> str:
    """The space's name in the folder to copy."""
    try:
        return file.resolve().relative_to(working_dir.resolve()).as_posix()
    except ValueError:
        raise UserError(f"{file} is not in --working-dir {working_dir}; name a folder that holds the space") from None
