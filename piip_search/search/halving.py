"""Who is trained further: successive halving of several losses, without waiting.

Every design is trained to the first rung and paused there. Of each rung one in so many goes on to the next, as soon as
enough have reached it: nobody waits for a rung to fill (Li et al., "A system for massively parallel hyperparameter
tuning", 2020, algorithm 2). Who goes on is decided by fronts of loss and cost (Schmucker et al., "Multi-objective
asynchronous successive halving", 2021), within each tier of its own.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from piip_search.evaluation.pareto import Losses, contributions, ranks

_Design = TypeVar("_Design", bound=Hashable)


class Halving(Generic[_Design]):
    """Decides who goes on to which rung. A function of what it was told, in that order.

    A design belongs to the cheapest tier that it fits. Of each tier's designs at a rung the best share may go on, so
    that no tier starves: they are ordered by the front that they are in among all designs within the tier
    (`pareto.ranks`), those of one front by what each alone adds: to the hypervolume, over the tier, and to the best
    loss, as in `front_gain.expected_gain`. Costs are known; a cheap design that learnt nothing is on the first front,
    but adds next to nothing to it.

    Attributes:
        last: The last rung, where a measurement is a final one.
    """

    def __init__(self, epochs: Sequence[int], keep: int, tiers: Sequence[float], brackets: int = 1) -> None:
        """Prepares.

        Args:
            epochs: Epochs of each rung, rising; the last is the whole training.
            keep: One in so many goes on.
            tiers: Tiers, rising.
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
        # Designs by numbers in the order of their start, which are quicker than designs to look up.
        self._numbers: dict[_Design, int] = {}
        self._designs: list[_Design] = []
        self._tier: list[int] = []
        self._cost: list[float] = []
        self._losses: list[dict[int, float]] = [{} for _ in epochs]
        self._entered: list[set[int]] = [set() for _ in epochs]
        self._running: list[set[int]] = [set() for _ in epochs]
        self._failed: set[int] = set()
        self._sent: Counter[tuple[int, int]] = Counter()
        self._ordered: dict[tuple[int, int], list[int]] = {}

    def first_rung(self) -> int:
        """Where the next new design starts."""
        shares = [(begun + 1) / weight for begun, weight in zip(self._begun, self._weights, strict=True)]
        return int(np.argmin(shares))

    def start(self, design: _Design, rung: int, cost: float) -> None:
        """A design begins, or goes on, towards a rung."""
        if design not in self._numbers:
            self._begun[min(rung, len(self._begun) - 1)] += 1
            fitting = [place for place, tier in enumerate(self._tiers) if cost <= tier]
            self._numbers[design] = len(self._designs)
            self._designs.append(design)
            self._tier.append(fitting[0] if fitting else len(self._tiers) - 1)
            self._cost.append(cost)
        number = self._numbers[design]
        if rung and number not in self._entered[rung] and number in self._losses[rung - 1]:
            self._sent[rung - 1, self._tier[number]] += number not in self._failed
        self._entered[rung].add(number)
        self._running[rung].add(number)

    def record(self, design: _Design, rung: int, loss: float | None) -> None:
        """A design reached a rung with that loss, or failed on its way (None), which ends it."""
        number = self._numbers[design]
        tier = self._tier[number]
        self._running[rung].discard(number)
        if loss is not None:
            self._losses[rung][number] = loss
            for above in range(tier, len(self._tiers)):
                self._ordered.pop((rung, above), None)
        elif number not in self._failed:
            self._failed.add(number)
            for below in range(self.last):
                self._sent[below, tier] -= number in self._entered[below + 1] and number in self._losses[below]

    def reached(self, design: _Design, rung: int) -> bool:
        """Whether a design was measured at a rung."""
        return self._numbers.get(design, -1) in self._losses[rung]

    def promotion(self, closed: bool = False) -> tuple[_Design, int] | None:
        """Who goes on now, and to which rung; None for nobody yet. The highest rung goes first.

        Args:
            closed: Whether no new design will begin. Then a tier of which too few arrived for a share sends its best
                one on, once nothing below is under way.
        """
        tiers = range(len(self._tiers))
        for rung in range(self.last - 1, -1, -1):
            for tier in sorted(tiers, key=lambda tier: (self._sent[rung, tier], tier)):
                best = self._order(rung, tier)
                for number in best[: len(best) // self._keep]:
                    if number not in self._entered[rung + 1]:
                        return self._designs[number], rung + 1
        if closed:
            for rung in range(self.last):
                if self._running[rung]:
                    return None
                for tier in tiers:
                    waiting = [number for number in self._order(rung, tier) if number not in self._entered[rung + 1]]
                    if waiting and not self._sent[rung, tier]:
                        return self._designs[waiting[0]], rung + 1
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

    def _order(self, rung: int, tier: int) -> list[int]:
        """The designs of a tier that reached a rung, the best first."""
        if (rung, tier) not in self._ordered:
            within = [number for number in self._losses[rung] if self._tier[number] <= tier]
            points = np.array([(self._losses[rung][number], self._cost[number]) for number in within]).reshape(-1, 2)
            rank = ranks(points)
            worst = np.array([points[:, 0].max(initial=-np.inf) + 1e-9, self._tiers[tier] * (1 + 1e-9)])
            added = contributions(points, worst, rank) / self._tiers[tier] + _improvements(points, worst[0], rank)
            order = np.lexsort((np.arange(len(within)), points[:, 0], -added, rank))
            best = (within[place] for place in order)
            self._ordered[rung, tier] = [number for number in best if self._tier[number] == tier]
        return self._ordered[rung, tier]


def _improvements(points_N2: Losses, worst: float, rank_N: NDArray[np.intp]) -> Losses:
    """By how much the best loss of each front is better than the next one of that front; zero for the others."""
    improved_N = np.zeros(len(points_N2))
    order = np.lexsort((points_N2[:, 0], rank_N))
    ranks_N, losses_N = rank_N[order], points_N2[order, 0]
    first_N = np.append(True, ranks_N[1:] != ranks_N[:-1])[: len(order)]
    alone_N = np.append(first_N[1:], True)[: len(order)]
    following_N = np.where(alone_N, worst, np.append(losses_N[1:], worst)[: len(order)])
    improved_N[order[first_N]] = (following_N - losses_N)[first_N]
    return improved_N
