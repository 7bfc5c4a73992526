"""Acquisition function: selects the design with the largest expected gain of the fronts at its known cost.

Legend: N designs, F features, Q levels of a predicted distribution, S members of a front, K metrics, C costs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from piip_search.evaluation.reason import Reason
from piip_search.search.samplers.belief import Belief, Scored, front_places
from piip_search.search.samplers.evidence import Evidence
from piip_search.search.samplers.joint_gain import JointGain
from piip_search.search.samplers.surrogate import Surrogate

_Array = NDArray[np.float64]
Indices = NDArray[np.intp]
START = 10
"""Designs that are measured before the first fit, spread over the costs."""
POOL = 2000
"""Random designs that are scored for one proposal, besides neighbours of the front's."""
REFINED = 5
"""Designs of a front whose neighbours are scored as well."""
CLIMBS = 3
"""Rounds in which the neighbours of the most promising designs are scored."""
MOST_NEAR = 600
"""Most neighbours that are scored in a round."""
CHEAP = 4.0
"""In the first designs' spread, costs below the least tier divided by this count as equal."""
CHEAPEST = 8.0
"""In that spread, costs below the greatest tier divided by this count as equal."""
STRAIGHT = 16
"""Proposals after the start in which every other round of the tiers expects losses to fall with the cost."""
HOPEFUL = 100
"""Designs of each tier in the estimate of the remaining gain."""
DRAWS = 64
"""Joint draws of their losses for that estimate."""


def log_costs(costs_N: _Array) -> _Array:
    """Logarithms of costs; a cost of zero counts as half of the cheapest positive cost."""
    least = costs_N[costs_N > 0].min(initial=np.inf)
    return np.log(np.maximum(costs_N, least / 2 if np.isfinite(least) else 1.0))


def cost_feature(costs_N: _Array) -> _Array:
    """Costs as a feature from 0 to 1, on a logarithmic scale."""
    logs_N = log_costs(costs_N)
    feature_N: _Array = (logs_N - logs_N.min()) / max(float(np.ptp(logs_N)), 1e-12)
    return feature_N


@dataclass(frozen=True)
class AcquisitionPool:
    """The designs that may be proposed, by index.

    Attributes:
        costs_N: Known costs, which have the tiers.
        features: Function for features of some designs, shape (n, F), each column about as wide as one; the last one is
            the cost on a logarithmic scale (`cost_feature`).
        near: Function for indices of the neighbours of a design.
        others_NC: Further known costs, without tiers; None without any.
    """

    costs_N: _Array
    features: Callable[[Indices], _Array]
    near: Callable[[int], Indices]
    others_NC: _Array | None = None

    @classmethod
    def of(
        cls, costs_NC: _Array, features: Callable[[Indices], _Array], near: Callable[[int], Indices]
    ) -> "AcquisitionPool":
        """The pool of designs with one or more costs; the first has the tiers.

        The features of the further costs are added to the given ones.
        """
        first_N, others_NC = np.ascontiguousarray(costs_NC[:, 0]), costs_NC[:, 1:]
        if not others_NC.shape[1]:
            return cls(first_N, features, near)
        added_NC = np.stack([cost_feature(costs_N) for costs_N in others_NC.T], 1)
        return cls(first_N, lambda indices: np.hstack([added_NC[indices], features(indices)]), near, others_NC)

    def costs(self, indices: Indices) -> _Array:
        """All costs of some designs, shape (n, C), the one with the tiers first."""
        first = self.costs_N[indices][:, None]
        return first if self.others_NC is None else np.hstack([first, self.others_NC[indices]])

    def most(self, tier: float) -> _Array:
        """The largest costs within a tier, shape (C,): the tier, and those of the designs in it."""
        if self.others_NC is None:
            return np.array([tier])
        return np.append(tier, self.others_NC[self.costs_N <= tier].max(0, initial=0.0))


@dataclass(frozen=True)
class Prior:
    """Prior knowledge about designs from elsewhere.

    Attributes:
        losses: Expected losses of some designs, shape (n,), in any unit: only their order counts.
        first: Designs with good published results; some are measured first.
    """

    losses: Callable[[Indices], _Array]
    first: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """A design to measure, with the reason.

    Attributes:
        index: Index of the design.
        source: `prior` for a design with good published results, `start` for the spread at the beginning, `gain` for
            the largest expected gain, `draw` for a random design without expected gain.
        tier: Tier of this proposal.
        gain: Expected gain within the tier, in units of the first loss (`expected_gain`, `JointGain`).
        loss: Expected first loss, with its lowest and highest predicted level.
        left: Expected fall of the best loss of each tier if all other designs were measured, in units of the first
            loss. Of several losses the one with the largest fall counts, as a share of its range so far.
        prior: Whether the prior was of use; None without one.
    """

    index: int
    source: Literal["prior", "start", "gain", "draw"]
    tier: float | None = None
    gain: float = 0.0
    loss: tuple[float, float, float] | None = None
    left: Mapping[float, float] | None = None
    prior: bool | None = None

    @property
    def reason(self) -> Reason:
        """The reason of the proposal; the expected loss is left out, as a reason has the metric."""
        left = dict(self.left or {})
        if self.source != "gain":
            return Reason(self.source, left=left)
        prior = "" if self.prior is None else "of use" if self.prior else "dropped"
        return Reason(self.source, self.tier, self.gain, left=left, prior=prior)


class ExpectedFrontGain:
    """Proposes designs one at a time; a function of the evidence only, so that equal evidence gives equal proposals.

    Tiers take turns, so that none starves; all results serve all tiers. (On NAS-Bench-201 turns halved the regret in
    the largest tier that the sum of all tiers' gains left.) A tier without expected gain is skipped.

    A prior is one more feature, whose weight may be as large as that of all others together. Each fit leaves it out
    unless the measurements are more likely with it: a misleading prior is dropped.
    """

    def __init__(
        self,
        choices: AcquisitionPool,
        tiers: Sequence[float],
        seed: int,
        start: int = START,
        prior: Prior | None = None,
        metrics: int = 1,
    ) -> None:
        """Prepares the function.

        Args:
            choices: Designs that may be proposed.
            tiers: Tiers of cost; designs above the largest are never proposed.
            seed: Seed of the spread at the beginning and of draws.
            start: Designs that are measured before the first fit.
            prior: Prior knowledge of the first metric; up to half of the start are its designs.
            metrics: Number of measured losses.
        """
        self._choices = choices
        self._logs_N = log_costs(choices.costs_N)
        self._prior = prior
        if prior is not None:
            some = np.random.default_rng(seed).permutation(len(choices.costs_N))[:POOL]
            expected = prior.losses(some)
            self._centre, self._scale = float(expected.mean()), max(float(expected.std()), 1e-12)
        self._start = start
        self._metrics = metrics
        self._tiers = tuple(sorted(tiers))
        self._most = {tier: choices.most(tier) for tier in self._tiers}
        self._seed = seed

    def propose(
        self,
        measured: Mapping[int, Sequence[float]],
        pending: Sequence[int],
        failed: Sequence[int],
        free_N: NDArray[np.bool_],
        reached: Mapping[int, Mapping[int, Sequence[float]]] | None = None,
    ) -> Proposal | None:
        """The next design to measure; None if none is free.

        Args:
            measured: Final losses of measured designs, one for each metric.
            pending: Designs in measurement.
            failed: Designs that could not be measured; they count as the worst.
            free_N: Whether each design may be proposed.
            reached: Losses by epochs of designs that were measured at lower rungs. They are evidence of the final loss
                as far as it can be extrapolated (`rung_extrapolation`), and never count as final.
        """
        evidence = Evidence.of(measured, pending, failed, reached or {}, self._metrics)
        free = np.flatnonzero(free_N & (self._choices.costs_N <= self._tiers[-1]))
        if not len(free):
            return None
        random = np.random.default_rng([self._seed, evidence.asked])
        if evidence.asked < self._start or not evidence.varies:
            known = self._known_good(free, evidence.asked)
            if known is not None:
                return Proposal(known, "prior")
            return Proposal(self._spread(free, evidence.taken, evidence.asked, random), "start")
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # small matrices: more threads would wait for each other, or for trainings
            return self._best(evidence, free, free_N, random)

    def _best(
        self, evidence: Evidence, free: Indices, free_N: NDArray[np.bool_], random: np.random.Generator
    ) -> Proposal:
        belief = self._believe(evidence)
        turn = evidence.asked % len(self._tiers)
        scored = self._scored(belief, self._pool(free, free_N, belief.front, random))
        for tier in (*self._tiers[turn:], *self._tiers[:turn]):
            gain_of = self._gain_within(belief, tier)
            gain_N = gain_of(scored)
            if gain_N.max() > 0:
                break
        for _ in range(CLIMBS if len(free) > POOL else 0):
            # Random designs are sparse in a large space: neighbours of the most promising may promise more.
            promising = scored.pool[np.argsort(-gain_N, kind="stable")[:REFINED]]
            more = np.setdiff1d(self._near(promising, free_N), scored.pool)
            if not len(more):
                break
            beside = self._scored(belief, random.permutation(more)[:MOST_NEAR])
            scored, gain_N = scored + beside, np.concatenate([gain_N, gain_of(beside)])
        left = self._left(belief, scored)
        best = int(gain_N.argmax())
        if gain_N[best] <= 0:
            return Proposal(int(random.choice(scored.pool)), "draw", tier, left=left)
        predicted = scored.levels[0][best]
        loss = (float(predicted.mean()), float(predicted[0]), float(predicted[-1]))
        used = None if self._prior is None else belief.features[0] != self._choices.features
        return Proposal(int(scored.pool[best]), "gain", tier, float(gain_N[best]), loss, left, used)

    def _scored(self, belief: Belief, pool: Indices) -> Scored:
        features = belief.seen(pool)
        return Scored(pool, self._choices.costs(pool), features, belief.levels(features))

    def _gain_within(self, belief: Belief, tier: float) -> Callable[[Scored], _Array]:
        """The expected gain within a tier, in units of the first loss, as a function of designs."""
        inside = belief.costs_SC[:, 0] <= tier
        front_SC, losses_SK = belief.costs_SC[inside], belief.losses_SK[inside]
        if self._metrics == 1 and front_SC.shape[1] == 1:
            front = front_SC[:, 0], losses_SK[:, 0]
            worst = float(belief.worst_K[0])
            return lambda scored: expected_gain(scored.levels[0], scored.costs_NC[:, 0], front, worst, tier)
        most_C = self._most[tier]
        reference_M = np.concatenate([belief.worst_K, most_C])
        scale_M = np.concatenate([belief.scale_K, np.where(most_C > 0, most_C, 1.0)])
        gain = JointGain(np.hstack([losses_SK, front_SC]), reference_M, scale_M, self._metrics)
        unit = float(belief.scale_K[0])
        return lambda scored: unit * gain.of([*scored.levels, *(costs[:, None] for costs in scored.costs_NC.T)])

    def _left(self, belief: Belief, scored: Scored) -> dict[float, float]:
        """Expected remaining gain of each tier (`Proposal.left`)."""
        falls = [self._fall(belief, scored, place) for place in range(self._metrics)]
        unit = belief.scale_K[0] / belief.scale_K
        return {
            tier: max(float(fall[tier] * share) for fall, share in zip(falls, unit, strict=True))
            for tier in self._tiers
        }

    def _fall(self, belief: Belief, scored: Scored, place: int) -> dict[float, float]:
        """Expected fall of a metric's best loss in each tier if the most hopeful designs were all measured.

        It is the mean over joint draws of the surrogate (cf. Makarova et al., "Automatic termination for hyperparameter
        optimization", 2022, section 4). A surrogate that is too certain finds too little.
        """
        hopes_N = scored.levels[place][:, 0]
        hopeful = [np.flatnonzero(scored.costs_NC[:, 0] <= tier) for tier in self._tiers]
        hopeful = [places[np.argsort(hopes_N[places], kind="stable")[:HOPEFUL]] for places in hopeful]
        some = np.unique(np.concatenate(hopeful))
        draws_SN = belief.surrogates[place].draws(scored.features[place][some], DRAWS, self._seed)
        fall = {}
        for tier, places in zip(self._tiers, hopeful, strict=True):
            best, worst = belief.best(tier)[place], belief.worst_K[place]
            found_S = draws_SN[:, np.isin(some, places)].min(1, initial=worst)
            fall[tier] = float(np.maximum(best - found_S, 0).mean())
        return fall

    def _spread(self, free: Indices, taken: Indices, asked: int, random: np.random.Generator) -> int:
        """The design least like the proposed ones, among those of about the right cost.

        Costs rise in equal ratios, in an order that halves the gaps: even a few designs cover the range.
        """
        costs = self._logs_N[free]
        # Designs of almost no cost tell little about the tiers.
        least = np.log(min(self._tiers[0] / CHEAP, self._tiers[-1] / CHEAPEST))
        costs = np.maximum(costs, min(least, costs.max()))
        share = (_halving(asked) + random.random() / self._start) % 1
        wanted = costs.min() + share * (costs.max() - costs.min())
        window = np.argsort(np.abs(costs - wanted), kind="stable")[: max(3, len(free) // 50)]
        some = free[random.permutation(window)[:200]]
        if not len(taken):
            return int(some[0])
        gaps = self._choices.features(some)[:, None] - self._choices.features(taken)[None]
        return int(some[(gaps**2).sum(-1).min(1).argmax()])

    def _known_good(self, free: Indices, asked: int) -> int | None:
        """The best of the prior's designs in the current tier; None once half of the start are such designs."""
        if self._prior is None or asked >= self._start // 2:
            return None
        costs = self._choices.costs_N
        tier = self._tiers[asked % len(self._tiers)]
        good = np.intersect1d(np.array(self._prior.first, dtype=np.intp), free)
        inside = good[costs[good] <= tier]
        if not len(inside):
            return None
        # Designs of this tier alone, while it has some: the best of other tiers are good in it as well.
        own = inside[costs[inside] > max([0.0, *(one for one in self._tiers if one < tier)])]
        chosen = own if len(own) else inside
        return int(chosen[self._prior.losses(chosen).argmin()])

    def _with_prior(self, indices: Indices) -> _Array:
        if self._prior is None:
            raise RuntimeError("there is no prior")
        features_NF = self._choices.features(indices)
        column_N = (self._prior.losses(indices) - self._centre) / self._scale
        return np.concatenate([features_NF, column_N[:, None] * np.sqrt(features_NF.shape[1])], 1)

    def _believe(self, evidence: Evidence) -> Belief:
        """The surrogates, and the front that they expect, cheapest first."""
        known, pending = np.array(evidence.known, dtype=np.intp), np.array(evidence.pending, dtype=np.intp)
        line = self._choices.features(known).shape[1] - 1 if self._is_straight(evidence.asked) else None
        surrogates, features = zip(
            *(self._fitted(evidence, known, place, line) for place in range(self._metrics)), strict=True
        )
        if len(pending):
            surrogates = tuple(
                surrogate.with_guesses(of(pending)) for surrogate, of in zip(surrogates, features, strict=True)
            )
        places = np.concatenate([known, pending])
        # A lucky measurement overrates a design, so the front has predicted losses.
        believed = np.stack(
            [surrogate.expected(of(places)) for surrogate, of in zip(surrogates, features, strict=True)], 1
        )
        costs = self._choices.costs(places)
        steps = front_places(believed, costs)
        losses = np.array(evidence.losses)
        worst_K = losses.max(1)
        scale_K = np.maximum(worst_K - losses.min(1), 1e-12)
        return Belief(surrogates, features, places[steps], costs[steps], believed[steps], worst_K, scale_K)

    def _fitted(
        self, evidence: Evidence, known: Indices, place: int, line: int | None
    ) -> tuple[Surrogate, Callable[[Indices], _Array]]:
        """The surrogate of a metric, with the function for its features."""
        losses, deviations = np.array(evidence.losses[place]), np.array(evidence.deviations[place])
        plain = self._choices.features
        surrogate = Surrogate.fit(plain(known), losses, self._seed, deviations, line)
        if self._prior is None or place:
            return surrogate, plain
        informed = Surrogate.fit(self._with_prior(known), losses, self._seed, deviations, line)
        return (informed, self._with_prior) if informed.evidence > surrogate.evidence else (surrogate, plain)

    def _is_straight(self, asked: int) -> bool:
        """Whether this proposal expects losses to fall with the cost; at first every other one does.

        Without that line a dozen designs suggest that all are alike, and the cheapest promise most. With it alone the
        cheap end is left out where it is good. With one tier, whose front counts from the cheap end on, there is none.
        """
        later = asked - self._start
        return len(self._tiers) > 1 and later < STRAIGHT and later // len(self._tiers) % 2 == 0

    def _pool(self, free: Indices, free_N: NDArray[np.bool_], front: Indices, random: np.random.Generator) -> Indices:
        if len(free) <= POOL:
            return free
        drawn = random.choice(free, POOL, replace=False)
        pool: Indices = np.union1d(drawn, self._near(random.permutation(front)[:REFINED], free_N))
        return pool

    def _near(self, chosen: Indices, free_N: NDArray[np.bool_]) -> Indices:
        """Free neighbours of some designs."""
        near: Indices = np.unique(np.concatenate([self._choices.near(int(index)) for index in chosen]))
        return near[free_N[near] & (self._choices.costs_N[near] <= self._tiers[-1])]


def expected_gain(
    losses_NQ: _Array, costs_N: _Array, front: tuple[_Array, _Array], worst: float, tier: float
) -> _Array:
    """Expected gain of measuring each design within a tier, in units of the loss, shape (N,).

    The front gives the loss at each cost. A design of cost c and loss y lowers it to y wherever that is better, from c
    on. The gain has two terms: the fall of the mean loss over all costs from zero to the tier, which is the gained
    hypervolume over the tier, and the fall of the best loss within the tier. Costs are known, so that the expectation
    is only over the loss (cf. Emmerich et al., "Computation of the expected improvement in dominated hypervolume",
    2008, section 3, with one certain loss).

    Args:
        losses_NQ: Equally likely losses.
        costs_N: Known costs.
        front: Costs and losses of the front, cheapest first.
        worst: Loss without any design, and reference point.
        tier: Largest cost.
    """
    costs_S, losses_S = (part[front[0] <= tier] for part in front)
    edges = np.concatenate([[0.0], costs_S, [tier]])
    levels = np.minimum(np.concatenate([[worst], losses_S]), worst)
    gain_N = np.zeros(len(costs_N))
    for start, end, level in zip(edges[:-1], edges[1:], levels, strict=True):
        width_N = np.clip(end - np.maximum(start, costs_N), 0, None)
        reached = width_N > 0
        if reached.any():
            gain_N[reached] += width_N[reached] * np.maximum(level - losses_NQ[reached], 0).mean(1)
    fits_N = costs_N <= tier
    gain_N[fits_N] = gain_N[fits_N] / tier + np.maximum(levels[-1] - losses_NQ[fits_N], 0).mean(1)
    return gain_N


def _halving(place: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8, ...: the van der Corput sequence."""
    share, step = 0.0, 0.5
    while place:
        share += step * (place % 2)
        place, step = place // 2, step / 2
    return share
