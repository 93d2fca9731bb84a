"""The Gaussian models: predictive densities against scipy, bounds against what is known."""

import numpy as np
import pytest
from scipy.stats import multivariate_t

from fusion_jax.data.card.gaussian import Held, folds


def test_folds_part_every_class_evenly():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [10, 7, 3]))
    fold = folds(labels)
    for c in range(3):
        assert np.ptp(np.bincount(fold[labels == c], minlength=5)) <= 1
    assert len(set(folds(np.zeros(3, int)))) == 3


def test_the_quadratic_model_is_the_predictive_of_a_normal_inverse_wishart_prior():
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(23, 2)), np.arange(23) % 2
    held = Held(labels, 2)
    found = held.models(x)[0]
    row = 4
    rest = held.fold != held.fold[row]
    parts = [x[rest & (labels == c)] for c in range(2)]
    scatter = [(p - p.mean(0)).T @ (p - p.mean(0)) for p in parts]
    within = (sum(scatter) + 3 * np.eye(2)) / (rest.sum() + 3)
    for c, p in enumerate(parts):
        n, mean = len(p), p.mean(0)
        psi = 2 * within + scatter[c] + n / (n + 1) * np.outer(mean, mean)
        df = 5 + n - 1
        told = multivariate_t(n * mean / (n + 1), psi * (n + 2) / ((n + 1) * df), df)
        assert found[row, c] == pytest.approx(told.logpdf(x[row]), rel=1e-10)


def test_the_linear_model_has_the_log_odds_of_one_covariance():
    rng = np.random.default_rng(2)
    x, labels = rng.normal(size=(31, 3)), np.arange(31) % 2
    held = Held(labels, 2)
    row = 7
    rest = held.fold != held.fold[row]
    parts = [x[rest & (labels == c)] for c in range(2)]
    within = sum((p - p.mean(0)).T @ (p - p.mean(0)) for p in parts) + 4 * np.eye(3)
    inverse = np.linalg.inv(within / (rest.sum() + 4))
    far = [(x[row] - p.sum(0) / (len(p) + 1)) for p in parts]
    odds = -0.5 * (far[0] @ inverse @ far[0] - far[1] @ inverse @ far[1])
    found = held.models(x)[1][row]
    assert found[0] - found[1] == pytest.approx(odds, rel=1e-9)


def test_the_bound_nears_the_information_of_two_gaussians_and_is_0_of_noise():
    rng = np.random.default_rng(3)
    labels = np.arange(4000) % 2
    x = np.where(labels == 1, 1.0, -1.0) + rng.normal(size=4000)
    p = 1 / (1 + np.exp(-2 * x))
    truth = 1 + np.mean(p * np.log2(p) + (1 - p) * np.log2(1 - p))  # the same rows
    held = Held(labels, 2)
    x = x[:, None] / x.std()
    for model in held.models(x):
        assert held.rows(model).mean() == pytest.approx(truth, abs=0.02)
    noise = Held(np.arange(200) % 2, 2)
    assert noise.rows(noise.models(rng.normal(size=(200, 8)))[0]).mean() < 0.01
