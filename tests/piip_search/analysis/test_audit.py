"""Audits of searches whose proxies are known to be good or bad."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from piip_search.analysis.audit import AuditPlan, audit, audit_candidates, plan_of
from piip_search.architecture import Architecture
from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.evaluation.objectives import MetricAxis
from piip_search.ledger import Ledger
from piip_search.search.feasible import feasible_designs
from piip_search.search.policy import FixedPolicy
from piip_search.search.search import Search, open_search
from piip_workers.runners import local
from support import fakes
from support.trades import trade

LONGER = Fidelity(epochs=36)


def measured(candidate: Candidate, noise: float, blind: bool = False) -> Evaluation:
    """A design's quality, which is unrelated to its cost; a blind proxy sees nothing of it."""
    digits = int(candidate.design.fingerprint, 16)
    quality = 0.2 + 0.3 * np.random.RandomState(digits % 2**32).rand()
    proxy = candidate.fidelity != LONGER
    random = np.random.RandomState([digits % 2**32, candidate.seed, candidate.fidelity.epochs])
    value = float((0.35 if proxy and blind else quality) + (noise if proxy else 0.0) * random.normal())
    history = tuple({"epoch": float(epoch), "bbox_mAP": value * epoch / 36} for epoch in (12, 24, 36))
    return Evaluation(candidate, "done", {"bbox_mAP": value}, history=() if proxy else history)


def audited(spec: SearchSpec, ledger: Ledger, noise: float, blind: bool = False, seeds: int = 2) -> str:
    spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": 60})})
    search = open_search("run", spec, ledger, "recipe")
    local.run(search, lambda candidate: measured(candidate, noise, blind))
    tiers = spec.bounds.tiers
    plan = AuditPlan(20, seeds, LONGER)
    candidates = audit_candidates(search.evaluations, search.objectives, tiers, plan)
    asked: list[int] = []

    def measure(candidate: Candidate) -> Evaluation:
        asked.append(candidate.number)
        return measured(candidate, noise, blind)

    for _ in range(2):
        check = Search("check", spec, FixedPolicy(candidates), ledger, "recipe", question=plan.digest)
        local.run(check, measure)
    # What the run had measured is answered by the ledger, and a second sitting measures nothing.
    assert len(asked) == len(candidates) * seeds // (seeds + 1)
    found = audit(check.evaluations, check.objectives, tiers, plan)
    assert [item.tier for item in found] == list(tiers)
    last = found[-1]
    assert last.figures is not None
    assert [epoch for epoch, _ in last.figures.rungs] == [12, 24]
    assert all(tau.value == 1 for _, tau in last.figures.rungs)
    assert (last.figures.seeds is None) == (seeds == 1)
    return last.verdict


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


@pytest.mark.slow
def test_a_good_proxy_is_better_than_cost(spec: SearchSpec, ledger: Ledger) -> None:
    said = audited(spec, ledger, noise=0.01)
    assert "the proxy is better than" in said
    assert "by chance" not in said


@pytest.mark.slow
def test_a_blind_proxy_is_no_better_than_cost_and_noise_is_said(spec: SearchSpec, ledger: Ledger) -> None:
    said = audited(spec, ledger, noise=0.1, blind=True)
    assert "the proxy is no better than" in said or "the proxy is worse than" in said
    assert "another seed reorders it as if by chance" in said


@pytest.mark.slow
def test_one_seed_tells_nothing_of_noise(spec: SearchSpec, ledger: Ledger) -> None:
    assert "another seed" not in audited(spec, ledger, noise=0.2, seeds=1)


def test_few_designs_tell_nothing(spec: SearchSpec, ledger: Ledger) -> None:
    search = open_search(
        "run", spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": 3})}), ledger, "recipe"
    )
    local.run(search, fakes.measure)
    plan = AuditPlan(12, 2, LONGER)
    candidates = audit_candidates(search.evaluations, search.objectives, spec.bounds.tiers, plan)
    found = audit([measured(c, 0.1) for c in candidates], search.objectives, spec.bounds.tiers, plan)
    assert all("too few to say" in item.verdict and item.figures is None for item in found)


def test_proxies_of_several_seeds_are_trained_with_as_many_others(spec: SearchSpec, ledger: Ledger) -> None:
    averaged = spec.model_copy(update={"fidelity": spec.fidelity.model_copy(update={"seeds": 3})})
    search = open_search("run", averaged, ledger, "recipe")
    local.run(search, fakes.measure)
    plan = AuditPlan(2, 2, LONGER)
    proxies = [
        c
        for c in audit_candidates(search.evaluations, search.objectives, spec.bounds.tiers, plan)
        if c.fidelity != LONGER
    ]
    assert {c.seed for c in proxies} == {0, 3}
    assert [one.seed for c in proxies[:2] for one in c.per_seed] == [0, 1, 2, 3, 4, 5]


def test_longer_trainings_start_from_nobodys_weights(spec: SearchSpec, ledger: Ledger) -> None:
    inheriting = spec.model_copy(update={"training": spec.training.model_copy(update={"inherit": True})})
    search = open_search("run", inheriting, ledger, "recipe")
    local.run(search, fakes.measure)
    parents = [e.candidate.parent for e in search.evaluations]
    assert parents[0] is None
    assert any(parents)
    known = {e.candidate.weights for e in search.evaluations}
    assert {parent for parent in parents if parent} <= known
    candidates = audit_candidates(search.evaluations, search.objectives, spec.bounds.tiers, AuditPlan(12, 2, LONGER))
    assert all((c.parent is None) for c in candidates if c.fidelity == LONGER)
    assert any(c.parent for c in candidates if c.fidelity != LONGER)
    again = open_search("run", inheriting, ledger, "recipe")
    assert [e.candidate for e in again.evaluations] == [e.candidate for e in search.evaluations]


@pytest.fixture
def designs(spec: SearchSpec) -> list[Architecture]:
    space, legal = feasible_designs(spec)
    order = np.random.default_rng(0).permutation(len(legal))[:20]
    return [space.decode(legal.rows_ND[index]) for index in order]


def both_trainings(design: Architecture, number: int, **metrics: tuple[float, float]) -> list[Evaluation]:
    """The proxy of a design and its longer training, with the values of each metric in both."""
    fidelities = (Fidelity(12), LONGER)
    return [
        Evaluation(
            Candidate(2 * number + place, design, fidelity),
            "done",
            {name: values[place] for name, values in metrics.items()},
        )
        for place, fidelity in enumerate(fidelities)
    ]


def test_each_metric_is_audited(designs: list[Architecture]) -> None:
    """The proxy ranks designs by the first metric as the longer training does, and by the second in reverse."""
    objectives = trade(metrics=("bbox_mAP", "bbox_mAP_s"))
    worths = np.random.default_rng(1).random(len(designs))
    evaluations = [
        evaluation
        for number, (design, worth) in enumerate(zip(designs, worths, strict=True))
        for evaluation in both_trainings(design, number, bbox_mAP=(worth, worth), bbox_mAP_s=(1 - worth, worth))
    ]
    first, second = audit(evaluations, objectives, (1.0,), AuditPlan(20, 1, LONGER))
    assert (first.metric, second.metric) == ("bbox_mAP", "bbox_mAP_s")
    assert first.figures is not None
    assert second.figures is not None
    assert (first.figures.proxy.value, second.figures.proxy.value) == (1, -1)
    assert "the proxy is better than" in first.verdict
    assert "the proxy is worse than" in second.verdict


def test_costs_rank_by_what_is_better(designs: list[Architecture]) -> None:
    """Where an error falls with the cost, cost ranks designs well, as it does where a score rises with it."""
    rising = trade()
    falling = replace(rising, metrics=(MetricAxis("error", best=0.0, worst=1.0),))
    scores = [rising.price(design) for design in designs]
    found = []
    for objectives, name, sign in ((rising, "bbox_mAP", 1.0), (falling, "error", -1.0)):
        values = [0.5 + sign * score for score in scores]
        evaluations = [
            evaluation
            for number, (design, value) in enumerate(zip(designs, values, strict=True))
            for evaluation in both_trainings(design, number, **{name: (value, value)})
        ]
        found += audit(evaluations, objectives, (1.0,), AuditPlan(20, 1, LONGER))
    assert found[0].figures == found[1].figures
    assert found[0].figures is not None
    assert found[0].figures.costs[0].tau.value == 1


def test_a_proxy_is_compared_with_the_cost_of_the_tiers(spec: SearchSpec, designs: list[Architecture]) -> None:
    """Also where that is neither MACs nor parameters."""
    pricing = replace(trade().pricing, step=spec.step)  # type: ignore[type-var]
    axis = pricing.axis("training_gib")
    objectives = replace(trade(), costs=(axis,), known=pricing.axes, pricing=pricing)
    evaluations = [
        evaluation
        for number, design in enumerate(designs)
        for evaluation in both_trainings(design, number, bbox_mAP=(0.5, axis.of(design)))
    ]
    (found,) = audit(evaluations, objectives, (1e3,), AuditPlan(20, 1, LONGER))
    assert found.figures is not None
    assert [cost.noun for cost in found.figures.costs] == ["MACs", "parameters", "training memory", "the largest image"]
    assert "rank by training memory, or train proxies longer" in found.verdict


SCORED, TUNED, ALONE = Fidelity(0), Fidelity(1), Fidelity(8)


def shared_evaluations(designs: list[Architecture], scores: np.ndarray, truth: np.ndarray) -> list[Evaluation]:
    """Scores with a parent's weights, the same after tuning, and trainings alone."""
    rungs = ((SCORED, scores), (TUNED, scores), (ALONE, truth))
    return [
        Evaluation(Candidate(3 * number + place, design, fidelity), "done", {"bbox_mAP": float(values[number])})
        for number, design in enumerate(designs)
        for place, (fidelity, values) in enumerate(rungs)
    ]


def of_image(designs: list[Architecture], random: np.random.Generator) -> np.ndarray:
    """A truth that rises with the largest image, and differs within one size."""
    return np.array([design.resolution / 1000 for design in designs]) + 0.03 * random.random(len(designs))


@pytest.fixture
def several(spec: SearchSpec) -> list[Architecture]:
    space, within = feasible_designs(spec)
    return [space.decode(row_D) for row_D in within.rows_ND[:: max(1, len(within) // 24)]][:24]


def test_scores_of_a_parent_are_believed_if_they_rank(several: list[Architecture]) -> None:
    plan, objectives = AuditPlan(24, 1, ALONE, tuned=TUNED), trade()
    random = np.random.default_rng(0)
    truth = of_image(several, random)
    good = shared_evaluations(several, 0.8 * truth + 0.002 * random.random(len(several)), truth)
    (found,) = audit(good, objectives, (1e9,), plan)
    assert "believed" in found.verdict
    assert "not believed" not in found.verdict
    assert found.figures is not None
    assert found.figures.tuned == found.figures.proxy
    assert found.figures.alike is not None
    share, pairs = found.figures.alike
    assert share > 0.5
    assert pairs == sum(
        one.resolution == other.resolution for place, one in enumerate(several) for other in several[:place]
    )
    assert [rival.noun for rival in found.figures.costs][-1] == "the largest image"
    assert plan_of([e.candidate for e in good], SCORED, TUNED) == replace(plan, designs=len(several))


def test_shuffled_scores_are_not_believed(several: list[Architecture]) -> None:
    plan, objectives = AuditPlan(24, 1, ALONE, tuned=TUNED), trade()
    for draw in range(20):
        random = np.random.default_rng(draw)
        truth = of_image(several, random)
        bad = shared_evaluations(several, random.permutation(truth), truth)
        (found,) = audit(bad, objectives, (1e9,), plan)
        assert "not believed" in found.verdict, draw
        assert "set evaluator to stand_alone" in found.verdict


def test_scores_below_the_largest_image_are_not_believed(several: list[Architecture]) -> None:
    """Single branches that starve in a parent score low, whatever they are worth."""
    random = np.random.default_rng(1)
    truth = of_image(several, random)
    starved = np.where(random.random(len(several)) < 0.5, 0.02 * random.random(len(several)), truth)
    found = audit(shared_evaluations(several, starved, truth), trade(), (1e9,), AuditPlan(24, 1, ALONE, tuned=TUNED))
    assert "not believed, as the largest image alone ranks better" in found[0].verdict


def test_an_audit_of_a_parent_draws_from_all_scores(several: list[Architecture]) -> None:
    plan = AuditPlan(4, 1, ALONE, tuned=TUNED)
    scored = [e for e in shared_evaluations(several, np.zeros(24), np.zeros(24)) if e.candidate.fidelity == SCORED]
    candidates = audit_candidates(scored, trade(), (1e9,), plan)
    assert [candidate.fidelity for candidate in candidates] == 4 * [SCORED, TUNED, ALONE]
    assert AuditPlan(4, 1, ALONE).digest != plan.digest
