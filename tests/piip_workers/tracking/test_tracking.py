import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import RunningFronts
from piip_search.ledger import Ledger
from piip_search.search.search import Search, open_search
from piip_workers.tracking.background import InBackground
from support import fakes

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
search_run = pytest.importorskip("piip_workers.tracking.search_run", exc_type=ImportError)
EXPERIMENT, MlflowTracker = search_run.EXPERIMENT, search_run.MlflowTracker
register = pytest.importorskip("piip_workers.tracking.registry", exc_type=ImportError).register


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds nothing: its tables take MLflow seconds to make."""
    from mlflow.tracking import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(autouse=True)
def _own_store(tables: Path, tmp_path: Path) -> None:
    shutil.copy(tables, tmp_path / "mlflow.db")


def open_run(spec: SearchSpec, folder: Path) -> tuple[Search, Any]:
    from piip_dashboards.drawing import front_files

    tracker = MlflowTracker(f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri(), front_files)
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
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if run.data.tags["piip.role"] == "search"]
    children = {int(run.data.tags["piip.number"]): run for run in runs if run.data.tags["piip.role"] == "evaluation"}
    assert len(parents) == 1
    assert len(runs) == 1 + len(children) == 1 + spec.budget.trials
    for evaluation in search.evaluations:
        child = children[evaluation.candidate.number]
        assert child.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        assert child.data.params["architecture"] == evaluation.candidate.design.name
        assert child.data.metrics["bbox_mAP"] == pytest.approx(evaluation.metrics["bbox_mAP"])
        shares = [value for key, value in child.data.metrics.items() if key.startswith("gmacs.")]
        assert sum(shares) == pytest.approx(child.data.metrics["gmacs"])
        assert child.data.metrics["gmacs"] == pytest.approx(search.objectives.cost(evaluation))
    volumes = client.get_metric_history(parents[0].info.run_id, "hypervolume")
    assert [metric.step for metric in volumes] == list(range(1, spec.budget.trials + 1))
    assert volumes[-1].value == pytest.approx(search.fronts()[-1].hypervolume)
    assert sorted(m.value for m in volumes) == [m.value for m in volumes]
    files = {item.path for item in client.list_artifacts(parents[0].info.run_id)}
    assert files == {"front.csv", "front.html", "front.json", "front.png", "space.json"}


def test_failures_are_mirrored_with_their_reason(spec: SearchSpec, tmp_path: Path) -> None:
    from piip_workers.jobs.job import Work

    search, tracker = open_run(spec, tmp_path)
    candidate = search.propose()
    assert candidate is not None
    search.accept(Work("support.fakes:measure", {"fail": (0,)})(candidate))
    search.finish()
    failed = list(tracker._runs("attributes.status = 'FAILED'"))
    assert [run.data.tags["piip.error"] for run in failed] == ["ValueError: out of luck"]


def runs_of(tracker: Any) -> list[Any]:
    return [run for run in tracker._client.search_runs([tracker._experiment]) if run.data.tags["piip.role"] != "search"]


def test_rungs_are_steps_of_one_child(spec: SearchSpec, tmp_path: Path) -> None:
    halved = parse_spec(
        {**spec.model_dump(mode="json"), "fidelity": {"epochs": 4}, "schedule": {"rungs": [2], "keep": 2}}
    )
    search, tracker = open_run(halved, tmp_path)
    drive(search, 99)
    children = {run.data.tags["piip.training"]: run for run in runs_of(tracker)}
    assert len(children) == spec.budget.trials < len(search.evaluations)
    both = next(run for run in children.values() if run.data.tags["piip.epochs"] == "4")
    metrics = tracker._client.get_metric_history(both.info.run_id, "bbox_mAP")
    assert [metric.step for metric in metrics] == [2, 4]
    assert len(both.data.tags["piip.numbers"].split(",")) == 2


class DiesAfter:
    """A client that breaks off after so many writes, as a server that is killed does."""

    def __init__(self, client: Any, writes: int) -> None:
        self._client, self._left = client, writes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not name.startswith(("create", "log", "set", "update")):
            return method

        def write(*arguments: Any, **named: Any) -> Any:
            if self._left == 0:
                raise ConnectionError("the server is gone")
            self._left -= 1
            return method(*arguments, **named)

        return write


@pytest.mark.parametrize("writes", range(1, 14))
def test_what_was_half_written_is_completed_and_never_doubled(spec: SearchSpec, tmp_path: Path, writes: int) -> None:
    search = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/ledger.db"), "recipe")
    drive(search, 3)
    uri, artifacts = f"sqlite:///{tmp_path}/mlflow.db", (tmp_path / "artifacts").as_uri()

    def pass_on(tracker: Any) -> None:
        tracker.begin("run", spec.model_dump(mode="json"), search.objectives)
        running = RunningFronts(search.objectives, spec.bounds.tiers)
        for evaluation in search.evaluations:
            running.add(evaluation)
            tracker.record(evaluation, running.fronts)
        tracker.finish(running.fronts)

    broken = MlflowTracker(uri, artifacts)
    broken._client = DiesAfter(broken._client, writes)
    with pytest.raises(ConnectionError):
        pass_on(broken)
    whole = MlflowTracker(uri, artifacts)
    pass_on(whole)
    children = runs_of(whole)
    assert sorted(run.data.tags["piip.numbers"] for run in children) == ["0", "1", "2"]
    assert {run.info.status for run in children} == {"FINISHED"}
    assert all("architecture" in run.data.params for run in children)
    for name in ("hypervolume", "evaluations"):
        steps = [metric.step for metric in whole._client.get_metric_history(whole._parent, name)]
        assert steps == [1, 2, 3]


class Fragile:
    """Stands in for a mirror whose server dies at the third evaluation, and for a while cannot be opened."""

    opened = 0
    seen: ClassVar[list[int]] = []
    finished = 0

    def __init__(self) -> None:
        type(self).opened += 1
        if type(self).opened in (2, 3):
            raise ConnectionError("connection refused")
        self.numbers: list[int] = []

    def begin(self, *_: object) -> None:
        pass

    def record(self, evaluation: Evaluation, _fronts: object) -> None:
        if type(self).opened == 1 and len(self.numbers) == 2:
            raise ConnectionError("the server is gone")
        self.numbers.append(evaluation.candidate.number)

    def flush(self) -> None:
        type(self).seen = self.numbers

    def finish(self, _fronts: object) -> None:
        type(self).finished += 1


def test_a_search_goes_on_while_its_mirror_is_away_and_the_mirror_catches_up(spec: SearchSpec, tmp_path: Path) -> None:
    told: list[str] = []
    mirror = InBackground(Fragile, told.append)
    search = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/ledger.db"), "recipe", mirror)
    drive(search, 99)
    assert len(search.evaluations) == spec.budget.trials
    assert sorted(Fragile.seen) == list(range(spec.budget.trials))
    assert Fragile.opened == 4
    assert Fragile.finished == 1
    assert ["cannot be reached" in line for line in told] == [True, False]
    assert told[-1] == "MLflow is back"


def test_a_mirror_that_is_slow_leaves_the_search_its_time(spec: SearchSpec, tmp_path: Path) -> None:
    class Slow(Fragile):
        def __init__(self) -> None:
            self.numbers = passed

        def record(self, evaluation: Evaluation, _fronts: object) -> None:
            time.sleep(0.05)
            self.numbers.append(evaluation.candidate.number)

    passed: list[int] = []
    mirror = InBackground(Slow)
    search = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/ledger.db"), "recipe", mirror)
    began = time.monotonic()
    while (candidate := search.propose()) is not None:
        search.accept(fakes.measure(candidate))
    worked, elapsed = 0.05 * len(passed), time.monotonic() - began
    assert worked <= 0.2 * elapsed + 0.05
    search.finish()
    assert len(passed) == len(search.evaluations)


def test_a_search_ends_without_a_mirror_that_never_comes(spec: SearchSpec, tmp_path: Path) -> None:
    def refuse() -> Any:
        raise ConnectionError("connection refused")

    told: list[str] = []
    mirror = InBackground(refuse, told.append, patience=0.5)
    search = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/ledger.db"), "recipe", mirror)
    drive(search, 2)
    assert len(search.evaluations) == 2
    assert "misses 2 of 2 evaluations" in told[-1]
    assert "piip-search mirror run" in told[-1]


@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_an_exported_network_is_registered_once_with_its_signature(
    spec: SearchSpec, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    import mlflow
    import numpy as np

    from piip_search.architecture import Architecture
    from piip_search.export import Provenance
    from piip_search.models import PIIPPyramid

    search, tracker = open_run(spec, tmp_path)
    drive(search, 2)
    design = Architecture.parse("vit_nano@32:g+vit_pico@64:g*1")
    network = PIIPPyramid(design).eval()
    folder = tmp_path / form
    folder.mkdir()
    if form == "torch":
        from piip_workers.networks.torch_export import write_torch

        write_torch(design, network, folder)
    else:
        pytest.importorskip("onnxscript")
        from piip_workers.networks.onnx_export import write_onnx

        write_onnx(design, network, folder, tmp_path / "log")
    origin = Provenance(
        "run", 1, design.name, design.fingerprint, "bbox_mAP", {"bbox_mAP": 0.5}, {"epochs": 1}, "1x", "proxy"
    )
    channels = tuple(one.shape[1] for one in network(torch.zeros(1, 3, 64, 64)))
    name = register(tracker.uri, origin, folder, channels)
    assert name == register(tracker.uri, origin, folder, channels) == "piip-search run, version 1"
    (version,) = tracker._client.search_model_versions("name = 'piip-search run'")
    run = tracker._client.get_run(version.run_id)
    assert run.data.tags["mlflow.parentRunId"] == tracker._parent
    assert run.data.metrics["proxy_bbox_mAP"] == 0.5
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    model = mlflow.pyfunc.load_model(f"{run.info.artifact_uri}/network")
    assert [spec.name for spec in model.metadata.signature.outputs] == [
        "stride_4",
        "stride_8",
        "stride_16",
        "stride_32",
    ]
    image = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(image))
    for found, wanted in zip(model.predict({"image": image}).values(), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-3)
    with pytest.raises(LookupError, match="holds no search other"):
        register(tracker.uri, replace(origin, run="other"), folder, channels)
