"""Log-loss against scikit-learn, and of probabilities that round to 0 or 1."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from tests.metrics import made


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_scikit_learns_and_its_influence_is_its_derivative(classes):
    rows = made.ranked(classes)
    p = softmax(rows.prediction, 1)
    assert made.value("log_loss", rows) == pytest.approx(sk.log_loss(rows.target.labels, p), abs=1e-12)
    made.check_influence("log_loss", rows, lambda w: sk.log_loss(rows.target.labels, p, sample_weight=w))


def test_a_probability_that_rounds_to_0_or_1():
    logits = np.array([[0.0, 2000.0], [2000.0, 0.0]])
    assert made.value("log_loss", made.classes(logits, [0, 0])) == 1000.0
    right = made.value("log_loss", made.classes(logits, [1, 0]))
    assert right == 0 and not np.signbit(right)
