"""Which design to measure next: the one whose expected gain of the fronts is largest, its cost being known.

Legend: N designs, Q levels of a predicted distribution, S steps of a front.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from piip_search.surrogate import Surrogate

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
START = 10
"""Designs that are measured before anything is learnt, spread over the costs."""
POOL = 3000
"""Designs that are looked at for one proposal, besides neighbours of the front's."""
REFINED = 5
"""Designs of a front whose neighbours are looked at as well."""


@dataclass(frozen=True)
class Choices:
    """What may be proposed, by index.

    Attributes:
        costs_N: Known costs.
        features: Features of some designs, shape (n, F), each column about as wide as one.
        near: Indices of the neighbours of a design.
    """

    costs_N: Array
    features: Callable[[Indices], Array]
    near: Callable[[int], Indices]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A design to measure, and why.

    Attributes:
        index: The design.
        source: `start` for the spread at the beginning, `gain` for the largest expected gain, `draw` where nothing
            promised any.
        budget: Tier whose turn it was.
        gain: Expected gain within the tier, in units of the loss (`expected_gain`).
        loss: What it is expected to reach, with the loss's lowest and highest predicted level.
    """

    index: int
    source: Literal["start", "gain", "draw"]
    budget: float | None = None
    gain: float = 0.0
    loss: tuple[float, float, float] | None = None

    @property
    def why(self) -> dict[str, Any]:
        """The same as plain data, without what is not known."""
        if self.source != "gain":
            return {"source": self.source}
        return {"source": self.source, "tier": self.budget, "gain": self.gain, "loss": self.loss}


class FrontGain:
    """Proposes designs one at a time. A function of the evidence alone: equal evidence gives equal proposals.

    Tiers take turns, so that none starves; what is learnt serves all. (On NAS-Bench-201 turns halved the regret that
    the sum of all tiers' gains left in the largest one.)
    """

    def __init__(self, choices: Choices, budgets: Sequence[float], seed: int, start: int = START) -> None:
        """Prepares.

        Args:
            choices: What may be proposed.
            budgets: Tiers of cost; designs over the largest are never proposed.
            seed: Of the spread at the beginning and of draws.
            start: Designs that are measured before anything is learnt.
        """
        self._choices = choices
        self._start = start
        self._budgets = tuple(sorted(budgets))
        self._seed = seed

    def propose(
        self,
        measured: Mapping[int, float],
        pending: Sequence[int],
        failed: Sequence[int],
        free_N: NDArray[np.bool_],
    ) -> Proposal | None:
        """The next design to measure; None when none is left.

        Args:
            measured: Losses of measured designs.
            pending: Designs that are being measured.
            failed: Designs that could not be measured; they count as the worst.
            free_N: Which designs may be proposed.
        """
        free = np.flatnonzero(free_N & (self._choices.costs_N <= self._budgets[-1]))
        if not len(free):
            return None
        asked = len(measured) + len(pending) + len(failed)
        random = np.random.default_rng([self._seed, asked])
        if asked < self._start or len(set(measured.values())) < 2:
            taken = np.array([*measured, *pending, *failed], dtype=np.intp)
            return Proposal(self._spread(free, taken, asked, random), "start")
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # small matrices: more threads would wait for each other, or for trainings
            return self._best(measured, pending, failed, free, free_N, random)

    def _best(
        self,
        measured: Mapping[int, float],
        pending: Sequence[int],
        failed: Sequence[int],
        free: Indices,
        free_N: NDArray[np.bool_],
        random: np.random.Generator,
    ) -> Proposal:
        surrogate, front = self._believe(measured, pending, failed)
        pool = self._pool(free, free_N, front[0], random)
        losses_NQ = surrogate.losses(self._choices.features(pool))
        asked = len(measured) + len(pending) + len(failed)
        tier = self._budgets[asked % len(self._budgets)]
        gain_N = expected_gain(losses_NQ, self._choices.costs_N[pool], front[1:], max(measured.values()), tier)
        best = int(gain_N.argmax())
        if gain_N[best] <= 0:
            return Proposal(int(random.choice(pool)), "draw", tier)
        predicted = losses_NQ[best]
        loss = (float(predicted.mean()), float(predicted[0]), float(predicted[-1]))
        return Proposal(int(pool[best]), "gain", tier, float(gain_N[best]), loss)

    def _spread(self, free: Indices, taken: Indices, asked: int, random: np.random.Generator) -> int:
        """Of the designs whose cost is about right, the one least like those that were taken.

        Costs rise in equal ratios, in an order that halves the gaps: with few designs the range is covered already.
        """
        costs = np.log(self._choices.costs_N[free])
        share = (_halving(asked) + random.random() / self._start) % 1
        wanted = costs.min() + share * (costs.max() - costs.min())
        window = np.argsort(np.abs(costs - wanted), kind="stable")[: max(3, len(free) // 50)]
        some = free[random.permutation(window)[:200]]
        if not len(taken):
            return int(some[0])
        gaps = self._choices.features(some)[:, None] - self._choices.features(taken)[None]
        return int(some[(gaps**2).sum(-1).min(1).argmax()])

    def _believe(
        self, measured: Mapping[int, float], pending: Sequence[int], failed: Sequence[int]
    ) -> tuple[Surrogate, tuple[Indices, Array, Array]]:
        """The belief, and the front that it sees: indices, costs and losses, the cheapest first."""
        worst = max(measured.values())
        known = np.array([*measured, *failed], dtype=np.intp)
        losses = np.array([*measured.values(), *(worst for _ in failed)])
        order = np.argsort(known, kind="stable")  # whatever order they came in
        known, losses = known[order], losses[order]
        surrogate = Surrogate.fit(self._choices.features(known), losses, self._seed)
        places = np.array([*known, *sorted(pending)], dtype=np.intp)
        features = self._choices.features(places)
        if pending:
            surrogate = surrogate.with_guesses(features[len(known) :])
        # What a lucky measurement showed is not yet what a design is worth: the front is what is believed of them.
        believed = surrogate.expected(features)
        costs = self._choices.costs_N[places]
        steps: list[int] = []
        for place in np.lexsort((believed, costs)):
            if not steps or believed[place] < believed[steps[-1]]:
                steps.append(int(place))
        return surrogate, (places[steps], costs[steps], believed[steps])

    def _pool(self, free: Indices, free_N: NDArray[np.bool_], front: Indices, random: np.random.Generator) -> Indices:
        if len(free) <= POOL:
            return free
        drawn = random.choice(free, POOL, replace=False)
        chosen = random.permutation(front)[:REFINED]
        near = np.concatenate([self._choices.near(int(index)) for index in chosen])
        allowed = near[free_N[near] & (self._choices.costs_N[near] <= self._budgets[-1])]
        pool: Indices = np.unique(np.concatenate([drawn, allowed]))
        return pool


def expected_gain(losses_NQ: Array, costs_N: Array, front: tuple[Array, Array], worst: float, budget: float) -> Array:
    """What measuring a design is expected to gain within a budget, in units of the loss, shape (N,).

    The front says which loss is reached at each cost. A design of cost c and loss y lowers it to y wherever that is
    better, from c on. The gain is how much that lowers the mean over all costs from zero to the budget, which is the
    hypervolume gained over the budget, plus how much it lowers the best loss within the budget. Costs are known, so
    that the expectation is over the loss alone (cf. Emmerich et al., "Computation of the expected improvement in
    dominated hypervolume", 2008, section 3, with one certain loss).

    Args:
        losses_NQ: Equally likely losses.
        costs_N: Known costs.
        front: Costs and losses of the front, the cheapest first.
        worst: Loss where nothing was measured, and reference point.
        budget: Largest cost.
    """
    costs_S, losses_S = (part[front[0] <= budget] for part in front)
    edges = np.concatenate([[0.0], costs_S, [budget]])
    levels = np.minimum(np.concatenate([[worst], losses_S]), worst)
    gain_N = np.zeros(len(costs_N))
    for start, end, level in zip(edges[:-1], edges[1:], levels, strict=True):
        width_N = np.clip(end - np.maximum(start, costs_N), 0, None)
        reached = width_N > 0
        if reached.any():
            gain_N[reached] += width_N[reached] * np.maximum(level - losses_NQ[reached], 0).mean(1)
    fits_N = costs_N <= budget
    gain_N[fits_N] = gain_N[fits_N] / budget + np.maximum(levels[-1] - losses_NQ[fits_N], 0).mean(1)
    return gain_N


def _halving(place: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8, ...: the van der Corput sequence."""
    share, step = 0.0, 0.5
    while place:
        share += step * (place % 2)
        place, step = place // 2, step / 2
    return share
