"""Several processes that prepare an evaluator together on Ray."""

import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("ray")

from piip_workers.evaluators.preparation import PreparationJob, PreparationState
from piip_workers.runners import ray_preparation

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.filterwarnings("ignore")]


def prepared(folder: Path, retries: int, told: list[str], **settings: Any) -> PreparationState:
    job = PreparationJob(
        "support.joint_evaluator:JointEvaluator", {"folder": str(folder), "rows": 4, **settings}, "uid"
    )
    return ray_preparation.run(job, {"CPU": 0.5}, retries, lambda share, text: told.append(text), processes=2)


def test_processes_reach_each_other(tmp_path: Path, cluster: None) -> None:
    told: list[str] = []
    state = prepared(tmp_path / "here", 0, told)
    assert (state.state, state.facts) == ("done", {"table": [2.0, 4.0, 6.0, 8.0]}), state.error
    assert state.seconds["uid"] > 0
    assert not (tmp_path / "here" / "ray_train").exists()


def test_all_go_on_after_the_death_of_one(tmp_path: Path, cluster: None) -> None:
    told: list[str] = []
    state = prepared(tmp_path / "here", 1, told, dies=True)
    assert (state.state, state.facts) == ("done", {"table": [2.0, 4.0, 6.0, 8.0]}), state.error
    assert any(text.startswith("a process was lost, attempt 1 of 2 (") for text in told), told


def test_deaths_end(tmp_path: Path, cluster: None) -> None:
    state = prepared(tmp_path / "here", 0, [], dies=True)
    assert state.state == "failed"
    assert state.error.startswith("processes were lost 1 times ("), state.error


def test_an_error_of_any_process_is_told_and_not_tried_again(tmp_path: Path, cluster: None) -> None:
    told: list[str] = []
    state = prepared(tmp_path / "here", 3, told, fails=True)
    assert state.state == "failed"
    assert state.error.startswith("ValueError: a row is missing"), state.error
    assert not any("lost" in text for text in told)
    assert "a row is missing" in (tmp_path / "here" / "error.txt").read_text(encoding="utf-8")


def test_an_interruption_gives_all_places_back(tmp_path: Path, cluster: None) -> None:
    import ray
    from ray.util import placement_group_table

    def interrupted(share: float, text: str) -> None:
        if text.startswith("row"):
            raise KeyboardInterrupt

    job = PreparationJob("support.joint_evaluator:JointEvaluator", {"folder": str(tmp_path), "rows": 10**7}, "uid")
    with pytest.raises(KeyboardInterrupt):
        ray_preparation.run(job, {"CPU": 0.5}, 1, interrupted, processes=2)
    assert {group["state"] for group in placement_group_table().values()} == {"REMOVED"}
    limit = time.monotonic() + 30
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        assert time.monotonic() < limit, "a process still holds its place"
        time.sleep(0.5)
    assert not (tmp_path / "ray_train").exists()
