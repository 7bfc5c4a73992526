"""Each pathology raises its check, and nothing else does."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from piip_search.analysis.health import Health, Ranking, examine, merge_findings
from piip_search.api.runs import health_of
from piip_search.architecture import Architecture
from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.evaluation.facts import Facts
from piip_search.evaluation.objectives import MetricAxis, Objectives, pareto_front
from piip_search.search.feasible import feasible_designs
from support.trades import trade

RUNGS = (Fidelity(1, horizon=9), Fidelity(3, horizon=9), Fidelity(9))

OBJECTIVES = trade()
TIERS = (0.02, 0.06)
NOTHING = Health((), (Ranking("bbox_mAP"),), "MACs")


@pytest.fixture
def designs(spec: SearchSpec) -> list[Architecture]:
    """Thirty of each tier, in a drawn order."""
    space, legal = feasible_designs(spec)
    order = np.random.default_rng(0).permutation(len(legal))
    cheap = [index for index in order if legal.macs_N[index] <= TIERS[0] * 1e9][:30]
    dear = [index for index in order if legal.macs_N[index] > TIERS[0] * 1e9][:30]
    return [space.decode(legal.rows_ND[index]) for pair in zip(cheap, dear, strict=True) for index in pair]


def gmacs(design: Architecture) -> float:
    return OBJECTIVES.price(design)


def worth(design: Architecture) -> float:
    """More pixels and fewer branches are better, whatever they cost."""
    return min(1.0, 0.2 + 0.004 * design.resolution - 0.1 * len(design.branches))


def done(number: int, design: Architecture, value: float, rung: Fidelity = RUNGS[-1]) -> Evaluation:
    seconds = 100 * gmacs(design) * rung.epochs
    return Evaluation(Candidate(number, design, rung), "done", {"bbox_mAP": value}, seconds=seconds)


def broken(evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, status="failed", metrics={}, error="RuntimeError: no")


def healthy(designs: Sequence[Architecture]) -> list[Evaluation]:
    """A search that gets better as it goes on: the best of both tiers come last."""
    ordered = sorted(designs, key=lambda design: (worth(design), design.name))
    return [done(number, design, worth(design)) for number, design in enumerate(ordered)]


def checked(spec: SearchSpec, evaluations: list[Evaluation], objectives: Objectives = OBJECTIVES) -> Health:
    spec = spec.model_copy(
        update={
            "fidelity": spec.fidelity.model_copy(update={"epochs": 9}),
            "budget": spec.budget.model_copy(update={"trials": 60}),
        }
    )
    return health_of(spec, objectives, evaluations)


def names(health: Health) -> list[str]:
    return [finding.check for finding in health.findings]


def test_a_clean_search_has_no_findings(spec: SearchSpec, designs: list[Architecture]) -> None:
    health = checked(spec, healthy(designs))
    assert names(health) == []
    (ranking,) = health.rankings
    assert ranking.score is not None
    assert ranking.score.surrogate.value > max(0.6, ranking.score.cost.value)


def test_a_young_search_has_none_either(spec: SearchSpec, designs: list[Architecture]) -> None:
    for count in range(6):
        assert checked(spec, healthy(designs[:count])) == NOTHING


def test_noise_cannot_be_learnt(spec: SearchSpec, designs: list[Architecture]) -> None:
    random = np.random.default_rng(1)
    evaluations = [
        done(number, design, float(0.3 + 0.5 * gmacs(design) / TIERS[1] + 0.15 * random.random()))
        for number, design in enumerate(sorted(designs, key=gmacs))
    ]
    health = examine(evaluations, OBJECTIVES, TIERS, RUNGS, 60, unrelated(random))
    assert names(health) == ["surrogate"]
    assert "no better" in health.findings[0].message
    assert "audit" in health.findings[0].action


def unrelated(random: np.random.Generator) -> Callable[[Sequence[Architecture]], NDArray[np.float64]]:
    return lambda architectures: random.random((len(architectures), 5))


def test_a_front_that_stands_still(spec: SearchSpec, designs: list[Architecture]) -> None:
    evaluations = healthy(designs)
    front = pareto_front(evaluations, OBJECTIVES, TIERS[1]).evaluations
    rest = [evaluation for evaluation in evaluations if evaluation not in front]
    assert names(checked(spec, [*front, *rest])) == ["front"]
    assert names(checked(spec, [*rest, *front])) == []


def test_a_tier_that_starves(spec: SearchSpec, designs: list[Architecture]) -> None:
    cheap = [design for design in designs if gmacs(design) <= TIERS[0]]
    dear = [design for design in designs if gmacs(design) > TIERS[0]]
    health = examine(healthy([*dear, *cheap[:2]]), OBJECTIVES, TIERS, RUNGS, 60)
    assert names(health) == ["tier"]
    assert "2 of 32 finished designs cost 0 to 0.02 G" in health.findings[0].message


def test_a_rung_that_ranks_badly(spec: SearchSpec, designs: list[Architecture]) -> None:
    random = np.random.default_rng(2)
    evaluations = []
    for number, design in enumerate(sorted(designs, key=worth)):
        evaluations.append(done(3 * number, design, float(random.random() / 10), RUNGS[0]))
        evaluations.append(done(3 * number + 1, design, worth(design) / 2, RUNGS[1]))
        evaluations.append(done(3 * number + 2, design, worth(design), RUNGS[2]))
    health = examine(evaluations, OBJECTIVES, TIERS, RUNGS, 60)
    assert names(health) == ["rungs"]
    assert "after 3 epochs than after 1" in health.findings[0].message
    (ranking,) = health.rankings
    assert [(low, high) for low, high, _ in ranking.rungs] == [(1, 3), (3, 9)]
    assert ranking.rungs[1][2].value == 1.0


def test_low_rungs_are_not_taken_for_ends(spec: SearchSpec, designs: list[Architecture]) -> None:
    """What was only measured early tells nothing about the front or the tiers."""
    early = [done(number, design, worth(design), RUNGS[0]) for number, design in enumerate(designs)]
    assert examine(early, OBJECTIVES, TIERS, RUNGS, 60) == NOTHING


def seen(evaluations: Sequence[Evaluation], images: int) -> list[Evaluation]:
    """The evaluations of trainings on so many images an epoch."""
    return [replace(evaluation, facts=Facts(images=images)) for evaluation in evaluations]


@pytest.mark.parametrize(("images", "found"), [(0, []), (200, ["merge"]), (3000, [])])
def test_short_trainings_under_conv_hide_other_branches(
    spec: SearchSpec, designs: list[Architecture], images: int, found: list[str]
) -> None:
    health = checked(spec, seen(healthy(designs), images))
    assert names(health) == found
    if found:
        assert str(health.findings[0]).startswith("merge: ")
        assert "under the merge conv after 1,800 images" in health.findings[0].message
        assert "merges: [residual]" in health.findings[0].action


def test_only_a_mixture_under_conv_is_unfair(designs: list[Architecture]) -> None:
    evaluations = seen(healthy(designs), 200)
    several = [evaluation for evaluation in evaluations if len(evaluation.candidate.architecture.branches) > 1]
    single = [evaluation for evaluation in evaluations if evaluation not in several]
    residual = [
        replace(one, candidate=replace(one.candidate, design=replace(one.candidate.architecture, merge="residual")))
        for one in several
    ]
    assert merge_findings(single) == merge_findings(several) == merge_findings([*single, *residual]) == []
    assert len(merge_findings([*single, *residual, several[0]])) == 1


def test_failures_that_have_a_cause(spec: SearchSpec, designs: list[Architecture]) -> None:
    evaluations = [
        broken(e) if any(b.backbone == "vit_pico" for b in e.candidate.architecture.branches) and n % 4 else e
        for n, e in enumerate(healthy(designs))
    ]
    found = examine(evaluations, OBJECTIVES, (TIERS[1],), RUNGS, 60).findings
    assert [finding.check for finding in found] == ["failures"]
    assert "with model vit_pico failed" in found[0].message
    assert "RuntimeError: no" in found[0].message
    assert "leave vit_pico out" in found[0].action


def test_failures_without_a_cause(spec: SearchSpec, designs: list[Architecture]) -> None:
    random = np.random.default_rng(3)
    evaluations = [broken(e) if random.random() < 0.5 else e for e in healthy(designs)]
    found = examine(evaluations, OBJECTIVES, (TIERS[1],), RUNGS, 60).findings
    assert [finding.check for finding in found] == ["failures"]
    assert "of 60 designs failed" in found[0].message
    few = [broken(e) if number in (3, 20, 41) else e for number, e in enumerate(healthy(designs))]
    assert examine(few, OBJECTIVES, (TIERS[1],), RUNGS, 60).findings == ()


def broken_pico(designs: Sequence[Architecture], error: Callable[[int], str]) -> list[Evaluation]:
    return [
        replace(broken(e), error=error(n)) if "vit_pico" in e.candidate.design.name and n % 4 else e
        for n, e in enumerate(healthy(designs))
    ]


def test_errors_that_differ_in_numbers_are_one(spec: SearchSpec, designs: list[Architecture]) -> None:
    """Three errors of one text elsewhere are fewer than those of the model that fails, each with its own number."""
    evaluations = broken_pico(designs, lambda number: f"CUDA out of memory: tried to allocate {number}.5 GiB")
    others = [e for e in evaluations if "vit_pico" not in e.candidate.design.name]
    for evaluation in others[:3]:
        evaluations[evaluations.index(evaluation)] = replace(broken(evaluation), error="no such file")
    (found,) = examine(evaluations, OBJECTIVES, (TIERS[1],), RUNGS, 60).findings
    assert "with model vit_pico failed, 3 of the" in found.message
    assert "most often with: CUDA out of memory" in found.message
    assert found.action == "lower training.batch_size, or leave vit_pico out of the space"


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (
            "MemoryError: half of a step's images do not fit the memory either: CUDA out of memory",
            "lower training.batch",
        ),
        (
            "MemoryError: one image a step does not fit the memory: x",
            "offer smaller models and images, or set training.",
        ),
        ("ValueError: the memory format is not channels last", "look at that error"),
        ("Ray: 2 worker(s) were killed due to the node running low on memory", "lower training.batch_size"),
    ],
)
def test_a_setting_is_named_only_where_it_would_help(
    spec: SearchSpec, designs: list[Architecture], error: str, action: str
) -> None:
    (found,) = examine(broken_pico(designs, lambda number: error), OBJECTIVES, (TIERS[1],), RUNGS, 60).findings
    assert found.action.startswith(action)
    assert found.action.endswith("or leave vit_pico out of the space")


def test_a_cluster_says_its_own_error(spec: SearchSpec, designs: list[Architecture]) -> None:
    """Most designs of one image size fail with one error; more fail elsewhere with another, but seldom."""
    evaluations = healthy(designs)
    large = [e for e in evaluations if e.candidate.architecture.resolution == 128]
    small = [e for e in evaluations if e not in large]
    errors = {e.candidate.number: "shapes do not match" for e in large[:11]}
    without = [e for e in small if "vit_micro" not in e.candidate.design.name]  # most of the large have it
    errors |= {e.candidate.number: "connection lost" for e in without[:12]}
    assert len(errors) == 23
    broke = [replace(broken(e), error=errors[n]) if n in errors else e for n, e in enumerate(evaluations)]
    (found,) = [f for f in examine(broke, OBJECTIVES, (TIERS[1],), RUNGS, 60).findings if f.check == "failures"]
    assert f"11 of the {len(large)} designs with images of 128 failed, 12 of the {len(small)} without" in found.message
    assert found.message.endswith("shapes do not match")


def test_failures_are_counted_in_designs(spec: SearchSpec, designs: list[Architecture]) -> None:
    """Of 30 designs ten fail on the first rung: a third, though of all evaluations they are fewer than three in ten."""
    evaluations = []
    for number, design in enumerate(designs[:30]):
        if number % 3 == 0:
            evaluations.append(broken(done(number, design, 0.5, RUNGS[0])))
        else:
            evaluations += [
                done(100 * number + epochs, design, worth(design), rung) for epochs, rung in enumerate(RUNGS)
            ]
    (found,) = [f for f in examine(evaluations, OBJECTIVES, TIERS, RUNGS, 60).findings if f.check == "failures"]
    assert "10 of 30 designs failed" in found.message


def test_a_front_under_a_schedule_stands_still_in_fewer_designs(spec: SearchSpec, designs: list[Architecture]) -> None:
    """Of 200 designs to come one in three is finished: 12 that move nothing are enough to tell, where 40 would be."""
    evaluations = healthy(designs[:30])
    front = pareto_front(evaluations, OBJECTIVES, TIERS[1]).evaluations
    whole = [*front, *(evaluation for evaluation in evaluations if evaluation not in front)]
    early = [done(100 + number, design, 0.1, RUNGS[0]) for number, design in enumerate(designs)]
    assert "front" in [f.check for f in examine([*early, *whole], OBJECTIVES, TIERS, RUNGS, 100).findings]
    assert "front" not in [f.check for f in examine(whole, OBJECTIVES, TIERS, RUNGS, 100).findings]


def test_a_rung_that_hangs_is_compared_with_its_like(spec: SearchSpec, designs: list[Architecture]) -> None:
    evaluations = [
        done(100 * number + place, design, worth(design), rung)
        for number, design in enumerate(designs[:10])
        for place, rung in enumerate(RUNGS)
    ]
    first = [e.seconds for e in evaluations if e.candidate.fidelity == RUNGS[0]]
    slow = Candidate(9999, min(designs[10:], key=gmacs), RUNGS[0])
    seconds = 1.01 * max(*first, 3 * min(first), 300 * gmacs(slow.architecture))
    assert seconds < max(e.seconds for e in evaluations)
    health = examine(evaluations, OBJECTIVES, TIERS, RUNGS, 60, running={slow: seconds})
    assert names(health) == ["straggler"]


def test_what_is_learnt_of_noise_is_no_news(spec: SearchSpec, designs: list[Architecture]) -> None:
    """Sometimes noise is ranked a little better than MACs rank it, but never surely better than by chance."""
    for seed in (8, 37, 41):
        random = np.random.default_rng(seed)
        evaluations = [done(number, design, float(random.random())) for number, design in enumerate(designs)]
        assert "surrogate" in names(checked(spec, evaluations))


def test_a_straggler(spec: SearchSpec, designs: list[Architecture]) -> None:
    evaluations = healthy(designs[:-2])
    slow, usual = (Candidate(90 + number, design, RUNGS[-1]) for number, design in enumerate(designs[-2:]))
    expected = 900 * gmacs(slow.architecture)
    running = {slow: 20 * expected + 500, usual: 900 * gmacs(usual.architecture)}
    health = examine(evaluations, OBJECTIVES, TIERS, RUNGS, 60, running=running)
    assert names(health) == ["straggler"]
    assert "trial 90 has run" in health.findings[0].message


def test_few_designs_are_not_called_chance(spec: SearchSpec, designs: list[Architecture]) -> None:
    """From 14 designs an interval often reaches zero though more was learnt than MACs know."""
    wide = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        values = random.random(14)
        evaluations = [done(number, designs[number], float(value)) for number, value in enumerate(values)]
        seen = {design: [value + 0.4 * random.normal()] for design, value in zip(designs, values, strict=False)}

        def features(of: Sequence[Architecture], seen: dict[Architecture, list[float]] = seen) -> NDArray[np.float64]:
            return np.array([seen[design] for design in of])

        health = examine(evaluations, OBJECTIVES, TIERS, RUNGS, 60, features)
        score = health.rankings[0].score
        assert score is not None
        if score.surrogate.value > max(score.cost.value, 0):
            assert "surrogate" not in names(health)
            wide += score.surrogate.low <= 0
    assert wide


METRICS = ("bbox_mAP", "bbox_mAP_s")


def of_two(evaluation: Evaluation, second: float) -> Evaluation:
    return replace(evaluation, metrics={**evaluation.metrics, "bbox_mAP_s": second})


def test_the_surrogate_is_judged_by_every_metric(spec: SearchSpec, designs: list[Architecture]) -> None:
    """The first metric can be learnt; the second is noise."""
    random = np.random.default_rng(8)
    evaluations = [of_two(one, float(random.random())) for one in healthy(designs)]
    objectives = trade(metrics=METRICS)
    health = checked(spec, evaluations, objectives=objectives)
    findings = [finding for finding in health.findings if finding.check == "surrogate"]
    assert [finding.message.startswith("what was learnt of bbox_mAP_s from 60") for finding in findings] == [True]
    assert [ranking.metric for ranking in health.rankings] == list(METRICS)
    alone = checked(spec, healthy(designs))
    assert health.rankings[0] == alone.rankings[0]
    assert "unseen designs by bbox_mAP_s with tau" in health.said[1]
    assert "designs with tau" in alone.said[0]


def test_rungs_are_judged_by_every_metric(spec: SearchSpec, designs: list[Architecture]) -> None:
    """The first rung ranks designs by the first metric as the full training does, by the second in reverse."""
    evaluations = [
        of_two(done(3 * number + place, design, worth(design) / 2, rung), worth(design) * (1 if place else -1))
        for number, design in enumerate(sorted(designs, key=worth))
        for place, rung in enumerate(RUNGS)
    ]
    health = examine(evaluations, trade(metrics=METRICS), TIERS, RUNGS, 60)
    assert names(health) == ["rungs"]
    assert "ranked otherwise by bbox_mAP_s after 3 epochs than after 1" in health.findings[0].message
    assert "after 1 and 3 epochs designs are ranked alike by bbox_mAP with tau" in health.rungs_said[0]


def test_a_falling_metric_is_judged_like_a_rising_one(spec: SearchSpec, designs: list[Architecture]) -> None:
    falling = replace(OBJECTIVES, metrics=(MetricAxis("error", best=0.0, worst=1.0),))
    errors = [replace(one, metrics={"error": 1 - one.metrics["bbox_mAP"]}) for one in healthy(designs)]
    health = checked(spec, errors, objectives=falling)
    assert names(health) == []
    assert health.rankings[0].score == checked(spec, healthy(designs)).rankings[0].score


def test_texts_name_the_axis_of_the_tiers(spec: SearchSpec, designs: list[Architecture]) -> None:
    """On parameters nothing is said of MACs; a time is expected from the MACs on any axis."""
    by_parameters = trade(costs=("mparams",))
    tiers = tuple(sorted({round(by_parameters.price(design), 3) for design in designs}))[-1:]
    random = np.random.default_rng(8)
    evaluations = [done(number, design, float(random.random())) for number, design in enumerate(designs[:-1])]
    slow = Candidate(99, designs[-1], RUNGS[-1])
    running = {slow: 20 * 900 * gmacs(designs[-1]) + 500}
    found = [
        examine(evaluations, objectives, tiers, RUNGS, 60, unrelated(random), running)
        for objectives in (by_parameters, OBJECTIVES)
    ]
    texts = [f"{health.said} {' '.join(map(str, health.findings))}" for health in found]
    assert "parameters alone" in texts[0]
    assert "MACs" not in texts[0]
    assert "MACs alone" in texts[1]
    stragglers = [[f for f in health.findings if f.check == "straggler"] for health in found]
    assert stragglers[0] == stragglers[1] != []


def test_starved_tiers_are_named_in_the_unit_of_their_axis(spec: SearchSpec, designs: list[Architecture]) -> None:
    by_parameters = trade(costs=("mparams",))
    most = max(map(by_parameters.price, designs))
    health = examine(healthy(designs), by_parameters, (most / 1e4, most), RUNGS, 60)
    assert names(health) == ["tier"]
    assert health.findings[0].message == f"0 of 60 finished designs cost 0 to {most / 1e4:.6g} M"
