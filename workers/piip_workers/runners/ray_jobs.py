"""Searches as jobs of a Ray cluster: submits, lists, follows and stops them."""

import asyncio
import ipaddress
import os
import re
import secrets
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from piip_search.errors import ClusterError
from piip_search.file_paths import escaped
from piip_search.owner import Owner
from piip_workers.runners.cluster_job import Job, JobMark, choose_job, choose_job_of
from piip_workers.runners.ray_cluster import ANSWER, TOKEN, check_listens
from piip_workers.runners.ray_local import check_token_file

POLL_SECONDS = 1.0
"""Seconds between two queries of a job."""


@dataclass(frozen=True)
class JobRequest:
    """A search to submit.

    Attributes:
        mark: Mark of the search; all users of the cluster can read it.
        space: Name of a shipped space, or path of a file in the folder that travels.
        travels: Whether `space` is a path of that folder.
        options: Further options of `piip-search run`.
    """

    mark: JobMark
    space: str
    travels: bool
    options: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The shell's command line.

        The search works in its home folder, as the copied folder may be deleted. It replaces the shell, so that ending
        either ends both.
        """
        home, space = shlex.quote(self.mark.home), shlex.quote(escaped(self.space))
        read = f'space="$PWD"/{space}' if self.travels else f"space={space}"
        words = ["run", "--address", "auto", "--home", escaped(self.mark.home), *self.options]
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
            MachineUnfitError: Others can read this user's token.
        """
        found = re.fullmatch(r"https?://([^/@\s]+?)(?::(\d{1,5}))?/?", address)
        if found is None:
            raise ClusterError(f"jobs are sent to a dashboard, such as http://HEAD:8265, got {address!r}")
        secure = address.startswith("https")
        check_listens(address, found[1], int(found[2] or (443 if secure else 80)), "the dashboard listens at 8265")
        check_token_file(os.environ)
        self._address, self._host = address.rstrip("/"), found[1]
        with self._asking():
            self._client = JobSubmissionClient(address)

    def check_token(self, allow_none: bool) -> None:
        """Checks that the cluster takes jobs only with a token, unless only this machine can reach it.

        Args:
            allow_none: Whether any cluster may do without a token.

        Raises:
            ClusterError: Everyone who reaches the cluster can send it jobs.
        """
        if not allow_none and not _is_loopback(self._host) and self._is_open():
            raise ClusterError(
                f"the cluster at {self._address} takes jobs without a token, from everyone who reaches it; start it "
                "with RAY_AUTH_MODE=token (see ray get-auth-token), or allow this with --no-token-needed"
            )

    def _is_open(self) -> bool:
        try:
            urllib.request.urlopen(f"{self._address}/api/version", timeout=ANSWER).close()
        except urllib.error.HTTPError:  # it refuses a request without a token
            return False
        except OSError as error:
            raise ClusterError(f"the cluster at {self._address}: {error}") from None
        return True

    def submit(self, sent: JobRequest, folder: Path | None, environment: Mapping[str, str]) -> Job:
        """Starts `piip-search run` on the cluster, detached from this process.

        Args:
            sent: Search to start; all users of the cluster can see it.
            folder: Folder that is copied to the cluster; None for none.
            environment: Environment variables of the search, without secrets: the cluster prints them into its logs,
                and into the command lines of its processes.

        Raises:
            ClusterError: The cluster refuses.
        """
        runtime: dict[str, Any] = {"env_vars": dict(environment)}
        if folder is not None:
            runtime["working_dir"] = str(folder)
        with self._asking():
            name = self._client.submit_job(
                entrypoint=sent.command,
                submission_id=f"{sent.mark.run}-{secrets.token_hex(4)}",
                runtime_env=runtime,
                metadata=sent.mark.to_metadata(),
            )
        return self.job(name)

    def job(self, name: str) -> Job:
        """A job by its name.

        Raises:
            ClusterError: The cluster has no job of that name.
        """
        with self._asking(name):
            return _job(self._client.get_job_info(name))

    def everything(self) -> list[Job]:
        """All jobs, oldest first, including those that are no searches."""
        with self._asking():
            found = [_job(one) for one in self._client.list_jobs()]
        return sorted(found, key=lambda job: job.began or datetime.now(UTC))

    def all(self) -> list[Job]:
        """All searches, oldest first."""
        return [job for job in self.everything() if job.run]

    def choose(self, name: str, owner: Owner, force: bool = False) -> Job:
        """The job that a user means; as for `choose_job`.

        Raises:
            ClusterError: No job has the id or the name, it is another user's, or several have the name.
        """
        jobs = self.everything()
        found = choose_job(jobs, name, owner, force)
        if found is None:
            raise self._none(name, [job for job in jobs if job.run])
        return found

    def choose_of(self, search: JobMark) -> Job:
        """The job of a search; as for `choose_job_of`.

        Raises:
            ClusterError: It has no job, it is another user's, or several drive it.
        """
        jobs = self.everything()
        found = choose_job_of(jobs, search)
        if found is None:
            raise self._none(search.run, [job for job in jobs if job.run])
        return found

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

    def stop(self, job: Job) -> tuple[Job, bool]:
        """Ends a search's driver and its running trainings; measured results are kept.

        Returns:
            The job, which has ended, and whether this call ended it.
        """
        ended = False
        if not job.over:
            with self._asking(job.id):
                ended = bool(self._client.stop_job(job.id))
        now = self.wait(job.id)
        return now, ended and now.status == "stopped"

    @contextmanager
    def _asking(self, name: str | None = None) -> Iterator[None]:
        try:
            yield
        except ray.exceptions.AuthenticationError:
            raise ClusterError(f"the cluster at {self._address} wants a token: {TOKEN}") from None
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            if name is not None and "does not exist" in reason:
                raise self._none(name, self.all()) from None
            raise ClusterError(f"the cluster at {self._address}: {reason[:500]}") from None

    def _none(self, name: str, known: Sequence[Job]) -> ClusterError:
        there = ", ".join(job.id for job in known) or "none"
        return ClusterError(f"no job {name} at {self._address}; there are: {there}")


def _job(details: JobDetails) -> Job:
    status = JobStatus(details.status).value.lower()
    return Job(
        id=str(details.submission_id or details.job_id),
        mark=JobMark.from_metadata(details.metadata or {} if details.submission_id else {}),
        status=status,
        message=str(details.message or ""),
        code=details.driver_exit_code,
        began=_time(details.start_time),
        ended=_time(details.end_time),
    )


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host == "localhost"


def _time(milliseconds: int | None) -> datetime | None:
    return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, UTC)
