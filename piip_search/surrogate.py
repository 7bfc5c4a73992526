"""What a design not yet measured may be worth: a Gaussian process, on losses made bell-shaped where that is likelier.

Legend: N designs, F features, T trends, Q levels of a predicted distribution.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import yeojohnson, yeojohnson_llf

from piip_search.gaussian_process import GaussianProcess, Inputs

Array = NDArray[np.float64]

LEVELS = 9
QUANTILES_Q = np.array([NormalDist().inv_cdf((level + 0.5) / LEVELS) for level in range(LEVELS)])
"""Equally likely levels of a standard normal distribution."""
MOST_TUNED, MOST_USED = 100, 800
"""Evidence that parameters are found from, and that predictions use: both cost the cube of it."""
POWERS = (-3.0, 5.0)
"""Least and greatest power of a transformation."""


@dataclass(frozen=True)
class Frame:
    """Puts features and trends on one scale, that of the designs from which it was made.

    Attributes:
        features_F: Their means.
        size: Root of their mean squared sum, once centred.
        trends_T: Means of the trends.
        spreads_T: Their standard deviations.
    """

    features_F: Array
    size: float
    trends_T: Array
    spreads_T: Array

    @classmethod
    def of(cls, features_NF: Array, trends_NT: Array) -> "Frame":
        """The scale of some designs."""
        features_F, trends_T = features_NF.mean(0), trends_NT.mean(0)
        size = float(np.sqrt(((features_NF - features_F) ** 2).sum(1).mean()))
        return cls(features_F, size or 1.0, trends_T, _or_one(trends_NT.std(0)))

    def inputs(self, features_NF: Array, trends_NT: Array) -> Inputs:
        """What a Gaussian process is told of some designs."""
        return Inputs((features_NF - self.features_F) / self.size, (trends_NT - self.trends_T) / self.spreads_T)


def _or_one(spreads: Array) -> Array:
    """Spreads; what does not vary is left as it is."""
    return np.where(spreads > 1e-12 * np.maximum(1.0, np.abs(spreads).max(initial=0.0)), spreads, 1.0)


@dataclass(frozen=True)
class Transformation:
    """Losses of mean zero and variance one, bent by a power where there is one.

    Yeo and Johnson, "A new family of power transformations to improve normality or symmetry", 2000, equation (2.1).
    Where losses are so skewed that the one design that failed to learn would flatten the differences among the good,
    a power straightens them.
    """

    middle: float
    spread: float
    power: float | None = None
    bent_middle: float = 0.0
    bent_spread: float = 1.0

    @classmethod
    def of(cls, losses_N: Array, bent: bool) -> "Transformation":
        """The one that suits some losses."""
        middle, spread = float(losses_N.mean()), float(_or_one(losses_N.std()))
        if not bent or not losses_N.std() > 1e-12 * max(1.0, float(np.abs(losses_N).max())):
            return cls(middle, spread)
        standard_N = (losses_N - middle) / spread
        found = minimize_scalar(lambda power: -yeojohnson_llf(power, standard_N), bounds=POWERS, method="bounded")
        bent_N = yeojohnson(standard_N, found.x)
        return cls(middle, spread, float(found.x), float(bent_N.mean()), float(_or_one(bent_N.std())))

    def targets(self, losses_N: Array) -> Array:
        """Transformed losses."""
        standard_N: Array = (losses_N - self.middle) / self.spread
        if self.power is None:
            return standard_N
        targets_N: Array = (yeojohnson(standard_N, self.power) - self.bent_middle) / self.bent_spread
        return targets_N

    def slopes(self, losses_N: Array) -> Array:
        """By how much targets change with losses."""
        if self.power is None:
            return np.full(len(losses_N), 1 / self.spread)
        standard_N = (losses_N - self.middle) / self.spread
        away_N = (self.power - 1) * np.sign(standard_N) * np.log1p(np.abs(standard_N))
        slopes_N: Array = np.exp(away_N) / (self.bent_spread * self.spread)
        return slopes_N

    def losses(self, targets: Array) -> Array:
        """Losses of targets; infinite where no loss is so good or so bad."""
        standard = targets if self.power is None else _unbent(targets * self.bent_spread + self.bent_middle, self.power)
        losses: Array = standard * self.spread + self.middle
        return losses


def _unbent(values: Array, power: float) -> Array:
    """Inverse of the transformation: each half is a power, or a logarithm."""
    sides = np.sign(values)
    away = np.where(values >= 0, power, 2 - power)
    size = np.abs(values)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        base = 1 + away * size
        grown = np.where(np.abs(away) < 1e-9, np.expm1(size), np.maximum(base, 0.0) ** (1 / away) - 1)
    result: Array = sides * np.where(base <= 0, np.inf, grown)
    return result


@dataclass(frozen=True)
class Surrogate:
    """A fitted belief about losses.

    Losses are learnt as they are, or transformed where they are likelier so. (Always transformed, the landscape of the
    published designs is learnt badly; never transformed, NAS-Bench-Macro and NAS-Bench-201 are.)

    Attributes:
        process: What was learnt, of transformed losses.
        transformation: Between losses and what was learnt.
        best: Lowest loss that was measured.
        worst: Highest one.
        evidence: Log likelihood of the losses that parameters were found from, so that sets of trends can be compared.
    """

    process: GaussianProcess
    transformation: Transformation
    best: float
    worst: float
    evidence: float

    @classmethod
    def fit(
        cls,
        inputs: Inputs,
        losses_N: Array,
        seed: int,
        deviations_N: Array | None = None,
        repeats_N: Array | None = None,
    ) -> "Surrogate":
        """Learns from measured designs; of too many, from some.

        Args:
            inputs: Of the measured designs.
            losses_N: What they reached, lower is better.
            seed: Of the choice among too many.
            deviations_N: Standard deviations of losses that are not exactly known; zero by default.
            repeats_N: Of how many measurements each loss is the mean; one by default.
        """
        kept = _kept(losses_N, seed)
        inputs, losses_N = inputs[kept], losses_N[kept]
        unsure_N = np.zeros(len(kept)) if deviations_N is None else deviations_N[kept]
        shares_N = np.ones(len(kept)) if repeats_N is None else 1 / repeats_N[kept]
        some = np.random.default_rng(seed).permutation(len(kept))[:MOST_TUNED]
        found: list[tuple[float, Transformation, GaussianProcess, tuple[Array, Array]]] = []
        for bent in (False, True):
            transformation = Transformation.of(losses_N, bent)
            slopes_N = np.maximum(transformation.slopes(losses_N), 1e-12)
            noise_N = shares_N, (slopes_N * unsure_N) ** 2
            targets_N = transformation.targets(losses_N)
            tuned = GaussianProcess.fit(inputs[some], targets_N[some], (noise_N[0][some], noise_N[1][some]))
            # Of the losses themselves, so that transformations can be compared.
            found.append((tuned.evidence + float(np.log(slopes_N[some]).sum()), transformation, tuned, noise_N))
        evidence, transformation, tuned, noise_N = max(found, key=lambda one: one[0])
        process = tuned.with_parameters(inputs, transformation.targets(losses_N), noise_N)
        return cls(process, transformation, float(losses_N.min()), float(losses_N.max()), evidence)

    def with_guesses(self, inputs: Inputs) -> "Surrogate":
        """The belief if designs that are being measured came out as expected, so that others are looked at."""
        known = self.process
        targets = np.concatenate([known.targets_N, known.middle(inputs)])
        shares, own = (np.concatenate([part_N, np.zeros(len(inputs))]) for part_N in known.noise_N)
        process = known.with_parameters(known.inputs.with_more(inputs), targets, (shares, own))
        return Surrogate(process, self.transformation, self.best, self.worst, self.evidence)

    def losses(self, inputs: Inputs) -> Array:
        """Equally likely losses of each design, shape (N, Q), the best first."""
        middle_N, deviation_N = self.process.predict(inputs)
        return self._back(middle_N[:, None] + deviation_N[:, None] * QUANTILES_Q)

    def draws(self, inputs: Inputs, count: int, seed: int) -> Array:
        """Losses of all designs together as they may be, shape (count, N)."""
        return self._back(self.process.draws(inputs, count, np.random.default_rng(seed)))

    def expected(self, inputs: Inputs) -> Array:
        """The middle of what each design may be worth, shape (N,)."""
        return self._back(self.process.middle(inputs))

    def _back(self, targets: Array) -> Array:
        """Losses, at most as far beyond the best and the worst measured as these are apart."""
        apart = self.worst - self.best
        return np.clip(self.transformation.losses(targets), self.best - apart, self.worst + apart)


def _kept(losses_N: Array, seed: int) -> NDArray[np.intp]:
    """All, or of too many the better half of what is used and a draw of the others, in their order."""
    if len(losses_N) <= MOST_USED:
        return np.arange(len(losses_N))
    order = np.argsort(losses_N, kind="stable")
    best, others = order[: MOST_USED // 2], order[MOST_USED // 2 :]
    drawn = np.random.default_rng(seed).permutation(others)[: MOST_USED - len(best)]
    return np.sort(np.concatenate([best, drawn]))
