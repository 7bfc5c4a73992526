"""What an evaluator prepares, in every place that shows a run."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from piip_dashboards.report import make_report
from piip_dashboards.views.overview import overview
from piip_dashboards.views.parents import parent_views
from piip_search.api.runs import history_of, report_source
from piip_search.config import SearchSpec, parse_spec
from piip_search.ledger import Ledger, PreparationRecord, PreparationSummary
from piip_workers.jobs.job import Work
from piip_workers.runners import local
from support import table_evaluator
from support.contracts import OpenEvaluator, opened
from support.sites import site_of
from support.typed import Cli


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with table_evaluator.registered():
        yield


@pytest.fixture
def on_a_gpu(spec: SearchSpec, tmp_path: Path) -> OpenEvaluator:
    """A search whose evaluator prepares a table on a GPU, before its first candidate."""
    changes = {"sampler": "random", "budget": {"trials": 4}, "resources": {"gpu": 1}}
    evaluator = {"kind": "table", "rows": 3, "seconds": 0.4}
    content = {**spec.model_dump(mode="json"), **changes, "evaluator": evaluator}
    return opened(parse_spec(content), tmp_path / "runs", lambda spec, home, search: Work("support.fakes:measure"))


def test_a_preparation_is_shown_and_its_gpu_time_is_counted(
    on_a_gpu: OpenEvaluator, run_cli: Cli, tmp_path: Path
) -> None:
    search, home = on_a_gpu.search, tmp_path / "runs"
    ledger = Ledger(f"sqlite:///{home}/ledger.db")
    site = site_of(ledger, home)
    assert overview(site.service.reading("run"), None, site.service.now()).preparation is None
    on_a_gpu.prepare()
    prepared = sum(step.gpu_seconds for step in search.preparations)
    assert prepared > 1
    young = overview(site.service.reading("run"), None, site.service.now())
    assert young.preparation == PreparationSummary("table", "done", "", prepared, prepared)
    assert young.hours == pytest.approx(prepared / 3600)
    local.run(search, on_a_gpu.work)
    spent = history_of(ledger, "run").gpu_seconds
    assert spent == pytest.approx(prepared + 4 * 0.5)
    reading = site.service.reading("run")
    assert overview(reading, None, site.service.now()).hours == pytest.approx(spent / 3600)
    assert reading.hours[0] == pytest.approx((prepared + 0.5) / 3600)
    summary = site.client.get("/search/run/part/summary", headers={"accept": "text/html"}).text
    assert re.search(r"<dt>Evaluator table</dt><dd [^>]*>prepared <span [^>]*>in \d s, \d s of GPU time", summary)
    assert site.client.get("/api/searches/run").json()["preparation"]["state"] == "done"
    facts = {fact.name: fact.value for fact in make_report(report_source(ledger, "run"), 0.05).spent}
    assert re.fullmatch(r"table: done, \d s, \d s of GPU time", facts["Preparation of the evaluator"])
    assert facts["GPU time"] == f"{spent:.0f} s"
    shown = run_cli("show", "run", "--home", str(home)).out
    assert re.search(r"evaluator table: done in 0:0\d, 0:0\d of GPU time", shown)
    ledger.close()


def test_a_preparation_without_a_driver_is_interrupted() -> None:
    steps = [
        PreparationRecord("table", "0", "running"),
        PreparationRecord("table", "0", "failed", error="no", seconds=2.0, gpu_seconds=1.0),
    ]
    assert PreparationSummary.of(steps, False) == PreparationSummary("table", "failed", "no", 2.0, 1.0)
    again = [*steps, PreparationRecord("table", "0", "running")]
    assert PreparationSummary.of(again, False) == PreparationSummary("table", "interrupted", "", 2.0, 1.0)
    for driven in (True, None):
        found = PreparationSummary.of(again, driven)
        assert found is not None
        assert found.state == "running"
    assert PreparationSummary.of([], True) is None


PARENT = {
    "steps": 1200,
    "losses": {"0": {"96": 2.0, "128": 2.5}, "10": {"96": 1.2}, "19": {"96": 1.0, "128": 1.5}},
    "passes": {"B/vit_nano": 900, "I/vit_nano-vit_pico": 450, "D/detector": 2400},
    "gates": {"I/vit_nano-vit_pico": 0.0123},
    "skipped": {"vit_nano@96:g": 2},
}


def test_what_a_parent_learnt_is_shown() -> None:
    (parent,) = parent_views(
        [PreparationRecord("shared", "d", "done", facts={"parents": {"vit_nano+vit_pico": PARENT}})]
    )
    assert (parent.name, parent.steps, parent.skipped, parent.more) == ("vit_nano+vit_pico", 1200, 2, 0)
    assert [(curve.resolution, curve.losses) for curve in parent.curves] == [
        (96, [2.0, 1.2, 1.0]),
        (128, [2.5, None, 1.5]),
    ]
    assert parent.curves[0].points(100, 10) == "0.0,0.0 52.6,8.0 100.0,10.0"
    assert parent.curves[1].points(100, 10) == "0.0,0.0 100.0,10.0"
    told = [(part.name, part.batches, part.gate) for part in parent.parts]
    assert told == [
        ("interactions vit_nano-vit_pico", 450, 0.0123),
        ("backbone vit_nano", 900, None),
        ("rest of the network", 2400, None),
    ]


@pytest.mark.parametrize(
    "parents", [None, 3, [], {"a": 1}, {"a": {**PARENT, "losses": {"x": {}}}}, {"a": {"steps": 1}}]
)
def test_facts_that_cannot_be_read_show_no_parent(parents: object) -> None:
    assert parent_views([PreparationRecord("shared", "d", "done", facts={"parents": parents})]) == []


def test_the_page_draws_parents(on_a_gpu: OpenEvaluator, tmp_path: Path) -> None:
    on_a_gpu.prepare()
    done = on_a_gpu.search.preparations[-1]
    on_a_gpu.search.note_preparation(replace(done, facts={"parents": {"vit_nano+vit_pico": PARENT}}))
    site = site_of(Ledger(f"sqlite:///{tmp_path}/runs/ledger.db"), tmp_path / "runs")
    page = site.client.get("/search/run/part/rungs", headers={"accept": "text/html"}).text
    assert "Parent vit_nano+vit_pico" in page
    assert page.count("<polyline") == 2
    assert "2 batches without a step" in page
