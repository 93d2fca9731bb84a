"""Areas and the equity index on curves whose values are known."""

import numpy as np
import pytest

from fusion_jax.analysis.robustness.curves import area, equity


def test_the_area_is_the_mean_height_over_levels_of_any_distance():
    levels = (0.0, 0.1, 0.5, 0.9)
    line = 2 - 3 * np.array(levels)
    np.testing.assert_allclose(area(levels, np.stack([line, 0 * line + 0.7])), [2 - 3 * 0.45, 0.7], rtol=1e-12)
    assert area((0.0, 1.0, 2.0), np.array([1.0, 0.0, 0.0])) == pytest.approx(0.25)


def gini(x):
    """By the mean absolute difference of all pairs."""
    return np.mean([abs(a - b) for a in x for b in x]) / (2 * np.mean(x))


def test_equity_is_1_where_all_cost_alike_and_0_where_one_costs_all():
    np.testing.assert_allclose(equity(np.array([[0.2, 0.2, 0.2], [0.0, 0.5, 0.0]])), [1, 0], atol=1e-15)
    cost = np.array([0.1, 0.4, 0.2, 0.05])
    assert equity(cost) == pytest.approx(1 - 4 / 3 * gini(cost))
    assert equity(3 * cost) == pytest.approx(equity(cost))
    assert equity(np.array([0.1, 0.4, -0.2])) == pytest.approx(equity(np.array([0.1, 0.4, 0.0])))


def test_equity_is_not_told_of_one_modality_or_of_no_loss():
    assert np.isnan(equity(np.array([0.3]))) and np.isnan(equity(np.array([0.0, -0.1])))
