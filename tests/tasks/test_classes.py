"""Class weights, the split classification wants, and the score that keeps an epoch."""

import numpy as np
import pytest

from fusion_jax import tasks
from fusion_jax.records import Target

TARGET = Target("classes", labels=np.array([0, 0, 0, 1, 2], np.int32), num_outputs=3)


def test_class_weights_are_1_over_C_times_the_share_among_the_rows():
    weights = tasks.of(TARGET).class_weights(TARGET, np.array([0, 1, 3, 4]))
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 4 / 3, 4 / 3])


def test_every_class_has_a_training_row():
    parts = dict(train=np.array([0, 3]), val=np.array([4]), test=np.array([1]))
    with pytest.raises(ValueError, match=r"here: class 2 has no training row \(1 such classes\)"):
        tasks.of(TARGET).check_split(TARGET, parts, "here")


def test_hidden_labels_are_0():
    hidden = tasks.of(TARGET).hide_unseen(TARGET, np.arange(5) == 4)
    np.testing.assert_array_equal(hidden.labels, [0, 0, 0, 0, 2])
    assert hidden.labels.dtype == np.int32


def test_a_prediction_is_told_as_probabilities_and_answered_by_their_mean_over_the_seeds():
    task = tasks.of("classes")
    logits = np.log([[[0.6, 0.3, 0.1]], [[0.1, 0.8, 0.1]]])  # [S, 1, C]
    told = task.told(logits + 5)
    np.testing.assert_allclose(told[:, 0], [[0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    answers = task.answers(told, ("a", "b", "c"))
    assert answers["prediction"].tolist() == ["b"]
    np.testing.assert_allclose([answers[f"p {c}"][0] for c in "abc"], [0.35, 0.55, 0.1])
    assert task.answers(told)["prediction"].tolist() == ["1"]
