"""Which parent holds a design, and what a search is charged for while it waits."""

import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mmdet")

from piip_search.errors import UserError  # noqa: E402
from piip_search.space import SearchSpace  # noqa: E402
from piip_search.space.choices import Choices  # noqa: E402
from piip_search.space.designs import Limit  # noqa: E402
from piip_search.space.parents import tier_groups  # noqa: E402
from piip_workers.evaluators.preparation import Charge  # noqa: E402
from piip_workers.evaluators.shared import Parent, parent_of  # noqa: E402

SPACE = SearchSpace(
    Choices(backbones=("vit_micro", "vit_pico"), resolutions=(32, 48, 64), branches=(1, 2), merges=("residual",))
)


def test_a_design_whose_cost_is_a_limit_belongs_where_it_was_trained() -> None:
    axis = Limit((1.0,)).cost_axis
    everything = SPACE.within(Limit((1.0,)))
    for row_D in everything.rows_ND:
        limit = axis.of(SPACE.decode(row_D))
        tiers = (limit, 1.0)
        groups = tier_groups(SPACE.within(Limit(tiers)), tiers)
        parents = [Parent(tier, Path(str(tier))) for tier in tiers]
        for tier, rows_ND in groups.items():
            for other_D in rows_ND:
                assert parent_of(SPACE.decode(other_D), parents, axis).group == tier


def test_tiers_have_names_of_their_own() -> None:
    assert len({Parent(tier, Path()).name for tier in (0.1, 0.1000001, 0.1000002)}) == 3


def test_a_design_without_a_parent_is_told() -> None:
    design = SPACE.decode(SPACE.within(Limit((1.0,))).rows_ND[-1])
    with pytest.raises(UserError, match="no parent was trained for"):
        parent_of(design, [Parent(1e-9, Path())], Limit((1.0,)).cost_axis)


def test_all_processes_are_charged_and_no_waiting() -> None:
    assert Charge(4, lambda: 2.0).since(time.monotonic() - 3) == pytest.approx(4, abs=0.2)
    assert Charge(2, lambda: 5.0).since(time.monotonic() - 3) == 0
