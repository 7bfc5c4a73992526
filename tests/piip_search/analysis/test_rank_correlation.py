import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piip_search.analysis.rank_correlation import RESAMPLINGS, kendall_tau, tau_difference, tau_interval

scores = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12)


@given(scores)
def test_tau_is_scipys(rows: list[tuple[int, int]]) -> None:
    statistics = pytest.importorskip("scipy.stats")
    first, second = zip(*rows, strict=True)
    expected = 0.0 if len(set(first)) == 1 or len(set(second)) == 1 else statistics.kendalltau(first, second).statistic
    assert kendall_tau(first, second) == pytest.approx(expected, abs=1e-12)


def test_an_interval_holds_what_it_should_and_repeats() -> None:
    random = np.random.RandomState(0)
    covered = 0
    for _ in range(60):
        truth = random.normal(size=30)
        interval = tau_interval(truth + random.normal(size=30), truth)
        # Two normals with correlation r have tau 2/pi asin(r); here r is 1 over the root of 2.
        covered += interval.low <= 0.5 <= interval.high
    assert 44 <= covered <= 60
    assert tau_interval([1, 2, 3, 5], [1, 3, 2, 4]) == tau_interval([1, 2, 3, 5], [1, 3, 2, 4])


def test_the_difference_is_that_of_the_taus() -> None:
    truth, good, bad = np.arange(8), np.array([0, 1, 2, 3, 4, 5, 7, 6]), np.array([3, 1, 2, 0, 7, 5, 4, 6])
    found = tau_difference(good, bad, truth)
    assert found.value == pytest.approx(kendall_tau(good, truth) - kendall_tau(bad, truth))
    assert found.low <= found.value <= found.high


def test_an_interval_is_that_of_resampled_designs() -> None:
    statistics = pytest.importorskip("scipy.stats")
    random = np.random.RandomState(1)
    truth = random.normal(size=14)
    scores = np.round(truth + random.normal(size=14), 1)  # with ties
    drawn = np.random.RandomState(7).randint(14, size=(RESAMPLINGS, 14))
    taus = [statistics.kendalltau(scores[rows], truth[rows]).statistic for rows in drawn]
    found = tau_interval(scores, truth, seed=7)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(taus, [0.05, 0.95])), abs=1e-12)


def test_many_designs_take_no_more_memory_than_their_resamplings() -> None:
    random = np.random.RandomState(0)
    truth = random.normal(size=700)
    tracemalloc.start()
    interval = tau_interval(truth + random.normal(size=700), truth)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert interval.high - interval.low < 0.1
    assert peak < 10 * RESAMPLINGS * 700 * 8
