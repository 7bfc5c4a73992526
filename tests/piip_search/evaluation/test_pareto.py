import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piip_search.evaluation.pareto import contributions, hypervolume, ranks, undominated
from support import dominance

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


@given(points)
def test_the_library_agrees_with_the_definitions(rows: list[list[int]]) -> None:
    losses, reference = np.array(rows, float) / 7, np.full(len(rows[0]), 0.6)
    assert undominated(losses).tolist() == dominance.undominated(losses).tolist()
    assert ranks(losses).tolist() == dominance.ranks(losses).tolist()
    assert hypervolume(losses, reference) == pytest.approx(dominance.hypervolume(losses, reference), abs=1e-12)


def test_of_no_points() -> None:
    none = np.empty((0, 2))
    assert undominated(none).shape == ranks(none).shape == (0,)
    assert hypervolume(none, np.ones(2)) == 0.0


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


@given(points)
def test_ranks_peel_front_after_front(rows: list[list[int]]) -> None:
    losses = np.array(rows, float)
    found = ranks(losses)
    for rank in range(found.max() + 1):
        assert (found == rank).tolist() == [
            bool(keep)
            for keep in np.isin(np.arange(len(rows)), np.flatnonzero(found >= rank)[undominated(losses[found >= rank])])
        ]


fronts = st.integers(2, 4).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, 8), min_size=size, max_size=size), min_size=1, max_size=8)
)


@given(fronts)
def test_a_contribution_is_what_is_lost_without_the_point(rows: list[list[int]]) -> None:
    losses, reference = np.array(rows, float), np.full(len(rows[0]), 6.0)
    front = losses[undominated(losses)]
    whole = hypervolume(front, reference)
    for place, added in enumerate(contributions(front, reference)):
        assert whole - hypervolume(np.delete(front, place, axis=0), reference) == pytest.approx(added)


@given(fronts)
def test_each_front_has_its_own_contributions(rows: list[list[int]]) -> None:
    losses, reference = np.array(rows, float), np.full(len(rows[0]), 6.0)
    rank = ranks(losses)
    together = contributions(losses, reference, rank)
    for front in range(rank.max() + 1):
        np.testing.assert_allclose(together[rank == front], contributions(losses[rank == front], reference), atol=1e-12)


@given(fronts)
def test_a_loss_that_is_equal_for_all_scales_contributions(rows: list[list[int]]) -> None:
    """Two losses have a formula of their own, and a third one of constant length joins the general one to it."""
    losses = np.array(rows, float)[:, :2]
    front = losses[undominated(losses)]
    flat = np.hstack([front, np.full((len(front), 1), 1.0)])
    np.testing.assert_allclose(
        contributions(flat, np.array([6.0, 6.0, 3.0])), 2 * contributions(front, np.full(2, 6.0)), atol=1e-9
    )


@pytest.mark.parametrize(
    "losses", [np.ones((2, 1)), np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.0] * 3, [1.0] * 3])]
)
def test_contributions_are_of_a_front_of_two_losses_or_more(losses: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"contributions need (two losses or more|fronts)"):
        contributions(losses, np.full(losses.shape[1], 2.0))
