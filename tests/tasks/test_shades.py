"""A task that lives in the tests alone: what a further task has to touch outside of its own folder."""

import json
from pathlib import Path
from typing import Any

import pytest

import piip_search as ps
from piip_dashboards.tasks import DRAWINGS
from piip_search.api.page_actions import write_examples
from piip_search.api.train import prepare_training, train_in_full
from piip_search.architecture import Architecture
from piip_search.config import SpecError, load_spec, parse_spec
from piip_search.config.yaml_file import write_yaml
from piip_search.errors import UserError
from piip_search.ledger import Ledger
from piip_search.search.plan import make_plan
from piip_search.tasks import TASKS, Head
from piip_workers.tasks import WORKERS
from support.task_contract import TaskCase, TaskContract

torch = pytest.importorskip("torch")

from shades.task import Shades  # noqa: E402
from shades.worker import ShadesDrawing, ShadesWorker  # noqa: E402

SPACE: dict[str, Any] = {
    "name": "grey",
    "task": "shades",
    "space": {
        "backbones": ["vit_nano", "vit_pico"],
        "resolutions": [32, 64],
        "windows": ["global"],
        "interactions": [0, 2],
        "branches": [1, 2],
    },
    "limit": {"gmacs": [0.05], "convention": "whole"},
    "budget": {"trials": 3},
    "fidelity": {"epochs": 2},
    "data": {"embedded": "grey"},
    "training": {"images": 16, "batch_size": 4, "learning_rate": 1e-3},
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The three lines of a task."""
    monkeypatch.setitem(TASKS, "shades", Shades())
    monkeypatch.setitem(WORKERS, "shades", ShadesWorker())
    monkeypatch.setitem(DRAWINGS, "shades", ShadesDrawing())


def counted(head: Head, design: Architecture) -> tuple[int, int]:
    """The linear layer of a network that is built."""
    from shades.training import made
    from support.counting import counted_macs, parameters

    linear = made(design, 0).linear
    return counted_macs(linear, torch.zeros(1, design.merged[0][0])), parameters(linear)


class TestShades(TaskContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> TaskCase:
        (tmp_path / "bright.json").write_text(json.dumps({"one.png": 0.5, "two.png": 255}), encoding="utf-8")
        bad = (
            ({"root": str(tmp_path), "shades": "dark.json"}, "there is no"),
            ({"root": str(tmp_path), "shades": "bright.json"}, "must be from 0 to 1, got 255 of two.png"),
        )
        return TaskCase("shades", SPACE, bad, "vit_nano@32:g+vit_pico@64:g*2", 6, counted)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "grey.yaml"
    path.write_text(write_yaml(SPACE), encoding="utf-8")
    return path


def test_a_file_selects_the_sections_of_its_task(file: Path) -> None:
    spec = load_spec(file)
    assert (spec.task, spec.metric, spec.training.images) == ("shades", "closeness", 16)  # type: ignore[attr-defined]
    assert "shades" in ps.list_tasks()
    with pytest.raises(SpecError, match=r"training\.detector: unknown key"):
        parse_spec({**SPACE, "training": {"detector": "retinanet"}})
    with pytest.raises(SpecError, match=r"training\.images must be at least 2, got 1; give more"):
        parse_spec({**SPACE, "training": {"images": 1}})
    with pytest.raises(SpecError, match="metric: unknown metric 'bbox_mAP' of the task shades"):
        parse_spec({**SPACE, "metric": "bbox_mAP"})
    with pytest.raises(SpecError, match="task: unknown task 'shade'; did you mean shades"):
        parse_spec({**SPACE, "task": "shade"})


def test_a_lower_metric_is_better_where_the_task_says_so() -> None:
    (axis,) = parse_spec({**SPACE, "metric": "distance"}).objectives.metrics
    assert (axis.rises, axis.best, axis.worst) == (False, 0.0, 1.0)


def test_a_task_whose_head_has_no_known_cost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(TASKS, "shades", Shades(heads={}))
    with pytest.raises(SpecError, match=r"limit\.convention whole needs a head of known cost, and the task shades has"):
        parse_spec(SPACE)
    spec = parse_spec({**SPACE, "limit": {"gmacs": [0.05], "convention": "backbone"}})
    assert spec.head is None
    plan = make_plan(spec, "grey.yaml", (16, 8), 1.0)
    assert plan.effort is not None
    assert plan.effort.mean_hours > 0


@pytest.fixture
def home(file: Path, tmp_path: Path) -> Path:
    """A home with a search of three trials."""
    home = tmp_path / "runs"
    run = ps.run(ps.load(file), home=home)
    assert [evaluation.error for evaluation in run.evaluations] == ["", "", ""]
    assert ps.front(run)
    assert 0 < ps.best(run).value <= 1
    return home


@pytest.mark.slow
def test_from_a_space_file_to_a_full_training(home: Path, tmp_path: Path) -> None:
    design = ps.export_design("grey", "best", tmp_path / "out", home=home)
    assert design.proof.failures == []
    assert "builds and trains a step" in design.proof.checks[-1].name
    assert {path.name for path in design.folder.iterdir()} >= {"shades.json", "README.md", "weights.pth"}
    assert json.loads((design.folder / "provenance.json").read_text(encoding="utf-8"))["task"] == "shades"
    outcome = train_in_full(prepare_training(design.folder))
    assert outcome.value is not None
    assert outcome.epochs == 3
    with pytest.raises(UserError, match="the task shades has no format mmdet; choose shades"):
        ps.export_design("grey", "best", tmp_path / "other", home=home, formats=["mmdet"])


@pytest.mark.slow
def test_pages_and_reports_draw_it(home: Path) -> None:
    pytest.importorskip("fastapi")
    from piip_dashboards.runs.examples import trial_with_checkpoint
    from support.sites import site_of

    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    site = site_of(ledger, home)
    reading = site.service.reading("grey")
    for design in reading.designs.values():
        trained = trial_with_checkpoint(home, "grey", reading.record.recipe, design)
        assert trained is not None
        write_examples("shades", trained[1], lambda line: None)
        page = f"/search/grey/design/{design.fingerprint}"
        assert "Shades of validation images" in site.client.get(page).text
        assert "a shade of 0.25" in site.client.get(f"{page}/part/examples").text
    ledger.close()
