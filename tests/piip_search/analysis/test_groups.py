"""Groups of designs at equal cost."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from piip_search.analysis.effects import Measured, best_of, compared, grouped
from piip_search.analysis.rank_correlation import Interval
from piip_search.api.compare import compare_groups
from piip_search.architecture import Architecture
from piip_search.architecture.traits import TRAITS
from piip_search.config import SearchSpec, parse_spec
from piip_search.errors import ChoiceError, LedgerError, UserError
from piip_search.evaluation.objectives import MetricAxis
from support import small_ledger
from support.small_ledger import Fill
from support.typed import Cli

INVERTED, DIRECT = "vit_nano@64:g+vit_pico@128:g*0", "vit_nano@128:g+vit_pico@64:g*0"
MAP = MetricAxis("bbox_mAP")


def measured(name: str, merit: float, cost: float, trial: int = 0) -> Measured:
    return Measured(trial, Architecture.parse(name), merit, math.log2(cost))


def group(name: str, values: Sequence[tuple[float, float]]) -> list[Measured]:
    return [measured(name, merit, cost, trial) for trial, (merit, cost) in enumerate(values)]


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        (INVERTED, ["inverted", "2 branches", "0 interactions", "global", "ViT", "conv"]),
        (DIRECT, ["direct", "2 branches", "0 interactions", "global", "ViT", "conv"]),
        ("vit_pico@64:g", [None, "1 branch", None, "global", "ViT", None]),
        (
            "vit_nano@64:w4+vit_pico@64:g*2/residual",
            ["equal", "2 branches", "2 interactions", "both", "ViT", "residual"],
        ),
        (
            "vit_micro@64:w4+vit_nano@32:w4+vit_pico@64:w4*1",
            ["mixed", "3 branches", "1 interactions", "windows", "ViT", "conv"],
        ),
        ("vit_pico@32:g+vit_pico@64:g*0", ["mixed", "2 branches", "0 interactions", "global", "ViT", "conv"]),
        ("convnext_t@64", [None, "1 branch", None, None, "ConvNeXt", None]),
        ("vit_s@64:w2g3+convnext_t@128*4", ["inverted", "2 branches", "4 interactions", "both", "hybrid", "pyramid"]),
    ],
)
def test_each_design_has_its_groups(name: str, traits: list[str | None]) -> None:
    design = Architecture.parse(name)
    assert [trait(design) for trait in TRAITS.values()] == traits


def test_pairs_have_equal_cost_and_every_design_once() -> None:
    direct = group(DIRECT, [(0.10, 100), (0.20, 200), (0.30, 400), (0.9, 5000)])
    inverted = group(INVERTED, [(0.35, 420), (0.12, 96), (0.24, 205), (0.1, 10)])
    (found,) = compared({"direct": direct, "inverted": inverted})
    assert [(pair.first.merit, pair.second.merit) for pair in found.pairs] == [(0.10, 0.12), (0.20, 0.24), (0.30, 0.35)]
    assert all(abs(math.log2(pair.costs)) <= math.log2(1.1) for pair in found.pairs)
    # By hand: mean of 0.02, 0.04, 0.05; t of 2 degrees at 95 % is 2.920 (any table of Student's t).
    gains = [0.02, 0.04, 0.05]
    half = 2.920 * np.std(gains, ddof=1) / math.sqrt(3)
    assert isinstance(found.gain, Interval)
    assert found.gain.value == pytest.approx(np.mean(gains))
    assert (found.gain.high - found.gain.low) / 2 == pytest.approx(half, rel=1e-3)
    assert found.verdict(MAP).startswith("inverted is better than direct at equal cost by 0.0367 [0.01")


def test_as_many_pairs_as_possible_are_made() -> None:
    """The closest pair first would leave the others without a partner."""
    (found,) = compared({"a": group(DIRECT, [(0, 100), (0, 107)]), "b": group(INVERTED, [(0, 106), (0, 115)])})
    assert [(round(2**p.first.doublings), round(2**p.second.doublings)) for p in found.pairs] == [
        (100, 106),
        (107, 115),
    ]


def test_a_verdict_says_no_more_than_the_pairs() -> None:
    (noise,) = compared(
        {"a": group(DIRECT, [(0.1, 1), (0.2, 2), (0.3, 4)]), "b": group(INVERTED, [(0.2, 1), (0.1, 2), (0.31, 4)])}
    )
    assert re.match(r"3 pairs of equal cost do not tell b from a: \+0\.0033 \[-0\.\d+, \+0\.\d+\]", noise.verdict(MAP))
    (few,) = compared({"a": group(DIRECT, [(0.1, 1)]), "b": group(INVERTED, [(0.9, 1)])})
    assert few.verdict(MAP) == "a and b: 1 pair of equal cost, too few to tell"
    (none,) = compared({"a": group(DIRECT, [(0.1, 1)]), "b": group(INVERTED, [(0.9, 2)])})
    assert (none.pairs, none.gain) == ((), None)
    worse = group(INVERTED, [(-0.5, 1), (-0.6, 2), (-0.7, 4)])
    (falling,) = compared({"a": group(DIRECT, [(-0.1, 1), (-0.2, 2), (-0.31, 4)]), "b": worse})
    said = falling.verdict(MetricAxis("error", best=0, worst=1))
    assert re.match(r"a is better than b at equal cost by 0\.39\d+ \[.*\] reduction of error \(3 pairs", said)


def test_the_best_of_each_group_within_a_tier() -> None:
    groups = {"direct": group(DIRECT, [(0.1, 100), (0.4, 300)]), "inverted": group(INVERTED, [(0.3, 250)])}
    found = [(one.tier, one.group, one.design and one.design.merit) for one in best_of(groups, (200, 300))]
    assert found == [(200, "direct", 0.1), (200, "inverted", None), (300, "direct", 0.4), (300, "inverted", 0.3)]
    assert list(grouped([*groups["inverted"], *groups["direct"]], TRAITS["pairing"])) == ["direct", "inverted"]


def test_groups_of_a_run(fill: Fill, run_cli: Cli) -> None:
    ledger = fill(trials=40)
    found = compare_groups(ledger, ["small"], "branches")
    assert sum(map(len, found.groups.values())) == 40
    assert set(found.groups) == {"1 branch", "2 branches", "3 branches"}
    assert len(found.verdicts) == 3
    ended = run_cli("compare", "small", "--by", "branches", "--home", "runs")
    assert (ended.code, "best of each group by branches" in ended.out) == (0, True)
    assert all(verdict.split(" (")[0][:60] in " ".join(ended.out.split()) for verdict in found.verdicts)


def test_pairs_do_not_depend_on_the_order_of_designs() -> None:
    random = np.random.default_rng(0)
    first, second = (
        [measured(f"vit_pico@{64 + 16 * place}:g", float(random.random()), 100 * 2 ** (place / 40)) for place in places]
        for places in (range(0, 12), range(1, 25, 2))
    )
    pairs = compared({"a": first, "b": second}, within=0.3)[0].pairs
    assert len(pairs) > 5
    for _ in range(20):
        mixed = [[group[place] for place in random.permutation(len(group))] for group in (first, second)]
        assert compared({"a": mixed[0], "b": mixed[1]}, within=0.3)[0].pairs == pairs
    costs = [(pair.first.doublings, pair.second.doublings) for pair in pairs]
    assert costs == sorted(costs), "pairs do not cross"
    assert [cost for _, cost in costs] == sorted(cost for _, cost in costs)


def test_one_measurement_in_two_runs_counts_once(fill: Fill, run_cli: Cli) -> None:
    fill(trials=12)
    ledger = fill(run="other", trials=14)
    alone, both = (compare_groups(ledger, runs, "branches").to_dict() for runs in (["other"], ["small", "other"]))
    assert both["copies"] == {"other": 12}
    assert sum(both["groups"].values()) == sum(alone["groups"].values()) == 14
    figures = [[(one["gain"], len(one["pairs"])) for one in found["comparisons"]] for found in (alone, both)]
    assert figures[0] == figures[1]
    by_run = compare_groups(ledger, ["small", "other"], "run")
    assert {name: len(designs) for name, designs in by_run.groups.items()} == {"small": 12, "other": 2}
    assert (
        "12 evaluations of other are also those of an earlier run"
        in run_cli("compare", "small", "other", "--by", "branches", "--home", "runs").out
    )
    with pytest.raises(UserError, match="measured only other; the others have no measurement of their own"):
        compare_groups(ledger, ["other", "small"], "run")


def test_longer_trainings_are_another_training(fill: Fill, spec: SearchSpec, tmp_path: Path) -> None:
    ledger = fill(trials=8)
    longer = spec.model_copy(update={"fidelity": spec.fidelity.model_copy(update={"epochs": 99})})
    small_ledger.fill(tmp_path / "runs", longer, run="longer", trials=8)
    found = compare_groups(ledger, ["small", "longer"], "run")
    assert not found.one_training
    assert found.copies == {}


def test_all_designs_are_priced_as_the_first_run_prices_them(spec: SearchSpec, tmp_path: Path) -> None:
    content = spec.model_dump(mode="json") | {"limit": {"mparams": [5], "convention": "backbone"}}
    for run, convention, seed in (("own", "backbone", 0), ("papers", "published", 1)):
        limit = {**content["limit"], "convention": convention}
        ledger = small_ledger.fill(tmp_path / "runs", parse_spec({**content, "limit": limit, "seed": seed}), run)
    found = compare_groups(ledger, ["own", "papers"], "branches")
    price = found.objectives.price
    for designs in found.groups.values():
        for one in designs:
            assert 2**one.doublings == pytest.approx(price(one.architecture))


def test_runs_are_groups_too(fill: Fill, spec: SearchSpec, tmp_path: Path) -> None:
    ledger = fill(trials=8)
    small_ledger.fill(tmp_path / "runs", spec.model_copy(update={"seed": 1}), run="other", trials=8)
    found = compare_groups(ledger, ["small", "other"], "run")
    (comparison,) = found.comparisons
    assert (comparison.first, comparison.second) == ("small", "other")
    assert comparison.pairs
    assert found.to_dict()["comparisons"][0]["verdict"] == found.verdicts[0]
    assert found.one_training


def test_what_cannot_be_compared_is_said(fill: Fill, by_parameters: SearchSpec, tmp_path: Path) -> None:
    ledger = fill(trials=3)
    with pytest.raises(ChoiceError, match="no trait 'pairings'; did you mean pairing"):
        compare_groups(ledger, ["small"], "pairings")
    with pytest.raises(LedgerError):
        compare_groups(ledger, ["nothing"], "pairing")
    with pytest.raises(UserError, match="two groups by family are needed, and small measured only ViT"):
        compare_groups(ledger, ["small"], "family")
    small_ledger.fill(tmp_path / "runs", by_parameters, run="params", trials=3)
    with pytest.raises(UserError, match=r"run params measures bbox_mAP against parameters .* compare runs with one"):
        compare_groups(ledger, ["small", "params"], "branches")
