"""The mean of the classes' F1 against scikit-learn, with classes that are absent."""

import numpy as np
import pytest
from sklearn import metrics as sk

from tests.metrics import made


@pytest.mark.parametrize("seed", range(30))
def test_it_is_scikit_learns_where_classes_are_absent(seed):
    rows = made.few(seed)
    expected = sk.f1_score(rows.target.labels, made.guess(rows), average="macro", zero_division=0)
    assert made.value("macro_f1", rows) == pytest.approx(expected, abs=1e-12)


def test_a_class_that_does_not_occur_has_no_part_in_it():
    assert made.value("macro_f1", made.classes(np.eye(3), [0, 1, 1])) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert made.value("macro_f1", made.classes(np.eye(3)[[0, 1, 1]], [0, 1, 1])) == 1


@pytest.mark.parametrize(
    "rows", [made.ranked(2), made.ranked(4), made.classes(3 * np.eye(5)[[0, 1, 1, 1, 3]], [0, 0, 1, 1, 3])]
)
def test_its_influence_is_its_derivative(rows):
    labels, guess = rows.target.labels, made.guess(rows)
    made.check_influence("macro_f1", rows, lambda w: sk.f1_score(labels, guess, average="macro", sample_weight=w))
