"""The weighted mean of the classes' F1 against scikit-learn."""

import pytest
from sklearn import metrics as sk

from tests.metrics import made


@pytest.mark.parametrize("seed", range(30))
def test_it_is_scikit_learns_where_classes_are_absent(seed):
    rows = made.few(seed)
    expected = sk.f1_score(rows.target.labels, made.guess(rows), average="weighted", zero_division=0)
    assert made.value("weighted_f1", rows) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_its_influence_is_its_derivative(classes):
    rows = made.ranked(classes)
    labels, guess = rows.target.labels, made.guess(rows)
    made.check_influence("weighted_f1", rows, lambda w: sk.f1_score(labels, guess, average="weighted", sample_weight=w))
