"""Every place where candidates run keeps the same contract."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate
from piip_search.ledger import Ledger
from piip_search.search.search import Search, open_search
from piip_workers.jobs.job import Work
from piip_workers.runners import local
from support.contracts import Run, RunnerContract


class TestLocal(RunnerContract):
    @pytest.fixture
    def run(self) -> Run:
        work = Work("support.fakes:measure", {"fail": (2, 5)})
        return lambda search, directory: local.run(search, work)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("cluster")
class TestRay(RunnerContract):
    @pytest.fixture
    def run(self) -> Run:
        from piip_workers.runners import ray_tune

        work = Work("support.fakes:measure", {"fail": (2, 5)})
        return lambda search, directory: ray_tune.run(search, work, directory / "ray")

    def test_a_worker_that_dies_is_a_failed_evaluation(self, spec: SearchSpec, tmp_path: Path) -> None:
        from piip_workers.runners import ray_tune
        from piip_workers.runners.ray_driver import TrialResources

        search = _small(spec, tmp_path)
        ray_tune.run(
            search, Work("support.fakes:measure", {"die": 1}), tmp_path / "ray", placement=TrialResources(retries=1)
        )
        assert [e.candidate.number for e in search.failures] == [1]
        assert "worker process ended" in search.failures[0].error
        assert len(search.evaluations) == 4

    def test_a_process_begins_as_often_as_it_may(self, spec: SearchSpec, tmp_path: Path) -> None:
        from piip_workers.runners import ray_tune
        from piip_workers.runners.ray_driver import TrialResources

        search, work = _small(spec, tmp_path), Work("support.fakes:measure", {"die": 1}, str(tmp_path / "results"))
        ray_tune.run(search, work, tmp_path / "ray", placement=TrialResources(retries=1))
        assert [e.candidate.number for e in search.failures] == [1]
        assert [work.begun(e.candidate) for e in search.failures] == [2]
        assert {work.begun(e.candidate) for e in search.evaluations if e.status == "done"} == {1}

    def test_a_trial_whose_process_never_began_is_tried_again(self, spec: SearchSpec, tmp_path: Path) -> None:
        from piip_workers.runners.ray_driver import FRESH, TrialDriver, TrialResources

        search, work = _small(spec, tmp_path), Work("support.fakes:measure", {}, str(tmp_path / "results"))
        desk = TrialDriver(search, work, lambda: None, TrialResources(at_once=1, retries=1))
        first = desk.suggest("0")
        desk.complete("0", {}, error=True)  # as Tune tells it of a node that died a moment ago
        assert not search.failures
        other = desk.suggest("1")
        assert other["candidate"] != first["candidate"]
        desk.complete("1", {"evaluation": json.dumps(_evaluated(other, work))}, error=False)
        time.sleep(FRESH)
        again = desk.suggest("2")
        assert again == first
        for _ in range(2):
            work(Candidate.from_dict(json.loads(again["candidate"])))
            next((tmp_path / "results").glob("00000-*.json")).unlink()  # it died before it could tell
        desk.complete("2", {}, error=True)
        assert [e.candidate.number for e in search.failures] == [0]

    def test_a_sitting_that_is_stopped_does_not_wait_for_what_never_began(
        self, spec: SearchSpec, tmp_path: Path
    ) -> None:
        from piip_workers.runners.ray_driver import FRESH, NO_MORE_TRIALS, NO_TRIAL, TrialDriver, TrialResources

        search, work = _small(spec, tmp_path), Work("support.fakes:measure", {}, str(tmp_path / "results"))
        desk = TrialDriver(search, work, lambda: None, TrialResources(at_once=2))
        desk.suggest("0")
        desk.suggest("1")
        desk.complete("0", {}, error=True)
        desk.complete("1", {"halt": "a disk is full"}, error=False)
        assert desk.suggest("2") == NO_TRIAL
        time.sleep(FRESH)
        assert desk.suggest("2") == NO_MORE_TRIALS
        assert not search.evaluations

    def test_a_cluster_too_small_says_so(self, spec: SearchSpec, tmp_path: Path) -> None:
        from piip_workers.runners import ray_tune
        from piip_workers.runners.ray_driver import TrialResources

        with pytest.raises(ValueError, match="lower resources in the space, add nodes"):
            ray_tune.run(
                _small(spec, tmp_path),
                Work("support.fakes:measure"),
                tmp_path / "ray",
                placement=TrialResources(cpu=10_000),
            )


def _evaluated(assignment: dict[str, Any], work: Work) -> dict[str, Any]:
    return work(Candidate.from_dict(json.loads(assignment["candidate"]))).to_dict()


def _small(spec: SearchSpec, folder: Path) -> Search:
    few = spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": 4})})
    return open_search("run", few, Ledger(f"sqlite:///{folder}/ledger.db"), "recipe")


def test_whatever_goes_wrong_in_a_worker_is_a_failed_evaluation(spec: SearchSpec, tmp_path: Path) -> None:
    candidate = _small(spec, tmp_path).propose()
    assert candidate is not None
    for work, error in [
        (Work("support.fakes:measure", {"fail": (0,)}), "ValueError: out of luck"),
        (Work("support.fakes:nothing"), "AttributeError"),
        (Work("no_such_module:measure"), "ModuleNotFoundError"),
    ]:
        evaluation = work(candidate)
        assert evaluation.status == "failed"
        assert evaluation.error.startswith(error)


@pytest.mark.parametrize("left", ["", "{", "[]", '{"status": "done"}'])
def test_half_of_a_result_is_measured_again(spec: SearchSpec, tmp_path: Path, left: str) -> None:
    candidate = _small(spec, tmp_path).propose()
    assert candidate is not None
    work = Work("support.fakes:measure", {}, str(tmp_path / "results"))
    first = work(candidate)
    (kept,) = (tmp_path / "results").glob("*.json")
    kept.write_text(left, encoding="utf-8")
    assert work(candidate).metrics == first.metrics
    assert json.loads(kept.read_text(encoding="utf-8"))["evaluation"]["status"] == "done"
    assert Work("support.fakes:measure", {"fail": (0,)}, str(tmp_path / "results"))(candidate) == first


@pytest.mark.parametrize(
    "planted", ["better", "other candidate", "other recipe", "of anybody", "of another user", "pipe"]
)
def test_a_planted_result_is_measured_again(spec: SearchSpec, tmp_path: Path, planted: str) -> None:
    search = _small(spec, tmp_path)
    candidate, other = search.propose(), search.propose()
    assert candidate is not None
    assert other is not None
    work = Work("support.fakes:measure", {}, str(tmp_path / "results"), recipe="recipe")
    first, second = work(candidate), work(other)
    kept, beside = sorted((tmp_path / "results").glob("*.json"))
    if planted == "better":
        content = json.loads(kept.read_text(encoding="utf-8"))
        content["evaluation"]["metrics"] = {"bbox_mAP": 0.999}
        kept.write_text(json.dumps(content), encoding="utf-8")
    elif planted == "other candidate":
        kept.write_bytes(beside.read_bytes())
    elif planted == "other recipe":
        work = replace(work, recipe="another")
    elif planted == "of anybody":
        kept.chmod(0o666)
    elif planted == "pipe":
        kept.unlink()
        os.mkfifo(kept)
    elif os.geteuid() == 0:
        os.chown(kept, 54321, 54321)  # that no account has
    else:
        pytest.skip("gives a file to another user")
    again = replace(work, settings={"fail": (0,)})(candidate)
    assert again.status == "failed", "it is measured again"
    assert again.candidate == candidate
    assert second.candidate == other
    assert work(candidate).candidate == first.candidate


def test_a_planted_link_is_not_written_through(spec: SearchSpec, tmp_path: Path) -> None:
    candidate = _small(spec, tmp_path).propose()
    assert candidate is not None
    work = Work("support.fakes:measure", {}, str(tmp_path / "results"))
    work(candidate)
    mine = tmp_path / "mine"
    mine.write_text("thesis", encoding="utf-8")
    (kept,) = (tmp_path / "results").glob("*.json")
    kept.unlink()
    for ending in (".lock", ".begun"):
        kept.with_suffix(ending).unlink()
        kept.with_suffix(ending).symlink_to(mine)
    assert work(candidate).status == "done"
    assert mine.read_text(encoding="utf-8") == "thesis"


def test_a_process_is_kept_to_its_share_of_a_gpu() -> None:
    share = pytest.importorskip("piip_workers.jobs.gpu_cap")
    from types import SimpleNamespace

    told: list[tuple[float, int]] = []
    cuda = SimpleNamespace(
        is_available=lambda: True,
        get_device_properties=lambda index: SimpleNamespace(total_memory=80 * 2**30),
        set_per_process_memory_fraction=lambda fraction, index: told.append((fraction, index)),
    )
    for gpus in (0.5, 1.0, 2.0):
        share.cap_gpu_memory(gpus, cuda)
    assert told == [(0.5 - 1 / 80, 0), (1.0, 0), (1.0, 0)]


def test_what_is_measured_is_told_also_where_it_cannot_be_kept(spec: SearchSpec, tmp_path: Path) -> None:
    candidate = _small(spec, tmp_path).propose()
    assert candidate is not None
    (tmp_path / "file").touch()
    evaluation = Work("support.fakes:measure", {}, str(tmp_path / "file" / "results"))(candidate)
    assert evaluation.status == "done"


def test_a_full_disk_is_no_fault_of_a_candidate(spec: SearchSpec, tmp_path: Path) -> None:
    from piip_search.errors import MachineError

    search = _small(spec, tmp_path)
    work = Work("support.fakes:measure", {"full": True})
    candidate = search.propose()
    assert candidate is not None
    with pytest.raises(MachineError, match=r"is full .*No space left on device"):
        work(candidate)
    again = open_search("run", search.spec, Ledger(f"sqlite:///{tmp_path}/other.db"), "recipe")
    local.run(again, work)
    assert again.halted
    assert not again.failures
    assert len(again.evaluations) == 0


def test_what_another_process_is_measuring_is_not_measured_again(spec: SearchSpec, tmp_path: Path) -> None:
    """A worker that outlived its search ends its measurement while the next search has begun the same."""
    import multiprocessing

    candidate = _small(spec, tmp_path).propose()
    assert candidate is not None
    log = tmp_path / "log.jsonl"
    work = Work("support.fakes:counted", {"log": str(log), "seconds": 1.0}, str(tmp_path / "results"))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(candidate,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1
    assert work(candidate).status == "done"
