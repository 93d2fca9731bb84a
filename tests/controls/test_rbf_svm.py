"""The support vector machine: one signed distance of two classes, gamma in the unit of the features."""

import numpy as np
import pytest
from sklearn.svm import SVC

from fusion_jax.controls.base import in_one_unit
from fusion_jax.controls.rbf_svm import RbfSvm
from fusion_jax.data.base import Split


def test_two_classes_have_scikit_learns_distance_between_their_scores():
    """One label a class: no fold can be made, C is 1, the middle of the grid."""
    x = np.random.default_rng(0).normal(size=(30, 4))
    train, rest = np.arange(2), np.arange(2, 30)
    z = in_one_unit(x, train)
    expected = SVC(C=1.0, gamma=1 / 4).fit(z[:2], [0, 1]).decision_function(z)
    scores = RbfSvm().predict(x, np.array([0, 1] + [-1] * 28), Split(train, rest, rest), None, 2, 0)
    np.testing.assert_allclose(scores[:, 1] - scores[:, 0], expected, rtol=1e-9)


def test_a_class_not_seen_lies_below_a_large_distance():
    x = np.r_[np.linspace(-1, 1, 40), 0.0][:, None]
    y = np.r_[(x[:40, 0] > 0).astype(int) * 2, 1]
    scores = RbfSvm().predict(x, y, Split(np.arange(40), np.array([40]), np.array([40])), None, 3, 0)
    assert (scores[:, 1] < scores[:, [0, 2]].min(1)).all()


def test_a_c_that_is_given_is_a_single_fit_with_it():
    rng = np.random.default_rng(3)
    y = np.arange(60) % 3
    x, train, rest = rng.normal(size=(60, 4)) + y[:, None], np.arange(45), np.arange(45, 60)
    z = in_one_unit(x, train)
    for c in (0.05, 30.0):
        expected = SVC(C=c).fit(z[train], y[train]).decision_function(z)
        scores = RbfSvm(c=c).predict(x, y, Split(train, rest[:5], rest[5:]), None, 3, 0)
        np.testing.assert_allclose(scores, expected, rtol=1e-9)
    with pytest.raises(ValueError, match="control 'rbf_svm': c=-1, expected a number above 0"):
        RbfSvm(c=-1)
