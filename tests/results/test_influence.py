"""The influence of a row on a metric against scikit-learn's metrics with weights, and its intervals against others."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import softmax
from sklearn import metrics as sk

from fusion_jax.results import influence


def numerical(metric, n, eps=1e-5):
    """N dT/dw_i at weights 1 of a function of weights [N]."""
    steps = np.eye(n) * eps
    return n * np.array([(metric(1 + e) - metric(1 - e)) / (2 * eps) for e in steps])


@pytest.mark.parametrize("classes", [2, 4])
def test_of_classes_it_is_the_derivative_of_scikit_learns_metrics_by_a_rows_weight(classes):
    rng = np.random.default_rng(classes)
    labels = rng.permutation(np.arange(40) % classes)
    logits = (rng.normal(size=(40, classes)) + np.eye(classes)[labels]).round(1)  # rounded: with ties
    guess, p = logits.argmax(1), softmax(logits, 1)
    found = influence.of_classes(logits, labels)

    def auc(w):
        columns = [1] if classes == 2 else range(classes)
        score = np.diff(logits) if classes == 2 else p
        return np.mean(
            [
                sk.roc_auc_score(labels == c, score[:, -len(columns) :][:, i], sample_weight=w)
                for i, c in enumerate(columns)
            ]
        )

    expected = dict(
        accuracy=lambda w: sk.accuracy_score(labels, guess, sample_weight=w),
        macro_f1=lambda w: sk.f1_score(labels, guess, average="macro", sample_weight=w),
        weighted_f1=lambda w: sk.f1_score(labels, guess, average="weighted", sample_weight=w),
        log_loss=lambda w: sk.log_loss(labels, p, sample_weight=w),
        auc=auc,
    )
    if classes == 2:
        expected["f1"] = lambda w: sk.f1_score(labels, guess, sample_weight=w)
    assert set(found) == set(expected)
    for name, metric in expected.items():
        np.testing.assert_allclose(found[name], numerical(metric, 40), rtol=1e-5, atol=1e-7, err_msg=name)


def test_absent_classes():
    logits, labels = 3 * np.eye(5)[[0, 1, 1, 1, 3]], np.array([0, 0, 1, 1, 3])
    found = influence.of_classes(logits, labels)
    assert "auc" not in found

    def metric(w):
        return sk.f1_score(labels, logits.argmax(1), average="macro", sample_weight=w)

    np.testing.assert_allclose(found["macro_f1"], numerical(metric, 5), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("outputs", [1, 3])
def test_of_values_it_is_the_derivative_too(outputs):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, outputs)) + 5
    prediction = values + rng.normal(size=(30, outputs))
    found = influence.of_values(prediction, values)
    for name, metric in dict(
        rmse=lambda w: np.sqrt(sk.mean_squared_error(values, prediction, sample_weight=w)),
        mae=lambda w: sk.mean_absolute_error(values, prediction, sample_weight=w),
        r2=lambda w: sk.r2_score(values, prediction, sample_weight=w),
    ).items():
        np.testing.assert_allclose(found[name], numerical(metric, 30), rtol=1e-5, atol=1e-7, err_msg=name)


def test_values_without_error_or_spread_have_no_influence_to_speak_of():
    assert set(influence.of_values(np.ones((4, 1)), np.ones((4, 1)))) == {"mae"}


def test_stored_predictions_are_read_by_their_columns():
    test = pd.DataFrame(dict(labels=[0, 1], prediction=[np.array([1.0, 0.0]), np.array([1.0, 0.0])]))
    np.testing.assert_allclose(influence.of(test)["accuracy"], [0.5, -0.5])
    test = pd.DataFrame(dict(values=[np.array([1.0]), np.array([3.0])], prediction=[np.array([1.0]), np.array([2.0])]))
    np.testing.assert_allclose(influence.of(test)["mae"], [-0.5, 0.5])
    assert influence.of(pd.DataFrame(dict(time=[1.0], event=[True], prediction=[np.array([1.0])]))) == {}


def test_the_interval_of_a_mean_is_students():
    psi = np.random.default_rng(0).normal(size=50)
    low, high = stats.t.interval(0.95, 49, loc=0, scale=stats.sem(psi))
    assert influence.half_width(psi) == pytest.approx(high) == pytest.approx(-low)
    assert influence.half_width(psi[:1]) == np.inf


def test_wilsons_interval_is_scipys():
    for right, rows in ((85, 106), (0, 20), (20, 20), (1, 2)):
        expected = stats.binomtest(right, rows).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose(influence.wilson(right / rows, rows), expected, atol=1e-12)
