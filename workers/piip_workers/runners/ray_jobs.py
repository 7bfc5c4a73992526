"""Searches as jobs of a Ray cluster: submits, lists, follows and stops them."""

import asyncio
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from piip_search import __version__
from piip_search.errors import ClusterError
from piip_search.file_paths import escaped
from piip_workers.runners.ray_cluster import TOKEN, check_listens

RUN = "piip-search run"
"""Key of a job's metadata for the name of the run; jobs without it are ignored."""
POLL_SECONDS = 1.0
"""Seconds between two queries of a job."""


@dataclass(frozen=True)
class Job:
    """A search on a cluster.

    Attributes:
        id: Id of the job on the cluster.
        run: Name of the run.
        status: `pending`, `running`, `succeeded`, `failed` or `stopped`.
        message: The cluster's message about it.
        code: Exit code of the driver; None without one.
        began: Start in UTC; None before it.
        ended: End in UTC; None before it.
    """

    id: str
    run: str
    status: str
    message: str
    code: int | None
    began: datetime | None
    ended: datetime | None

    @property
    def over(self) -> bool:
        return self.status in ("succeeded", "failed", "stopped")


@dataclass(frozen=True)
class JobRequest:
    """A search to submit.

    Attributes:
        run: Name of the run.
        space: Name of a shipped space, or path of a file in the folder that travels.
        travels: Whether `space` is a path of that folder.
        home: Home folder on the cluster.
        options: Further options of `piip-search run`.
    """

    run: str
    space: str
    travels: bool
    home: Path
    options: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The shell's command line.

        The search works in its home folder, as the copied folder may be deleted. It replaces the shell, so that ending
        either ends both.
        """
        home, space = shlex.quote(str(self.home)), shlex.quote(escaped(self.space))
        read = f'space="$PWD"/{space}' if self.travels else f"space={space}"
        words = ["run", "--address", "auto", "--home", escaped(str(self.home)), *self.options]
        run = shlex.join(["python", "-m", "piip_search.cli", *words])
        return f'{read} && mkdir -p {home} && cd {home} && exec {run} -- "$space"'


class ClusterJobs:
    """The jobs of one cluster."""

    def __init__(self, address: str) -> None:
        """Checks that the cluster answers.

        Args:
            address: Address of its dashboard, such as `http://HEAD:8265`.

        Raises:
            ClusterError: The cluster does not answer, or it wants a token.
        """
        found = re.fullmatch(r"https?://([^/@\s]+?)(?::(\d{1,5}))?/?", address)
        if found is None:
            raise ClusterError(f"jobs are sent to a dashboard, such as http://HEAD:8265, got {address!r}")
        secure = address.startswith("https")
        check_listens(address, found[1], int(found[2] or (443 if secure else 80)), "the dashboard listens at 8265")
        self._address = address
        with self._asking():
            self._client = JobSubmissionClient(address)

    def submit(self, sent: JobRequest, folder: Path | None, environment: Mapping[str, str]) -> Job:
        """Starts `piip-search run` on the cluster, detached from this process.

        Args:
            sent: Search to start; all users of the cluster can see it.
            folder: Folder that is copied to the cluster; None for none.
            environment: Environment variables of the search.

        Raises:
            ClusterError: The cluster refuses.
        """
        runtime: dict[str, Any] = {"env_vars": dict(environment)}
        if folder is not None:
            runtime["working_dir"] = str(folder)
        with self._asking():
            name = self._client.submit_job(
                entrypoint=sent.command,
                submission_id=f"{sent.run}-{secrets.token_hex(4)}",
                runtime_env=runtime,
                metadata={RUN: sent.run, "piip-search version": __version__},
            )
        return self.job(name)

    def job(self, name: str) -> Job:
        """A job by its name.

        Raises:
            ClusterError: The cluster has no job of that name.
        """
        with self._asking(name):
            return _job(self._client.get_job_info(name))

    def all(self) -> list[Job]:
        """All searches, oldest first."""
        with self._asking():
            found = [_job(one) for one in self._client.list_jobs() if RUN in (one.metadata or {}) and one.submission_id]
        return sorted(found, key=lambda job: job.began or datetime.now(UTC))

    def log(self, name: str) -> str:
        """The output of a search so far."""
        self.job(name)
        with self._asking(name):
            return str(self._client.get_job_logs(name))

    def follow(self, name: str, write: Callable[[str], None]) -> Job:
        """Passes on the output of a search until it ends."""

        async def read() -> None:
            async for lines in self._client.tail_job_logs(name):
                write(lines)

        self.job(name)
        with self._asking(name):
            asyncio.run(read())
        return self.wait(name)

    def wait(self, name: str) -> Job:
        """Waits for a search to end and returns it."""
        while not (job := self.job(name)).over:
            time.sleep(POLL_SECONDS)
        return job

    def stop(self, name: str) -> Job:
        """Ends a search's driver and its running trainings; measured results are kept."""
        if not self.job(name).over:
            with self._asking(name):
                self._client.stop_job(name)
        return self.wait(name)

    @contextmanager
    def _asking(self, name: str | None = None) -> Iterator[None]:
        try:
            yield
        except ray.exceptions.AuthenticationError:
            raise ClusterError(f"the cluster at {self._address} wants a token: {TOKEN}") from None
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            if name is not None and "does not exist" in reason:
                known = ", ".join(job.id for job in self.all()) or "none"
                raise ClusterError(f"no job {name} at {self._address}; there are: {known}") from None
            raise ClusterError(f"the cluster at {self._address}: {reason[:500]}") from None


def _job(details: JobDetails) -> Job:
    status = JobStatus(details.status).value.lower()
    return Job(
        id=str(details.submission_id),
        run=(details.metadata or {}).get(RUN, ""),
        status=status,
        message=str(details.message or ""),
        code=details.driver_exit_code,
        began=_time(details.start_time),
        ended=_time(details.end_time),
    )


def _time(milliseconds: int | None) -> datetime | None:
    return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, UTC)
