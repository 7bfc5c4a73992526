import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from piip_search.analysis.effects import Effect, importance, matched_effects
from piip_search.analysis.rank_correlation import Interval
from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.evaluation.objectives import MetricAxis
from support.trades import trade

OBJECTIVES = trade()


def _evaluation(form: str | Architecture, value: float, number: int = 0, seed: int = 0) -> Evaluation:
    design = Architecture.parse(form) if isinstance(form, str) else form
    return Evaluation(Candidate(number, design, Fidelity(), seed), "done", {"bbox_mAP": value})


def _one(effects: tuple[Effect, ...], title: str) -> Effect:
    found = [effect for effect in effects if effect.title == title]
    assert len(found) == 1, [effect.title for effect in effects]
    return found[0]


def _interactions(gain: float = 0.004) -> list[Evaluation]:
    """Four settings, each with 6 and with 12 interactions; the settings themselves differ by much more."""
    rows = []
    for number, (small, large) in enumerate(itertools.product((448, 672), (1120, 1344))):
        for count, value in ((6, 0.1 * number), (12, 0.1 * number + gain + 0.001 * (number - 1.5))):
            rows.append(_evaluation(f"vit_b@{small}:w14+vit_t@{large}:w14*{count}", value, len(rows)))
    return rows


def test_pairs_differ_in_one_choice_alone() -> None:
    effect = _one(matched_effects(_interactions(), OBJECTIVES), "12 instead of 6 interactions")
    assert effect.settings == len(effect.pairs) == 4
    assert {(pair.less, pair.more) for pair in effect.pairs} == {(0, 1), (2, 3), (4, 5), (6, 7)}
    assert effect.mean == pytest.approx(0.004)
    assert effect.sure
    assert 1 < effect.costs < 1.5


def test_the_interval_is_that_of_the_t_distribution() -> None:
    """Four gains of 0.0025, 0.0035, 0.0045, 0.0055: deviation 0.00129, standard error 0.000645, t 2.353."""
    effect = _one(matched_effects(_interactions(), OBJECTIVES), "12 instead of 6 interactions")
    assert isinstance(effect.gain, Interval)
    assert effect.gain.high - effect.gain.value == pytest.approx(2.3534 * 0.0012910 / 2, rel=1e-3)
    assert "+0.0040 ± 0.0015 bbox_mAP" in effect.said("bbox_mAP")
    assert "(4 pairs)" in effect.said("bbox_mAP")


def test_at_equal_cost_nothing_is_left_of_what_cost_alone_brings() -> None:
    """Where the metric follows the cost, every effect is one of cost."""
    rows = [
        _evaluation(f"vit_b@{small}:w14+vit_t@{large}:w14*{count}", 0.0, number)
        for number, (small, large, count) in enumerate(itertools.product((448, 672), (1120, 1344), (0, 3, 6, 12)))
    ]
    rows = [replace(row, metrics={"bbox_mAP": 0.05 * float(np.log2(OBJECTIVES.cost(row)))}) for row in rows]
    for effect in matched_effects(rows, OBJECTIVES):
        assert effect.mean > 0
        assert isinstance(effect.equal_cost, Interval)
        assert effect.equal_cost.value == pytest.approx(0, abs=1e-9)


def test_a_single_pair_has_no_interval_and_few_designs_no_equal_cost() -> None:
    rows = [_evaluation("vit_b@448:w14+vit_t@1120:w14*6", 0.3), _evaluation("vit_b@448:w14+vit_t@1120:w14*12", 0.31, 1)]
    effect = _one(matched_effects(rows, OBJECTIVES), "12 instead of 6 interactions")
    assert effect.gain == pytest.approx(0.01)
    assert effect.equal_cost is None
    assert not effect.sure
    assert "(1 pair)" in effect.said("bbox_mAP")


def test_a_gain_is_what_is_better_whatever_the_direction_of_the_metric() -> None:
    """The effects of an error that falls are those of a score that rises; a text says which of both they are of."""
    (falling,) = errors = (MetricAxis("error", best=0.0, worst=1.0),)
    rising = matched_effects(_interactions(), OBJECTIVES)
    rows = [replace(row, metrics={"error": 1 - row.metrics["bbox_mAP"]}) for row in _interactions()]
    found = matched_effects(rows, replace(OBJECTIVES, metrics=errors))
    assert [(one.title, one.sure) for one in found] == [(one.title, one.sure) for one in rising]
    assert [one.mean for one in found] == pytest.approx([one.mean for one in rising])
    said = _one(found, "12 instead of 6 interactions").said(falling.gained)
    assert "+0.0040 ± 0.0015 reduction of error at" in said
    assert OBJECTIVES.metrics[0].gained == "bbox_mAP"


@pytest.mark.parametrize(
    ("less", "more", "choice", "title"),
    [
        (
            "vit_t@672:w14+vit_t@1120:w14*4",
            "vit_s@672:w14+vit_t@1120:w14*4",
            "model",
            "ViT-S instead of ViT-T in branch 1 of 2",
        ),
        (
            "vit_b@448:w14+vit_t@1120:w14*4",
            "vit_b@672:w14+vit_t@1120:w14*4",
            "image size",
            "672 px instead of 448 px in branch 1 of 2",
        ),
        ("vit_b@672:w14", "vit_b@672:g", "window", "global attention instead of windows of 14 in a single branch"),
        (
            "vit_b@672:w14",
            "vit_b@672:w14g3",
            "window",
            "windows of 14 with 1 in 3 blocks global instead of windows of 14 in a single branch",
        ),
        ("vit_b@672:w14", "vit_b@672:w14+vit_t@1120:w14*4", "branches", "2 instead of 1 branch"),
        (
            "vit_b@448:w14+vit_t@1120:w14*4",
            "vit_b@448:w14+vit_s@672:w14+vit_t@1120:w14*4",
            "branches",
            "3 instead of 2 branches",
        ),
        (
            "vit_b@1120:w14+vit_t@448:w14*4",
            "vit_b@448:w14+vit_t@1120:w14*4",
            "image order",
            "inverted instead of upright image sizes",
        ),
        (
            "vit_b@448:w14+vit_t@1120:w14*0",
            "vit_b@448:w14+vit_t@1120:w14*4(heads=8)",
            "interactions",
            "4 instead of 0 interactions",
        ),
        (
            "vit_b@448:w14+vit_t@1120:w14*4",
            "vit_b@448:w14+vit_t@1120:w14*4(attention=regular)",
            "attention",
            "regular instead of deformable attention",
        ),
        (
            "vit_b@448:w14+vit_t@1120:w14*4(norm=no)",
            "vit_b@448:w14+vit_t@1120:w14*4",
            "norm",
            "with norm instead of without norm",
        ),
        (
            "vit_b@448:w14+vit_t@1120:w14*4",
            "vit_b@448:w14+vit_t@1120:w14*4/linear",
            "merge",
            "linear instead of conv merge",
        ),
    ],
)
def test_every_choice_is_compared(less: str, more: str, choice: str, title: str) -> None:
    effects = matched_effects([_evaluation(less, 0.3), _evaluation(more, 0.35, 1)], OBJECTIVES)
    assert [(effect.choice, effect.title) for effect in effects] == [(choice, title)]
    assert effects[0].mean == pytest.approx(0.05)


def test_designs_that_differ_in_two_choices_are_no_pair() -> None:
    rows = [_evaluation("vit_b@448:w14+vit_t@1120:w14*6", 0.3), _evaluation("vit_b@672:w14+vit_t@1120:w14*12", 0.4, 1)]
    assert matched_effects(rows, OBJECTIVES) == ()


def test_values_are_taken_together_by_their_order() -> None:
    """0, 6 and 12 interactions of one setting are two steps, which count as one setting."""
    rows = [_evaluation(f"vit_b@448:w14+vit_t@1120:w14*{c}", 0.3 + c / 100, n) for n, c in enumerate((12, 0, 6))]
    effect = _one(matched_effects(rows, OBJECTIVES), "more interactions")
    assert effect.broad
    assert [(pair.less, pair.more) for pair in effect.pairs] == [(1, 2), (2, 0)]
    assert effect.settings == 1


def test_seeds_of_a_design_are_averaged_and_failures_left_out() -> None:
    rows = [
        _evaluation("vit_b@448:w14+vit_t@1120:w14*6", 0.30),
        _evaluation("vit_b@448:w14+vit_t@1120:w14*6", 0.32, 1, seed=1),
        _evaluation("vit_b@448:w14+vit_t@1120:w14*12", 0.33, 2),
        Evaluation(Candidate(3, Architecture.parse("vit_b@448:w14+vit_t@1120:w14*3"), Fidelity()), "failed", error="x"),
    ]
    effects = matched_effects(rows, OBJECTIVES)
    assert [effect.title for effect in effects] == ["12 instead of 6 interactions"]
    assert effects[0].mean == pytest.approx(0.02)


def test_effects_are_plain_data() -> None:
    written = json.loads(json.dumps([effect.to_dict() for effect in matched_effects(_interactions(), OBJECTIVES)]))
    first = next(row for row in written if row["title"] == "12 instead of 6 interactions")
    assert first["gain"]["value"] == pytest.approx(0.004)
    assert len(first["pairs"]) == 4


def _drawn(count: int, seed: int = 0) -> list[Architecture]:
    random = np.random.default_rng(seed)
    designs = set()
    while len(designs) < count:
        large, small = random.choice(["vit_b", "vit_s"]), random.choice(["vit_t", "vit_nano"])
        low, high = random.choice([448, 672, 896]), random.choice([1120, 1344, 1568])
        designs.add(f"{large}@{low}:w14+{small}@{high}:w{random.choice([14, 28])}*{random.choice([0, 2, 4])}(heads=8)")
    return [Architecture.parse(form.replace("*0(heads=8)", "*0")) for form in sorted(designs)]


def test_importance_finds_what_tells_beyond_cost() -> None:
    random = np.random.default_rng(1)
    rows = [
        _evaluation(d, 0.05 * d.interaction.count + 0.02 * np.log2(OBJECTIVES.price(d)) + random.normal(0, 0.005), n)
        for n, d in enumerate(_drawn(60))
    ]
    found = importance(rows, OBJECTIVES)
    assert found.weights[0].choice == "interactions"
    assert found.weights[0].share > 5 * found.weights[1].share
    assert found.choices is not None
    assert found.choices > 0.5
    assert {weight.choice for weight in found.weights} == {"models", "image sizes", "windows", "interactions"}


def test_importance_of_noise_is_none() -> None:
    random = np.random.default_rng(0)
    rows = [_evaluation(design, random.normal(0.3, 0.01), n) for n, design in enumerate(_drawn(60))]
    found = importance(rows, OBJECTIVES)
    assert found.weights == ()
    assert "no choice tells anything beyond it" in found.said


def test_importance_of_few_designs_is_not_told() -> None:
    found = importance([_evaluation(d, 0.1 * n, n) for n, d in enumerate(_drawn(12))], OBJECTIVES)
    assert found.weights == ()
    assert "12 finished designs are too few to say what matters" in found.said
    assert json.loads(json.dumps(found.to_dict()))["designs"] == 12
    assert "nothing matters" in importance([_evaluation(d, 0.3, n) for n, d in enumerate(_drawn(40))], OBJECTIVES).said
