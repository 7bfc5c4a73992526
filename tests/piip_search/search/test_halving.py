import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piip_search.search.halving import Halving

EPOCHS = (1, 3, 9)


def play(
    halving: Halving[str], losses: dict[str, float], costs: dict[str, float], workers: int = 1, seed: int = 0
) -> list[tuple[str, int]]:
    """Starts designs on workers that end in any order, until nothing more goes on; what was started, in order."""
    new, running, started = list(losses), [], []
    draw = random.Random(seed)
    while True:
        while len(running) < workers:
            going = halving.promotion(closed=not new)
            if going is None and new:
                going = new.pop(0), halving.first_rung()
            if going is None:
                break
            design, rung = going
            halving.start(design, rung, costs[design])
            running.append(going)
            started.append(going)
        if not running:
            return started
        design, rung = running.pop(draw.randrange(len(running)))
        halving.record(design, rung, (losses[design] + 0.5 / EPOCHS[rung], costs[design]))


def one_tier(count: int) -> tuple[dict[str, float], dict[str, float]]:
    return {f"d{place}": 1 + place / count for place in range(count)}, {f"d{place}": 1.0 for place in range(count)}


def test_one_in_so_many_goes_on() -> None:
    losses, costs = one_tier(27)
    started = play(Halving(EPOCHS, 3, (2.0,)), losses, costs)
    assert [sum(rung == which for _, rung in started) for which in range(3)] == [27, 9, 3]
    # The best comes first here, so that it goes on at once and its rungs are decided without waiting.
    assert {design for design, rung in started if rung == 2} == {"d0", "d1", "d2"}


@pytest.mark.parametrize("workers", [1, 4, 16])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_design_is_trained_to_the_end(workers: int, seed: int) -> None:
    losses, costs = one_tier(40)
    names = list(losses)
    random.Random(seed).shuffle(names)
    started = play(Halving(EPOCHS, 3, (2.0,)), {name: losses[name] for name in names}, costs, workers, seed)
    assert ("d0", 2) in started
    assert len(set(started)) == len(started)
    assert sum(rung == 2 for _, rung in started) < 16  # 4 were enough if all ended before anyone goes on


def test_no_tier_starves() -> None:
    # Whatever is cheap is worse than whatever is dear.
    losses = {f"cheap{place}": 5.0 + place for place in range(4)} | {f"dear{place}": place / 9 for place in range(20)}
    costs = {name: 1.0 if name.startswith("cheap") else 5.0 for name in losses}
    started = play(Halving(EPOCHS, 3, (2.0, 8.0)), losses, costs)
    finished = {design for design, rung in started if rung == 2}
    assert "cheap0" in finished
    assert "dear0" in finished


def test_the_known_cost_decides_between_equals() -> None:
    halving: Halving[str] = Halving((1, 2), 2, (10.0,))
    for name, cost in (("dear", 9.0), ("cheap", 3.0)):
        halving.start(name, 0, cost)
        halving.record(name, 0, (0.5, cost))
    assert halving.promotion() == ("cheap", 1)


def test_a_cheap_design_that_learnt_nothing_does_not_go_on() -> None:
    halving: Halving[str] = Halving((1, 2), 3, (10.0,))
    for name, cost, loss in (("nothing", 1.0, 1.0), ("good", 8.0, 0.4), ("fair", 4.0, 0.6)):
        halving.start(name, 0, cost)
        halving.record(name, 0, (loss, cost))
    assert halving.promotion() != ("nothing", 1)


def test_what_failed_goes_nowhere() -> None:
    halving: Halving[str] = Halving((1, 2), 2, (10.0,))
    halving.start("broken", 0, 1.0)
    halving.record("broken", 0, None)
    assert halving.promotion(closed=True) is None


def test_where_the_best_of_a_tier_failed_on_its_way_the_next_goes_on() -> None:
    halving: Halving[str] = Halving((1, 2), 3, (10.0,))
    for name, loss in (("best", 0.1), ("next", 0.2)):
        halving.start(name, 0, 1.0)
        halving.record(name, 0, (loss, 1.0))
    assert halving.promotion(closed=True) == ("best", 1)
    halving.start("best", 1, 1.0)
    halving.record("best", 1, None)
    assert halving.promotion(closed=True) == ("next", 1)


def test_brackets_share_the_epochs() -> None:
    losses, costs = one_tier(39)
    started = play(Halving(EPOCHS, 3, (2.0,), brackets=3), losses, costs)
    first: dict[str, int] = {}
    for design, rung in started:
        first.setdefault(design, rung)
    begun = [sum(rung == which for rung in first.values()) for which in range(3)]
    assert sum(begun) == 39
    assert begun[0] * EPOCHS[0] == pytest.approx(begun[1] * EPOCHS[1], abs=EPOCHS[1])
    assert begun[1] * EPOCHS[1] == pytest.approx(begun[2] * EPOCHS[2], abs=EPOCHS[2])


def test_as_many_measurements_as_expected() -> None:
    losses, costs = one_tier(54)
    halving: Halving[str] = Halving(EPOCHS, 3, (2.0,))
    assert halving.expected(54) == 54 + 18 + 6
    assert len(play(halving, losses, costs)) == 78


def test_without_lower_rungs_everything_is_final() -> None:
    losses, costs = one_tier(5)
    assert play(Halving((12,), 3, (2.0,)), losses, costs) == [(name, 0) for name in losses]


@pytest.mark.parametrize(("keep", "brackets", "match"), [(1, 1, "at least 2"), (3, 4, "1 to 3"), (3, 0, "1 to 3")])
def test_what_cannot_be_scheduled(keep: int, brackets: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Halving(EPOCHS, keep, (1.0,), brackets)


def reached(rows: dict[str, tuple[float, ...]], keep: int = 2, metrics: int = 2) -> Halving[str]:
    """A schedule of two rungs, whose designs have these losses at the first."""
    halving: Halving[str] = Halving((1, 2), keep, (10.0,), metrics=metrics)
    for name, losses in rows.items():
        halving.start(name, 0, losses[metrics])
        halving.record(name, 0, losses)
    return halving


def test_the_best_of_each_of_two_metrics_goes_on() -> None:
    rows = {"first": (0.1, 0.9, 5.0), "second": (0.9, 0.1, 5.0), "poor": (0.8, 0.8, 5.0), "worse": (0.85, 0.85, 5.0)}
    halving = reached(rows)
    promoted = set()
    while (going := halving.promotion()) is not None:
        halving.start(*going, 5.0)
        promoted.add(going[0])
    assert promoted == {"first", "second"}


def test_a_further_cost_saves_a_design_from_being_dominated() -> None:
    rows = {"dear": (0.5, 5.0, 9.0), "slow": (0.5, 5.0, 5.0), "quick": (0.5, 5.0, 1.0)}
    assert reached({**rows, "poor": (0.9, 9.0, 9.0)}, metrics=1).promotion() == ("quick", 1)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=2, max_size=12, unique=True), st.integers(2, 3)
)
def test_a_metric_that_is_repeated_changes_no_promotion(rows: list[tuple[int, int]], keep: int) -> None:
    """Two metrics of equal values have the front of one; the best of it is the best of both."""
    once = {f"d{place}": (float(loss), float(cost)) for place, (loss, cost) in enumerate(rows)}
    twice = {name: (loss, loss, cost) for name, (loss, cost) in once.items()}
    fronts = [reached(once, keep, 1).promotion(), reached(twice, keep, 2).promotion()]
    assert (fronts[0] is None) == (fronts[1] is None)
    for going, table in zip(fronts, (once, twice), strict=True):
        if going is not None:
            own = table[going[0]]
            better = [other for other in table.values() if all(a <= b for a, b in zip(other, own, strict=True))]
            assert all(other == own for other in better)
