"""The draws of a parent's training."""

from collections import Counter

import numpy as np
import pytest

from piip_search.architecture import Architecture
from piip_search.space import SearchSpace
from piip_search.space.choices import Choices
from piip_workers.shared.deals import SEVERAL_CARDS, Deal

SPACE = SearchSpace(
    Choices(
        backbones=("vit_micro", "vit_nano", "vit_pico"),
        resolutions=(64, 96, 128, 160, 192),
        interactions=(0, 1, 2),
        branches=(1, 2),
        merges=("residual",),
    )
)


def rows() -> "np.ndarray[tuple[int, int], np.dtype[np.int8]]":
    found = np.concatenate([block.rows(SPACE.choices, np.flatnonzero(block.legal_SWT)) for block in SPACE.blocks])
    assert len(found) == len(SPACE)
    return found


def backbones(design: Architecture) -> tuple[str, ...]:
    return tuple(branch.backbone for branch in design.branches)


def test_a_draw_is_a_function_of_seed_and_number() -> None:
    deal = Deal(SPACE, rows(), 3)
    forward = [deal.design(number) for number in range(40)]
    again = Deal(SPACE, rows(), 3)
    assert [again.design(number) for number in reversed(range(40))] == forward[::-1]
    assert [Deal(SPACE, rows(), 4).design(number) for number in range(40)] != forward


def test_choices_are_dealt_and_not_designs() -> None:
    drawn = [Deal(SPACE, rows(), 0).design(number) for number in range(2400)]
    sets = Counter(map(backbones, drawn))
    # Three single branches with one card, three pairs with three.
    for models, count in sets.items():
        assert count == 2400 / 12 * (SEVERAL_CARDS if len(models) > 1 else 1)
    pairs = [design for design in drawn if backbones(design) == ("vit_micro", "vit_nano")]
    counts = Counter(design.interaction.count for design in pairs)
    assert max(counts.values()) - min(counts.values()) <= 4, "equal within each image size"


def test_every_design_comes_before_any_of_its_kind_comes_again() -> None:
    deal = Deal(SPACE, rows(), 0)
    drawn = [deal.design(number) for number in range(12 * 60)]
    assert {design.name for design in drawn} == {SPACE.decode(row).name for row in rows()}
    kind = [
        design
        for design in drawn
        if (backbones(design), design.resolution, design.interaction.count) == (("vit_nano", "vit_pico"), 192, 1)
    ]
    smaller = [design.branches[0].resolution for design in kind]
    for first in range(0, len(smaller) - 3, 4):
        assert len(set(smaller[first : first + 4])) == 4


def test_sizes_are_scaled() -> None:
    whole, half = Deal(SPACE, rows(), 0), Deal(SPACE, rows(), 0, image_scale=0.5)
    assert [half.design(number) for number in range(9)] == [whole.design(number).scaled(0.5) for number in range(9)]


def test_no_design_is_refused() -> None:
    with pytest.raises(ValueError, match="designs are dealt from at least one, got none"):
        Deal(SPACE, rows()[:0], 0)
