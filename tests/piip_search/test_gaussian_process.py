"""Our Gaussian process against scikit-learn's, and its gradient against differences."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from piip_search.gaussian_process import GaussianProcess, Inputs, log_posterior


def measured(count: int = 30, trends: int = 1, seed: int = 0) -> tuple[Inputs, np.ndarray]:
    random = np.random.default_rng(seed)
    features = random.standard_normal((count, 4)) / 2
    columns = random.standard_normal((count, trends))
    targets = features[:, 0] + np.sin(3 * features[:, 1]) + columns.sum(1) / 2 + 0.1 * random.standard_normal(count)
    return Inputs(features, columns), (targets - targets.mean()) / targets.std()


def alike(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise of one size for all, and nothing besides."""
    return np.ones(count), np.zeros(count)


@pytest.mark.parametrize("length", [0.5, 2.0])
def test_it_predicts_and_weighs_evidence_as_scikit_learn_does(length: float) -> None:
    designs, targets = measured(trends=0)
    others, _ = measured(seed=1, trends=0)
    linear, together, noise = 0.7, 0.4, 0.05
    straight = DotProduct(sigma_0=0.0, sigma_0_bounds="fixed")
    kernel = ConstantKernel(linear) * straight + ConstantKernel(together) * RBF(length) + WhiteKernel(noise)
    peer = GaussianProcessRegressor(kernel, optimizer=None, alpha=1e-8).fit(designs.features_NF, targets)
    process = GaussianProcess.of(designs, targets, alike(30), np.log([linear, together, length, noise]), 0.0)
    middle, deviation = process.predict(others)
    wanted, wanted_deviation = peer.predict(others.features_NF, return_std=True)
    np.testing.assert_allclose(middle, wanted, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(deviation**2, wanted_deviation**2 - noise, rtol=1e-6)  # ours leaves the noise out
    np.testing.assert_allclose(process.middle(others), middle, rtol=1e-12)
    likelihood, _ = log_posterior(designs, targets, alike(30), usual=False)(process.parameters_P)
    assert likelihood == pytest.approx(peer.log_marginal_likelihood_value_, rel=1e-9)


@pytest.mark.parametrize("trends", [0, 1, 2])
def test_the_gradient_is_that_of_the_posterior(trends: int) -> None:
    designs, targets = measured(trends=trends)
    posterior = log_posterior(designs, targets, (np.linspace(0.2, 1, 30), np.linspace(0, 0.3, 30)))
    for point in np.random.default_rng(2).standard_normal((3, 4 + trends)):
        assert check_grad(lambda p: posterior(p)[0], lambda p: posterior(p)[1], point) < 1e-4


def test_what_is_found_is_likelier_than_what_is_usual() -> None:
    designs, targets = measured()
    posterior = log_posterior(designs, targets, alike(30))
    found = GaussianProcess.fit(designs, targets, alike(30))
    around = found.parameters_P + 0.3 * np.random.default_rng(0).standard_normal((20, 5))
    assert found.evidence == pytest.approx(posterior(found.parameters_P)[0])
    assert all(posterior(point)[0] < found.evidence for point in around)


def test_draws_have_the_predicted_mean_and_spread() -> None:
    designs, targets = measured()
    others, _ = measured(count=8, seed=1)
    process = GaussianProcess.fit(designs, targets, alike(30))
    draws = process.draws(others, 4000, np.random.default_rng(0))
    middle, deviation = process.predict(others)
    np.testing.assert_allclose(draws.mean(0), middle, atol=0.05)
    np.testing.assert_allclose(draws.std(0), deviation, rtol=0.08)
