"""Intervals of a metric from the influence of its rows, against others."""

import numpy as np
import pytest
from scipy import stats

from fusion_jax.results import influence


def test_the_interval_of_a_mean_is_students():
    psi = np.random.default_rng(0).normal(size=50)
    low, high = stats.t.interval(0.95, 49, loc=0, scale=stats.sem(psi))
    assert influence.half_width(psi) == pytest.approx(high) == pytest.approx(-low)
    assert influence.half_width(psi[:1]) == np.inf


def test_wilsons_interval_is_scipys():
    for right, rows in ((85, 106), (0, 20), (20, 20), (1, 2)):
        expected = stats.binomtest(right, rows).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose(influence.wilson(right / rows, rows), expected, atol=1e-12)
