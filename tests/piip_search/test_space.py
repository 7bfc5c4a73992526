import itertools
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piip_search.architecture import Architecture
from piip_search.cost import CONVENTIONS, price
from piip_search.shipped import find_space
from piip_search.space import PAIRINGS, Limit, SearchSpace
from piip_search.spec import load_spec


def some(values: list[Any], least: int = 1) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=3, unique=True).map(tuple)


spaces = st.builds(
    SearchSpace,
    backbones=some(["vit_l", "vit_b", "vit_t", "vit_micro", "vit_nano", "vit_pico"]),
    resolutions=some([32, 224, 448, 640, 1120]),
    windows=some([None, 7, 14]),
    interactions=some([0, 1, 4, 6]),
    branches=some([1, 2, 3]),
    merges=some(["conv", "linear"]),
    pairing=st.sampled_from(PAIRINGS),
)


@settings(max_examples=60, deadline=None)
@given(spaces, st.randoms(use_true_random=False))
def test_rows_are_unique_legal_and_priced_exactly(space: SearchSpace, random_: random.Random) -> None:
    assert len(np.unique(space.rows_ND, axis=0)) == len(space.rows_ND)
    for convention in CONVENTIONS:
        designs = space.priced(convention)
        for index in random_.sample(range(len(designs)), min(5, len(designs))):
            architecture = space.decode(designs.rows_ND[index])
            cost = price(architecture, convention)
            assert (designs.macs_N[index], designs.params_N[index]) == (cost.macs, cost.params)
            assert (space.encode(architecture) == designs.rows_ND[index]).all()


def test_the_inverted_rule_by_brute_force() -> None:
    space = SearchSpace(("vit_t", "vit_b"), (224, 448, 672), (14,), (0, 6), (1, 2))
    single = {f"{model}@{side}:w14" for model in ("vit_t", "vit_b") for side in (224, 448, 672)}
    pairs = {
        f"vit_b@{small}:w14+vit_t@{large}:w14*{count}"
        for small, large in itertools.combinations((224, 448, 672), 2)
        for count in (0, 6)
    }
    assert {space.decode(row).name for row in space.rows_ND} == single | pairs


@pytest.mark.parametrize(("pairing", "count"), [("inverted", 3), ("equal", 9), ("free", 27)])
def test_pairings_count(pairing: Any, count: int) -> None:
    space = SearchSpace(("vit_t", "vit_b"), (224, 448, 672), branches=(2,), pairing=pairing)
    assert len(space.rows_ND) == count


@pytest.mark.parametrize(
    "name",
    [
        "vit_s@224:w14+vit_t@448:w14*6",  # another model
        "vit_b@672:w14+vit_t@448:w14*6",  # not inverted
        "vit_b@224:w7+vit_t@448:w14*6",  # another window
        "vit_b@224:w14+vit_t@448:w14*6(heads=8)",  # other settings
        "vit_b@224:w14+vit_t@448:w14*12",  # another count
    ],
)
def test_designs_outside_the_space_are_refused(name: str) -> None:
    space = SearchSpace(("vit_t", "vit_b"), (224, 448, 672), (14,), (0, 6), (1, 2))
    with pytest.raises(ValueError, match=r"space|pairing"):
        space.encode(Architecture.parse(name))


def test_limits_hold() -> None:
    space = SearchSpace(("vit_t", "vit_b"), (224, 448, 672), (14,), (0, 6), (1, 2))
    limit = Limit((20.0, 30.0), mparams=60.0)
    within = space.priced("published").within(limit)
    assert 0 < len(within) < len(space.rows_ND)
    assert within.macs_N.max() <= 30e9
    assert within.params_N.max() <= 60e6


def test_the_published_designs_are_in_the_coco_space() -> None:
    space = load_spec(find_space("coco")).space.build()
    for name in ("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12",
                 "vit_l@448:w28+vit_b@672:w28+vit_s@1120:w28+vit_t@1568:w28*12"):  # fmt: skip
        assert space.decode(space.encode(Architecture.parse(name))).name == name
