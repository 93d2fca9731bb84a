"""Metrics of finished predictions against scikit-learn, and the scores that select an epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from sklearn import metrics as sk

from fusion_jax.records import Output, Target
from fusion_jax.training import metrics
from tests import tiny


@pytest.mark.parametrize("classes", [2, 3])
def test_classification_metrics_are_scikit_learns(classes):
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(60, classes)).round(1).astype(np.float32)  # rounded: with ties
    labels = rng.integers(0, classes, 60)
    found, guess = metrics.classification(logits, labels), logits.argmax(1)
    p = scipy.special.softmax(logits.astype(np.float64), axis=1)
    scores = logits[:, 1] - logits[:, 0] if classes == 2 else p
    assert found["auc"] == pytest.approx(sk.roc_auc_score(labels, scores, multi_class="ovr"), abs=1e-12)
    assert found["log_loss"] == pytest.approx(sk.log_loss(labels, p), abs=1e-12)
    for average in ("macro", "weighted"):
        assert found[f"{average}_f1"] == pytest.approx(sk.f1_score(labels, guess, average=average), abs=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_f1_is_scikit_learns_where_classes_are_absent(seed):
    """Few rows of up to nine classes: some occur among the labels only, some among the predictions, some nowhere."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 10))
    labels, guess = rng.integers(0, classes, (2, int(rng.integers(1, 12))))
    found = metrics.classification(3 * np.eye(classes)[guess] + rng.normal(size=(len(guess), classes)) / 9, labels)
    assert found["accuracy"] == sk.accuracy_score(labels, guess)
    for average in ("macro", "weighted"):
        expected = sk.f1_score(labels, guess, average=average, zero_division=0)
        assert found[f"{average}_f1"] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(found["auc"]) == (len(np.unique(labels)) < classes)
    if classes == 2:
        assert found["f1"] == pytest.approx(sk.f1_score(labels, guess, zero_division=0), abs=1e-12)


def test_a_class_that_does_not_occur_has_no_part_in_macro_f1_and_leaves_auc_undefined():
    found = metrics.classification(np.eye(3, dtype=np.float32), np.array([0, 1, 1]))
    assert np.isnan(found["auc"]) and found["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert metrics.classification(np.eye(3)[[0, 1, 1]], np.array([0, 1, 1]))["macro_f1"] == 1


def test_log_loss_of_a_probability_that_rounds_to_0_or_1():
    logits = np.array([[0.0, 2000.0], [2000.0, 0.0]])
    assert metrics.classification(logits, np.array([0, 0]))["log_loss"] == 1000.0
    right = metrics.classification(logits, np.array([1, 0]))["log_loss"]
    assert right == 0 and not np.signbit(right)


def score_of(rows, loss, weight=None):
    prediction = jnp.stack([jnp.ones(rows), jnp.zeros(rows)], 1).astype(jnp.float32)
    target = Target("classes", labels=jnp.zeros(rows, jnp.int32), num_outputs=2)
    weight = jnp.ones(rows) if weight is None else weight
    score = metrics.accuracy_then_loss(lambda *_: jnp.float32(loss))
    return jax.jit(lambda p: score(Output(p, None, None, None, None), target, weight, 0))(prediction)


@pytest.mark.parametrize("rows", [1, 100, 1000, 20_000, 1_000_000])
@pytest.mark.parametrize(("low", "high"), [(0.599, 0.6), (1e-9, 2e-9), (1000.0, 1000.1), (-1.0, 0.5)])
def test_of_equally_many_right_rows_the_lower_loss_is_better(rows, low, high):
    assert bool(score_of(rows, low) > score_of(rows, high)) and not bool(score_of(rows, high) > score_of(rows, low))
    assert not bool(score_of(rows, low) > score_of(rows, low))


def test_more_right_rows_are_better_whatever_the_loss_and_no_number_is_never_better():
    fewer = jnp.ones(1000).at[0].set(0)
    assert bool(score_of(1000, 1e9) > score_of(1000, 1e-9, fewer))
    nan = score_of(1000, float("nan"))
    assert not bool(nan > score_of(1000, 5.0, fewer)) and not bool(nan > jnp.array(-jnp.inf, nan.dtype))


def test_training_keeps_the_epoch_of_the_lower_loss_where_one_number_would_tie():
    with tiny.as_users_run():
        trained = tiny.train(
            tiny.dataset(nodes=400),
            (1, 2),
            model__rate=0.0,
            optimizer__learning_rate=1e-6,
            training__epochs=12,
            training__patience=12,
        )
    history = trained.history["val_score"], trained.history["val_loss"]
    for score, loss, best in zip(*history, trained.best_epoch, strict=True):
        assert len(set(np.floor(score))) == 1 and len(set(score)) < len(set(loss)) == 12, "counts are equal, sums tie"
        assert best == np.argmin(loss)


def test_the_history_shows_a_score_as_one_number():
    assert float(metrics.readable(score_of(10, 0.25))) == pytest.approx(10.8)
    assert float(metrics.readable(jnp.float32(-0.5))) == -0.5


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_equal_shares_of_votes_are_ties(dtype):
    """Log-probabilities of ten voters, as they are and as they are stored: made to sum to 1 again, ties would break."""
    rng = np.random.default_rng(0)
    votes, labels = rng.multinomial(10, [0.5, 0.3, 0.2], 300), rng.integers(0, 3, 300)
    found = metrics.classification(np.log((votes + 1 / 3) / 11).astype(dtype), labels)["auc"]
    assert found == pytest.approx(sk.roc_auc_score(labels, votes / 10, multi_class="ovr"), abs=1e-12)
