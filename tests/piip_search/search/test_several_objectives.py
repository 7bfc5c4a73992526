"""Searches with tiers on other axes, and for several metrics and costs together."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import piip_search as ps
from piip_search.api.runs import health_of
from piip_search.config import SearchSpec, SpecError, parse_spec
from piip_search.evaluation.pareto import undominated
from piip_search.ledger import Ledger
from piip_search.search.feasible import feasible_designs
from piip_search.search.search import open_search
from support.four_objectives import drive, four_of


def changed(spec: SearchSpec, **sections: Any) -> SearchSpec:
    content = {**spec.model_dump(mode="json", exclude_defaults=True), **sections}
    return parse_spec(content)


@pytest.fixture
def four(spec: SearchSpec) -> SearchSpec:
    """Two metrics against two costs."""
    return four_of(spec, 5.0)


@pytest.mark.parametrize("sampler", ["piip", "nsga2", "tpe", "random"])
def test_two_metrics_and_two_costs_have_one_front(four: SearchSpec, sampler: str) -> None:
    search = open_search("run", changed(four, sampler=sampler), Ledger("sqlite://"), "recipe")
    evaluations = list(drive(search))
    assert len({e.candidate.design for e in evaluations}) == four.budget.trials
    widest = search.fronts()[-1]
    losses_N4 = search.objectives.losses(evaluations)
    assert losses_N4.shape == (len(evaluations), 4)
    best = {tuple(row) for row in losses_N4[undominated(losses_N4)]}  # of equal points a front has the first
    assert {tuple(row) for row in search.objectives.losses(widest.evaluations)} == best
    assert len(widest.evaluations) == len(best)
    assert widest.best is not None
    assert widest.best.metrics["bbox_mAP"] == max(e.metrics["bbox_mAP"] for e in evaluations)
    assert (losses_N4[:, 3] <= 5.0).all()
    costs = [search.objectives.cost(e) for e in widest.evaluations]
    assert costs == sorted(costs)
    assert 0 < widest.hypervolume < 1


def test_a_search_for_several_goes_on_where_it_was_cut(four: SearchSpec) -> None:
    whole, cut = Ledger("sqlite://"), Ledger("sqlite://")
    undisturbed = [e.candidate for e in drive(open_search("run", four, whole, "recipe"))]
    begun = drive(open_search("run", four, cut, "recipe"))
    first = [next(begun).candidate for _ in range(5)]
    search = open_search("run", four, cut, "recipe")
    assert [*first, *(e.candidate for e in drive(search))] == undisturbed


def test_a_schedule_promotes_by_all_of_them(four: SearchSpec) -> None:
    rungs = changed(four, fidelity={"epochs": 9}, schedule={"rungs": [1, 3], "keep": 2})
    search = open_search("run", rungs, Ledger("sqlite://"), "recipe")
    evaluations = list(drive(search))
    assert {e.candidate.fidelity.epochs for e in evaluations} == {1, 3, 9}
    assert search.fronts()[-1].evaluations


@pytest.mark.parametrize(
    ("axis", "tiers", "cap"), [("mparams", [1.0, 3.0], {"gmacs": 0.05}), ("training_gib", [0.15, 0.2], {})]
)
def test_tiers_may_stand_on_any_axis(spec: SearchSpec, axis: str, tiers: list[float], cap: dict[str, float]) -> None:
    other = changed(spec, limit={"convention": "backbone", axis: tiers, **cap})
    space, designs = feasible_designs(other)
    label = other.objectives.axis
    assert label.name == axis
    for place in range(0, len(designs), max(1, len(designs) // 20)):
        design = space.decode(designs.rows_ND[place])
        assert label.of(design) == designs.on(axis)[place] <= tiers[-1]
        assert all(other.pricing.axis(name).of(design) <= most for name, most in cap.items())
    search = open_search("run", other, Ledger("sqlite://"), "recipe")
    list(drive(search))
    for low, high in pairwise(search.fronts()):
        assert low.tier < high.tier
        assert low.hypervolume > 0
        assert {e.candidate.number for e in low.evaluations} <= {e.candidate.number for e in search.evaluations}


def test_the_image_that_is_trained_is_priced(spec: SearchSpec) -> None:
    limit = {"convention": "backbone", "gmacs": [0.02, 0.06]}
    wide = changed(spec, training={"short_side": 0.5}, limit=limit)
    square = changed(spec, training={"short_side": 0.5}, limit={**limit, "image": "square"})
    papers = changed(spec, training={"short_side": 0.5}, limit={**limit, "convention": "published"})
    space = spec.space.build()
    designs = space.priced(wide.pricing)
    for row_D, macs in zip(designs.rows_ND[::7], designs.macs_N[::7], strict=True):
        design = space.decode(row_D)
        side = design.resolution
        assert wide.pricing.price(design).macs == macs
        assert wide.pricing.image(design) == (side // 2, side)
        assert square.pricing.price(design) == spec.pricing.price(design)
        assert papers.pricing.image(design) is None
    assert len(feasible_designs(wide)[1]) > len(feasible_designs(square)[1])


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"limit": {"mparams": 3}}, "limit: give a list of tiers on one of gmacs, mparams, training_gib"),
        ({"limit": {"gmacs": [1], "mparams": [3]}}, "limit: tiers stand on one axis, got lists for gmacs and mparams"),
        ({"costs": ["mparams"]}, "costs begins with the axis of the tiers, gmacs"),
        ({"costs": ["gmacs", "mparams"]}, "costs: mparams needs its highest cost; give limit.mparams a number"),
        ({"costs": ["gmacs", "mparms"]}, "costs: unknown axis 'mparms'; did you mean mparams?"),
        ({"metrics": ["bbox_mAP", "bbox_mAP"]}, "metrics: bbox_mAP, bbox_mAP has one of them twice"),
        ({"metric": "bbox_mAP_s", "metrics": ["bbox_mAP"]}, "give metric or metrics, not both"),
        ({"metrics": ["bbox_mAP", "box"]}, "metrics: unknown metric 'box'"),
        (
            {
                "metrics": ["bbox_mAP", "bbox_mAP_s", "bbox_mAP_m"],
                "costs": ["gmacs", "mparams"],
                "limit": {"gmacs": [1], "mparams": 9},
            },
            "at most 4 metrics and costs are searched together",
        ),
        ({"budget": {"target": "best <= 3 M >= 0.3"}}, "budget.target has the unit M, and the tiers of gmacs are in G"),
    ],
)
def test_what_does_not_fit_together_is_told(spec: SearchSpec, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        changed(spec, **sections)
    assert message in str(caught.value)


def test_equal_losses_have_equal_hypervolume_with_one_metric_alone(spec: SearchSpec) -> None:
    one = changed(spec, metrics=["bbox_mAP"], costs=["gmacs"])
    found = [open_search("run", each, Ledger("sqlite://"), "recipe") for each in (spec, one)]
    outcomes = [[e.candidate.design for e in drive(search)] for search in found]
    assert outcomes[0] == outcomes[1]
    assert np.array_equal(*([front.hypervolume for front in search.fronts()] for search in found))


def test_a_number_alone_is_the_first_metric_and_lacks_the_others(four: SearchSpec) -> None:
    named = changed(four, metric="bbox_mAP_s", metrics=["bbox_mAP_s", "bbox_mAP"])
    search = ps.run(named, evaluate=lambda candidate: 0.5, ledger="sqlite://")
    assert {e.error for e in search.evaluations} == {
        "no bbox_mAP was measured, only bbox_mAP_s; set metric to one of these"
    }


def test_a_recorded_search_reads_back_with_its_first_metric(four: SearchSpec) -> None:
    content = {**four.model_dump(mode="json", exclude_defaults=True), "metrics": ["bbox_mAP_s", "bbox_mAP"]}
    del content["metric"]
    named = parse_spec(content)
    assert named.metric == named.objectives.metric == "bbox_mAP_s"
    assert parse_spec(named.model_dump(mode="json"), recorded=True) == named


def test_health_compares_the_surrogate_with_the_cost_and_not_with_another_metric(four: SearchSpec) -> None:
    many = changed(four, budget={"trials": 30})
    search = open_search("run", many, Ledger("sqlite://"), "recipe")
    evaluations = list(drive(search))
    first, second = health_of(many, many.objectives, evaluations).rankings
    for place, ranking in enumerate((first, second)):
        alone = replace(many.objectives, metrics=many.objectives.metrics[place : place + 1])
        assert ranking.score is not None
        assert health_of(many, alone, evaluations).rankings == (ranking,)
