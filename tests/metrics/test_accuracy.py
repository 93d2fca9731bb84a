"""Accuracy against scikit-learn, and the influence of a row on it."""

import pytest
from sklearn import metrics as sk

from tests.metrics import made


@pytest.mark.parametrize("seed", range(10))
def test_it_is_scikit_learns(seed):
    rows = made.few(seed)
    assert made.value("accuracy", rows) == sk.accuracy_score(rows.target.labels, made.guess(rows))


@pytest.mark.parametrize("classes", [2, 4])
def test_its_influence_is_its_derivative(classes):
    rows = made.ranked(classes)
    labels, guess = rows.target.labels, made.guess(rows)
    made.check_influence("accuracy", rows, lambda w: sk.accuracy_score(labels, guess, sample_weight=w))
