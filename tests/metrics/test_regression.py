"""RMSE, MAE and R² against scikit-learn, and the influence of a row on them."""

import numpy as np
import pytest
from sklearn import metrics as sk

from tests.metrics import made


@pytest.mark.parametrize("outputs", [1, 3])
def test_they_are_scikit_learns_and_their_influences_are_their_derivatives(outputs):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(30, outputs)) + 5
    prediction = true + rng.normal(size=(30, outputs))
    rows = made.values(prediction, true)
    for name, metric in dict(
        rmse=lambda w: np.sqrt(sk.mean_squared_error(true, prediction, sample_weight=w)),
        mae=lambda w: sk.mean_absolute_error(true, prediction, sample_weight=w),
        r2=lambda w: sk.r2_score(true, prediction, sample_weight=w),
    ).items():
        assert made.value(name, rows) == pytest.approx(metric(None), rel=1e-12)
        made.check_influence(name, rows, metric)


def test_without_error_or_spread_there_is_no_influence_to_speak_of():
    rows = made.values(np.ones((4, 1)), np.ones((4, 1)))
    assert made.influence("rmse", rows) is None and made.influence("r2", rows) is None
    np.testing.assert_array_equal(made.influence("mae", rows), np.zeros(4))


@pytest.mark.parametrize("name", ["rmse", "mae", "r2"])
def test_the_dtype_in_which_values_are_stored_changes_nothing(name):
    rng = np.random.default_rng(1)
    true, prediction = rng.normal(size=(50, 2)).astype(np.float32), rng.normal(size=(50, 2))
    assert made.value(name, made.values(prediction, true)) == made.value(
        name, made.values(prediction, true.astype(float))
    )
