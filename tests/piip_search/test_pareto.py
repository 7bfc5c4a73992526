import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piip_search.pareto import hypervolume, undominated

points = st.integers(1, 4).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, 6), min_size=size, max_size=size), min_size=1, max_size=7)
)


@given(points)
def test_hypervolume_is_the_number_of_dominated_cells(rows: list[list[int]]) -> None:
    losses, reference = np.array(rows, float), np.full(len(rows[0]), 5.0)
    cells = itertools.product(range(5), repeat=len(rows[0]))
    covered = sum(any((row <= np.array(cell)).all() for row in losses) for cell in cells)
    assert hypervolume(losses, reference) == pytest.approx(covered)


@given(points)
def test_undominated_by_definition(rows: list[list[int]]) -> None:
    losses = np.array(rows, float)
    expected = [not any((other <= row).all() and (other < row).any() for other in losses) for row in losses]
    assert undominated(losses).tolist() == expected


def test_hypervolume_of_a_simplex_in_closed_form() -> None:
    # n unit steps below (n, n): n(n+1)/2 unit squares.
    n = 50
    losses = np.array([[i, n - 1 - i] for i in range(n)], float)
    assert hypervolume(losses, np.array([n, n], float)) == n * (n + 1) / 2


def test_nothing_below_the_reference_is_no_volume() -> None:
    assert hypervolume(np.array([[2.0, 0.0]]), np.array([1.0, 1.0])) == 0.0


@pytest.mark.parametrize("losses", [[[np.nan, 1.0]], [[np.inf, 1.0]], [1.0, 2.0]])
def test_what_is_not_finite_is_refused(losses: list[object]) -> None:
    with pytest.raises(ValueError, match="finite array"):
        undominated(np.array(losses))


def test_a_reference_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="reference must have shape"):
        hypervolume(np.array([[1.0, 2.0]]), np.array([1.0]))
