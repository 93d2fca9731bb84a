"""Group-sequential levels: against the published ones, and what they promise, by simulation."""

import numpy as np
import pytest
from scipy import stats

from fusion_jax.results import sequential

LOOKS, LIMIT = (10, 15, 20, 25, 30), 30


def test_the_looks_of_a_study():
    assert sequential.plan(10, 30, 5) == LOOKS and sequential.plan(10, 28, 8) == (10, 18, 26, 28)
    assert sequential.plan(10, 10, 5) == (10,)
    for wrong, said in (((1, 30, 5), "first is at 1"), ((10, 9, 5), "at most 9"), ((10, 30, 0), "step 0")):
        with pytest.raises(ValueError, match=said):
            sequential.plan(*wrong)


def test_the_first_and_the_only_look_have_what_is_spent():
    np.testing.assert_allclose(sequential.levels((20,), 20, 0.05), [0.05])
    np.testing.assert_allclose(sequential.levels(LOOKS, LIMIT, 0.05)[0], 0.05 / 9)
    rising = sequential.levels(LOOKS, LIMIT)
    assert (np.diff(rising) > 0).all() and rising[-1] < 0.05


def test_two_looks_are_the_bivariate_normals():
    """P(|Z1| < b1, |Z2| < b2) = 1 - alpha, correlation (1/2)^(3/4)."""
    first, last = stats.norm.isf(sequential.levels((10, 20), 20, 0.05) / 2)
    both = stats.multivariate_normal([0, 0], [[1, 0.5**0.75], [0.5**0.75, 1]])
    inside = both.cdf([first, last], lower_limit=[-first, -last])
    assert inside == pytest.approx(0.95, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_a_true_hypothesis_is_rejected_as_often_as_is_spent(alpha):
    d = np.random.default_rng(0).normal(size=(100_000, LIMIT))
    p = np.stack([stats.ttest_1samp(d[:, :n], 0, axis=1).pvalue for n in LOOKS], 1)
    wrong = np.maximum.accumulate(p <= sequential.levels(LOOKS, LIMIT, alpha), axis=1).mean(0)
    spent = np.array([sequential.spent(n / LIMIT, alpha) for n in LOOKS])
    assert (wrong <= spent + 3 * np.sqrt(spent / len(d))).all() and wrong[-1] > 0.85 * alpha


def test_the_sequential_p_is_the_smallest_alpha_that_rejects():
    for alpha in (1e-6, 0.004, 0.05, 0.3):
        own = sequential.levels(LOOKS, LIMIT, alpha)
        for k in range(len(LOOKS)):
            p = np.r_[np.full(k, 0.9), own[k]]
            assert sequential.sequential_p(p, LOOKS[: k + 1], LIMIT) == pytest.approx(alpha, rel=0.01)
    assert sequential.sequential_p([1e-30], (10,), 30) <= 1e-9 and sequential.sequential_p([1.0], (30,), 30) == 1
    assert sequential.sequential_p([1e-4, 0.9], (4, 8), 20) == sequential.sequential_p([1e-4], (4,), 20) < 0.01
    assert sequential.sequential_p([0.2, np.nan], (10, 15), 30) == sequential.sequential_p([0.2], (10,), 30)
    assert np.isnan(sequential.sequential_p([], (), 30)) and np.isnan(sequential.sequential_p([np.nan], (10,), 30))


def test_the_nominal_level_is_of_the_last_look():
    assert sequential.nominal(LOOKS[:2], LIMIT) == pytest.approx(sequential.levels(LOOKS, LIMIT)[1])
