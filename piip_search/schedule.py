"""Who is trained further: successive halving of several losses, without waiting.

Every design is trained to the first rung and paused there. Of each rung one in so many goes on to the next, as soon as
enough have reached it: nobody waits for a rung to fill (Li et al., "A system for massively parallel hyperparameter
tuning", 2020, algorithm 2). Who goes on is decided by fronts of loss and cost (Schmucker et al., "Multi-objective
asynchronous successive halving", 2021), within each budget tier of its own.
"""

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

from piip_search.pareto import contributions, ranks

Design = TypeVar("Design", bound=Hashable)


class Halving(Generic[Design]):
    """Decides who goes on to which rung. A function of what it was told, in that order.

    A design belongs to the cheapest tier that it fits. Of each tier's designs at a rung the best share may go on, so
    that no tier starves: they are ordered by the front that they are in among all designs within the tier's budget
    (`pareto.ranks`), those of one front by what each alone adds: to the hypervolume, over the budget, and to the best
    loss, as in `front_gain.expected_gain`. Costs are known; a cheap design that learnt nothing is on the first front,
    but adds next to nothing to it.

    Attributes:
        last: The last rung, where a measurement is a final one.
    """

    def __init__(self, epochs: Sequence[int], keep: int, tiers: Sequence[float], brackets: int = 1) -> None:
        """Prepares.

        Args:
            epochs: Of each rung, rising; the last is the whole training.
            keep: One in so many goes on.
            tiers: Budgets, rising.
            brackets: Designs start at one of so many first rungs, most at the lowest: about as many epochs are spent
                on the designs of each.

        Raises:
            ValueError: There are not that many rungs, or none goes on.
        """
        if keep < 2:
            raise ValueError(f"one in at least 2 goes on, got {keep}")
        if not 1 <= brackets <= len(epochs):
            raise ValueError(f"designs start at 1 to {len(epochs)} of the rungs, got {brackets} brackets")
        self.last = len(epochs) - 1
        self._keep, self._tiers = keep, tuple(tiers)
        self._weights = [1 / max(count, 1) for count in epochs[:brackets]]
        self._begun = [0] * brackets
        self._tier: dict[Design, int] = {}
        self._cost: dict[Design, float] = {}
        self._losses: list[dict[Design, float]] = [{} for _ in epochs]
        self._entered: list[set[Design]] = [set() for _ in epochs]
        self._running: list[set[Design]] = [set() for _ in epochs]
        self._failed: set[Design] = set()
        self._ordered: dict[tuple[int, int], list[Design]] = {}

    def first_rung(self) -> int:
        """Where the next new design starts."""
        shares = [(begun + 1) / weight for begun, weight in zip(self._begun, self._weights, strict=True)]
        return int(np.argmin(shares))

    def start(self, design: Design, rung: int, cost: float) -> None:
        """A design begins, or goes on, towards a rung."""
        if design not in self._tier:
            self._begun[min(rung, len(self._begun) - 1)] += 1
            fitting = [place for place, tier in enumerate(self._tiers) if cost <= tier]
            self._tier[design] = fitting[0] if fitting else len(self._tiers) - 1
            self._cost[design] = cost
        self._entered[rung].add(design)
        self._running[rung].add(design)

    def record(self, design: Design, rung: int, loss: float | None) -> None:
        """A design reached a rung with that loss, or failed on its way (None), which ends it."""
        self._running[rung].discard(design)
        if loss is None:
            self._failed.add(design)
        else:
            self._losses[rung][design] = loss
            self._ordered = {key: value for key, value in self._ordered.items() if key[0] != rung}

    def promotion(self, closed: bool = False) -> tuple[Design, int] | None:
        """Who goes on now, and to which rung; None for nobody yet. The highest rung goes first.

        Args:
            closed: Whether no new design will begin. Then a tier of which too few arrived for a share sends its best
                one on, once nothing below is under way.
        """
        for rung in range(self.last - 1, -1, -1):
            for tier in sorted(range(len(self._tiers)), key=lambda tier: (self._sent(rung, tier), tier)):
                best = self._order(rung, tier)
                for design in best[: len(best) // self._keep]:
                    if design not in self._entered[rung + 1]:
                        return design, rung + 1
        if closed:
            for rung in range(self.last):
                if self._running[rung]:
                    return None
                for tier in range(len(self._tiers)):
                    waiting = [d for d in self._order(rung, tier) if d not in self._entered[rung + 1]]
                    if waiting and not self._sent(rung, tier):
                        return waiting[0], rung + 1
        return None

    def expected(self, designs: int) -> int:
        """About how many measurements so many designs lead to: each tier's share of each rung goes on."""
        total = sum(self._weights)
        arriving, measured = 0.0, 0.0
        for rung in range(self.last + 1):
            arriving = max(arriving / self._keep, min(designs, len(self._tiers))) if rung else 0.0
            arriving += designs * self._weights[rung] / total if rung < len(self._weights) else 0.0
            measured += arriving
        return round(measured)

    def _sent(self, rung: int, tier: int) -> int:
        """How many of a tier have gone on from a rung and did not fail."""
        gone = self._entered[rung + 1] - self._failed
        return sum(self._tier[design] == tier and design in self._losses[rung] for design in gone)

    def _order(self, rung: int, tier: int) -> list[Design]:
        """The designs of a tier that reached a rung, the best first."""
        if (rung, tier) not in self._ordered:
            losses = self._losses[rung]
            within = [design for design in losses if self._tier[design] <= tier]
            points = np.array([(losses[design], self._cost[design]) for design in within]).reshape(-1, 2)
            rank = ranks(points)
            worst = np.array([points[:, 0].max(initial=0.0) + 1e-9, self._tiers[tier] * (1 + 1e-9)])
            order: list[tuple[int, float, float, int]] = []
            for front in range(int(rank.max(initial=-1)) + 1):
                places = np.flatnonzero(rank == front)
                added = contributions(points[places], worst) / self._tiers[tier]
                best = places[points[places, 0].argmin()]
                second = points[places[places != best], 0].min(initial=worst[0])
                added[places == best] += second - points[best, 0]
                order += [(front, -more, losses[within[place]], int(place))
                          for place, more in zip(places, added, strict=True)]  # fmt: skip
            self._ordered[rung, tier] = [
                within[place] for *_, place in sorted(order) if self._tier[within[place]] == tier
            ]
        return self._ordered[rung, tier]
