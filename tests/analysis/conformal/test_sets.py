"""Conformal sets on planted exchangeable rows: coverage as stated, and every step written out once more."""

import math

import numpy as np
import pytest

from fusion_jax.analysis.conformal import sets


def planted(rng, rows, classes=5):
    """Probabilities [N, C] of a model that is wrong about how sure it is, and labels drawn from the true ones."""
    logits = rng.normal(size=(rows, classes))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    said = true**2.5 / (true**2.5).sum(1, keepdims=True)
    return said, (true.cumsum(1) < rng.random((rows, 1))).sum(1)


@pytest.mark.parametrize("score", ["adaptive", "probability"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_coverage_over_many_draws_is_as_stated(score, share):
    """The mean of coverage is k / (n + 1) where no scores are equal, on a graph of random edges too."""
    alpha, calibration, rows, draws, hits = 0.1, 57, 40, 400, 0
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        p, y = planted(rng, calibration + rows)
        n = len(y)
        s = sets.adaptive_scores(p, rng.random(n)) if score == "adaptive" else sets.probability_scores(p)
        s = sets.diffused(s, *rng.integers(n, size=(2, 3 * n)), share)
        limit = sets.threshold(s[np.arange(calibration), y[:calibration]], alpha)
        hits += (s[np.arange(calibration, n), y[calibration:]] <= limit).sum()
    k = math.ceil(58 * 0.9)
    expected = k / 58
    var = k * (58 - k) / (58**2 * 59)  # of the beta, beside the binomial
    error = math.sqrt((expected * (1 - expected) / rows + var) / draws)
    assert abs(hits / (draws * rows) - expected) < 3 * error and error < 0.005


def test_adaptive_scores_by_hand():
    p = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])
    found = sets.adaptive_scores(p, np.array([0.5, 1.0]))
    np.testing.assert_allclose(found, [[0.9, 0.25, 0.65], [0.4, 0.8, 1.0]], rtol=1e-12)


def test_diffusion_by_hand_leaves_who_hears_nobody():
    s = np.array([[0.0, 1.0], [0.4, 0.6], [1.0, 0.0]])
    found = sets.diffused(s, np.array([1, 2, 0]), np.array([0, 0, 2]), 0.25)
    np.testing.assert_allclose(found, [[0.175, 0.825], [0.4, 0.6], [0.75, 0.25]], rtol=1e-12)


def test_the_threshold_is_the_order_statistic_and_infinite_where_rows_are_too_few():
    true = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))
    assert sets.threshold(true, 0.1) == 18 and sets.threshold(true, 0.5) == 10
    assert sets.threshold(true[:8], 0.1) == np.inf and sets.threshold(true[:9], 0.1) == true[:9].max()
    assert sets.expected(8, 50, 0.1) == (1, 1)


def test_where_coverage_lies_by_simulation():
    rng = np.random.default_rng(1)
    n, rows, alpha = 39, 60, 0.2
    u = rng.random((4000, n + rows))
    limit = np.sort(u[:, :n], 1)[:, 32 - 1]
    covered = (u[:, n:] <= limit[:, None]).mean(1)
    low, high = sets.expected(n, rows, alpha)
    assert 0.94 < ((covered >= low) & (covered <= high)).mean() < 0.985
    np.testing.assert_allclose([low, high], np.quantile(covered, [0.025, 0.975]), atol=1.5 / rows)


def test_binomial_intervals():
    np.testing.assert_allclose(sets.binomial_interval(9, 10), (0.5549839, 0.9974714), atol=1e-6)
    assert sets.binomial_interval(0, 10)[0] == 0 and sets.binomial_interval(10, 10)[1] == 1
    assert sets.binomial_interval(0, 10)[1] == pytest.approx(1 - 0.025**0.1)
