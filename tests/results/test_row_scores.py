"""What is said of single rows, on numbers that are known."""

import numpy as np

from fusion_jax.records import Target
from fusion_jax.results.row_scores import row_scores


def test_of_classes_it_is_the_probability_of_the_true_one():
    target = Target("classes", labels=np.array([0, 2]), num_outputs=3)
    logits = np.log(np.array([[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], [[0.1, 0.1, 0.8], [0.5, 0.25, 0.25]]]))
    name, found = row_scores(target, logits)
    assert name == "p(true class)"
    np.testing.assert_allclose(found, [[0.7, 0.6], [0.1, 0.25]])


def test_of_values_it_is_minus_the_mean_squared_error():
    target = Target("values", values=np.array([[1.0, 2.0], [0.0, 0.0]]), num_outputs=2)
    name, found = row_scores(target, np.array([[2.0, 4.0], [0.0, 1.0]]))
    assert name == "minus squared error"
    np.testing.assert_allclose(found, [-2.5, -0.5])


def test_of_other_tasks_nothing_is_said():
    assert row_scores(Target("labels", labels=np.zeros((2, 3)), num_outputs=3), np.zeros((2, 3))) is None
