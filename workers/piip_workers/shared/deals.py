"""Draws the designs of a parent's training: dealt by choice, so that no part of the parent starves.

Uniform draws train most what most designs have: parts that few designs use hardly get any pass. Here each choice is a
hand of cards that is played to its end before it is shuffled again (FairNAS, arXiv 1907.01845, does so for the choices
of a layer): first the branches that take part, then the largest image, then the number of interactions, then the
design. Legend: N designs, D dimensions of a row.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.space import SearchSpace
from piip_search.space.choices import TAIL

SEVERAL_CARDS = 3
"""Cards of a set of several branches; a single branch has one, as it is part of all the others."""
FEW_DESIGNS = 5
"""An image size of fewer designs than this has one card. Others have two, and three if they are above the median."""
LONGEST_HAND = 4096
"""Longest hand of designs; among more, each is drawn alike."""

_Rows = NDArray[np.integer]
_Key = TypeVar("_Key", int, tuple[int, ...])


@dataclass(frozen=True)
class _Hand:
    """Choices that are dealt: each comes as often as it has cards before any comes again.

    Attributes:
        cards: The choice of each card.
        choices: What is dealt after each choice.
    """

    cards: tuple[int, ...]
    choices: "tuple[_Hand | _Designs, ...]"


@dataclass(frozen=True)
class _Designs:
    """The designs that are left after all choices.

    Attributes:
        rows_ND: Rows of the designs.
    """

    rows_ND: _Rows


class Deal:
    """The designs of a training in their order, a pure function of the seed: a resumed training draws the same ones."""

    def __init__(self, space: SearchSpace, rows_ND: _Rows, seed: int, image_scale: float = 1.0) -> None:
        """Prepares the hands.

        Args:
            space: Space of the designs.
            rows_ND: Rows of the designs; at least one.
            seed: Seed of the draws.
            image_scale: Factor on every image size of a drawn design.

        Raises:
            ValueError: There is no design.
        """
        if not len(rows_ND):
            raise ValueError("designs are dealt from at least one, got none")
        self._space, self._seed, self._scale = space, seed, image_scale
        self._hand = self._by_branches(rows_ND)

    def design(self, number: int) -> Architecture:
        """The design of a draw.

        Args:
            number: Number of the draw, from 0.
        """
        place: _Hand | _Designs = self._hand
        path: tuple[int, ...] = ()
        while isinstance(place, _Hand):
            hand, turn = divmod(number, len(place.cards))
            order_C = self._random(*path, hand).permutation(len(place.cards))
            played = [place.cards[card] for card in order_C[: turn + 1]]
            chosen = played.pop()
            # The draws of this choice so far: its cards in all earlier hands, and in this one.
            number = hand * place.cards.count(chosen) + played.count(chosen)
            place, path = place.choices[chosen], (*path, chosen)
        return self._space.decode(place.rows_ND[self._last(number, len(place.rows_ND), path)]).scaled(self._scale)

    def _last(self, number: int, count: int, path: tuple[int, ...]) -> int:
        if count > LONGEST_HAND:
            return int(self._random(*path, number).integers(count))
        hand, turn = divmod(number, count)
        return int(self._random(*path, hand).permutation(count)[turn])

    def _random(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, len(place), *place])

    def _by_branches(self, rows_ND: _Rows) -> _Hand:
        groups = _grouped(rows_ND, [tuple(_slots(row_D)[0]) for row_D in rows_ND])
        several = [sum(map(bool, branches)) > 1 for branches in groups]
        cards = [SEVERAL_CARDS if more and not all(several) else 1 for more in several]
        return _hand(groups.values(), cards, self._by_image)

    def _by_image(self, rows_ND: _Rows) -> _Hand:
        sides = self._space.choices.resolutions
        largest = [max(sides[size] for model, size in zip(*_slots(row_D), strict=True) if model) for row_D in rows_ND]
        groups, middle = _grouped(rows_ND, largest), float(np.median(sorted(set(largest))))
        cards = [1 if len(rows) < FEW_DESIGNS else 2 if side < middle else 3 for side, rows in groups.items()]
        return _hand(groups.values(), cards, self._by_interactions)

    def _by_interactions(self, rows_ND: _Rows) -> _Hand:
        groups = _grouped(rows_ND, [int(row_D[-len(TAIL)]) for row_D in rows_ND])
        return _hand(groups.values(), [1] * len(groups), _Designs)


def _slots(row_D: _Rows) -> tuple[list[int], list[int]]:
    """Backbone and image size of each slot."""
    return [int(value) for value in row_D[: -len(TAIL) : 3]], [int(value) for value in row_D[1 : -len(TAIL) : 3]]


def _grouped(rows_ND: _Rows, keys: list[_Key]) -> dict[_Key, _Rows]:
    places: dict[_Key, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return {key: rows_ND[places[key]] for key in sorted(places)}


def _hand(groups: Iterable[_Rows], cards: list[int], deal: Callable[[_Rows], _Hand | _Designs]) -> _Hand:
    choices = tuple(deal(rows_ND) for rows_ND in groups)
    return _Hand(tuple(choice for choice, count in enumerate(cards) for _ in range(count)), choices)
