from pathlib import Path
from typing import Any

import fakes
import pytest

from piip_search.ledger import Ledger
from piip_search.search import Search, open_search
from piip_search.spec import SearchSpec

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
tracking = pytest.importorskip("piip_workers.tracking", exc_type=ImportError)


def open_run(spec: SearchSpec, folder: Path) -> tuple[Search, Any]:
    tracker = tracking.MlflowTracker(f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri())
    return open_search("run", spec, Ledger(f"sqlite:///{folder}/ledger.db"), "recipe", tracker), tracker


def drive(search: Search, count: int) -> None:
    for _ in range(count):
        candidate = search.propose()
        if candidate is None:
            break
        search.accept(fakes.measure(candidate))
    search.finish()


def test_the_mirror_shows_what_the_ledger_holds_and_going_on_adds_no_double(spec: SearchSpec, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    drive(open_run(spec, tmp_path)[0], 5)
    search, tracker = open_run(spec, tmp_path)
    drive(search, 99)
    client = MlflowClient(tracker.uri)
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if run.data.tags["piip.role"] == "search"]
    children = {int(run.data.tags["piip.number"]): run for run in runs if run.data.tags["piip.role"] == "evaluation"}
    assert len(parents) == 1
    assert len(runs) == 1 + len(children) == 1 + spec.budget.trials
    for evaluation in search.evaluations:
        child = children[evaluation.candidate.number]
        assert child.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        assert child.data.params["architecture"] == evaluation.candidate.architecture.name
        assert child.data.metrics["bbox_mAP"] == pytest.approx(evaluation.metrics["bbox_mAP"])
        assert child.data.metrics["gmacs"] == pytest.approx(search.objectives.cost(evaluation).gmacs)
    volumes = client.get_metric_history(parents[0].info.run_id, "hypervolume")
    assert [metric.step for metric in volumes] == list(range(1, spec.budget.trials + 1))
    assert volumes[-1].value == pytest.approx(search.fronts()[-1].hypervolume)
    assert sorted(m.value for m in volumes) == [m.value for m in volumes]
    files = {item.path for item in client.list_artifacts(parents[0].info.run_id)}
    assert files == {"front.csv", "front.json", "front.png", "space.json"}


def test_failures_are_mirrored_with_their_reason(spec: SearchSpec, tmp_path: Path) -> None:
    from piip_workers.work import Work

    search, tracker = open_run(spec, tmp_path)
    candidate = search.propose()
    assert candidate is not None
    search.accept(Work("fakes:measure", {"fail": (0,)})(candidate))
    search.finish()
    failed = list(tracker._runs("attributes.status = 'FAILED'"))
    assert [run.data.tags["piip.error"] for run in failed] == ["ValueError: out of luck"]
