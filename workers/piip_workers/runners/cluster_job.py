"""A search as a job of a cluster: what it tells of itself, and which one a user means."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from piip_search import __version__
from piip_search.errors import ClusterError
from piip_search.owner import Owner

RUN = "piip-search run"
"""Key of a job's metadata for the name of the run; jobs without it are never touched."""
OWNER, HOME, LEDGER, UID, VERSION = (f"piip-search {name}" for name in ("owner", "home", "ledger", "uid", "version"))
"""Further keys of it."""


@dataclass(frozen=True, slots=True)
class JobMark:
    """The mark of a search in the metadata of its job, which all users of the cluster can read.

    Attributes:
        run: Name of the run; empty for a job that is no search of ours.
        owner: Owner of the search; unknown in jobs of earlier versions.
        home: Home folder on the cluster.
        ledger: URL of the ledger without password.
        uid: Name of the search in every ledger; empty if it was unknown.
    """

    run: str = ""
    owner: Owner = field(default_factory=Owner)
    home: str = ""
    ledger: str = ""
    uid: str = ""

    def to_metadata(self) -> dict[str, str]:
        """The mark as a job's metadata."""
        content = {RUN: self.run, OWNER: str(self.owner), HOME: self.home, LEDGER: self.ledger, UID: self.uid}
        return {key: value for key, value in content.items() if value} | {VERSION: __version__}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """The mark in a job's metadata, safe to print."""
        run, owner, home, ledger, uid = (_plain(metadata.get(key, "")) for key in (RUN, OWNER, HOME, LEDGER, UID))
        return cls(run, Owner.parse(owner), home, ledger, uid)

    def is_same_search(self, other: "JobMark") -> bool:
        """Whether both are one search: by its uid, or by name, home and ledger where a uid is unknown."""
        if self.uid and other.uid:
            return self.uid == other.uid
        mine, others = ((mark.run, _place(mark.home), _place(mark.ledger)) for mark in (self, other))
        return mine == others


@dataclass(frozen=True)
class Job:
    """A job of a cluster.

    Attributes:
        id: Id of the job on the cluster.
        mark: Mark of its search.
        status: `pending`, `running`, `succeeded`, `failed` or `stopped`.
        message: The cluster's message about it.
        code: Exit code of the driver; None without one.
        began: Start in UTC; None before it.
        ended: End in UTC; None before it.
    """

    id: str
    mark: JobMark
    status: str
    message: str
    code: int | None
    began: datetime | None
    ended: datetime | None

    @property
    def run(self) -> str:
        """Name of the run; empty for a job that is no search of ours."""
        return self.mark.run

    @property
    def over(self) -> bool:
        return self.status in ("succeeded", "failed", "stopped")

    def __str__(self) -> str:
        began = "not begun" if self.began is None else f"begun {self.began:%Y-%m-%d %H:%M} UTC"
        owner = str(self.mark.owner) or "unknown"
        return f"{self.id}: run {self.run}, {self.status}, owner {owner}, home {self.mark.home or 'unknown'}, {began}"


def choose_job(jobs: Sequence[Job], name: str, owner: Owner, force: bool = False) -> Job | None:
    """The job that a user means by an id, or by the name of a run.

    An id comes first. A name means a live job of the user's own, or the last one of them if none is live.

    Args:
        jobs: All jobs of the cluster, oldest first.
        name: The job's id, or the name of a run.
        owner: The user.
        force: Whether a job of another user may be meant.

    Returns:
        The job; None if no job has the id or the name.

    Raises:
        ClusterError: The job is another user's or no search of ours, or several jobs have the name.
    """
    for job in jobs:
        if job.id == name:
            return _allowed(job, owner, force)
    named = [job for job in jobs if job.run == name and name]
    own = [job for job in named if job.mark.owner.is_same_user(owner)]
    return _only(name, named if force else own or named, own, force)


def choose_job_of(jobs: Sequence[Job], search: JobMark) -> Job | None:
    """The job that drives a search, or the last one that did.

    Args:
        jobs: All jobs of the cluster, oldest first.
        search: The search, and the user who means it.

    Returns:
        The job; None without one.

    Raises:
        ClusterError: The job is another user's, or several jobs drive the search.
    """
    named = [job for job in jobs if job.run and search.is_same_search(job.mark)]
    own = [job for job in named if job.mark.owner.is_same_user(search.owner)]
    return _only(search.run, own or named, own, force=False)


def _only(name: str, named: Sequence[Job], own: Sequence[Job], force: bool) -> Job | None:
    """The only live one of some jobs, one's own first; without a live one the last."""
    if named and not own and not force:
        raise ClusterError(_refusal(f"the jobs of run {name} are not yours", named))
    live = [job for job in own if not job.over] or [job for job in named if not job.over]
    if len(live) > 1:
        raise ClusterError("\n  ".join([f"{len(live)} jobs drive a run {name}; name one by its id:", *map(str, live)]))
    chosen = live or own or named
    return chosen[-1] if chosen else None


def _allowed(job: Job, owner: Owner, force: bool) -> Job:
    if not job.run:
        raise ClusterError(
            f"job {job.id} is not one of ours: something else than piip-search submit sent it; use ray job for it"
        )
    if not force and not job.mark.owner.is_same_user(owner):
        raise ClusterError(_refusal(f"job {job.id} is not yours", [job]))
    return job


def _refusal(fact: str, jobs: Sequence[Job]) -> str:
    return "\n  ".join([f"{fact}; if it is meant all the same, repeat the command with --force:", *map(str, jobs)])


def _place(text: str) -> str:
    """A path, or the URL of a ledger, with the links of this machine resolved."""
    scheme, slashes, path = text.rpartition("sqlite:///")
    return f"{scheme}{slashes}{os.path.realpath(path)}" if slashes or text.startswith("/") else text


def _plain(text: str) -> str:
    """Another user's text without effect on a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
