"""F1 of class 1 of two, and of every class, against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sk

from fusion_jax.metrics.f1 import per_class
from tests.metrics import made


@pytest.mark.parametrize("seed", range(30))
def test_it_is_scikit_learns_of_two_classes_and_of_no_others(seed):
    rows = made.few(seed)
    found = made.value("f1", rows)
    if rows.prediction.shape[1] > 2:
        assert found is None and made.influence("f1", rows) is None
    else:
        assert found == pytest.approx(sk.f1_score(rows.target.labels, made.guess(rows), zero_division=0), abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_of_every_class_it_is_scikit_learns_to_the_last_bit(seed):
    true, given = np.random.default_rng(seed).random((2, 17, 5)) < 0.3
    expected = sk.precision_recall_fscore_support(true, given, zero_division=0)
    found = per_class(true, given)
    np.testing.assert_array_equal(found.f1, expected[2])
    np.testing.assert_array_equal(found.support, expected[3])


def test_its_influence_is_its_derivative():
    rows = made.ranked(2)
    labels, guess = rows.target.labels, made.guess(rows)
    made.check_influence("f1", rows, lambda w: sk.f1_score(labels, guess, sample_weight=w))
