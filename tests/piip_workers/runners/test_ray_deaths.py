"""What Ray ends trials for, and what becomes of them: in Ray's own words, and for real."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from piip_search.config import SearchSpec, parse_spec
from piip_search.ledger import Ledger
from piip_search.search.search import Search, open_search
from piip_workers.jobs.job import Work

for package in ("ray", "psutil"):
    pytest.importorskip(package)

from piip_workers.runners.ray_deaths import CALM, LONGEST_CALM, MemoryKill, TrialLimit, memory_kill  # noqa: E402
from support import ROOT  # noqa: E402
from support.memory import fill_memory, memory_monitor  # noqa: E402
from support.two_nodes import cluster_environment, processes_of_trials  # noqa: E402

SAID = """OutOfMemoryError: 2 worker(s) were killed due to the node running low on memory. Memory on the node (IP: \
192.0.2.2, ID: 56ad) was 2.98GB used / 23.54GB limit (0.126781)
OOM kill reason: Memory usage 3105456128B exceeded threshold of 3033127680B (12.0% of 25276063744B limit)
Considered workers: [
Selected to kill: (Actor(c1f5): task name=ResourceTrainable.__init__, pid=6427, actual memory used=0.13GB, worker ID=3f)
Selected to kill: (Actor(d362): task name=ResourceTrainable.__init__, pid=6428, actual memory used=0.25GB, worker ID=a7)
]"""
"""Of Ray 2.60."""
FILLED = (
    SAID.replace("2 worker(s)", "1 worker(s)").replace("0.13GB", "2.5GB").split("Selected to kill: (Actor(d362)")[0]
)


def test_the_memory_monitor_is_understood() -> None:
    assert memory_kill(SAID) == MemoryKill(2.98, 23.54, (0.13, 0.25))
    assert str(memory_kill(SAID)) == "2.98 of 23.54 GB were in use, 0.38 GB of it by trials"
    assert memory_kill("The actor died. (1) The process is killed by SIGKILL by OOM killer due to high memory") is None


def test_one_trial_alone_is_blamed_for_the_memory_that_it_fills() -> None:
    kills = [memory_kill(said) for said in (FILLED, SAID)]
    assert [kill is not None and kill.own_fault for kill in kills] == [True, False]


def test_fewer_trials_run_at_a_time_and_one_more_after_each_calm_time() -> None:
    now = [0.0]
    limit = TrialLimit(lambda: now[0])
    assert (limit.of(8), limit.lowered) == (8, False)
    limit.lower(7, "one event")
    limit.lower(6, "one event")
    assert (limit.of(8), limit.of(4), limit.lowered) == (6, 4, True)
    now[0] += CALM - 1
    assert limit.of(8) == 6
    now[0] += 1
    assert limit.of(8) == 7
    limit.lower(0, "another event")
    now[0] += 1.5 * CALM
    assert limit.of(8) == 1
    now[0] += CALM
    assert limit.of(8) == 2
    for event in range(20):
        limit.lower(1, str(event))
    now[0] += 10 * LONGEST_CALM
    assert limit.of(8) == 8


def open_small(spec: SearchSpec, folder: Path) -> tuple[Search, Work]:
    few = parse_spec({**spec.model_dump(mode="json"), "sampler": "random", "budget": {"trials": 4}})
    search = open_search("run", few, Ledger(f"sqlite:///{folder}/ledger.db"), "recipe")
    return search, Work("support.fakes:measure", {}, str(folder / "results"))


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("cluster")
class TestDesk:
    def test_memory_that_others_use_is_waited_for(self, spec: SearchSpec, tmp_path: Path) -> None:
        from piip_workers.runners.ray_driver import FRESH, NO_TRIAL, TrialDriver, TrialResources

        search, work = open_small(spec, tmp_path)
        told: list[str] = []
        now = [0.0]
        desk = TrialDriver(
            search, work, lambda: None, TrialResources(at_once=2, retries=0), notify=told.append, clock=lambda: now[0]
        )
        first, second = desk.suggest("0"), desk.suggest("1")
        desk.complete("0", {}, True, SAID)
        desk.complete("1", {}, True, SAID)
        assert desk.suggest("2") == NO_TRIAL, "nothing new begins in their place"
        now[0] += FRESH
        assert desk.suggest("2") in (first, second)
        assert desk.suggest("3") == NO_TRIAL
        assert not search.failures
        assert len(told) == 1
        assert "2.98 of 23.54 GB were in use" in told[0]

    def test_memory_that_never_comes_halts_the_search(self, spec: SearchSpec, tmp_path: Path) -> None:
        from piip_workers.runners.ray_driver import (
            LONGEST_WAIT,
            MOST_MEMORY_KILLS,
            NO_MORE_TRIALS,
            TrialDriver,
            TrialResources,
        )

        search, work = open_small(spec, tmp_path)
        now = [0.0]
        desk = TrialDriver(search, work, lambda: None, TrialResources(at_once=1, retries=0), clock=lambda: now[0])
        first = desk.suggest("0")
        for trial in range(1, MOST_MEMORY_KILLS):
            desk.complete(str(trial - 1), {}, True, SAID)
            now[0] += LONGEST_WAIT
            assert desk.suggest(str(trial)) == first
        desk.complete(str(MOST_MEMORY_KILLS - 1), {}, True, SAID)
        assert desk.suggest("last") == NO_MORE_TRIALS
        assert search.halted
        assert "end other programs on it" in search.ending
        assert not search.evaluations

    def test_a_trial_that_fills_the_memory_fails_by_itself(self, spec: SearchSpec, tmp_path: Path) -> None:
        from piip_workers.runners.ray_driver import TrialDriver, TrialResources

        search, work = open_small(spec, tmp_path)
        desk = TrialDriver(search, Work(work.function), lambda: None, TrialResources(at_once=1, retries=0))
        desk.suggest("0")
        desk.complete("0", {}, True, FILLED)
        assert [e.candidate.number for e in search.failures] == [0]
        assert "filled the machine's memory (2.98 of 23.54 GB" in search.failures[0].error
        assert "training.batch_size" in search.failures[0].error

    def test_a_full_disk_of_ray_is_no_fault_of_a_candidate(self, spec: SearchSpec, tmp_path: Path) -> None:
        from piip_workers.runners.ray_driver import TrialDriver, TrialResources

        search, work = open_small(spec, tmp_path)
        desk = TrialDriver(search, work, lambda: None, TrialResources(at_once=1))
        desk.suggest("0")
        desk.complete("0", {}, True, "OutOfDiskError: Local disk is full\nThe object cannot be created")
        assert search.halted
        assert "a disk of a machine is full" in search.ending
        assert not search.evaluations

    def test_whatever_ends_tune_is_one_message_and_loses_nothing(self, spec: SearchSpec, tmp_path: Path) -> None:
        from piip_workers.runners import ray_tune

        search, work = open_small(spec, tmp_path)
        (tmp_path / "ray").write_text("no folder", encoding="utf-8")
        ray_tune.run(search, work, tmp_path / "ray")
        assert search.halted
        assert search.ending.startswith("Ray Tune broke off (")
        assert "run the same command again" in search.ending
        assert not search.running
        again, _ = open_small(spec, tmp_path)
        ray_tune.run(again, work, tmp_path / "elsewhere")
        assert [e.status for e in again.evaluations] == ["done"] * 4

    def test_what_is_wrong_with_the_search_itself_is_passed_on(self, spec: SearchSpec, tmp_path: Path) -> None:
        from piip_workers.runners import ray_tune

        search, work = open_small(spec, tmp_path)
        began: list[int] = []

        def changed() -> None:
            began.append(1)
            if len(search.evaluations) == 2:
                raise LookupError("a bug")

        with pytest.raises(LookupError, match="a bug"):
            ray_tune.run(search, work, tmp_path / "ray", changed)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_trials_that_the_memory_monitor_ends_are_measured_in_the_end(spec: SearchSpec, tmp_path: Path) -> None:
    few = parse_spec({**spec.model_dump(mode="json"), "sampler": "random", "budget": {"trials": 4}})
    asked = {
        "address": None,
        "folder": str(tmp_path),
        "spec": few.model_dump(mode="json"),
        "function": "support.fakes:counted",
        "settings": {"log": str(tmp_path / "log"), "seconds": 5.0},
    }
    with (tmp_path / "printed").open("w+", encoding="utf-8") as printed:
        driver = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(ROOT / "tests" / "support" / "drive.py"), json.dumps(asked)],
            stdout=printed,
            stderr=printed,
            env={**cluster_environment(), **memory_monitor()},
        )
        try:
            while not (trials := processes_of_trials([driver.pid])):
                assert driver.poll() is None, (tmp_path / "printed").read_text(encoding="utf-8")
                time.sleep(0.2)
            assert fill_memory(lambda: any(not trial.is_running() for trial in trials))
            assert driver.wait(240) == 0, (tmp_path / "printed").read_text(encoding="utf-8")
        finally:
            driver.kill()
    lines = (tmp_path / "printed").read_text(encoding="utf-8").splitlines()
    (found,) = [json.loads(line) for line in lines if line.startswith("{")]
    assert [status for _, status in found["evaluations"].values()] == ["done"] * 4
    assert sorted((tmp_path / "log").read_text(encoding="utf-8").split()) == ["0", "1", "2", "3"], (
        "nothing is measured twice"
    )
    assert sum("a machine's memory ran out" in line for line in lines) == 1
    assert "Traceback" not in "".join(lines)
