import numpy as np
import pytest

from piip_search.search.samplers.rung_extrapolation import extrapolated


def curves(count: int, noise: float, seed: int = 0) -> tuple[dict[int, dict[int, float]], dict[int, float]]:
    """Losses after 1 and 3 epochs of designs, and those after 9 of the third that was best after 3."""
    random = np.random.default_rng(seed)
    final = random.random(count)
    third = 0.3 + 0.5 * final + noise * random.standard_normal(count)
    first = 0.6 + 0.3 * final + 3 * noise * random.standard_normal(count)
    going = np.argsort(third)[: count // 3]
    reached = {design: {1: first[design], 3: third[design]} for design in range(count)}
    return reached, {int(design): float(final[design]) for design in going}


def test_a_lower_rung_is_translated_by_those_that_went_on() -> None:
    reached, final = curves(200, noise=0.0)
    found = extrapolated(reached, final)
    assert set(found) == set(reached) - set(final)
    for design, (loss, deviation) in found.items():
        assert loss == pytest.approx((reached[design][3] - 0.3) / 0.5, abs=0.1)
        assert loss > min(final.values())
        assert deviation < 0.1


def test_the_uncertainty_is_about_right_and_grows_downwards() -> None:
    reached, final = curves(300, noise=0.03)
    only_first = {design: {1: losses[1]} for design, losses in reached.items() if design not in final and design % 2}
    found = extrapolated({**reached, **only_first}, final)
    low = [found[design][1] for design in only_first]
    high = [found[design][1] for design in found if design not in only_first]
    assert min(low) > max(high)
    truth = {design: (losses[3] - 0.3) / 0.5 for design, losses in reached.items()}
    misses = [(found[design][0] - truth[design]) / found[design][1] for design in only_first]
    assert np.mean(np.abs(misses) < 2) > 0.8


def test_before_anything_is_final_the_highest_rung_stands_for_it() -> None:
    found = extrapolated({0: {1: 0.9, 3: 0.5}, 1: {1: 0.8}, 2: {1: 0.7, 3: 0.4}}, {})
    assert found[0] == (0.5, 0.0)
    assert found[2] == (0.4, 0.0)
    assert found[1][1] > 0
    assert 0.4 < found[1][0] < 0.5


def test_nothing_is_nothing() -> None:
    assert extrapolated({}, {}) == {}
    assert extrapolated({}, {1: 0.5}) == {}
