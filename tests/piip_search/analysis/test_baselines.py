"""Baselines beside a search, with results that are known."""

from dataclasses import replace

import pytest

from piip_search.analysis.baselines import Baseline, TierComparison, baselines_of, compare
from piip_search.analysis.rank_correlation import Interval
from piip_search.architecture import Architecture
from piip_search.architecture.design import Design
from piip_search.architecture.stock import StockNetwork
from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.facts import Facts
from piip_search.search.baselines import baseline_candidates, baseline_objectives
from piip_search.search.history import RunEvent, RunHistory

SMALL, MIDDLE, LARGE = (Architecture.parse(name) for name in ("vit_pico@64:g", "vit_nano@96:g", "vit_nano@128:g"))
STOCK = StockNetwork("library::some.py", 64, "some_net", macs=15_000_000, params=2_000_000)
Result = list[float] | str | None


def events(spec: SearchSpec, results: dict[Design, Result]) -> list[RunEvent]:
    """Candidates with the values of their seeds, an error, or no end."""
    found: list[RunEvent] = []
    for candidate, result in zip(baseline_candidates(spec, list(results)), results.values(), strict=True):
        found.append(candidate)
        if isinstance(result, str):
            found.append(Evaluation(candidate, "failed", error=result))
        elif result is not None:
            found.append(_done(candidate, result))
    return found


def _done(candidate: Candidate, values: list[float]) -> Evaluation:
    seeds = {str(seed): {"bbox_mAP": value} for seed, value in enumerate(values)} if len(values) > 1 else {}
    return Evaluation(candidate, "done", {"bbox_mAP": sum(values) / len(values)}, facts=Facts(seeds=seeds))


def beside(
    spec: SearchSpec, searched: dict[Design, Result], results: dict[Design, Result]
) -> tuple[tuple[TierComparison, ...], tuple[Baseline, ...]]:
    history = RunHistory(spec, events(spec, searched))
    objectives = baseline_objectives(spec.objectives)
    found = baselines_of(RunHistory(spec, events(spec, results), objectives), history.objectives)
    return compare(history, found), found


def of_seeds(spec: SearchSpec, seeds: int) -> SearchSpec:
    return spec.model_copy(update={"fidelity": spec.fidelity.model_copy(update={"seeds": seeds})})


def test_the_best_baseline_within_a_tier_is_compared(spec: SearchSpec) -> None:
    compared, found = beside(spec, {SMALL: [0.3], LARGE: [0.5]}, {STOCK: [0.2], MIDDLE: [0.4]})
    first, last = compared
    costs = [spec.objectives.price(design) for design in (SMALL, MIDDLE, LARGE)]
    assert costs == sorted(costs)
    assert spec.bounds.tiers[0] > costs[1]
    assert (first.design, first.baseline) == (SMALL.name, MIDDLE.name)
    assert first.lead == pytest.approx(-0.1)
    assert "0.1000 worse than the best baseline" in first.said
    assert first.said.endswith("one seed each, so no interval")
    assert (last.design, last.baseline, last.seeds) == (LARGE.name, MIDDLE.name, 1)
    assert [one.cost for one in found] == sorted(one.cost for one in found)


def test_seeds_give_a_paired_interval(spec: SearchSpec) -> None:
    spec = of_seeds(spec, 3)
    (_, last), _ = beside(spec, {LARGE: [0.50, 0.55, 0.60]}, {MIDDLE: [0.40, 0.46, 0.49]})
    assert isinstance(last.lead, Interval)
    # t(0.95, 2) = 2.9200; the differences are 0.10, 0.09 and 0.11.
    assert last.lead.value == pytest.approx(0.10)
    assert last.lead.high - last.lead.value == pytest.approx(2.91999 * 0.01 / 3**0.5, rel=1e-4)
    assert last.said.endswith("90 % interval over 3 seeds")
    (_, unsure), _ = beside(spec, {LARGE: [0.50, 0.30, 0.60]}, {MIDDLE: [0.40, 0.46, 0.49]})
    assert unsure.said.endswith("which does not exclude chance")
    (_, two), _ = beside(of_seeds(spec, 2), {LARGE: [0.5, 0.6]}, {MIDDLE: [0.4, 0.4]})
    assert two.said.endswith("an interval needs 3 equal seeds")


def test_a_tier_without_a_baseline_names_the_cheapest(spec: SearchSpec) -> None:
    dear = replace(STOCK, macs=50_000_000)
    (first, _), _ = beside(spec, {SMALL: [0.3]}, {dear: [0.9]})
    assert first.baseline == ""
    assert first.lead is None
    assert "no measured baseline keeps the limit, the cheapest, some_net@64, costs 0.05 G" in first.said
    (none, _), _ = beside(spec, {SMALL: None}, {STOCK: [0.9]})
    assert none.said.startswith("no design within")
    (nothing, _), _ = beside(spec, {SMALL: [0.3]}, {STOCK: None})
    assert nothing.said.endswith("no baseline is measured yet")
    (failed, _), _ = beside(spec, {SMALL: [0.3]}, {STOCK: "MemoryError: full"})
    assert failed.said.endswith("all baselines failed")


def test_a_design_may_be_its_own_baseline(spec: SearchSpec) -> None:
    (first, _), _ = beside(spec, {SMALL: [0.3]}, {SMALL: [0.3]})
    assert first.said.endswith("which is the best baseline too")


def test_every_baseline_says_what_it_is_and_how_it_stands(spec: SearchSpec) -> None:
    _, found = beside(spec, {SMALL: [0.3]}, {STOCK: "MemoryError: full", MIDDLE: None, LARGE: [0.4]})
    stood = {one.name: (one.state, one.value, one.error, one.about) for one in found}
    assert stood == {
        "some_net@64": ("failed", None, "MemoryError: full", "stock network, random weights"),
        MIDDLE.name: ("running", None, "", "design"),
        LARGE.name: ("done", 0.4, "", "design"),
    }
    stock = next(one for one in found if one.name == "some_net@64")
    assert stock.costs == {"gmacs": 0.015, "mparams": 2.0}


def test_a_baseline_keeps_all_limits_as_the_designs_do(spec: SearchSpec) -> None:
    content = spec.model_dump(mode="json", exclude_defaults=True)
    params = spec.pricing.price(SMALL).mparams
    capped = parse_spec({**content, "limit": {**content["limit"], "mparams": params}})
    (first, _), _ = beside(capped, {SMALL: [0.3]}, {MIDDLE: [0.9]})
    assert first.baseline == ""
    assert f"no measured baseline keeps the limit, the cheapest, {MIDDLE.name}" in first.said


def test_a_metric_that_falls_is_compared_by_merit(spec: SearchSpec) -> None:
    falling = replace(spec.objectives, metrics=(replace(spec.objectives.metrics[0], best=0.0, worst=1.0),))
    history = RunHistory(spec, events(spec, {LARGE: [0.2]}), falling)
    found = baselines_of(RunHistory(spec, events(spec, {SMALL: [0.6], MIDDLE: [0.3]}), falling), falling)
    last = compare(history, found)[-1]
    assert last.baseline == MIDDLE.name
    assert last.lead == pytest.approx(0.1)
    assert "0.1000 better than the best baseline" in last.said


def test_no_baselines_no_comparison(spec: SearchSpec) -> None:
    assert compare(RunHistory(spec, events(spec, {SMALL: [0.3]})), ()) == ()
