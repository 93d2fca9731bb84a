"""The area under the ROC curve against scikit-learn: ties, votes, classes that are absent."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from tests.metrics import made


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_scikit_learns(classes):
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(60, classes)).round(1).astype(np.float32)  # rounded: with ties
    labels = rng.integers(0, classes, 60)
    scores = logits[:, 1] - logits[:, 0] if classes == 2 else softmax(logits.astype(np.float64), axis=1)
    expected = sk.roc_auc_score(labels, scores, multi_class="ovr")
    assert made.value("auc", made.classes(logits, labels)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_it_is_undefined_where_a_class_is_absent(seed):
    rows = made.few(seed)
    absent = len(np.unique(rows.target.labels)) < rows.prediction.shape[1]
    assert np.isnan(made.value("auc", rows)) == absent == (made.influence("auc", rows) is None)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_equal_shares_of_votes_are_ties(dtype):
    """Log-probabilities of ten voters, as they are and as they are stored: made to sum to 1 again, ties would break."""
    rng = np.random.default_rng(0)
    votes, labels = rng.multinomial(10, [0.5, 0.3, 0.2], 300), rng.integers(0, 3, 300)
    found = made.value("auc", made.classes(np.log((votes + 1 / 3) / 11).astype(dtype), labels))
    assert found == pytest.approx(sk.roc_auc_score(labels, votes / 10, multi_class="ovr"), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_its_influence_is_its_derivative(classes):
    rows = made.ranked(classes)
    labels, logits = rows.target.labels, rows.prediction

    def metric(w):
        if classes == 2:
            return sk.roc_auc_score(labels, np.diff(logits)[:, 0], sample_weight=w)
        p = softmax(logits, 1)
        return np.mean([sk.roc_auc_score(labels == c, p[:, c], sample_weight=w) for c in range(classes)])

    made.check_influence("auc", rows, metric)
