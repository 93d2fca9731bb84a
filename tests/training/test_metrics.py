"""Metrics of finished predictions."""

import numpy as np
import pytest
import scipy.special
from sklearn import metrics as sk

from fusion_jax.training import metrics


@pytest.mark.parametrize("classes", [2, 3])
def test_classification_metrics_are_scikit_learns(classes):
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(60, classes)).round(1).astype(np.float32)  # rounded: with ties
    labels = rng.integers(0, classes, 60)
    found, guess = metrics.classification(logits, labels), logits.argmax(1)
    scores = logits[:, 1] - logits[:, 0] if classes == 2 else scipy.special.softmax(logits.astype(np.float64), axis=1)
    assert found["auc"] == pytest.approx(sk.roc_auc_score(labels, scores, multi_class="ovr"), abs=1e-12)
    for average in ("macro", "weighted"):
        assert found[f"{average}_f1"] == pytest.approx(sk.f1_score(labels, guess, average=average), abs=1e-12)


def test_auc_is_undefined_where_a_class_is_absent():
    found = metrics.classification(np.eye(3, dtype=np.float32), np.array([0, 1, 1]))
    assert np.isnan(found["auc"]) and found["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
