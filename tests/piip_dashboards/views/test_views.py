"""What is shown is what the ledger holds."""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from piip_dashboards.runs.differences import at_least, differences
from piip_dashboards.runs.run_cache import RunCache
from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.runs.run_state import expected_evaluations, state_of
from piip_dashboards.views.choosing import choices
from piip_dashboards.views.compare import comparison
from piip_dashboards.views.design import design_view
from piip_dashboards.views.effects import effects_of
from piip_dashboards.views.overview import overview
from piip_dashboards.views.progress import progress_of
from piip_dashboards.views.table import design_table
from piip_search.api.runs import history_of
from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, parse_spec
from piip_search.cost import memory, price
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.facts import Facts
from piip_search.evaluation.objectives import Objectives, finished, pareto_front
from piip_search.ledger import Ledger
from piip_search.search.search import open_search
from support import fakes, ledgers, small_ledger
from support.four_objectives import drive, four_of
from support.sites import Site, site_of

NOW = datetime.now(UTC)


@pytest.fixture
def plain(tmp_path: Path, spec: SearchSpec) -> Iterator[Site]:
    """A search of one seed, interrupted with two candidates under way."""
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledgers.fill(ledger, spec, most=9, at_once=3)
    yield site_of(ledger, tmp_path)
    ledger.close()


@pytest.fixture
def reading(past: Site) -> RunSnapshot:
    return past.service.reading("big")


def test_fronts_are_those_of_the_ledger(plain: Site) -> None:
    history = history_of(plain.ledger, "small")
    found = overview(plain.service.reading("small"), None, NOW)
    for tier, front in zip(found.tiers, history.fronts, strict=True):
        assert tier.hypervolume == front.hypervolume
        assert [member.trial for member in tier.front] == [e.candidate.number for e in front.evaluations]
        best = history.objectives.value(front.best) if front.best else None
        assert (tier.best and tier.best.value) == best
    assert (found.done, found.failures, found.under_way) == (9, 0, 2)


def test_progress_follows_the_snapshots_of_the_ledger(plain: Site) -> None:
    progress = progress_of(plain.service.reading("small"))
    snapshots = plain.ledger.front_snapshots("small")
    for tier in progress.tiers:
        kept = [snapshot.hypervolume for snapshot in snapshots if snapshot.tier == tier.cost]
        assert [volume for volume in dict.fromkeys(tier.hypervolume) if volume] == pytest.approx(kept)
        assert tier.evaluations[-1] == 9
        assert tier.hours[-1] == pytest.approx(
            sum(e.seconds for e in plain.ledger.evaluations("small")) / 3600, abs=1e-4
        )


def test_seeds_of_a_design_are_averaged(past: Site, reading: RunSnapshot) -> None:
    seeds: dict[str, list[float]] = {}
    for evaluation in finished(past.ledger.evaluations("big"), reading.spec.rungs[-1]):
        if evaluation.status == "done":
            seeds.setdefault(evaluation.candidate.design.fingerprint, []).append(evaluation.metrics["bbox_mAP"])
    replicated = {name: values for name, values in seeds.items() if len(values) > 1}
    assert len(replicated) == 3
    table = design_table(reading, "bbox_mAP", "published", "gmacs")
    for name, values in seeds.items():
        row = table.fingerprint.index(name)
        assert table.value[row] == pytest.approx(statistics.fmean(values))
        assert table.seeds[row] == len(values)
        assert table.deviation[row] == (pytest.approx(statistics.stdev(values)) if len(values) > 1 else None)
    means = [
        replace(e, metrics={"bbox_mAP": statistics.fmean(seeds[e.candidate.design.fingerprint])})
        for e in reading.representatives
    ]
    front = pareto_front(means, reading.objectives, reading.tiers[-1])
    on_front = {name for name, there in zip(table.fingerprint, table.front, strict=True) if there}
    assert on_front == {e.candidate.design.fingerprint for e in front.evaluations}
    assert progress_of(reading).tiers[-1].hypervolume[-1] == pytest.approx(front.hypervolume)


def test_one_evaluation_of_several_seeds_shows_each(reading: RunSnapshot) -> None:
    design = next(design for design in reading.designs.values() if len(design.whole) == 1)
    (whole,) = design.whole
    fidelity = replace(whole.candidate.fidelity, seeds=3)
    values = [0.1, 0.2, 0.6]
    averaged = replace(
        whole,
        candidate=replace(whole.candidate, fidelity=fidelity),
        metrics={"bbox_mAP": 0.3},
        facts=Facts(seeds={str(seed): {"bbox_mAP": value} for seed, value in enumerate(values)}),
    )
    shown = replace(design, evaluations=(averaged,), rungs=(fidelity,))
    assert shown.values("bbox_mAP") == values
    assert shown.value("bbox_mAP") == pytest.approx(0.3)
    assert shown.deviation("bbox_mAP") == pytest.approx(statistics.stdev(values))
    for facts in ({}, {"seeds": "no"}, {"seeds": {"0": {"bbox_mAP": 0.1}, "1": 5}}):
        silent = replace(shown, evaluations=(replace(averaged, facts=Facts.from_dict(facts)),))
        assert (silent.values("bbox_mAP"), silent.deviation("bbox_mAP")) == ([0.3], None)


@pytest.mark.parametrize("convention", ["published", "backbone", "whole"])
def test_costs_on_any_axis_are_those_of_the_cost_model(reading: RunSnapshot, convention: str) -> None:
    detector = reading.spec.head
    for paid in ("gmacs", "mparams", "training_gb", "inference_gb"):
        table = design_table(reading, "bbox_mAP_50", convention, paid)  # type: ignore[arg-type]
        for row in (0, len(table.number) // 2):
            architecture = Architecture.parse(table.architecture[row])
            cost = price(architecture, convention, head=detector)  # type: ignore[arg-type]
            needed = memory(architecture, convention, head=detector)  # type: ignore[arg-type]
            expected = {
                "gmacs": cost.gmacs,
                "mparams": cost.mparams,
                "training_gb": needed.training / 1e9,
                "inference_gb": needed.inference / 1e9,
            }
            assert table.paid[row] == pytest.approx(expected[paid])
        assert bool(table.tiers) is (convention == "published" and paid == "gmacs")
    hours = design_table(reading, "bbox_mAP", convention, "hours")  # type: ignore[arg-type]
    whole = next(e for e in reading.representatives if not e.facts.answered_from)
    row = hours.fingerprint.index(whole.candidate.design.fingerprint)
    assert hours.paid[row] == pytest.approx(60 * (2 + 6 + 18) / 3600)


def test_the_papers_designs_lie_beside_metrics_of_theirs_alone(reading: RunSnapshot) -> None:
    known = {one.architecture: one for one in design_table(reading, "bbox_mAP", "published", "gmacs").published}
    tsb = known["vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"]
    assert tsb.paid == pytest.approx(453, abs=1)
    assert tsb.value == pytest.approx(0.466, abs=0.004)
    assert design_table(reading, "bbox_mAP_s", "published", "gmacs").published == []


def test_rungs_count_what_went_on(past: Site, reading: RunSnapshot) -> None:
    rungs = overview(reading, None, NOW).rungs
    assert [rung.epochs for rung in rungs] == [2, 6, 18]
    promotions = past.ledger.promotions("big")
    assert [rung.promoted for rung in rungs[:2]] == [sum(p.rung == place for p in promotions) for place in (1, 2)]
    assert sum(rung.measured + rung.failed + rung.running for rung in rungs) == len(reading.history.candidates)
    assert sum(rung.failed for rung in rungs) == len(reading.history.failed) > 0


def test_failures_are_counted_by_kind_and_machine(reading: RunSnapshot) -> None:
    found = overview(reading, None, NOW)
    assert sum(kind.count for kind in found.kinds) == found.failures
    assert [worker.host for worker in found.workers] == ["node-0", "node-1", "node-2"]
    assert sum(worker.done + worker.failed for worker in found.workers) == found.done + found.failures


def test_a_reading_goes_on_from_where_it_was(tmp_path: Path, spec: SearchSpec) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    site = site_of(ledger, tmp_path)
    search = open_search("small", spec, ledger, "recipe")
    assert overview(site.service.reading("small"), True, NOW).state.name == "running"
    while (candidate := search.propose()) is not None:
        before = site.service.reading("small")
        assert list(before.unfinished) == [candidate]
        assert site.service.reading("small") is before
        search.accept(fakes.measure(candidate))
    now = site.service.reading("small")
    assert now.evaluations == ledger.evaluations("small")
    assert [event.position for event in now.events] == list(range(1, 25))
    assert now.fronts == history_of(ledger, "small").fronts
    ledger.close()


def test_states(plain: Site, past: Site, tmp_path: Path, spec: SearchSpec) -> None:
    cut, whole = plain.service.reading("small"), past.service.reading("big")
    later = cut.last_at + timedelta(hours=3)
    assert state_of(whole, False, NOW).name == "finished"
    assert "the budget of trials is spent" in state_of(whole, False, NOW).reason
    assert state_of(cut, True, cut.last_at).name == "running"
    assert state_of(cut, False, cut.last_at).name == "stopped"
    assert state_of(cut, None, cut.last_at).name == "running"
    assert [state_of(cut, driven, later).name for driven in (True, False, None)] == ["stalled", "stopped", "stalled"]
    assert "3 h" in state_of(cut, True, later).reason
    ledger = Ledger(f"sqlite:///{tmp_path}/states.db")
    search = open_search("bad", spec, ledger, "recipe")
    shelf = site_of(ledger, tmp_path).service
    assert state_of(shelf.reading("bad"), False, NOW).name == "empty"
    for _ in range(3):
        candidate = search.propose()
        assert candidate is not None
        search.accept(Evaluation(candidate, "failed", error="no disk"))
    assert state_of(shelf.reading("bad"), False, NOW).name == "failed"
    ledger.close()


def test_a_target_ends_a_search(tmp_path: Path, spec: SearchSpec) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    easy = spec.model_copy(update={"budget": spec.budget.model_validate({"trials": 12, "target": "best >= 0.1"})})
    ledgers.fill(ledger, easy)
    reading = site_of(ledger, tmp_path).service.reading("small")
    assert len(reading.evaluations) < 12
    assert state_of(reading, False, NOW).reason == "the target is reached"
    ledger.close()


def test_the_expected_evaluations_are_those_of_the_search(past: Site, reading: RunSnapshot) -> None:
    search = open_search("other", ledgers.published_spec(60), Ledger("sqlite://"), "recipe")
    replicates = 6
    assert abs(expected_evaluations(reading) - max(search.expected, len(reading.history.candidates))) <= replicates


def test_a_design_says_what_the_ledger_says(reading: RunSnapshot) -> None:
    best = max(reading.representatives, key=lambda e: e.metrics["bbox_mAP"])
    design = reading.designs[best.candidate.design.fingerprint]
    view = design_view(reading, design)
    assert view.value == pytest.approx(best.metrics["bbox_mAP"])
    assert [one.trial for one in view.evaluations] == [e.candidate.number for e in design.evaluations]
    assert {curve.label for curve in view.curves} >= {"seed 0, 18 epochs", "seed 1, 18 epochs", "seed 2, 18 epochs"}
    first = next(curve for curve in view.curves if curve.label == "seed 0, 18 epochs")
    assert first.epochs == list(range(1, 19))  # its rungs are one training
    for cost in view.costs:
        assert sum(part.gmacs for part in cost.groups) == pytest.approx(cost.gmacs)
        assert sum(part.share for part in cost.parts) == pytest.approx(1)
    assert view.rank == 0
    assert all(len(a.changes) <= len(b.changes) for a, b in zip(view.near, view.near[1:], strict=False))
    for near in view.near:
        assert near.changes == differences(design.architecture, Architecture.parse(near.architecture))


def test_the_nearest_designs_are_those_of_a_comparison_with_all(reading: RunSnapshot) -> None:
    for design in list(reading.designs.values())[::7]:
        own = reading.cost(design.architecture)
        all_others = []
        for other in reading.designs.values():
            changes = differences(design.architecture, other.architecture)
            assert at_least(design.architecture, other.architecture) <= len(changes)
            if changes:
                away = abs(reading.cost(other.architecture) - own)
                all_others.append((len(changes), not other.whole, away, other.fingerprint))
        nearest = [fingerprint for *_, fingerprint in sorted(all_others)[:12]]
        assert [near.fingerprint for near in design_view(reading, design).near] == nearest


def test_a_design_says_how_its_branches_attend(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    space = {"backbones": ["vit_s", "convnext_t"], "resolutions": [224, 448], "windows": ["14g3"], "branches": [2]}
    ledgers.fill(ledger, ledgers.published_spec(3, (), "third", space=space), most=1)
    reading = site_of(ledger, tmp_path).service.reading("third")
    found = design_view(reading, next(iter(reading.designs.values())))
    assert {branch.attention for branch in found.branches} == {"windows of 14, every 3rd block global", "convolutions"}
    ledger.close()


@pytest.mark.parametrize(
    ("one", "other", "changes"),
    [
        ("vit_b@448:w14+vit_s@672:w14*12", "vit_b@448:w14+vit_s@672:w14*12", []),
        (
            "vit_b@448:w14+vit_s@672:w14*12",
            "vit_b@448:w14+vit_s@896:w14*6",
            ["vit_s at 672 → 896 px", "interactions 12 → 6"],
        ),
        (
            "vit_b@448:w14+vit_s@672:w14*12",
            "vit_l@448:w14+vit_s@672:g*12",
            ["vit_b → vit_l", "vit_s attention w14 → g"],
        ),
        ("vit_b@448:w14", "vit_b@448:w14+vit_s@672:w14*3", ["with vit_s@672:w14"]),
        ("vit_b@448:w14+vit_s@672:w14*3", "vit_s@672:w14/linear", ["without vit_b@448:w14", "merge conv → linear"]),
    ],
)
def test_differences_in_words(one: str, other: str, changes: list[str]) -> None:
    assert differences(Architecture.parse(one), Architecture.parse(other)) == changes


def test_designs_side_by_side(reading: RunSnapshot) -> None:
    names = [e.candidate.design.fingerprint for e in reading.representatives[:3]]
    found = comparison(reading, [*names, names[0]])
    assert [design.fingerprint for design in found.designs] == names
    metric = found.rows[1]
    values = [design.value or 0.0 for design in found.designs]
    assert metric.values == [f"{value:.4f}" for value in values]
    assert metric.best == values.index(max(values))
    gmacs = next(row for row in found.rows if row.title == "GMACs (published)")
    costs = [design.cost for design in found.designs]
    assert gmacs.best == costs.index(min(costs))
    with pytest.raises(ValueError, match="2 to 4 different designs"):
        comparison(reading, names[:1])


def test_choices_come_with_their_evidence(reading: RunSnapshot) -> None:
    objectives: Objectives = reading.objectives
    found = choices(reading, 500, 0.02)
    assert found.best is not None
    assert found.cheapest is not None
    front = pareto_front(reading.representatives, objectives, 500)
    assert front.best is not None
    assert found.best.member.trial == front.best.candidate.number
    best = max(e.metrics["bbox_mAP"] for e in reading.representatives)
    near = [objectives.cost(e) for e in reading.representatives if e.metrics["bbox_mAP"] >= best - 0.02]
    assert found.cheapest.member.cost == min(near)
    assert any("seeds agree" in line or "seeds differ" in line for line in found.best.evidence)
    assert "the cheapest costs" in choices(reading, 1e-6, None).problem


def test_of_many_designs_a_part_is_compared_and_it_is_said(reading: RunSnapshot) -> None:
    found = effects_of(reading, most=6)
    assert (found.designs, found.finished) == (6, len(reading.representatives))
    assert effects_of(reading, most=6) == found


def test_what_matters_names_its_evidence(reading: RunSnapshot) -> None:
    found = effects_of(reading)
    assert found.designs == len(reading.representatives)
    for effect in found.effects:
        for pair in effect.pairs:
            one, other = (reading.designs[name].architecture for name in (pair.less_fingerprint, pair.more_fingerprint))
            assert one != other
    assert [one.share for one in found.weights] == sorted((one.share for one in found.weights), reverse=True)


def test_a_search_of_several_metrics_and_costs_has_them_as_columns(spec: SearchSpec, tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    search = open_search("small", four_of(spec, 9), ledger, "recipe")
    for _ in drive(search):
        pass
    reading = RunCache(ledger, tmp_path).reading("small")
    table = design_table(reading, "bbox_mAP", "backbone", "gmacs")
    assert list(table.further) == ["bbox_mAP_s", "M params"]
    marked = {name for name, there in zip(table.fingerprint, table.front, strict=True) if there}
    assert marked == {e.candidate.design.fingerprint for e in search.fronts()[-1].evaluations}
    # On axes that were not searched together a front is that of the two.
    assert design_table(reading, "bbox_mAP", "published", "gmacs").further == {}
    other = design_table(reading, "bbox_mAP_s", "backbone", "mparams")
    assert list(other.further) == ["bbox_mAP", "GMACs"]
    ledger.close()


def test_the_axis_of_the_tiers_is_shown_first(spec: SearchSpec, tmp_path: Path) -> None:
    content = spec.model_dump(mode="json", exclude_defaults=True)
    by_size = parse_spec({**content, "limit": {"convention": "backbone", "mparams": [1.0, 3.0]}})
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledgers.fill(ledger, by_size, most=4, at_once=1)
    site = site_of(ledger, tmp_path)
    run = ledger.searches()[0].name
    table = site.client.get(f"/api/searches/{run}/designs").json()
    assert (table["axis"], table["tiers"]) == ("mparams", [1.0, 3.0])
    page = site.client.get(f"/search/{run}/part/axes").text
    assert page.index('<option value="mparams"') < page.index('<option value="gmacs"')
    assert "Up to 3 M" in site.client.get(f"/search/{run}/part/summary").text
    ledger.close()


def test_tiers_have_the_unit_of_their_axis(tmp_path: Path, by_parameters: SearchSpec) -> None:
    site = site_of(small_ledger.fill(tmp_path, by_parameters), tmp_path)
    table = site.client.get("/api/searches/small/designs").json()
    assert (table["tiers"], table["tier_unit"], table["axis"]) == ([0.8, 4.0], "M", "mparams")
    assert site.client.get("/api/searches/small/designs?axis=gmacs").json()["tiers"] == []
    health = site.client.get("/search/small/part/health").text
    assert "parameters alone" in health
    assert "MACs" not in health
    assert site.client.get("/api/searches/small/health").json()["cost"] == "parameters"
    site.ledger.close()
