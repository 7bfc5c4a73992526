"""Proposals by expected gain: against sampling, on functions that are known, and on a published benchmark."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from piip_search.evaluation.pareto import hypervolume, undominated
from piip_search.search.samplers.acquisition import (
    START,
    AcquisitionPool,
    ExpectedFrontGain,
    Prior,
    Proposal,
    expected_gain,
)
from piip_search.search.samplers.surrogate import Surrogate
from piip_search.simulation.table import Table


def known(count: int = 300, seed: int = 0) -> tuple[AcquisitionPool, np.ndarray]:
    """Designs whose loss falls with cost, the last of three features, and with another one."""
    random = np.random.default_rng(seed)
    features = random.random((count, 3))
    costs = 1 + 9 * features[:, 2]
    losses = 1 - 0.5 * features[:, 2] - 0.4 * features[:, 1] + 0.02 * random.standard_normal(count)
    near = [np.argsort(((features - own) ** 2).sum(1))[1:5] for own in features]
    return AcquisitionPool(costs, lambda indices: features[indices], lambda index: near[index]), losses


def drive(choices: AcquisitionPool, losses: np.ndarray, tiers: list[float], trials: int, seed: int = 0) -> list[int]:
    proposer = ExpectedFrontGain(choices, tiers, seed)
    free = np.ones(len(losses), dtype=bool)
    measured: dict[int, tuple[float, ...]] = {}
    for _ in range(trials):
        proposal = proposer.propose(measured, (), (), free)
        if proposal is None:
            break
        free[proposal.index] = False
        measured[proposal.index] = (float(losses[proposal.index]),)
    return list(measured)


def test_the_expected_gain_is_the_mean_gain_of_hypervolume_and_best() -> None:
    """Each equally likely loss is put on the front, and the two areas are compared."""
    random = np.random.default_rng(1)
    front = np.array([1.0, 3.0, 6.0]), np.array([0.9, 0.5, 0.3])
    losses, costs = random.random((40, 5)) * 1.2, random.random(40) * 12
    for tier in (2.0, 5.0, 10.0):
        gain = expected_gain(losses, costs, front, 1.0, tier)
        points = np.stack([front[1], front[0]], 1)
        reference = np.array([1.0, tier])
        before = hypervolume(points, reference)
        best = min([1.0, *front[1][front[0] <= tier]])
        for design in range(len(costs)):
            gained = []
            for loss in losses[design]:
                after = hypervolume(np.vstack([points, [loss, costs[design]]]), reference)
                lower = max(0.0, best - loss) if costs[design] <= tier else 0.0
                gained.append((after - before) / tier + lower)
            assert gain[design] == pytest.approx(np.mean(gained), abs=1e-12)


def test_the_surrogate_learns_a_trend_and_is_sure_where_it_measured() -> None:
    random = np.random.default_rng(0)
    features = random.random((60, 4))
    losses = 0.2 + np.exp(-2 * features[:, 0] + 0.5 * features[:, 1])
    belief = Surrogate.fit(features[:40], losses[:40], seed=0)
    assert np.corrcoef(belief.expected(features[40:]), losses[40:])[0, 1] > 0.99
    levels = belief.losses(features)
    assert (np.diff(levels, axis=1) >= 0).all()
    width = levels[:, -1] - levels[:, 0]
    far = belief.losses(np.full((1, 4), 3.0))
    assert far[0, -1] - far[0, 0] > 3 * np.median(width[:40])
    guessed = belief.with_guesses(features[40:50])
    np.testing.assert_allclose(guessed.expected(features[40:50]), belief.expected(features[40:50]), rtol=0.05)
    after = guessed.losses(features[40:50])
    assert (after[:, -1] - after[:, 0] < width[40:50] + 1e-9).all()


def test_much_evidence_is_thinned_out_alike_every_time() -> None:
    random = np.random.default_rng(0)
    features = random.random((1200, 3))
    losses = features.sum(1)
    first, second = (Surrogate.fit(features, losses, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.expected(features[:20]), second.expected(features[:20]))
    assert len(first.process.X_train_) < 1200
    np.testing.assert_allclose(first.expected(features), losses, atol=0.1)


def test_good_designs_of_every_tier_are_found_soon_and_none_over_the_limit() -> None:
    choices, losses = known()
    asked = drive(choices, losses, [4.0, 8.0], 40)
    assert len(set(asked)) == 40
    assert choices.costs_N[asked].max() <= 8.0
    for tier in (4.0, 8.0):
        best = losses[choices.costs_N <= tier].min()
        mine = losses[[index for index in asked if choices.costs_N[index] <= tier]].min()
        assert mine - best < 0.03


def test_equal_evidence_gives_equal_proposals_whatever_its_order() -> None:
    choices, losses = known()
    asked = drive(choices, losses, [8.0], 20)
    free = np.ones(len(losses), dtype=bool)
    free[asked] = False
    measured = {index: (float(losses[index]),) for index in asked}
    backwards = dict(reversed(measured.items()))
    first, second = (ExpectedFrontGain(choices, [8.0], 0).propose(each, (), (), free) for each in (measured, backwards))
    assert first == second
    assert first is not None
    assert first.source == "gain"
    assert first.loss is not None
    assert first.loss[1] <= first.loss[0] <= first.loss[2]


def test_what_runs_or_failed_is_not_proposed_again_nor_are_its_twins_first() -> None:
    choices, losses = known()
    asked = drive(choices, losses, [8.0], 20)
    free = np.ones(len(losses), dtype=bool)
    free[asked] = False
    measured = {index: (float(losses[index]),) for index in asked}
    proposer = ExpectedFrontGain(choices, [8.0], 0)
    running: list[int] = []
    for _ in range(6):
        proposal = proposer.propose(measured, running, (), free)
        assert proposal is not None
        free[proposal.index] = False
        running.append(proposal.index)
    assert len(set(running)) == 6
    after = proposer.propose(measured, running[3:], running[:3], free)
    assert after is not None
    assert after.index not in running


def test_a_line_along_the_cost_tells_of_designs_cheaper_than_any_measured() -> None:
    """Ten designs of many features, all of them dear: without the line the cheapest are as good as the mean."""
    random = np.random.default_rng(0)
    misses: dict[int | None, list[float]] = {None: [], 29: []}
    for _ in range(10):
        features = random.random((10, 30))
        features[:, 29] = random.uniform(0.6, 1.0, 10)
        losses = 0.6 - 0.3 * features[:, 29] + 0.01 * random.standard_normal(10)
        cheap = np.append(random.random(29), 0.0)[None]
        for line, found in misses.items():
            found.append(abs(float(Surrogate.fit(features, losses, 0, line=line).expected(cheap)[0]) - 0.6))
    assert np.median(misses[29]) < 0.06
    assert np.median(misses[29]) < 0.5 * np.median(misses[None])


def test_the_first_proposals_of_several_tiers_go_where_the_cost_leads() -> None:
    """Ten designs of many features hide that losses fall with the cost: a round of the tiers believes it."""
    for seed in range(3):
        random = np.random.default_rng(seed)
        features = random.random((400, 30))
        costs = 1000 ** features[:, 29]
        losses = 0.6 - 0.3 * features[:, 29] + 0.01 * random.standard_normal(400)
        choices = AcquisitionPool(costs, features.__getitem__, lambda index: np.array([index]))
        first, second, third, _ = costs[drive(choices, losses, [250.0, 1000.0], START + 4, seed)[START:]]
        assert 200 < first <= 250
        assert second > 900
        assert third < 2  # the next round is of the other belief, that all are alike
        assert costs[drive(choices, losses, [1000.0], START + 1, seed)[START]] < 5  # as is the only tier


def test_it_starts_spread_over_the_costs_and_ends_when_nothing_is_left() -> None:
    choices, losses = known(count=30)
    asked = drive(choices, losses, [10.0], 99)
    assert sorted(asked) == list(range(30))
    shares = np.sort(np.log(choices.costs_N[asked[:START]]) / np.log(10))
    assert np.diff(shares).max() < 0.35
    assert drive(choices, losses, [0.5], 5) == []


def test_flat_losses_end_no_search() -> None:
    choices, losses = known(count=40)
    assert len(set(drive(choices, np.full_like(losses, 0.5), [10.0], 40))) == 40


def write(path: Path, rows: list[str], header: str = "choice:a,choice:b,cost:gmacs,loss:error") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_table_gives_kinds_and_sizes(tmp_path: Path) -> None:
    table = Table.read(write(tmp_path / "t.csv", ["x,1,1.5,0.3", "y,10,2,0.2", "x,100,4,0.1"]))
    assert len(table) == 3
    assert table.features_NF.min() >= 0
    assert table.features_NF.max() <= 1
    np.testing.assert_allclose(table.features_NF[:, 2], [0, 0.5, 1])  # 1, 10, 100 on a scale of ratios
    choices = table.offered("gmacs")
    assert choices.features(np.array([0, 2])).shape == (2, 7)
    assert choices.near(0).tolist() == [2]


def used(table: Table) -> tuple[str, str]:
    return table.loss(), table.cost()


def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """With a mark at its beginning, empty lines, blanks, a design that costs nothing and one without a loss."""
    file = tmp_path / "t.csv"
    file.write_text(
        "\ufeffchoice:a, cost:gmacs,loss:error,note\n\nx,0,0.3,\n y ,2,0.2,good\nz,3,,lost\n", encoding="utf-8"
    )
    table = Table.read(file)
    assert used(table) == ("error", "gmacs")
    assert table.choices["a"] == ("x", "y", "z")
    assert np.isnan(table.losses["error"][2])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["x,1,1.5,0.3", "y,10,2"], "line 3: 3 values under 4 columns"),
        (["x,1,1.5,0.3", "y,10,2,nan"], "loss:error is equal for all designs"),
        (["x,1,1.5,0.3", "y,10,2,0.3"], "loss:error is equal for all designs"),
        (["x,1,1.5,0.3", "y,10,zero,1"], "line 3, cost:gmacs: a number of at least 0 is needed, got nan"),
        (["x,1,1.5,0.3", "", "y,10,-1,1"], "line 4, cost:gmacs: a number of at least 0 is needed, got -1"),
        (["x,1,1.5,0.3"], "has 1 designs"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        used(Table.read(write(tmp_path / "t.csv", rows)))
    with pytest.raises(ValueError, match="no column loss"):
        Table.read(write(tmp_path / "other.csv", ["x,1", "y,2"], "choice:a,cost:b"))
    with pytest.raises(ValueError, match="cannot be read as a table"):
        Table.read(tmp_path / "none.csv")


def nas_bench_macro(shared: Path) -> Table:
    content = json.loads((shared / "bench/nas-bench-macro_cifar10.json").read_text(encoding="utf-8"))
    costs = {name: np.array([facts[name] / 1e6 for facts in content.values()]) for name in ("flops", "params")}
    return Table(
        shared,
        np.arange(len(content)),
        {f"layer{place}": tuple(f"op{name[place]}" for name in content) for place in range(8)},
        {"mmacs": costs["flops"], "mparams": costs["params"]},
        {"error": np.array([100 - facts["mean_acc"] for facts in content.values()])},
    )


@pytest.mark.slow
def test_nas_bench_macro_is_solved_within_the_promised_evaluations(shared: Path) -> None:
    """Error against FLOPs, worst corner: 95 % of the hypervolume within 25 evaluations, with each seed."""
    table = nas_bench_macro(shared)
    costs, losses = table.costs["mmacs"], table.losses["error"]
    points = np.stack([losses, costs], 1)
    reference = points.max(0)
    order = np.lexsort((losses, costs))
    lowest = np.minimum.accumulate(losses[order])
    front = points[order][np.append(True, lowest[1:] < lowest[:-1])]
    whole = hypervolume(front, reference)
    for seed in range(3):
        asked = drive(table.offered("mmacs"), losses, [float(costs.max())], 25, seed)
        assert hypervolume(points[asked], reference) >= 0.95 * whole


@pytest.mark.slow
def test_three_objectives_of_nas_bench_macro_are_solved_within_the_promised_evaluations(shared: Path) -> None:
    """Error against FLOPs and parameters, worst corner: 90 % of the hypervolume within 20 evaluations."""
    table = nas_bench_macro(shared)
    pool, losses = table.offered("mmacs", "mparams"), table.losses["error"][:, None]
    points = np.hstack([losses, pool.costs(np.arange(len(losses)))])
    reference = points.max(0)
    whole = hypervolume(points[undominated(points)], reference)
    for seed in range(3):
        asked = [proposal.index for proposal in proposals(pool, losses, [float(reference[1])], 20, seed)]
        assert hypervolume(points[asked], reference) >= 0.9 * whole


def test_lower_rungs_guide_without_being_taken_for_the_end() -> None:
    """Designs are measured early, where all look alike but one trend; a few are known to their end."""
    choices, losses = known()
    random = np.random.default_rng(3)
    early = random.permutation(len(losses))[:60]
    reached = {int(design): {3: (0.5 + 0.3 * float(losses[design]),)} for design in early}
    final = {int(design): (float(losses[design]),) for design in early[:6]}
    free = np.ones(len(losses), dtype=bool)
    free[early] = False
    proposer = ExpectedFrontGain(choices, [10.0], seed=0)
    guided = proposer.propose(final, (), (), free, reached)
    assert guided is not None
    assert guided.source == "gain"
    assert guided.loss is not None
    # What is predicted is an end, of which the least is 0.1, not a loss after three epochs, of which it is 0.53.
    assert guided.loss[0] < 0.45
    best = np.sort(losses[free])
    assert losses[guided.index] <= best[len(best) // 10]


def test_what_is_left_falls_as_designs_are_measured() -> None:
    choices, losses = known()
    proposer = ExpectedFrontGain(choices, [5.0, 10.0], seed=0)
    order = np.random.default_rng(5).permutation(len(losses))
    left, truth = [], []
    for count in (12, 150):
        some = order[:count]
        free = np.ones(len(losses), dtype=bool)
        free[some] = False
        proposal = proposer.propose({int(i): (float(losses[i]),) for i in some}, (), (), free)
        assert proposal is not None
        assert proposal.left is not None
        left.append(proposal.left)
        truth.append(losses[some].min() - losses.min())
    assert set(left[0]) == {5.0, 10.0}
    assert all(0 <= late < early for early, late in zip(left[0].values(), left[1].values(), strict=True))
    assert 0.3 * truth[0] < left[0][10.0] < 3 * truth[0]


def with_prior(
    make: Callable[[np.ndarray], Prior | None], trials: int, seed: int, told: bool = True
) -> tuple[np.ndarray, list[Proposal]]:
    """Lowest loss after each trial, less the least possible, and what was proposed.

    Args:
        make: The prior of known losses.
        trials: How many.
        seed: Of losses and proposals.
        told: Whether features tell anything of the losses.
    """
    choices, losses = known(seed=seed)
    if not told:
        blind = np.random.default_rng(seed + 100).random((len(losses), 6))
        choices = AcquisitionPool(choices.costs_N, lambda indices: blind[indices], choices.near)
    proposer = ExpectedFrontGain(choices, [4.0, 10.0], seed, prior=make(losses))
    free = np.ones(len(losses), dtype=bool)
    measured: dict[int, tuple[float, ...]] = {}
    proposals = []
    for _ in range(trials):
        proposal = proposer.propose(measured, (), (), free)
        assert proposal is not None
        proposals.append(proposal)
        free[proposal.index] = False
        measured[proposal.index] = (float(losses[proposal.index]),)
    return np.minimum.accumulate([loss for (loss,) in measured.values()]) - losses.min(), proposals


def nothing(losses: np.ndarray) -> None:
    return None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_good_prior_helps(seed: int) -> None:
    def good(losses: np.ndarray) -> Prior:
        expected = 70 * (losses + 0.05 * np.random.default_rng(seed).standard_normal(len(losses))) + 5
        return Prior(lambda indices: expected[indices])

    regret, proposals = with_prior(good, 30, seed, told=False)
    alone, _ = with_prior(nothing, 30, seed, told=False)
    used = [proposal.reason.prior for proposal in proposals if proposal.source == "gain"]
    assert used.count("of use") > 0.9 * len(used)
    assert regret[-1] < 0.08 < alone[-1] + 0.08
    assert regret[-1] <= alone[-1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_misleading_prior_is_dropped(seed: int) -> None:
    def wrong(losses: np.ndarray) -> Prior:
        expected = np.random.default_rng(seed).random(len(losses))
        return Prior(lambda indices: expected[indices], tuple(int(index) for index in np.argsort(-losses)[:40]))

    regret, proposals = with_prior(wrong, 25, seed)
    assert [proposal.source for proposal in proposals[:5]] == ["prior"] * 5
    used = [proposal.reason.prior for proposal in proposals if proposal.source == "gain"]
    assert used.count("dropped") > 0.7 * len(used)
    assert regret[-1] <= with_prior(nothing, 25, seed)[0][-1] + 0.05


def test_a_priors_designs_come_tier_by_tier() -> None:
    choices, losses = known()
    cheap = np.flatnonzero(choices.costs_N <= 4)
    dear = np.flatnonzero(choices.costs_N > 4)
    first = (*(int(i) for i in cheap[:3]), *(int(i) for i in dear[:3]))
    _, proposals = with_prior(lambda _: Prior(lambda indices: losses[indices], first), 6, 0)
    assert [proposal.source for proposal in proposals] == ["prior"] * 5 + ["start"]
    tiers = [choices.costs_N[proposal.index] > 4 for proposal in proposals[:5]]
    assert tiers == [False, True, False, True, False]


def several(seed: int = 0, count: int = 300) -> tuple[AcquisitionPool, np.ndarray]:
    """Designs with two costs and two losses; each loss falls with one of the costs, and with a feature of its own."""
    random = np.random.default_rng(seed)
    features = random.random((count, 4))
    costs = 1 + 9 * features[:, 2:]
    losses = 1 - 0.4 * features[:, :2] - 0.4 * features[:, 2:] + 0.02 * random.standard_normal((count, 2))
    losses[:, 1] *= 50  # in a unit of its own
    near = [np.argsort(((features - own) ** 2).sum(1))[1:5] for own in features]
    pool = AcquisitionPool.of(costs, lambda indices: features[indices][:, [0, 1, 3, 2]], lambda index: near[index])
    return pool, losses


def proposals(
    choices: AcquisitionPool, losses: np.ndarray, tiers: list[float], trials: int, seed: int = 0, fail: int = 0
) -> list[Proposal]:
    """Proposals for all columns of losses; every so many fails."""
    proposer = ExpectedFrontGain(choices, tiers, seed, metrics=losses.shape[1])
    free = np.ones(len(losses), dtype=bool)
    measured: dict[int, tuple[float, ...]] = {}
    failed: list[int] = []
    made = []
    for number in range(1, trials + 1):
        proposal = proposer.propose(measured, (), failed, free)
        assert proposal is not None
        made.append(proposal)
        free[proposal.index] = False
        if fail and number % fail == 0:
            failed.append(proposal.index)
        else:
            measured[proposal.index] = tuple(losses[proposal.index].tolist())
    return made


@pytest.mark.parametrize("fail", [0, 7])
def test_the_best_of_every_metric_and_a_wide_front_are_found(fail: int) -> None:
    choices, losses = several()
    made = proposals(choices, losses, [5.0, 8.0], 45, fail=fail)
    asked = [proposal.index for proposal in made]
    assert len(set(asked)) == 45
    assert choices.costs_N[asked].max() <= 8.0
    costs = choices.costs(np.arange(len(losses)))
    fitting = costs[:, 0] <= 8
    for place, unit in enumerate((1, 50)):
        assert losses[asked, place].min() - losses[fitting, place].min() < 0.05 * unit
    points = np.hstack([losses, costs])
    reference = points[fitting].max(0)
    random = np.random.default_rng(0).permutation(np.flatnonzero(fitting))[:45]
    assert hypervolume(points[asked], reference) > 1.1 * hypervolume(points[random], reference)


def test_what_is_left_of_several_metrics_is_the_largest_fall() -> None:
    """In the unit of the first; a second metric of which much is left to gain counts, whatever its unit."""
    choices, losses = several()
    some = np.random.default_rng(1).permutation(len(losses))[:25]
    free = np.ones(len(losses), dtype=bool)
    free[some] = False

    def left(columns: np.ndarray) -> dict[float, float]:
        proposer = ExpectedFrontGain(choices, [5.0, 10.0], 0, metrics=columns.shape[1])
        proposal = proposer.propose({int(i): columns[i].tolist() for i in some}, (), (), free)
        assert proposal is not None
        assert proposal.left is not None
        return dict(proposal.left)

    both, first, second = left(losses), left(losses[:, :1]), left(losses[:, 1:])
    ranges = np.ptp(losses[some], axis=0)
    for tier in (5.0, 10.0):
        assert both[tier] == pytest.approx(max(first[tier], second[tier] * ranges[0] / ranges[1]))


def test_a_second_metric_that_is_equal_for_all_ends_no_search() -> None:
    choices, losses = several(count=60)
    flat = np.stack([losses[:, 0], np.full(len(losses), 0.5)], 1)
    made = proposals(choices, flat, [10.0], 30)
    assert {proposal.source for proposal in made[START:]} == {"gain"}
    assert flat[[proposal.index for proposal in made], 0].min() - flat[:, 0].min() < 0.05


def test_lower_rungs_tell_of_each_metric() -> None:
    """At the first rung the losses are half as large again; designs that are known to the end show it."""
    choices, losses = several()
    early = np.random.default_rng(3).permutation(len(losses))[:60]
    reached = {int(design): {3: (1.5 * losses[design]).tolist()} for design in early}
    final = {int(design): losses[design].tolist() for design in early[:8]}
    free = np.ones(len(losses), dtype=bool)
    free[early] = False
    guided = ExpectedFrontGain(choices, [10.0], 0, metrics=2).propose(final, early[:0].tolist(), (), free, reached)
    assert guided is not None
    assert guided.source == "gain"
    assert guided.loss is not None
    assert abs(guided.loss[0] - losses[guided.index, 0]) < 0.15


def test_one_metric_and_one_cost_are_a_case_of_several() -> None:
    """A further cost that is equal for all designs, and a metric given twice, hardly change what is found."""
    choices, losses = known()
    more = AcquisitionPool.of(np.stack([choices.costs_N, np.ones(len(losses))], 1), choices.features, choices.near)
    twice = np.stack([losses, losses], 1)
    for pool, columns in ((more, losses[:, None]), (choices, twice)):
        made = proposals(pool, columns, [4.0, 8.0], 40)
        for tier in (4.0, 8.0):
            mine = [losses[p.index] for p in made if choices.costs_N[p.index] <= tier]
            assert min(mine) - losses[choices.costs_N <= tier].min() < 0.03


def test_a_tier_without_designs_is_no_obstacle() -> None:
    choices, losses = several(count=60)
    made = proposals(choices, losses, [0.5, 8.0], 15)
    assert all(choices.costs_N[proposal.index] <= 8 for proposal in made)
