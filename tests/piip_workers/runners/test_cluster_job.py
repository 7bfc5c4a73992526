"""Which job of a cluster a user means."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from piip_search.errors import ClusterError
from piip_search.owner import Owner
from piip_workers.runners.cluster_job import Job, JobMark, choose_job, choose_job_of

ALICE, BOB = Owner("alice", "laptop"), Owner("bob", "laptop")
BEGAN = datetime(2026, 11, 1, 12, tzinfo=UTC)


def job(name: str, owner: Owner, status: str = "running", run: str = "coco", home: str = "/shared/a") -> Job:
    mark = JobMark(run, owner, home, f"sqlite:///{home}/ledger.db")
    return Job(name, mark, status, "", None, BEGAN, None)


FOREIGN = Job("raysubmit_carol", JobMark(), "running", "", None, BEGAN, None)


def test_a_mark_is_read_as_it_is_written() -> None:
    mark = JobMark("coco", ALICE, "/shared/runs", "postgresql://me@host/piip", "0123abcd")
    assert JobMark.from_metadata(mark.to_metadata()) == mark
    assert JobMark.from_metadata({"piip-search run": "coco"}) == JobMark("coco")
    assert JobMark.from_metadata({"of": "another program"}) == JobMark()
    assert JobMark.from_metadata({"piip-search run": "a\x1b[2J\nb"}).run == "a [2J b"


def test_a_name_means_one_s_own_live_job() -> None:
    jobs = [job("mine-1", ALICE, "failed"), job("mine-2", ALICE), job("theirs", BOB), job("mine-3", ALICE, "failed")]
    assert choose_job(jobs, "coco", ALICE) == jobs[1]
    assert choose_job(jobs, "coco", ALICE, force=True) == jobs[1]
    assert choose_job(jobs, "coco", BOB) == jobs[2]


def test_a_name_without_a_live_job_means_the_last_one() -> None:
    jobs = [job("mine-1", ALICE, "failed"), job("mine-2", ALICE, "stopped"), job("theirs", BOB)]
    assert choose_job(jobs, "coco", ALICE) == jobs[1]
    assert choose_job(jobs, "coco", ALICE, force=True) == jobs[2]


def test_an_id_comes_before_a_name() -> None:
    jobs = [job("coco-alice001", ALICE, run="coco"), job("x", ALICE, run="coco-alice001")]
    assert choose_job(jobs, "coco-alice001", ALICE) == jobs[0]
    assert choose_job(jobs, "x", ALICE) == jobs[1]


@pytest.mark.parametrize("name", ["theirs", "coco"])
def test_another_user_s_job_is_refused_unless_it_is_meant(name: str) -> None:
    jobs = [job("theirs", BOB)]
    with pytest.raises(ClusterError) as caught:
        choose_job(jobs, name, ALICE)
    for told in ("--force", "theirs: run coco, running, owner bob@laptop, home /shared/a, begun 2026-11-01 12:00 UTC"):
        assert told in str(caught.value)
    assert choose_job(jobs, name, ALICE, force=True) == jobs[0]


def test_a_job_of_an_unknown_owner_is_nobody_s() -> None:
    with pytest.raises(ClusterError, match="owner unknown"):
        choose_job([job("old", Owner())], "coco", ALICE)
    with pytest.raises(ClusterError, match="owner unknown"):
        choose_job([job("old", Owner())], "coco", Owner())


@pytest.mark.parametrize("force", [False, True])
def test_of_several_jobs_one_is_named_by_its_id(force: bool) -> None:
    jobs = [job("mine-1", ALICE), job("mine-2", ALICE, home="/shared/b")]
    with pytest.raises(ClusterError, match="2 jobs drive a run coco; name one by its id") as caught:
        choose_job(jobs, "coco", ALICE, force)
    assert "mine-1: run coco" in str(caught.value)
    assert "home /shared/b" in str(caught.value)
    assert choose_job(jobs, "mine-2", ALICE, force) == jobs[1]


@pytest.mark.parametrize("force", [False, True])
def test_what_another_program_sent_is_never_touched(force: bool) -> None:
    with pytest.raises(ClusterError, match="raysubmit_carol is not one of ours"):
        choose_job([FOREIGN], "raysubmit_carol", ALICE, force)
    assert choose_job([FOREIGN], "coco", ALICE, force) is None
    assert choose_job([FOREIGN], "", ALICE, force) is None


def test_a_search_is_found_by_home_and_ledger_or_by_its_uid(tmp_path: Path) -> None:
    jobs = [job("a", ALICE), job("b", ALICE, home="/shared/b"), job("theirs", BOB, home="/shared/c")]
    assert choose_job_of(jobs, jobs[1].mark) == jobs[1]
    assert choose_job_of(jobs, replace(jobs[1].mark, uid="0123")) == jobs[1]
    assert choose_job_of(jobs, replace(jobs[1].mark, ledger="postgresql://me@host/piip")) is None
    known = replace(jobs[0], mark=replace(jobs[0].mark, uid="0123"))
    assert choose_job_of([known, jobs[1]], JobMark("coco", ALICE, "/elsewhere", "", "0123")) == known
    assert choose_job_of([known], replace(known.mark, uid="4567")) is None
    with pytest.raises(ClusterError, match="not yours"):
        choose_job_of(jobs, replace(jobs[2].mark, owner=ALICE))
    (tmp_path / "link").symlink_to(tmp_path)
    assert choose_job_of([job("c", ALICE, home=str(tmp_path))], job("", ALICE, home=str(tmp_path / "link")).mark)
