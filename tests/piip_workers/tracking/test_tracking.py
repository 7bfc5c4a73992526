import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from piip_search.api.mirror import mirror_baselines, mirror_run
from piip_search.architecture.stock import StockNetwork
from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import RunningFronts
from piip_search.evaluation.tracker import TrackedSearch
from piip_search.ledger import Ledger
from piip_search.owner import Owner, this_owner
from piip_search.search.baselines import open_baselines
from piip_search.search.search import Search, open_search
from piip_workers.runners import local
from piip_workers.tracking.background import InBackground
from support import ROOT, fakes
from support.small_ledger import Fill
from support.typed import Cli

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
search_run = pytest.importorskip("piip_workers.tracking.search_run", exc_type=ImportError)
EXPERIMENT, MlflowTracker = search_run.EXPERIMENT, search_run.MlflowTracker
ALICE = Owner("alice", "laptop")
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


def tracker_in(folder: Path) -> Any:
    return MlflowTracker(f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri())


def open_run(spec: SearchSpec, folder: Path) -> tuple[Search, Any]:
    from piip_dashboards.drawing import front_files

    tracker = MlflowTracker(f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri(), front_files)
    return open_search("run", spec, Ledger(f"sqlite:///{folder}/ledger.db"), "recipe", tracker), tracker


def tracked(search: Search, owner: Owner = ALICE, run: str = "run") -> TrackedSearch:
    return TrackedSearch(
        run, search.uid, owner, datetime.now(UTC), search.spec.model_dump(mode="json"), search.objectives
    )


def pass_on(search: Search, tracker: Any, **described: Any) -> Any:
    """Mirrors what a search has measured, as `piip-search mirror` does."""
    tracker.begin(tracked(search, **described))
    running = RunningFronts(search.objectives, search.spec.bounds.tiers)
    for evaluation in search.evaluations:
        running.add(evaluation)
        tracker.record(evaluation, running.fronts)
    tracker.finish(running.fronts)
    return tracker


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

    broken = MlflowTracker(uri, artifacts)
    broken._client = DiesAfter(broken._client, writes)
    with pytest.raises(ConnectionError):
        pass_on(search, broken)
    whole = MlflowTracker(uri, artifacts)
    pass_on(search, whole)
    children = runs_of(whole)
    assert sorted(run.data.tags["piip.numbers"] for run in children) == ["0", "1", "2"]
    assert {run.info.status for run in children} == {"FINISHED"}
    assert all("architecture" in run.data.params for run in children)
    for name in ("hypervolume", "evaluations"):
        steps = [metric.step for metric in whole._client.get_metric_history(whole._parent, name)]
        assert steps == [1, 2, 3]


def parents(tracker: Any) -> list[Any]:
    return [run for run in tracker._client.search_runs([tracker._experiment]) if run.data.tags["piip.role"] == "search"]


def children_of(tracker: Any, parent: Any) -> list[Any]:
    return [run for run in runs_of(tracker) if run.data.tags["mlflow.parentRunId"] == parent.info.run_id]


def test_two_searches_of_one_name_have_a_run_each_with_its_owner(spec: SearchSpec, tmp_path: Path) -> None:
    searches = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        search = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/{name}/ledger.db"), "recipe")
        drive(search, 3)
        searches.append(search)
    first, second = searches
    for _ in range(2):
        pass_on(first, tracker_in(tmp_path), owner=ALICE)
        tracker = pass_on(second, tracker_in(tmp_path), owner=Owner("bob", "server"))
    found = {run.data.tags["piip.uid"]: run for run in parents(tracker)}
    assert set(found) == {first.uid, second.uid}
    assert found[first.uid].info.run_name == "run"
    assert found[second.uid].info.run_name == f"run {second.uid[:8]}"
    assert [found[one.uid].data.tags["mlflow.user"] for one in searches] == ["alice@laptop", "bob@server"]
    for search in searches:
        numbers = [int(run.data.tags["piip.number"]) for run in children_of(tracker, found[search.uid])]
        assert sorted(numbers) == [0, 1, 2]


def test_a_name_is_no_part_of_a_query(spec: SearchSpec, tmp_path: Path) -> None:
    search = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/ledger.db"), "recipe")
    drive(search, 1)
    hostile = "run' or tags.`piip.role` = 'search"
    pass_on(search, tracker_in(tmp_path))
    other = replace(tracked(search, run=hostile), uid="' or tags.`piip.role` = 'search")
    tracker = tracker_in(tmp_path)
    for _ in range(2):
        tracker.begin(other)
    assert sorted(run.data.tags["piip.run"] for run in parents(tracker)) == ["run", hostile]


def former(search: Search, folder: Path) -> Any:
    """A mirror as earlier versions wrote it: nothing has a uid."""
    tracker = pass_on(search, tracker_in(folder))
    for run in parents(tracker):
        for tag in ("piip.uid", "piip.name", "mlflow.user"):
            tracker._client.delete_tag(run.info.run_id, tag)
    return tracker


def test_the_run_of_an_earlier_version_goes_on_if_its_settings_fit(spec: SearchSpec, tmp_path: Path) -> None:
    search = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/ledger.db"), "recipe")
    drive(search, 2)
    tracker = former(search, tmp_path)
    (before,) = parents(tracker)
    drive(search, 1)
    (after,) = parents(pass_on(search, tracker_in(tmp_path)))
    assert after.info.run_id == before.info.run_id
    assert (after.data.tags["piip.uid"], after.data.tags["mlflow.user"]) == (search.uid, "alice@laptop")
    assert len(children_of(tracker, after)) == 3


@pytest.mark.parametrize("unlike", ["settings", "name", "time"])
def test_the_run_of_another_search_of_an_earlier_version_stays(spec: SearchSpec, tmp_path: Path, unlike: str) -> None:
    search = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/ledger.db"), "recipe")
    drive(search, 1)
    tracker = former(search, tmp_path)
    given = tracked(search)
    changes: dict[str, Any] = {
        "settings": {"spec": {**given.spec, "seed": 7}},
        "name": {"run": "other"},
        "time": {"created_at": given.created_at + timedelta(hours=1)},
    }
    tracker.begin(replace(given, **changes[unlike]))
    assert sorted("piip.uid" in run.data.tags for run in parents(tracker)) == [False, True]


def test_doubles_are_deleted_by_the_next_mirror(spec: SearchSpec, tmp_path: Path) -> None:
    search = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/ledger.db"), "recipe")
    drive(search, 3)
    tracker = pass_on(search, tracker_in(tmp_path))
    (parent,) = parents(tracker)
    for child in runs_of(tracker):  # what two processes without a lock write
        tags = {key: value for key, value in child.data.tags.items() if not key.startswith("mlflow.runName")}
        tracker._client.create_run(tracker._experiment, tags=tags)
        tracker._client.create_run(tracker._experiment, tags={**tags, "piip.numbers": ""})
    double = tracker._client.create_run(tracker._experiment, tags=parent.data.tags)
    own = runs_of(tracker)[0]
    tracker._client.set_tag(own.info.run_id, "mlflow.parentRunId", double.info.run_id)
    pass_on(search, tracker_in(tmp_path))
    (kept,) = parents(tracker)
    assert kept.info.run_id == parent.info.run_id
    children = children_of(tracker, kept)
    assert len(runs_of(tracker)) == len(children) == 3
    assert sorted(run.data.tags["piip.numbers"] for run in children) == ["0", "1", "2"]
    assert all("architecture" in run.data.params for run in children)


@pytest.mark.parametrize("there", [False, True], ids=["a new store", "a store that is there"])
def test_mirrors_beside_each_other_write_everything_once(fill: Fill, run_cli: Cli, tmp_path: Path, there: bool) -> None:
    fill(trials=12).close()
    if there:
        fill(run="other", trials=1).close()
        assert run_cli("mirror", "other").code == 0
    command = [sys.executable, "-W", "ignore", "-m", "piip_search.cli", "mirror", "small"]
    started = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(str(ROOT / one) for one in (".", "workers", "dashboards")),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ended = [(process.communicate()[1], process.returncode) for process in started]
    assert [code for _, code in ended] == [0, 0, 0], ended
    tracker = tracker_in(tmp_path / "runs")
    (parent,) = [run for run in parents(tracker) if run.data.tags["piip.run"] == "small"]
    assert len(children_of(tracker, parent)) == 12
    steps = [metric.step for metric in tracker._client.get_metric_history(parent.info.run_id, "hypervolume")]
    assert sorted(steps) == list(range(1, 13))


def test_a_mirror_beside_a_running_search_writes_everything_once(spec: SearchSpec, tmp_path: Path) -> None:
    halved = parse_spec(
        {**spec.model_dump(mode="json"), "fidelity": {"epochs": 4}, "schedule": {"rungs": [2], "keep": 2}}
    )
    search, running = open_run(halved, tmp_path)
    while (candidate := search.propose()) is not None:
        search.accept(fakes.measure(candidate))
        if len(search.evaluations) % 3 == 0:
            pass_on(search, tracker_in(tmp_path), owner=this_owner())
    search.finish()
    children = runs_of(running)
    numbers = [number for run in children for number in run.data.tags["piip.numbers"].split(",")]
    assert sorted(map(int, numbers)) == sorted(one.candidate.number for one in search.evaluations)
    assert len({run.data.tags["piip.training"] for run in children}) == len(children)
    for run in children:
        steps = [one.step for one in running._client.get_metric_history(run.info.run_id, "bbox_mAP")]
        assert len(steps) == len(set(steps)) == len(run.data.tags["piip.numbers"].split(","))
    (parent,) = parents(running)
    volumes = running._client.get_metric_history(parent.info.run_id, "hypervolume")
    assert sorted(one.step for one in volumes) == list(range(1, len(search.evaluations) + 1))


def test_another_user_s_run_is_mirrored_only_on_purpose(
    fill: Fill, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIIP_SEARCH_OWNER", "alice@laptop")
    fill(trials=2).close()
    monkeypatch.setenv("PIIP_SEARCH_OWNER", "bob@laptop")
    refused = run_cli("mirror", "small")
    assert (refused.code, "belongs to alice@laptop" in refused.err) == (2, True)
    assert run_cli("mirror", "small", "--force").code == 0


def test_a_store_that_does_not_answer_is_one_error(fill: Fill, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    fill(trials=1).close()
    ended = run_cli("mirror", "small", "--mlflow", "http://127.0.0.1:1")
    assert (ended.code, "is its server running?" in ended.err) == (2, True)
    assert "Traceback" not in ended.err


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
    assert version.tags["piip.digest"]
    for unlike in (replace(origin, run="other"), replace(origin, run="other", search="0123")):
        with pytest.raises(LookupError, match="holds no search other"):
            register(tracker.uri, unlike, folder, channels)
    assert register(tracker.uri, replace(origin, search=search.uid), folder, channels) == name


@pytest.mark.parametrize("merge", ["linear", "logits"])
def test_a_registered_classifier_gives_scores(
    spec: SearchSpec, tmp_path: Path, merge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    import mlflow
    import numpy as np

    from piip_search.architecture import Architecture
    from piip_search.export import Provenance
    from piip_search.models import PIIP, PIIPClassifier
    from piip_workers.networks.torch_export import classes_of, write_torch

    search, tracker = open_run(spec, tmp_path)
    drive(search, 1)
    design = Architecture.parse(f"vit_nano@32:g+vit_pico@64:g*1/{merge}")
    network = (PIIPClassifier(design, classes=7) if merge == "linear" else PIIP(design, outputs=7)).eval()
    write_torch(design, network, tmp_path / "torch")
    origin = Provenance("run", 1, design.name, design.fingerprint, "top1", {"top1": 0.5}, {"epochs": 1}, "1x", "proxy")
    register(tracker.uri, origin, tmp_path / "torch", (), classes_of(network))
    (version,) = tracker._client.search_model_versions("name = 'piip-search run'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    model = mlflow.pyfunc.load_model(f"{tracker._client.get_run(version.run_id).info.artifact_uri}/network")
    assert [(spec.name, spec.shape) for spec in model.metadata.signature.outputs] == [("scores", (-1, 7))]
    image = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(image))
    found = model.predict({"image": image})
    assert list(found) == ["scores"]
    np.testing.assert_allclose(found["scores"], expected.numpy(), atol=1e-4)


def test_an_export_finds_its_search_among_several_of_one_name(spec: SearchSpec, tmp_path: Path) -> None:
    from piip_search.export import Provenance
    from piip_workers.tracking.training_run import TrainingRun

    uids = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        search = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/{name}/ledger.db"), "recipe")
        drive(search, 1)
        tracker = pass_on(search, tracker_in(tmp_path))
        uids.append(search.uid)
    origin = Provenance("run", 0, "vit", "0" * 16, "bbox_mAP", {}, {}, "1x", "random")
    for uid in uids:
        for resume in (False, True):
            TrainingRun(tracker.uri, replace(origin, search=uid), {}, resume).end("FINISHED")
    trainings = [run for run in runs_of(tracker) if run.data.tags["piip.role"] == "training"]
    found = {run.info.run_id: run.data.tags["piip.uid"] for run in parents(tracker)}
    assert sorted(found[run.data.tags["mlflow.parentRunId"]] for run in trainings) == sorted(uids)
    with pytest.raises(LookupError, match="holds 2 searches run; export the design again"):
        TrainingRun(tracker.uri, origin, {}, False)


def test_baselines_are_shown_beside_the_front_and_may_be_a_run_of_their_own(spec: SearchSpec, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    search, tracker = open_run(spec, tmp_path)
    drive(search, 99)
    ledger, notes = Ledger(f"sqlite:///{tmp_path}/ledger.db"), []
    stock = StockNetwork("library::some.py", 64, "some_net", macs=15_000_000, params=2_000_000)
    beside = open_baselines(search, [stock, search.finished[0].candidate.design], ledger)
    local.run(beside, lambda candidate: Evaluation(candidate, "done", {"bbox_mAP": 0.123}))
    mirror_baselines(ledger, "run", tmp_path, tracker.uri, notes.append)
    mirror_run(ledger, beside.run, tmp_path, tracker.uri)
    assert notes == []
    client = MlflowClient(tracker.uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id])
    parents = {run.data.tags["piip.run"]: run for run in runs if run.data.tags["piip.role"] == "search"}
    parent = parents["run"].info.run_id
    assert "baselines.csv" in {item.path for item in client.list_artifacts(parent)}
    table = Path(client.download_artifacts(parent, "baselines.csv", str(tmp_path))).read_text(encoding="utf-8")
    assert "some_net@64" in table
    assert len(table.splitlines()) == 3
    page = Path(client.download_artifacts(parent, "front.html", str(tmp_path))).read_text(encoding="utf-8")
    assert '"name":"baselines"' in page
    # The search's own children stay as they are.
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
    assert len(children) == spec.budget.trials
    mirror_baselines(ledger, "run", tmp_path, f"sqlite:///{tmp_path}/front.html", notes.append)
    assert notes[0].startswith("MLflow misses the baselines of run: ")
