"""The surrogate of designs' losses: a Gaussian process over features, on transformed losses.

Legend: N designs, F features, Q levels of a predicted distribution.
"""

import warnings
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]

LEVELS = 9
QUANTILES_Q = np.array([NormalDist().inv_cdf((level + 0.5) / LEVELS) for level in range(LEVELS)])
"""Equally likely levels of a standard normal distribution."""
MOST_TUNED = 100
"""Most observations in the fit of scales: the time grows with their cube."""
MOST_USED = 800
"""Most observations in predictions: the time grows with their cube."""
MOST_PREDICTED = 512
"""Most designs that are predicted at once: the memory grows with them times the observations."""
TUNING_STEPS = 15
JITTER = 1e-8
"""Variance that keeps matrices invertible."""


@dataclass(frozen=True)
class Surrogate:
    """A fitted model of losses.

    It is a sum of two kernels: separate effects of choices (a linear trend), and joint ones (smooth in the features);
    and noise. On demand there is a third kernel: a straight line along one feature. Skewed losses go through a
    Yeo-Johnson transformation if they are more likely with it, so that one design that failed to learn does not hide
    the differences among the good ones. Scales maximise the marginal likelihood. Process and transformation are
    scikit-learn's.
    """

    process: Any
    transformation: Any
    worst: float
    evidence: float
    """Log likelihood of the losses in the fit of scales, for comparing sets of features."""

    @classmethod
    def fit(
        cls,
        features_NF: _Array,
        losses_N: _Array,
        seed: int,
        deviations_N: _Array | None = None,
        line: int | None = None,
    ) -> "Surrogate":
        """Fits a surrogate to measured designs, or to a sample of too many.

        Args:
            features_NF: Features of the measured designs, each column about as wide as one.
            losses_N: Measured losses, lower is better.
            seed: Seed of the sample.
            deviations_N: Standard deviations of uncertain losses; zero by default.
            line: Column along which losses are expected to follow a straight line; None for none.
        """
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PowerTransformer, StandardScaler

        kept = _kept(losses_N, seed)
        features_NF, losses_N = features_NF[kept], losses_N[kept]
        unsure_N = np.zeros(len(kept)) if deviations_N is None else deviations_N[kept]
        some = np.random.default_rng(seed).permutation(len(kept))[:MOST_TUNED]
        found: list[tuple[float, Any, Any, _Array, _Array]] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a scale may end at its bound
            for transformation in (StandardScaler(), make_pipeline(StandardScaler(), PowerTransformer())):
                targets_N = _transformed(transformation.fit(losses_N[:, None]), losses_N)
                step = 1e-5 * max(float(losses_N.std()), 1e-12)
                low_N, high_N = (_transformed(transformation, losses_N + sign * step) for sign in (-1, 1))
                slopes_N = np.maximum((high_N - low_N) / (2 * step), 1e-12)
                noise_N = JITTER + (slopes_N * unsure_N) ** 2
                kernel = _kernel(features_NF.shape[1], line)
                tuned = GaussianProcessRegressor(kernel, alpha=noise_N[some], optimizer=_tune)
                tuned.fit(features_NF[some], targets_N[some])
                # Likelihood of the original losses, so that transformations can be compared.
                evidence = tuned.log_marginal_likelihood_value_ + float(np.log(slopes_N[some]).sum())
                found.append((evidence, transformation, tuned.kernel_, targets_N, noise_N))
            plain, warped = found
            chosen = warped if warped[0] > plain[0] else plain
            evidence, transformation, kernel, targets_N, noise_N = chosen
            process = GaussianProcessRegressor(kernel, alpha=noise_N, optimizer=None).fit(features_NF, targets_N)
        return cls(process, transformation, float(losses_N.max()), evidence)

    def with_guesses(self, features_NF: _Array) -> "Surrogate":
        """The surrogate if running designs reached their predicted losses, so that other designs are chosen."""
        from sklearn.gaussian_process import GaussianProcessRegressor

        seen = np.concatenate([self.process.X_train_, features_NF])
        targets = np.concatenate([self.process.y_train_, self.process.predict(features_NF)])
        noise = np.concatenate([self.process.alpha, np.full(len(features_NF), JITTER)])
        process = GaussianProcessRegressor(self.process.kernel_, alpha=noise, optimizer=None).fit(seen, targets)
        return Surrogate(process, self.transformation, self.worst, self.evidence)

    def losses(self, features_NF: _Array) -> _Array:
        """Equally likely losses of each design, shape (N, Q), best first."""
        mean_N, deviation_N = self.process.predict(features_NF, return_std=True)
        noise = self.process.kernel_.k2.noise_level
        # The distribution of a design's loss without the noise of a measurement.
        deviation_N = np.sqrt(np.maximum(deviation_N**2 - noise, 1e-9))
        return self._back(mean_N[:, None] + deviation_N[:, None] * QUANTILES_Q)

    def draws(self, features_NF: _Array, count: int, seed: int) -> _Array:
        """Joint random draws of all designs' losses, shape (count, N)."""
        mean_N, covariance_NN = self.process.predict(features_NF, return_cov=True)
        covariance_NN = covariance_NN - self.process.kernel_.k2.noise_level * np.eye(len(mean_N))
        values_N, vectors_NN = np.linalg.eigh(covariance_NN)
        root_NN = vectors_NN * np.sqrt(np.maximum(values_N, 0.0))
        normal_SN = np.random.default_rng(seed).standard_normal((count, len(mean_N)))
        return self._back(mean_N + normal_SN @ root_NN.T)

    def expected(self, features_NF: _Array) -> _Array:
        """The median loss of each design, shape (N,); of many designs in parts, as a long search has measured them."""
        starts = range(0, max(len(features_NF), 1), MOST_PREDICTED)
        means_N = np.concatenate(
            [self.process.predict(features_NF[start : start + MOST_PREDICTED]) for start in starts]
        )
        return self._back(means_N[:, None])[:, 0]

    def _back(self, targets_NQ: _Array) -> _Array:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # far out, the transformation has no inverse
            losses_NQ: _Array = self.transformation.inverse_transform(targets_NQ.reshape(-1, 1)).reshape(
                targets_NQ.shape
            )
        return np.minimum(np.nan_to_num(losses_NQ, nan=self.worst, posinf=self.worst), 2 * self.worst)


def _kernel(count: int, line: int | None) -> Any:
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    far = np.sqrt(count)
    kernel = ConstantKernel(1 / count, (1e-3 / count, 1e2 / count)) * DotProduct(0.0, "fixed") + ConstantKernel(
        0.5, (1e-2, 1e2)
    ) * RBF(0.5 * far, (0.1 * far, 10 * far))
    if line is not None:
        # A slope of about one and a half standard deviations over the whole range, rarely below half of one.
        kernel += ConstantKernel(2.0, (0.3, 1e2)) * _line_kernel()(line)
    return kernel + WhiteKernel(0.05, (1e-4, 1.0))


@cache
def _line_kernel() -> Any:
    """A scikit-learn kernel: a straight line along one column, (x - 1/2)(y - 1/2) for values from 0 to 1."""
    from sklearn.gaussian_process.kernels import Kernel

    class Line(Kernel):  # type: ignore[misc]
        def __init__(self, column: int) -> None:
            self.column = column

        def __call__(self, X: _Array, Y: _Array | None = None, eval_gradient: bool = False) -> Any:
            one, other = (part[:, self.column] - 0.5 for part in (X, X if Y is None else Y))
            products = np.outer(one, other)
            return (products, np.empty((*products.shape, 0))) if eval_gradient else products

        def diag(self, X: _Array) -> _Array:
            return np.square(X[:, self.column] - 0.5)

        def is_stationary(self) -> bool:
            return False

    return Line


def _transformed(transformation: Any, losses_N: _Array) -> _Array:
    targets_N: _Array = transformation.transform(losses_N[:, None])[:, 0]
    return targets_N


def _tune(objective: Any, start: _Array, bounds: _Array) -> tuple[_Array, float]:
    """Maximises in a few steps of L-BFGS: later steps change no proposal."""
    from scipy.optimize import minimize

    found = minimize(objective, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": TUNING_STEPS})
    return found.x, float(found.fun)


def _kept(losses_N: _Array, seed: int) -> NDArray[np.intp]:
    """Indices of all losses, or of the better half and a random draw of the others if they are too many."""
    if len(losses_N) <= MOST_USED:
        return np.arange(len(losses_N))
    order = np.argsort(losses_N, kind="stable")
    best, others = order[: MOST_USED // 2], order[MOST_USED // 2 :]
    drawn = np.random.default_rng(seed).permutation(others)[: MOST_USED - len(best)]
    return np.sort(np.concatenate([best, drawn]))
