"""Calibration and risk-coverage against figures worked out by hand and scikit-learn's."""

import itertools

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from fusion_jax.metrics.aurc import area_under_risk_coverage, risk_coverage
from fusion_jax.metrics.brier import squared_distance
from fusion_jax.metrics.ece import expected_calibration_error, reliability
from tests.metrics import made

RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.normal(size=(400, 4))
LABELS = np.where(RNG.random(400) < 0.6, LOGITS.argmax(1), RNG.integers(4, size=400))


def test_expected_calibration_error_by_hand():
    """Bins (0.4, 0.6] and (0.8, 1]: 2/5 |1/2 - 0.55| + 3/5 |2/3 - 0.9|."""
    confidence, correct = np.array([0.5, 0.6, 0.85, 0.9, 0.95]), np.array([True, False, True, True, False])
    found = expected_calibration_error(confidence, correct, bins=5)
    assert found == pytest.approx(0.4 * 0.05 + 0.6 * (0.9 - 2 / 3), rel=1e-12)
    count, predicted, observed = reliability(confidence, correct, bins=5)
    assert count.tolist() == [0, 0, 2, 0, 3]
    np.testing.assert_allclose(predicted, [np.nan, np.nan, 0.55, np.nan, 0.9])
    np.testing.assert_allclose(observed, [np.nan, np.nan, 0.5, np.nan, 2 / 3])


def test_bins_are_closed_above_and_hold_both_ends():
    count, *_ = reliability(np.array([0.0, 0.2, 0.2 + 1e-12, 1.0]), np.ones(4, bool), bins=5)
    assert count.tolist() == [2, 1, 0, 0, 1]
    assert expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0
    assert expected_calibration_error(np.ones(3), np.zeros(3, bool)) == 1


def test_reliability_is_sklearns_curve():
    p = softmax(LOGITS, -1)
    confidence, correct = p.max(1), p.argmax(1) == LABELS
    observed, predicted = calibration_curve(correct, confidence, n_bins=15)
    count, mean, accuracy = reliability(confidence, correct)
    np.testing.assert_allclose(mean[count > 0], predicted, rtol=1e-12)
    np.testing.assert_allclose(accuracy[count > 0], observed, rtol=1e-12)
    assert count.sum() == 400


def test_brier_by_hand_and_sklearns():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    assert squared_distance(p, np.array([0, 1])) == pytest.approx((0.14 + 0.86) / 2, rel=1e-12)
    p = softmax(LOGITS, -1)
    assert squared_distance(p, LABELS) == pytest.approx(brier_score_loss(LABELS, p), rel=1e-12)
    two = softmax(LOGITS[:, :2], -1)
    assert squared_distance(two, LABELS % 2) == pytest.approx(2 * brier_score_loss(LABELS % 2, two[:, 1]), rel=1e-12)


def test_risk_coverage_by_hand():
    coverage, risk = risk_coverage(np.array([0.2, 0.9, 0.5, 0.7]), np.array([False, True, True, False]))
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 3, 2 / 4])
    area = area_under_risk_coverage(np.array([0.2, 0.9, 0.5, 0.7]), np.array([False, True, True, False]))
    assert area == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4, rel=1e-12)


def test_ties_are_the_mean_over_all_orders():
    score, correct = np.array([3, 1, 1, 1, 0, 0]), np.array([True, False, True, True, False, True])
    areas = []
    for first, second in itertools.product(itertools.permutations([1, 2, 3]), itertools.permutations([4, 5])):
        wrong = ~correct[[0, *first, *second]]
        areas.append((np.cumsum(wrong) / np.arange(1, 7)).mean())
    assert area_under_risk_coverage(score, correct) == pytest.approx(np.mean(areas), rel=1e-12)
    assert area_under_risk_coverage(np.zeros(6), correct) == pytest.approx(2 / 6, rel=1e-12)


def test_the_best_order_has_the_least_area():
    correct = RNG.random(200) < 0.8
    best = area_under_risk_coverage(1.0 * correct, correct)
    worst = area_under_risk_coverage(-1.0 * correct, correct)
    some = area_under_risk_coverage(RNG.random(200), correct)
    assert best < some < worst and best < 1 - correct.mean() < worst


def test_the_metrics_are_of_the_predicted_distributions():
    p = softmax(LOGITS, -1)
    confidence, correct = p.max(1), p.argmax(1) == LABELS
    rows = made.classes(LOGITS, LABELS)
    assert made.value("ece", rows) == expected_calibration_error(confidence, correct)
    assert made.value("brier", rows) == squared_distance(p, LABELS)
    assert made.value("aurc", rows) == area_under_risk_coverage(confidence, correct)
    assert made.value("aurc_uncertainty", rows) is None

    def by(u):
        return made.value("aurc_uncertainty", made.classes(LOGITS, LABELS, u))

    area = made.value("aurc", rows)
    assert by(1 - confidence) == pytest.approx(area, rel=1e-12), "the rows of little uncertainty come first"
    assert by(confidence) > area
