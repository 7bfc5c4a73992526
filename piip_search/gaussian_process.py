"""A Gaussian process over designs: what choices add one by one, what they do together, and what known numbers tell.

Two designs with features x, x' and trends t, t' covary by

    a x·x' + sum_j c_j t_j t'_j + b exp(-|x - x'|² / 2 l²)

and a measurement has noise of variance s. The parameters a, c, b, l, s are those that are likeliest, given what was
measured and that they are about as large as is usual (`USUAL`): from ten designs the likelihood alone tells next to
nothing of them. Rasmussen and Williams, "Gaussian processes for machine learning", 2006: posterior (2.25, 2.26),
likelihood and its gradient (5.8, 5.9).

Legend: N designs that were measured, M other designs, F features, T trends, P = T + 4 parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

JITTER = 1e-8
"""Variance that keeps matrices invertible."""
STEPS = 25
"""Steps of L-BFGS: the last ones change no proposal."""


class Usual(NamedTuple):
    """Middle and spread of the logarithm of a parameter, for features and targets of unit variance."""

    middle: float
    factor: float


USUAL = {
    "linear": Usual(0.3, 2.0),
    "trend": Usual(0.3, 2.0),
    "together": Usual(0.5, 2.0),
    "length": Usual(1.0, 1.4),
    "noise": Usual(0.02, 3.0),
}
FURTHEST = 2.5
"""Spreads by which a parameter is at most from its middle."""


@dataclass(frozen=True)
class Inputs:
    """Designs as numbers.

    Attributes:
        features_NF: Centred, their squares summing to one for a design on average.
        trends_NT: Of which the targets may be a straight line, each of mean zero and variance one.
    """

    features_NF: Array
    trends_NT: Array

    def __len__(self) -> int:
        return len(self.features_NF)

    def __getitem__(self, chosen: NDArray[np.intp]) -> "Inputs":
        return Inputs(self.features_NF[chosen], self.trends_NT[chosen])

    def with_more(self, others: "Inputs") -> "Inputs":
        """These and others."""
        return Inputs(
            np.concatenate([self.features_NF, others.features_NF]),
            np.concatenate([self.trends_NT, others.trends_NT]),
        )


@dataclass(frozen=True)
class GaussianProcess:
    """What was learnt.

    Attributes:
        inputs: Of the designs that were measured.
        targets_N: What was measured of them.
        noise_N: Variances of what was measured, in units of the noise, and apart from it.
        parameters_P: Logarithms: linear, each trend, together, length, noise.
        evidence: Log likelihood of the targets and of the parameters.
    """

    inputs: Inputs
    targets_N: Array
    noise_N: tuple[Array, Array]
    parameters_P: Array
    evidence: float
    root_NN: Array
    weights_N: Array

    @classmethod
    def fit(cls, inputs: Inputs, targets_N: Array, noise_N: tuple[Array, Array]) -> "GaussianProcess":
        """Finds the parameters.

        Args:
            inputs: Of the designs that were measured.
            targets_N: What was measured, of mean zero and variance one.
            noise_N: How many times the variance of the noise each has, a half where it is the mean of two
                measurements; and a variance of its own besides.
        """
        posterior = log_posterior(inputs, targets_N, noise_N)
        middles_P, spreads_P = _usual(inputs.trends_NT.shape[1])
        bounds = list(zip(middles_P - FURTHEST * spreads_P, middles_P + FURTHEST * spreads_P, strict=True))

        def unlikely(parameters_P: Array) -> tuple[float, Array]:
            value, slope_P = posterior(parameters_P)
            return -value, -slope_P

        found = minimize(unlikely, middles_P, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
        return cls.of(inputs, targets_N, noise_N, found.x, -float(found.fun))

    @classmethod
    def of(
        cls, inputs: Inputs, targets_N: Array, noise_N: tuple[Array, Array], parameters_P: Array, evidence: float
    ) -> "GaussianProcess":
        """The process of parameters that are known."""
        covariance_NN = _covariance(parameters_P, inputs, inputs)
        root_NN, _ = cho_factor(covariance_NN + np.diag(_noise(parameters_P, noise_N)), lower=True)
        weights_N = cho_solve((root_NN, True), targets_N)
        return cls(inputs, targets_N, noise_N, parameters_P, evidence, root_NN, weights_N)

    def with_parameters(self, inputs: Inputs, targets_N: Array, noise_N: tuple[Array, Array]) -> "GaussianProcess":
        """What is known of other designs under the same parameters."""
        return self.of(inputs, targets_N, noise_N, self.parameters_P, self.evidence)

    def middle(self, inputs: Inputs) -> Array:
        """Expected targets of other designs, shape (M,)."""
        expected_M: Array = _covariance(self.parameters_P, inputs, self.inputs) @ self.weights_N
        return expected_M

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Expected targets and their standard deviations, of what designs are worth and not of one measurement."""
        covariance_MN = _covariance(self.parameters_P, inputs, self.inputs)
        explained_NM = solve_triangular(self.root_NN, covariance_MN.T, lower=True)
        variance_M = _variances(self.parameters_P, inputs) - (explained_NM**2).sum(0)
        return covariance_MN @ self.weights_N, np.sqrt(np.maximum(variance_M, 1e-9))

    def draws(self, inputs: Inputs, count: int, random: np.random.Generator) -> Array:
        """Targets of other designs together as they may be, shape (count, M)."""
        covariance_MN = _covariance(self.parameters_P, inputs, self.inputs)
        explained_NM = solve_triangular(self.root_NN, covariance_MN.T, lower=True)
        left_MM = _covariance(self.parameters_P, inputs, inputs) - explained_NM.T @ explained_NM
        values_M, vectors_MM = np.linalg.eigh(left_MM)
        root_MM = vectors_MM * np.sqrt(np.maximum(values_M, 0.0))
        drawn: Array = covariance_MN @ self.weights_N + random.standard_normal((count, len(inputs))) @ root_MM.T
        return drawn


def _split(parameters_P: Array) -> tuple[float, Array, float, float, float]:
    linear, *trends, together, length, noise = np.exp(parameters_P)
    return float(linear), np.array(trends), float(together), float(length), float(noise)


def _covariance(parameters_P: Array, one: Inputs, other: Inputs) -> Array:
    linear, trends_T, together, length, _ = _split(parameters_P)
    products, distances = _products(one.features_NF, other.features_NF)
    covariance: Array = linear * products + (one.trends_NT * trends_T) @ other.trends_NT.T
    covariance += together * np.exp(-0.5 * distances / length**2)
    return covariance


def _variances(parameters_P: Array, inputs: Inputs) -> Array:
    linear, trends_T, together, _, _ = _split(parameters_P)
    variances: Array = linear * (inputs.features_NF**2).sum(1) + (inputs.trends_NT**2) @ trends_T + together
    return variances


def _noise(parameters_P: Array, noise_N: tuple[Array, Array]) -> Array:
    noise: Array = np.exp(parameters_P[-1]) * noise_N[0] + noise_N[1] + JITTER
    return noise


def _products(one_NF: Array, other_MF: Array) -> tuple[Array, Array]:
    """Scalar products and squared distances."""
    products_NM: Array = one_NF @ other_MF.T
    lengths_N, lengths_M = (one_NF**2).sum(1), (other_MF**2).sum(1)
    return products_NM, np.maximum(lengths_N[:, None] + lengths_M - 2 * products_NM, 0.0)


def log_posterior(
    inputs: Inputs, targets_N: Array, noise_N: tuple[Array, Array], usual: bool = True
) -> Callable[[Array], tuple[float, Array]]:
    """The log likelihood of targets and parameters, with its gradient, as a function of the parameters.

    Args:
        inputs: As in `GaussianProcess.fit`.
        targets_N: As there.
        noise_N: As there.
        usual: Whether parameters are likelier the nearer they are to what is usual; else it is the targets' alone.
    """
    middles_P, spreads_P = _usual(inputs.trends_NT.shape[1])
    products_NN, distances_NN = _products(inputs.features_NF, inputs.features_NF)
    trends_TNN = inputs.trends_NT.T[:, :, None] * inputs.trends_NT.T[:, None, :]
    identity_NN = np.eye(len(targets_N))

    def posterior(parameters_P: Array) -> tuple[float, Array]:
        linear, trends_T, together, length, noise = _split(parameters_P)
        smooth_NN = together * np.exp(-0.5 * distances_NN / length**2)
        covariance_NN = linear * products_NN + np.tensordot(trends_T, trends_TNN, 1) + smooth_NN
        try:
            root = cho_factor(covariance_NN + np.diag(_noise(parameters_P, noise_N)), lower=True)
        except np.linalg.LinAlgError:  # rounding made it singular: not here
            return -1e12, np.zeros_like(parameters_P)
        weights_N = cho_solve(root, targets_N)
        slope_NN = cho_solve(root, identity_NN) - np.outer(weights_N, weights_N)
        likelihood = (
            -0.5 * targets_N @ weights_N - np.log(np.diag(root[0])).sum() - 0.5 * len(targets_N) * np.log(2 * np.pi)
        )
        slopes = [
            linear * (slope_NN * products_NN).sum(),  # of minus twice the likelihood
            *(trend * (slope_NN * own_NN).sum() for trend, own_NN in zip(trends_T, trends_TNN, strict=True)),
            (slope_NN * smooth_NN).sum(),
            (slope_NN * smooth_NN * distances_NN).sum() / length**2,
            noise * (np.diag(slope_NN) * noise_N[0]).sum(),
        ]
        if not usual:
            return float(likelihood), -0.5 * np.array(slopes)
        away_P = (parameters_P - middles_P) / spreads_P
        # With its constants, so that processes of more parameters can be compared with those of fewer.
        density = -0.5 * away_P @ away_P - np.log(np.sqrt(2 * np.pi) * spreads_P).sum()
        return float(likelihood + density), -0.5 * np.array(slopes) - away_P / spreads_P

    return posterior


def _usual(trends: int) -> tuple[Array, Array]:
    """Middles and spreads of the logarithms of all parameters."""
    names = ["linear", *["trend"] * trends, "together", "length", "noise"]
    return np.log([USUAL[name].middle for name in names]), np.array([USUAL[name].factor for name in names])
