"""A metric that falls, several metrics and the axes to choose from, as the pages show them."""

import itertools
import re

import pytest

from piip_dashboards.report import make_report
from piip_dashboards.views.choosing import choices
from piip_dashboards.views.compare import comparison
from piip_dashboards.views.design import design_view
from piip_dashboards.views.effects import effects_of
from piip_dashboards.views.overview import overview
from piip_dashboards.views.progress import progress_of
from piip_dashboards.views.table import design_table
from piip_search.analysis.audit import AuditPlan, audit_candidates
from piip_search.api.runs import report_source
from piip_search.evaluation.evaluation import Fidelity
from piip_search.search.policy import FixedPolicy
from piip_search.search.search import Search
from support.falling import METRIC, measured
from support.sites import Site

HTML = {"accept": "text/html"}


def worse_members(values: list[float]) -> list[bool]:
    """Whether each dearer member of a front is no better than the one before: none may be."""
    return [later >= earlier for earlier, later in itertools.pairwise(values)]


def test_the_least_is_the_best(falling: Site) -> None:
    reading = falling.service.reading("small")
    found = overview(reading, None, falling.service.now())
    values = [e.metrics[METRIC] for e in reading.representatives]
    assert found.tiers[-1].best is not None
    assert found.tiers[-1].best.value == min(values)
    assert found.rungs[-1].best == min(values)
    assert progress_of(reading).tiers[-1].best[-1] == min(values)
    front = [member.value for member in found.tiers[-1].front]
    assert len(front) > 1
    assert not any(worse_members(front))
    answers = choices(reading, None, 0.01)
    assert answers.best is not None
    assert answers.best.member.value == min(values)


def test_a_table_is_ranked_by_what_is_better(falling: Site) -> None:
    reading = falling.service.reading("small")
    table = design_table(reading, METRIC, "backbone", "gmacs")
    assert table.rises is False
    assert design_table(reading, "closeness", "backbone", "gmacs").rises is True
    members = sorted(
        (paid, value) for paid, value, there in zip(table.paid, table.value, table.front, strict=True) if there
    )
    assert not any(worse_members([value for _, value in members if value is not None]))
    closeness = design_table(reading, "closeness", "backbone", "gmacs")
    assert table.front == closeness.front


def test_designs_are_ranked_and_compared_by_what_is_better(falling: Site) -> None:
    reading = falling.service.reading("small")
    best = min(reading.representatives, key=lambda e: e.metrics[METRIC]).candidate.design
    worst = max(reading.representatives, key=lambda e: e.metrics[METRIC]).candidate.design
    view = design_view(reading, reading.designs[best.fingerprint])
    assert view.rank == 0
    assert view.rises is False
    assert all(one.gain <= 0 for one in view.near if one.gain is not None)
    rows = comparison(reading, [worst.fingerprint, best.fingerprint]).rows
    assert next(row for row in rows if row.title.startswith(METRIC)).best == 1
    page = falling.client.get(f"/search/small/design/{best.fingerprint}", headers=HTML).text
    assert "Better by" in page
    assert "Against this" not in page


def test_differences_say_their_direction(falling: Site) -> None:
    """More pixels are better in the fakes: a larger image gains in both metrics, of which one falls."""
    reading = falling.service.reading("small")
    found = effects_of(reading)
    assert found.gained == "reduction of distance"
    larger = [e for e in found.effects if e.choice == "image size" and e.count > 1]
    assert larger
    assert all(effect.gain.value > 0 for effect in larger)
    page = falling.client.get("/search/small/part/effects", headers=HTML).text
    assert "Less ← reduction of distance → more" in page
    evidence = choices(reading, None, 0.01).knee
    assert evidence is not None
    lines = [line for line in evidence.evidence if line.startswith("the next")]
    assert lines
    for line in lines:
        dearer = line.startswith("the next dearer")
        assert re.search(r"front: [+-]0\.\d{4} reduction of distance for", line)
        assert ("+0." in line) is dearer


def test_a_report_says_the_direction(falling: Site) -> None:
    html = pytest.importorskip("piip_dashboards.report.html", exc_type=ImportError)
    report = make_report(report_source(falling.ledger, "small"), 0.05)
    values = [e.metrics[METRIC] for e in falling.service.reading("small").representatives]
    assert report.best.value == min(values)
    page = html.html_page(report)
    assert '<th class="number">reduction of distance</th>' in page
    assert "reduction of distance gained" in page
    assert "less distance against fewer GMACs" in page


def test_an_audit_ranks_by_merit(falling: Site) -> None:
    """The fake measures the same at any length: the proxy ranks perfectly, and more pixels cost more."""
    history = falling.service.reading("small").history
    plan = AuditPlan(8, 1, Fidelity(epochs=36))
    tiers = history.tiers
    candidates = audit_candidates(history.finished, history.objectives, tiers, plan)
    uid = falling.ledger.search("small").uid
    name = plan.run_name("small")
    policy = FixedPolicy(candidates)
    search = Search(name, history.spec, policy, falling.ledger, "recipe", question=plan.digest, audit_of=uid)
    while (candidate := search.propose()) is not None:
        search.accept(measured(candidate))
    (audit,) = make_report(report_source(falling.ledger, "small"), 0.05).audits
    figures = audit.tiers[-1].figures
    assert figures is not None
    assert figures.proxy.value == pytest.approx(1)
    assert all(cost.tau.value > 0 for cost in figures.costs if cost.noun == "MACs")


def test_the_axes_to_choose_are_those_of_the_search_first(falling: Site, past: Site) -> None:
    page = falling.client.get("/search/small/part/axes", headers=HTML).text
    selects = dict(re.findall(r'<select name="(\w+)">(.*?)</select>', page, re.S))
    offered = {name: re.findall(r'<option value="(\w+)">', options) for name, options in selects.items()}
    assert offered["metric"] == [METRIC, "closeness"]
    assert offered["axis"] == ["gmacs", "mparams", "training_gib", "training_gb", "inference_gb", "hours"]
    assert offered["convention"] == ["backbone", "published", "whole"]
    for axis in offered["axis"]:
        for metric in offered["metric"]:
            table = falling.client.get(f"/api/searches/small/designs?metric={metric}&axis={axis}").json()
            assert (table["metric"], table["axis"]) == (metric, axis)
            assert any(table["front"])
    detection = past.client.get("/search/big/part/axes", headers=HTML).text
    assert '<option value="bbox_mAP_s">bbox_mAP_s: box AP, small</option>' in detection


def test_metrics_have_their_titles_beside_their_names(past: Site, falling: Site) -> None:
    for part in ("summary", "fronts", "rungs"):
        assert '<abbr title="box AP">bbox_mAP</abbr>' in past.client.get(f"/search/big/part/{part}", headers=HTML).text
    name = past.service.reading("big").representatives[0].candidate.design.fingerprint
    assert '<abbr title="box AP">bbox_mAP</abbr>' in past.client.get(f"/search/big/design/{name}", headers=HTML).text
    assert past.client.get("/api/searches/big/designs").json()["titles"]["bbox_mAP"] == "box AP"
    # A title that says no more than the name is not repeated.
    assert "<abbr" not in falling.client.get("/search/small/part/summary", headers=HTML).text
