"""The expected gain of several losses: against hypervolumes of faces, random draws, and the formula of two losses."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piip_search.evaluation.pareto import hypervolume, undominated
from piip_search.search.samplers.acquisition import expected_gain
from piip_search.search.samplers.joint_gain import JointGain, boxes_outside

KINDS = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1)]


def question(metrics: int, costs: int, seed: int, members: int = 10) -> tuple[JointGain, list[np.ndarray]]:
    """A front, with members worse than the reference, and levels of designs, some of which cost too much."""
    random = np.random.default_rng(seed)
    count = metrics + costs
    reference, scale = random.uniform(0.6, 0.9, count), random.uniform(0.5, 2, count)
    reference[metrics:] = 1.0  # the front is within the limit
    front = random.random((members, count))
    levels = [random.random((12, 3)) for _ in range(metrics)] + [1.2 * random.random((12, 1)) for _ in range(costs)]
    return JointGain(front[undominated(front)], reference, scale, metrics), levels


def faces(points: np.ndarray, gain: JointGain) -> float:
    """Hypervolumes of all faces that keep a metric."""
    volume = 0.0
    for kept in itertools.product([False, True], repeat=len(gain.reference_M)):
        if any(kept[: gain.metrics]):
            inside = np.minimum(points, gain.reference_M) / gain.scale_M
            volume += hypervolume(inside[:, kept], (gain.reference_M / gain.scale_M)[list(kept)])
    return volume


@pytest.mark.parametrize(("metrics", "costs"), KINDS)
def test_it_is_the_mean_gain_of_the_hypervolumes_of_faces(metrics: int, costs: int) -> None:
    gain, levels = question(metrics, costs, seed=metrics)
    before = faces(gain.front_SM, gain)
    for place, found in enumerate(gain.of(levels)):
        gained = []
        for point in itertools.product(*(own[place] for own in levels)):
            fits = (np.array(point)[metrics:] <= gain.reference_M[metrics:]).all()
            gained.append(faces(np.vstack([gain.front_SM, point]), gain) - before if fits else 0.0)
        assert found == pytest.approx(np.mean(gained), abs=1e-10)


@pytest.mark.parametrize(("metrics", "costs"), [(2, 1), (2, 2)])
def test_random_losses_gain_as_much_on_average(metrics: int, costs: int) -> None:
    gain, levels = question(metrics, costs, seed=7)
    random = np.random.default_rng(0)
    before = faces(gain.front_SM, gain)
    for place, found in enumerate(gain.of(levels)[:4]):
        fits = all(own[place, 0] <= 1 for own in levels[metrics:])
        drawn = np.stack([random.choice(own[place], 2000) for own in levels], 1)
        gained = [faces(np.vstack([gain.front_SM, point]), gain) - before for point in drawn] if fits else [0.0]
        assert found == pytest.approx(np.mean(gained), abs=4 * np.std(gained) / np.sqrt(2000) + 1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_with_two_losses_it_is_the_formula_of_two_losses(seed: int) -> None:
    random = np.random.default_rng(seed)
    costs, losses = np.sort(random.random(6)) * 4, np.sort(random.random(6))[::-1]
    levels, prices = random.random((30, 9)), random.random(30) * 6
    gain = JointGain(np.stack([losses, costs], 1), np.array([0.8, 5.0]), np.array([0.3, 5.0]), 1)
    expected = expected_gain(levels, prices, (costs, losses), 0.8, 5.0)
    np.testing.assert_allclose(0.3 * gain.of([levels, prices[:, None]]), expected, atol=1e-12)


def test_it_may_be_taken_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    gain, levels = question(2, 2, seed=3)
    whole = gain.of(levels)
    monkeypatch.setattr("piip_search.search.samplers.joint_gain.MOST_CELLS", 30)
    np.testing.assert_allclose(gain.of(levels), whole, rtol=1e-12)


def test_without_a_front_all_that_fits_gains() -> None:
    gain = JointGain(np.empty((0, 3)), np.ones(3), np.ones(3), 1)
    found = gain.of([np.array([[0.25], [0.25], [2.0]]), np.array([[0.5], [1.5], [0.5]]), np.zeros((3, 1))])
    # 0.75 of the loss: alone, over half of the one cost, over all of the other, and over both.
    np.testing.assert_allclose(found, [0.75 * (1 + 0.5 + 1 + 0.5), 0, 0])


@given(
    st.integers(1, 4).flatmap(
        lambda size: st.lists(st.lists(st.integers(0, 4), min_size=size, max_size=size), max_size=6).map(
            lambda rows: np.array(rows, float).reshape(-1, size)
        )
    )
)
def test_boxes_hold_each_undominated_point_once(front: np.ndarray) -> None:
    low, high = boxes_outside(front)
    for cell in itertools.product(np.arange(-1, 6) + 0.0, repeat=front.shape[1]):
        holding = ((low <= cell) & (cell < high)).all(1).sum()
        assert holding == (not (front <= np.array(cell)).all(1).any())
