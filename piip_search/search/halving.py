"""Successive halving of several losses, without waiting.

Every design is trained to the first rung and paused there. One in so many of each rung is promoted to the next as soon
as enough have reached it: no trial waits for a rung to fill (Li et al., "A system for massively parallel hyperparameter
tuning", 2020, algorithm 2). Fronts of loss and cost select the promoted designs (Schmucker et al., "Multi-objective
asynchronous successive halving", 2021), separately within each tier.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from piip_search.evaluation.pareto import Losses, contributions, ranks

_Design = TypeVar("_Design", bound=Hashable)


class Halving(Generic[_Design]):
    """Selects designs for promotion; a function of the recorded events in their order.

    A design belongs to the cheapest tier that it fits. The best share of each tier's designs at a rung may be promoted,
    so that no tier starves. They are ordered by their front among all designs within the tier (`pareto.ranks`). Designs
    of one front are ordered by what each alone adds to the hypervolume, over the tier, and to the best loss, as in
    `acquisition.expected_gain`. Costs are known; a cheap design that learnt nothing is on the first front, but adds
    next to nothing to it.

    With several metrics or costs, each counts by its range. What a design adds to the best of each metric counts.

    Attributes:
        last: Index of the last rung, whose measurement is final.
    """

    def __init__(
        self, epochs: Sequence[int], keep: int, tiers: Sequence[float], brackets: int = 1, metrics: int = 1
    ) -> None:
        """Prepares the schedule.

        Args:
            epochs: Epochs of each rung, rising; the last is the full training.
            keep: One in so many is promoted.
            tiers: Tiers, rising.
            brackets: Number of first rungs for new designs, most at the lowest: the designs of each get about as many
                epochs.
            metrics: Number of measured losses, which come before the costs.

        Raises:
            ValueError: There are fewer rungs than brackets, or no design would be promoted.
        """
        if keep < 2:
            raise ValueError(f"one in at least 2 goes on, got {keep}")
        if not 1 <= brackets <= len(epochs):
            raise ValueError(f"designs start at 1 to {len(epochs)} of the rungs, got {brackets} brackets")
        self.last = len(epochs) - 1
        self._keep, self._tiers, self._metrics = keep, tuple(tiers), metrics
        self._weights = [1 / max(count, 1) for count in epochs[:brackets]]
        self._begun = [0] * brackets
        # Designs as numbers in the order of their start, which are quicker to look up.
        self._numbers: dict[_Design, int] = {}
        self._designs: list[_Design] = []
        self._tier: list[int] = []
        self._losses: list[dict[int, tuple[float, ...]]] = [{} for _ in epochs]
        self._entered: list[set[int]] = [set() for _ in epochs]
        self._running: list[set[int]] = [set() for _ in epochs]
        self._failed: set[int] = set()
        self._sent: Counter[tuple[int, int]] = Counter()
        self._ordered: dict[tuple[int, int], list[int]] = {}

    def first_rung(self) -> int:
        """Index of the first rung of the next new design."""
        shares = [(begun + 1) / weight for begun, weight in zip(self._begun, self._weights, strict=True)]
        return int(np.argmin(shares))

    def start(self, design: _Design, rung: int, cost: float) -> None:
        """Records that a design of a cost, which has the tiers, starts towards a rung, or goes on."""
        if design not in self._numbers:
            self._begun[min(rung, len(self._begun) - 1)] += 1
            fitting = [place for place, tier in enumerate(self._tiers) if cost <= tier]
            self._numbers[design] = len(self._designs)
            self._designs.append(design)
            self._tier.append(fitting[0] if fitting else len(self._tiers) - 1)
        number = self._numbers[design]
        if rung and number not in self._entered[rung] and number in self._losses[rung - 1]:
            self._sent[rung - 1, self._tier[number]] += number not in self._failed
        self._entered[rung].add(number)
        self._running[rung].add(number)

    def record(self, design: _Design, rung: int, losses: Sequence[float] | None) -> None:
        """Records a design's losses at a rung, or its failure on the way (None), which ends it.

        Args:
            design: Design.
            rung: Index of the rung.
            losses: All losses: metrics, then costs, of which the first has the tiers.
        """
        number = self._numbers[design]
        tier = self._tier[number]
        self._running[rung].discard(number)
        if losses is not None:
            self._losses[rung][number] = tuple(float(loss) for loss in losses)
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
        """The next promotion, a design and its target rung; None for none yet. The highest rung goes first.

        Args:
            closed: Whether no new design will start. A tier with too few designs at a rung then promotes its best one,
                once no lower trial is running.
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
        """Approximate number of measurements of so many designs: each tier's share of each rung is promoted."""
        total = sum(self._weights)
        arriving, measured = 0.0, 0.0
        for rung in range(self.last + 1):
            arriving = max(arriving / self._keep, min(designs, len(self._tiers))) if rung else 0.0
            arriving += designs * self._weights[rung] / total if rung < len(self._weights) else 0.0
            measured += arriving
        return round(measured)

    def _order(self, rung: int, tier: int) -> list[int]:
        """The designs of a tier at a rung, best first."""
        if (rung, tier) not in self._ordered:
            within = [number for number in self._losses[rung] if self._tier[number] <= tier]
            points = np.array([self._losses[rung][number] for number in within])
            best = [within[place] for place in self._best_first(points, self._tiers[tier])] if within else []
            self._ordered[rung, tier] = [number for number in best if self._tier[number] == tier]
        return self._ordered[rung, tier]

    def _best_first(self, points_NM: Losses, tier: float) -> NDArray[np.intp]:
        """Places of points of one tier, the first to be promoted first."""
        rank = ranks(points_NM)
        metrics = self._metrics
        worst_M = points_NM.max(0) + 1e-9
        worst_M[metrics] = tier * (1 + 1e-9)
        added = contributions(points_NM, worst_M, rank)
        if points_NM.shape[1] == 2:
            added = added / tier + _improvements(points_NM[:, 0], worst_M[0], rank)
        else:
            scale_M = worst_M - np.append(points_NM[:, :metrics].min(0), np.zeros(points_NM.shape[1] - metrics))
            added = added / scale_M.prod()
            for place in range(metrics):
                added += _improvements(points_NM[:, place], worst_M[place], rank) / scale_M[place]
        return np.lexsort((np.arange(len(points_NM)), points_NM[:, 0], -added, rank))


def _improvements(losses_N: Losses, worst: float, rank_N: NDArray[np.intp]) -> Losses:
    """Lead of each front's best loss over the front's second best; zero for the other points."""
    improved_N = np.zeros(len(losses_N))
    order = np.lexsort((losses_N, rank_N))
    ranks_N, sorted_N = rank_N[order], losses_N[order]
    first_N = np.append(True, ranks_N[1:] != ranks_N[:-1])
    alone_N = np.append(first_N[1:], True)
    following_N = np.where(alone_N, worst, np.append(sorted_N[1:], worst))
    improved_N[order[first_N]] = (following_N - sorted_N)[first_N]
    return improved_N
