from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piip_search.architecture import Architecture
from piip_search.config import Goal
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.evaluation.objectives import MetricAxis, RunningFronts, pareto_front
from piip_search.evaluation.selection import cheapest_near, choose, chosen
from piip_search.search.ending import reaches
from support import fakes
from support.trades import trade

OBJECTIVES = trade()
NAMES = ["vit_pico@32:g", "vit_pico@128:g", "vit_micro@32:g+vit_pico@128:g*2", "vit_micro@128:g", "vit_micro@64:g"]
ALL = [fakes.measure(Candidate(n, Architecture.parse(name), Fidelity())) for n, name in enumerate(NAMES)]
ALL.append(Evaluation(Candidate(5, Architecture.parse("vit_nano@32:g"), Fidelity()), "failed", error="x"))


def test_the_front_within_a_tier() -> None:
    costs = [OBJECTIVES.cost(e) for e in ALL]
    front = pareto_front(ALL, OBJECTIVES, max(costs))
    assert [e.candidate.number for e in front.evaluations] == [0, 4, 1, 2]
    assert 0 < front.hypervolume < 1
    assert pareto_front(ALL, OBJECTIVES, costs[1]).best == ALL[1]
    empty = pareto_front(ALL, OBJECTIVES, 1e-9)
    assert (empty.best, empty.hypervolume) == (None, 0.0)


@pytest.mark.parametrize(
    ("choice", "number"),
    [("best", 2), ("best<=0.02G", 1), ("best<=0.02", 1), ("3", 3), ("knee", 1)],
)
def test_choices(choice: str, number: int) -> None:
    assert choose(ALL, OBJECTIVES, choice).candidate.number == number


def test_a_fingerprint_may_be_shortened() -> None:
    for evaluation in ALL[:5]:
        fingerprint = evaluation.candidate.design.fingerprint
        assert choose(ALL, OBJECTIVES, fingerprint[:12]) == evaluation


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("5", "matches no finished"),
        ("bset", "matches no finished"),
        ("best<=0.000001G", "the cheapest costs"),
        ("", "matches no finished"),
        ("ffffffff", "matches no finished"),
    ],
)
def test_a_choice_that_means_nothing(choice: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(ALL, OBJECTIVES, choice)
    with pytest.raises(ValueError, match="no finished evaluation yet"):
        choose([], OBJECTIVES, choice)


def test_the_cheapest_that_is_nearly_as_good() -> None:
    values = {e.candidate.number: OBJECTIVES.value(e) or 0.0 for e in ALL}
    assert cheapest_near(ALL, OBJECTIVES, 0).candidate.number == 2
    assert cheapest_near(ALL, OBJECTIVES, values[2] - values[1]).candidate.number == 1
    assert cheapest_near(ALL, OBJECTIVES, 1).candidate.number == 0
    with pytest.raises(ValueError, match="the best must be 0 or more"):
        cheapest_near(ALL, OBJECTIVES, -0.1)
    with pytest.raises(ValueError, match="no finished evaluation"):
        cheapest_near([], OBJECTIVES, 0.1)


@given(st.lists(st.tuples(st.integers(0, len(ALL) - 1), st.integers(0, 3)), max_size=12))
def test_fronts_that_are_kept_up_to_date_are_those_of_all_evaluations(found: list[tuple[int, int]]) -> None:
    tiers = sorted({OBJECTIVES.cost(evaluation) for evaluation in ALL})[1:4]
    running = RunningFronts(OBJECTIVES, tiers)
    all_found: list[Evaluation] = []
    for number, (place, value) in enumerate(found):  # few values: many are equal
        one = ALL[place]
        evaluation = replace(one, candidate=replace(one.candidate, number=number), metrics={"bbox_mAP": value / 4})
        all_found.append(evaluation)
        before = running.fronts
        moved = running.add(evaluation)
        assert running.fronts == tuple(pareto_front(all_found, OBJECTIVES, tier) for tier in tiers)
        assert moved == tuple(now for now, then in zip(running.fronts, before, strict=True) if now != then)


def test_a_metric_that_falls_is_best_where_it_is_lowest() -> None:
    rising, falling = OBJECTIVES, replace(OBJECTIVES, metrics=(MetricAxis("error", best=0.0, worst=1.0),))
    errors = [replace(e, metrics={"error": 1 - e.metrics["bbox_mAP"]}) if e.metrics else e for e in ALL]

    def numbers(evaluations: Sequence[Evaluation]) -> list[int]:
        return [evaluation.candidate.number for evaluation in evaluations]

    for choice in ("all", "best", "knee"):
        assert numbers(chosen(errors, falling, choice)) == numbers(chosen(ALL, rising, choice))
    for below in (0.0, 0.05, 0.2):
        near = cheapest_near(errors, falling, below)
        assert near.candidate.number == cheapest_near(ALL, rising, below).candidate.number
    best = choose(ALL, rising, "best").metrics["bbox_mAP"]
    assert reaches(Goal(1 - best + 1e-9), falling, errors)
    assert not reaches(Goal(1 - best - 1e-6), falling, errors)
