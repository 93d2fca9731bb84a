"""Logistic regression against scikit-learn's own probabilities."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression as Reference

from fusion_jax.controls.base import in_one_unit
from fusion_jax.controls.logistic_regression import LogisticRegression
from fusion_jax.data.base import Split


@pytest.mark.parametrize("classes", [2, 4])
def test_softmax_of_the_scores_are_scikit_learns_probabilities(classes):
    """One label a class: no fold can be made, C is 0.1, the middle of the grid."""
    rng = np.random.default_rng(classes)
    y = np.arange(40) % classes
    x = rng.normal(size=(classes, 6))[y] + rng.normal(size=(40, 6))
    train, rest = np.arange(classes), np.arange(classes, 40)
    z = in_one_unit(x, train)
    expected = Reference(C=0.1, max_iter=2000).fit(z[train], y[train]).predict_proba(z)
    scores = LogisticRegression().predict(x, y, Split(train, rest, rest), None, classes, 0)
    np.testing.assert_allclose(softmax(scores, 1), expected, rtol=1e-6)


def test_scores_of_sure_rows_are_not_tied():
    x = np.r_[np.linspace(-1, 1, 20), 1e6, 2e6][:, None]
    y = (x[:, 0] > 0).astype(int)
    scores = LogisticRegression().predict(x, y, Split(np.arange(20), np.array([20]), np.array([21])), None, 2, 0)
    assert scores[21, 1] - scores[21, 0] > scores[20, 1] - scores[20, 0] > 30


def test_a_c_that_is_given_is_a_single_fit_with_it():
    rng = np.random.default_rng(3)
    y = np.arange(60) % 3
    x, train, rest = rng.normal(size=(60, 4)) + y[:, None], np.arange(45), np.arange(45, 60)
    z = in_one_unit(x, train)
    for c in (0.03, 5.0):
        expected = Reference(C=c, max_iter=2000).fit(z[train], y[train]).predict_proba(z)
        scores = LogisticRegression(c=c).predict(x, y, Split(train, rest[:5], rest[5:]), None, 3, 0)
        np.testing.assert_allclose(softmax(scores, 1), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="control 'logistic_regression': c=0.0, expected a number above 0"):
        LogisticRegression(c=0.0)
