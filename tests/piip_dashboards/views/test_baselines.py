"""Baselines beside the front, in every place that shows a run."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from piip_dashboards.report import make_report
from piip_dashboards.report.charts import charts, front_chart
from piip_dashboards.report.html import html_page
from piip_dashboards.report.markdown import markdown_page
from piip_search.api.runs import report_source
from piip_search.architecture import Architecture
from piip_search.architecture.stock import StockNetwork
from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.ledger import Ledger
from piip_search.search.baselines import open_baselines
from piip_search.search.search import open_search
from piip_workers.runners import local
from support import fakes
from support.sites import Site, site_of
from support.typed import Cli

STOCK = StockNetwork("library::some.py", 64, "some_net", macs=15_000_000, params=2_000_000)
DEAR = StockNetwork("library::<b>.py", 64, "<b>|net", macs=900_000_000, params=2_000_000)
DESIGN = Architecture.parse("vit_pico@128:g")


class Beside(NamedTuple):
    site: Site
    home: Path
    name: str


def measured(candidate: Candidate) -> Evaluation:
    if candidate.design == DEAR:
        return Evaluation(candidate, "failed", error="MemoryError: full")
    if candidate.design == STOCK:
        return Evaluation(candidate, "done", {"bbox_mAP": 0.123})
    return fakes.measure(candidate)


@pytest.fixture
def beside(spec: SearchSpec, tmp_path: Path) -> Beside:
    home = tmp_path / "runs"
    home.mkdir()
    ledger = Ledger(f"sqlite:///{home}/ledger.db")
    search = open_search("small", spec, ledger, "recipe")
    local.run(search, fakes.measure)
    found = open_baselines(search, [STOCK, DESIGN, DEAR], ledger)
    local.run(found, measured)
    return Beside(site_of(ledger, home), home, found.run)


def test_the_terminal_shows_them_below_the_front(beside: Beside, run_cli: Cli) -> None:
    where = ("--home", str(beside.home))
    for command in ("show", "front"):
        shown = run_cli(command, "small", *where).out
        assert re.search(r"0\.1230 +0\.015 +2 +some_net@64 +stock network, random weights", shown)
        assert re.search(r"failed +0\.9 +2 +<b>\|net@64 +stock network, random weights: MemoryError: full", shown)
        assert "within 0.06 G the best design is" in shown
        content = json.loads(run_cli(command, "small", "--json", *where).out)
        assert [one["baseline"] for one in content["baselines"]] == ["some_net@64", DESIGN.name, "<b>|net@64"]
        assert [one["tier"] for one in content["compared"]] == [0.02, 0.06]
        assert content["compared"][0]["lead"]["low"] is None
    assert "some_net" not in run_cli("front", "small", "--cost", "mparams", *where).out
    # Their own run can be looked at, and is neither examined nor reported nor exported.
    own = run_cli("show", beside.name, *where).out
    assert "some_net@64" in own
    assert "learnt" not in own
    assert run_cli("report", beside.name, "-o", "own.md", *where).code == 2
    exported = run_cli("export", beside.name, STOCK.fingerprint, "-o", "own", *where)
    assert exported.code == 2
    assert "some_net@64 is a stock network, which no export writes" in exported.err


def test_the_report_begins_with_the_comparison(beside: Beside) -> None:
    report = make_report(report_source(beside.site.ledger, "small"), 0.05)
    assert len(report.compared) == 2
    assert report.audits == ()
    first = report.compared[0].said
    page, text = html_page(report), markdown_page(report, "files")
    lead = re.search(r'<p class="lead">([^<]*)', page)
    assert lead is not None
    assert lead[1].startswith(first[:1].upper() + first[1:40])
    assert text.split("UTC.\n\n")[1].startswith("Within 0.02 G the best design is ")
    for written in (page, text):
        assert "some_net@64" in written
        assert "<b>|net" not in written
    assert json.loads(json.dumps(report.to_dict()))["baselines"][0]["name"] == "some_net@64"
    assert "baselines (2)" in charts(report)["front"]
    assert front_chart(report).baselines[0] == (0.015, 0.123)


def test_the_dashboard_shows_them_beside_the_front(beside: Beside) -> None:
    client, html = beside.site.client, {"headers": {"accept": "text/html"}}
    part = client.get("/search/small/part/fronts", **html).text
    assert "some_net@64" in part
    assert "<b>|net" not in part
    assert "Within 0.06 G the best design is" in part
    content = client.get("/api/searches/small").json()
    assert [one["state"] for one in content["baselines"]] == ["done", "done", "failed"]
    assert len(content["compared"]) == 2
    points = client.get("/api/searches/small/designs").json()["baselines"]
    assert (points[0]["name"], points[0]["paid"]) == ("some_net@64", 0.015)
    assert len(points) == 2
    assert len(client.get("/api/searches/small/designs?axis=mparams").json()["baselines"]) == 2
    assert client.get("/api/searches/small/designs?axis=hours").json()["baselines"] == []
    assert client.get("/api/searches/small/designs?convention=published").json()["baselines"] == []
    # They are no search of their own here.
    assert [one["run"] for one in client.get("/api/searches").json()["searches"]] == ["small"]
    assert client.get(f"/api/searches/{beside.name}").status_code == 409


def test_a_search_without_baselines_says_nothing_of_them(spec: SearchSpec, tmp_path: Path, run_cli: Cli) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    local.run(open_search("small", spec, ledger, "recipe"), fakes.measure)
    assert "baseline" not in run_cli("show", "small", "--home", str(tmp_path)).out
    assert "baselines" not in json.loads(run_cli("front", "small", "--json", "--home", str(tmp_path)).out)
    report = make_report(report_source(ledger, "small"), 0.05)
    assert "Baselines" not in html_page(report)
    assert report.baselines == report.compared == ()
