"""A sampler of groups at equal cost, for questions such as whether windows are worth their cost.

A random sample of a space rarely holds two designs of one cost in different groups. This sampler draws them together.
Legend: N designs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design
from piip_search.architecture.traits import EQUAL_COST, Grouping
from piip_search.errors import SpaceError
from piip_search.evaluation.reason import Reason
from piip_search.search.samplers.design_pool import DesignPool
from piip_search.search.samplers.suggestion import Suggestion

MOST_READ = 200_000
"""Most designs that are put into groups, drawn at random from larger spaces: reading 200,000 takes 4 s."""
_NEAR = EQUAL_COST / (2 + EQUAL_COST)
"""Largest share by which a design may cost more or less than the first of its set, so that any two have equal cost."""


class MatchedSampler:
    """Proposes one design of each group, all of about one cost; then the next ones.

    The first design of a set is a random one. Those of the other groups are random ones of about its cost. The order
    depends on the space, the limit and the seed alone, not on results.
    """

    def __init__(self, pool: DesignPool, costs_N: NDArray[np.float64], groups: Grouping, seed: int) -> None:
        """Reads the groups of the designs.

        Args:
            pool: All designs that may be proposed.
            costs_N: Their costs.
            groups: What is compared.
            seed: Seed of the draws.

        Raises:
            SpaceError: Fewer than two groups hold designs, or a name is none of a group.
        """
        self._pool, self._costs_N = pool, costs_N
        self._random = np.random.RandomState(seed)
        read_N = np.arange(len(costs_N))
        if len(read_N) > MOST_READ:
            read_N = np.sort(self._random.choice(read_N, MOST_READ, replace=False))
        members: dict[str, list[int]] = {}
        for index in read_N.tolist():
            design = pool.design(index)
            group = groups.trait(design) if isinstance(design, Architecture) else None
            if group is not None:
                members.setdefault(group, []).append(index)
        if missing := [name for name in groups.only if name not in members]:
            raise SpaceError(f"groups.only: no design within the limit is {missing[0]}; there are {_counted(members)}")
        self._members = {name: np.array(members[name]) for name in sorted(groups.only or members)}
        if len(self._members) < 2:
            raise SpaceError(
                f"groups: two groups are needed, and within the limit there are {_counted(members)}; "
                "offer more choices in space, or raise the limit"
            )
        self._order = self._matched()

    def ask(self, recorded: Design | None = None) -> Suggestion | None:
        if recorded is not None:
            # The order is a function of the seed, so that the recorded design is the next one, unless it was injected.
            place, following = self._pool.place(recorded), next(self._order, None)
            if following is not None and following[0] != place:
                self._order = _before(following, self._order)
            self._pool.take(place)
            return Suggestion(recorded, Reason("matched"))
        for index, group in self._order:
            if self._pool.free_N[index]:
                self._pool.take(index)
                return Suggestion(self._pool.design(index), Reason("matched", rest={"group": group}))
        return None

    def tell(self, design: Design, losses: Sequence[float] | None) -> None:
        """Does nothing: draws do not depend on results."""

    def report(self, design: Design, epochs: int, losses: Sequence[float]) -> None:
        """Does nothing: see `tell`."""

    def _matched(self) -> Iterator[tuple[int, str]]:
        """Every design that has a match, with its group: sets of all groups first, then sets of fewer."""
        groups = {index: name for name, indices_N in self._members.items() for index in indices_N.tolist()}
        free_N = np.zeros(len(self._costs_N), dtype=bool)
        free_N[list(groups)] = True
        for fewest in range(len(self._members), 1, -1):
            for first in self._random.permutation(np.flatnonzero(free_N)).tolist():
                if not free_N[first]:
                    continue
                drawn = {groups[first]: first}
                for name, indices_N in self._members.items():
                    near_N = indices_N[
                        free_N[indices_N] & (np.abs(self._costs_N[indices_N] / self._costs_N[first] - 1) <= _NEAR)
                    ]
                    if name not in drawn and len(near_N):
                        drawn[name] = self._one_of(near_N)
                if len(drawn) < fewest:
                    continue
                for name, index in drawn.items():
                    free_N[index] = False
                    yield index, name

    def _one_of(self, indices_N: NDArray[np.intp]) -> int:
        return int(indices_N[self._random.randint(len(indices_N))])


def _before(first: tuple[int, str], rest: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from rest


def _counted(members: dict[str, list[int]]) -> str:
    """The groups with the number of their designs."""
    names = sorted(members, key=lambda name: -len(members[name]))
    return ", ".join(f"{name} ({len(members[name]):,})" for name in names) or "no groups"
