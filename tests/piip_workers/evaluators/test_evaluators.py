"""Every evaluator keeps the same contract."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import piip_search as ps
from piip_search.analysis.error_kinds import TRACEBACK
from piip_search.api import evaluators
from piip_search.api.runners import Place, measurement, runner
from piip_search.config import SearchSpec, parse_spec, space_file
from piip_search.errors import PreparationError
from piip_search.search.search import Search
from piip_search.tasks.detection.section import DetectionData
from piip_workers.evaluators import EVALUATORS
from piip_workers.evaluators.evaluator import Evaluator, PreparingEvaluator
from piip_workers.evaluators.stand_alone import StandAloneEvaluator
from piip_workers.jobs.job import Work, imported
from piip_workers.runners import local
from support import table_evaluator
from support.contracts import EvaluatorContract, Measure, PreparingEvaluatorContract, opened
from support.table_evaluator import TableEvaluator
from support.typed import Cli


def changed(spec: SearchSpec, **changes: Any) -> SearchSpec:
    content = {**spec.model_dump(mode="json"), "sampler": "random", "budget": {"trials": 4}}
    return parse_spec({**content, **changes})


def fake(spec: SearchSpec, home: Path, search: Search) -> Work:
    return Work("support.fakes:measure")


class TestStandAlone(EvaluatorContract):
    @pytest.fixture
    def chosen(self, spec: SearchSpec) -> SearchSpec:
        return changed(spec)

    @pytest.fixture
    def others(self, spec: SearchSpec) -> list[SearchSpec]:
        return [changed(spec, training={"learning_rate": 0.5})]

    def test_it_prepares_nothing(self, chosen: SearchSpec, tmp_path: Path) -> None:
        found = opened(chosen, tmp_path / "home", fake)
        assert found.preparation is None
        assert found.prepare() == []
        assert found.search.preparations == []
        assert not (tmp_path / "home" / "prepared").exists()


@pytest.mark.slow
@pytest.mark.xdist_group("training")
@pytest.mark.filterwarnings("ignore")
class TestStandAloneTraining(TestStandAlone):
    """The same with real trainings of a dozen images."""

    @pytest.fixture
    def chosen(self, spec: SearchSpec, small: DetectionData) -> SearchSpec:
        pytest.importorskip("mmdet")
        training = {"channels": 32, "batch_size": 4, "anchor_scale": 2.5}
        data = small.model_dump(mode="json", exclude_none=True)
        return changed(spec, data=data, training=training, fidelity={"epochs": 1}, budget={"trials": 3})

    @pytest.fixture
    def measure(self) -> Measure:
        return lambda spec, home, search: measurement(spec, home, "run", search)


class TestTable(PreparingEvaluatorContract):
    @pytest.fixture(autouse=True)
    def _registered(self) -> Iterator[None]:
        with table_evaluator.registered():
            yield

    @pytest.fixture
    def chosen(self, spec: SearchSpec) -> SearchSpec:
        return changed(spec, evaluator="table")

    @pytest.fixture
    def others(self, spec: SearchSpec) -> list[SearchSpec]:
        return [
            changed(spec),
            changed(spec, evaluator={"kind": "table", "rows": 5}),
            changed(spec, evaluator={"kind": "table", "factor": 0.5}),
            changed(spec, evaluator="table", seed=1),
        ]

    @pytest.fixture
    def slow(self, spec: SearchSpec) -> SearchSpec:
        return changed(spec, evaluator={"kind": "table", "rows": 20, "seconds": 0.05})

    def test_no_row_is_computed_twice(self, slow: SearchSpec, measure: Measure, tmp_path: Path) -> None:
        self.test_a_killed_preparation_goes_on(slow, measure, tmp_path)
        (cut,) = (tmp_path / "cut" / "prepared").iterdir()
        rows = (cut / "log.txt").read_text(encoding="utf-8").split()
        assert sorted(set(rows), key=int) == [str(row) for row in range(20)]
        assert len(rows) <= 21, "at most the row in which it was killed"

    def test_settings_of_answers_alone_share_a_preparation(self, chosen: SearchSpec, tmp_path: Path) -> None:
        otherwise = changed(chosen, evaluator={"kind": "table", "factor": 0.5})
        one, other = (opened(spec, tmp_path / "home", fake, spec.recipe("data")) for spec in (chosen, otherwise))
        one.prepare()
        assert other.prepare() == []
        candidate = one.search.propose()
        assert candidate is not None
        assert other.work(candidate).metrics["bbox_mAP"] == 0.5 * one.work(candidate).metrics["bbox_mAP"]

    def test_a_failure_is_one_clear_error_and_loses_nothing(self, spec: SearchSpec, tmp_path: Path) -> None:
        broken = changed(spec, evaluator={"kind": "table", "fail_at": 3})
        found = opened(broken, tmp_path / "home", fake)
        ended: list[Any] = []
        drive = evaluators.prepared_first(local.run, found.preparation, ended.append)
        with pytest.raises(PreparationError, match=r"evaluator table was not prepared: ValueError: a row is missing.*"):
            drive(found.search, found.work, lambda: None)
        assert "a row is missing" in (found.folder / TRACEBACK).read_text(encoding="utf-8")
        assert [step.state for step in found.search.preparations] == ["running", "failed"]
        assert found.search.evaluations == []
        (found.folder / "mended").touch()
        drive(found.search, found.work, lambda: None)
        assert len(found.search.evaluations) == 4
        assert [step.state for step in found.search.preparations] == ["running", "failed", "running", "done"]
        assert (found.folder / "log.txt").read_text(encoding="utf-8").split() == ["0", "1", "2", "3", "4", "5"]

    def test_its_time_is_part_of_the_budget(self, spec: SearchSpec, tmp_path: Path) -> None:
        resources, budget = {"gpu": 0.5}, {"trials": 4, "gpu_hours": 1e-6}
        dear = changed(spec, evaluator={"kind": "table", "seconds": 0.02}, resources=resources, budget=budget)
        found = opened(dear, tmp_path / "home", fake)
        found.prepare()
        (done,) = found.search.preparations[1:]
        assert done.gpu_seconds == done.seconds > 0.1, "it has a whole GPU"
        assert found.search.propose() is None
        assert found.search.ending == "the budget of GPU-hours is spent"
        again = opened(dear, tmp_path / "home", fake)
        assert again.search.history.gpu_seconds == done.gpu_seconds
        assert again.search.propose() is None

    def test_a_search_that_has_ended_prepares_nothing(self, chosen: SearchSpec, tmp_path: Path) -> None:
        found = opened(chosen, tmp_path / "home", fake)
        found.search.stop("a fault")
        assert found.prepare() == []
        assert not found.folder.exists()

    def test_a_lost_folder_is_prepared_again(self, chosen: SearchSpec, tmp_path: Path) -> None:
        import shutil

        found = opened(chosen, tmp_path / "home", fake)
        found.prepare()
        shutil.rmtree(found.folder)
        found.prepare()
        first, second = (step for step in found.search.preparations if step.state == "done")
        assert first.uid != second.uid
        assert second.seconds == found.state().seconds[found.search.uid]

    def test_an_evaluator_of_ones_own_is_prepared_from_python(self, spec: SearchSpec, tmp_path: Path) -> None:
        def own(fingerprint: str, folder: str = "own", **settings: Any) -> TableEvaluator:
            return TableEvaluator({}, str(tmp_path / folder), fingerprint, {"kind": "table", **settings}, {"seed": 0})

        few, ledger = changed(spec), tmp_path / "mine.db"
        told: list[str] = []
        search = ps.run(few, evaluate=own("six rows"), ledger=ledger, notify=told.append)
        assert told[0].startswith("preparing TableEvaluator: 17%, row 0")
        assert len(search.evaluations) == 4
        assert [(step.kind, step.state) for step in search.preparations] == [
            ("TableEvaluator", "running"),
            ("TableEvaluator", "done"),
        ]
        told.clear()
        assert len(ps.run(few, evaluate=own("six rows"), ledger=ledger, notify=told.append).evaluations) == 4
        assert told == []
        with pytest.raises(PreparationError, match=r"a folder is for one preparation.* has that of 'six rows'"):
            ps.run(few, evaluate=own("five rows", rows=5), ledger=ledger, name="other")
        five = ps.run(few, evaluate=own("five rows", "five", rows=5), ledger=ledger, name="five")
        assert five.answered == 0

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")
    def test_commands_prepare_it_show_it_and_say_why_not(self, run_cli: Cli, tmp_path: Path) -> None:
        pytest.importorskip("mmdet")
        evaluator = {"kind": "table", "fail_at": 2}
        spec = ps.load("quickstart", evaluator=evaluator, budget={"trials": 6}, sampler="random")
        (tmp_path / "space.yaml").write_text(space_file(spec.model_dump(mode="json")), encoding="utf-8")
        typed = ("run", "space.yaml", "--on", "local", "--mlflow", "none")
        failed = run_cli(*typed)
        assert failed.code == 2
        assert "error: the evaluator table was not prepared: ValueError: a row is missing" in failed.err
        assert "run the same command again: it goes on where it stopped" in failed.err
        assert "evaluator table: failed" in run_cli("show", "quickstart").out
        (folder,) = (tmp_path / "runs" / "prepared").iterdir()
        (folder / "mended").touch()
        assert run_cli(*typed).code == 0
        assert (folder / "log.txt").read_text(encoding="utf-8").split() == ["0", "1", "2", "3", "4", "5"]
        shown = run_cli("show", "quickstart").out
        assert "quickstart: 6 done, 0 failed, 0 unfinished" in shown
        assert "evaluator table: done in" in shown
        (status,) = json.loads(run_cli("show", "quickstart", "--json").out)["preparations"][-1:]
        assert (status["kind"], status["state"]) == ("table", "done")
        audit = run_cli("audit", "quickstart", "--designs", "1", "--on", "local", "--mlflow", "none", "--epochs", "3")
        assert audit.code == 0
        assert " measurements in" in audit.out
        assert len((folder / "log.txt").read_text(encoding="utf-8").split()) == 6, "its proxies use what is prepared"


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("cluster")
class TestTableOnRay:
    @pytest.fixture(autouse=True)
    def _registered(self) -> Iterator[None]:
        with table_evaluator.registered():
            yield

    def test_a_preparation_goes_on_after_the_death_of_its_process(self, spec: SearchSpec, tmp_path: Path) -> None:
        dying = changed(spec, evaluator={"kind": "table", "die_at": 3, "seconds": 0.5})
        found = opened(dying, tmp_path / "home", fake, on=Place.RAY)
        drive, _, _ = runner(Place.RAY, None, dying, tmp_path / "home")
        told: list[str] = []
        evaluators.prepared_first(drive, found.preparation, told.append)(found.search, found.work, lambda: None)
        assert told[0].startswith("preparing table: ")
        assert (found.folder / "died").exists()
        assert (found.folder / "log.txt").read_text(encoding="utf-8").split() == ["0", "1", "2", "3", "4", "5"]
        assert [step.state for step in found.search.preparations] == ["running", "done"]
        assert found.search.preparations[-1].seconds > 2.5
        assert len(found.search.evaluations) == 4
        assert found.search.failures == []

    def test_a_process_that_always_dies_is_one_clear_error(self, spec: SearchSpec, tmp_path: Path) -> None:
        dying = changed(spec, evaluator={"kind": "table", "die_at": 3}, resources={"retries": 0})
        found = opened(dying, tmp_path / "home", fake, on=Place.RAY)
        with pytest.raises(PreparationError, match=r"Ray gave up after 1 attempts .*it goes on where it stopped"):
            found.prepare()
        found.prepare()
        assert [step.state for step in found.search.preparations] == ["running", "failed", "running", "done"]


def test_the_registered_classes_are_evaluators() -> None:
    assert imported(EVALUATORS["stand_alone"]) is StandAloneEvaluator
    assert set(EVALUATORS) == {"stand_alone", "shared"}
    pytest.importorskip("torch")
    shared = imported(EVALUATORS["shared"])({"settings": {}}, "folder", "fingerprint", {"kind": "shared"}, {})
    assert isinstance(shared, PreparingEvaluator)
    assert isinstance(StandAloneEvaluator({}), Evaluator)
    assert not isinstance(StandAloneEvaluator({}), PreparingEvaluator)
