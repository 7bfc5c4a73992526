"""Designs that share one training."""

import numpy as np

from piip_search.architecture.branch_names import branch_names
from piip_search.space import SearchSpace
from piip_search.space.choices import Choices
from piip_search.space.designs import Limit
from piip_search.space.parents import largest_sets, tier_groups

SPACE = SearchSpace(
    Choices(
        backbones=("vit_micro", "vit_nano", "vit_pico"),
        resolutions=(32, 48, 64),
        interactions=(0, 1),
        branches=(1, 2),
        merges=("residual",),
    )
)
TIERS = (0.006, 0.012, 0.2)


def test_each_design_belongs_to_the_first_tier_that_it_fits() -> None:
    limit = Limit(TIERS)
    within = SPACE.within(limit)
    groups = tier_groups(within, TIERS)
    assert list(groups) == list(TIERS)
    assert sum(map(len, groups.values())) == len(within)
    for (tier, rows_ND), below in zip(groups.items(), (0.0, *TIERS), strict=False):
        costs = [limit.cost_axis.of(SPACE.decode(row_D)) for row_D in rows_ND]
        assert below < min(costs)
        assert max(costs) <= tier


def test_a_tier_without_designs_has_no_group() -> None:
    within = SPACE.within(Limit((1e-6, 0.2)))
    assert list(tier_groups(within, (1e-6, 0.2))) == [0.2]


def test_a_set_takes_what_has_some_of_its_branches() -> None:
    within = SPACE.within(Limit(TIERS))
    groups = largest_sets(SPACE, within)
    assert {len(backbones) for backbones in groups} == {2}
    rows = np.concatenate(list(groups.values()))
    assert len(np.unique(rows, axis=0)) == len(within)
    for backbones, rows_ND in groups.items():
        assert all(set(branch_names(SPACE.decode(row_D))) <= set(backbones) for row_D in rows_ND)
