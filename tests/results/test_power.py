"""The seeds that a comparison needs, against statsmodels and by simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from fusion_jax.results import paired, power


@pytest.mark.parametrize("effect", [0.2, -0.5, 1.0, 2.5])
def test_it_is_that_of_statsmodels(effect):
    judge = TTestPower()
    for n in (3, 6, 10):  # of many it says NaN
        np.testing.assert_allclose(power.power(effect, n), judge.power(abs(effect), n, 0.05), atol=1e-8)
    n = power.needed(effect)
    assert power.power(effect, n) >= 0.8 > power.power(effect, n - 1)
    assert n == int(np.ceil(judge.solve_power(abs(effect), power=0.8, alpha=0.05)))


def test_with_the_correction_it_is_what_the_corrected_test_does():
    """Differences with a common part, whose variance is `ratio` of the rest's: no seed sees it."""
    n, effect, ratio, rng = 10, 1.5, 0.25, np.random.default_rng(0)
    d = effect + rng.normal(size=(4000, n)) + np.sqrt(ratio) * rng.normal(size=(4000, 1))
    rejected = np.mean([paired.estimate(row, ratio).p() < 0.05 for row in d])
    assert rejected == pytest.approx(power.power(effect, n, ratio), abs=0.02)


def test_where_more_seeds_do_not_help_there_is_no_number():
    z = stats.norm.isf(0.025) + stats.norm.isf(0.2)
    enough = power.needed(1.05 * z * np.sqrt(0.5), 0.5)
    assert enough is not None and power.power(1.05 * z * np.sqrt(0.5), enough, 0.5) >= 0.8
    assert power.needed(0.95 * z * np.sqrt(0.5), 0.5) is None
    assert power.power(30.0, 3) == power.power(1e4, 5) == 1 and power.needed(1e4) == 2
    assert power.needed(0.0) is None and power.needed(np.nan) is None and power.power(1.0, 1) == 0
