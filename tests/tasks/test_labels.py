"""Several labels a row: what is taken for them, what a split has to hold."""

import numpy as np
import pytest

from fusion_jax import tasks
from fusion_jax.data import load
from fusion_jax.records import Target
from tests.tasks.targets import ROWS, dataset, target


def test_flags_are_booleans_or_0_and_1():
    held = target("labels")
    for given in (held.labels.astype(int), held.labels.tolist()):
        found = tasks.of(held).convert(Target("labels", labels=given), "here")
        np.testing.assert_array_equal(found.labels, held.labels)
    for wrong, message in (
        (held.labels * 2, r"row \d+ holds 2; expected bool \[N, C\]"),
        (held.labels[:, 0], r"shape \(120,\)"),
        (held.labels * 0.5, "float64"),
    ):
        with pytest.raises(ValueError, match=message):
            tasks.of(held).convert(Target("labels", labels=wrong), "here")


def test_the_number_of_labels_is_that_of_the_columns_and_of_the_names():
    held = target("labels")
    with pytest.raises(ValueError, match=r"target\.labels: shape \(120, 4\); expected \[120, 3\]"):
        dataset("labels", target=Target("labels", labels=held.labels, num_outputs=3))
    with pytest.raises(ValueError, match="class_names: 1 names; expected 4, one a label, or none"):
        dataset("labels", class_names=("one",))
    assert dataset("labels", class_names=tuple("abcd")).class_names == ("a", "b", "c", "d")


def test_every_label_is_in_a_training_row():
    held, parts = target("labels"), dict(train=np.arange(3), val=np.arange(3, 5), test=np.arange(5, ROWS))
    flags = held.labels.copy()
    flags[:3] = True
    flags[:3, 2] = False
    with pytest.raises(ValueError, match=r"here: label 2 is in no training row \(1 such labels\)"):
        tasks.of(held).check_split(Target("labels", labels=flags, num_outputs=4), parts, "here")


def test_the_planted_labels_are_what_their_data_set_says():
    """Labels of the product of both modalities are told by neither: the sign of a latent is, by its own."""
    made = load("synthetic_labels", nodes=300, noise=0.0)
    for modality, kind in (("a", 0), ("b", 1)):
        x = made.features[modality]
        told = [np.abs(np.corrcoef(np.c_[x, flag].T)[-1, :-1]).max() for flag in made.target.labels.T]
        assert min(told[kind::3]) > 0.3 and max(told[2::3]) < 0.25


def test_a_prediction_is_told_as_a_probability_a_label():
    task = tasks.of("labels")
    told = task.told(np.array([[[0.0, -2.0]], [[2.0, -2.0]]]))
    np.testing.assert_allclose(told, 1 / (1 + np.exp(-np.array([[[0.0, -2.0]], [[2.0, -2.0]]]))))
    answers = task.answers(told, ("a", "b"))
    assert answers["a"].tolist() == [True] and answers["b"].tolist() == [False]
    np.testing.assert_allclose(answers["p a"], (0.5 + told[1, 0, 0]) / 2)
