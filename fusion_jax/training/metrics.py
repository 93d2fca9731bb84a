"""Metrics of finished predictions, on the host, with scikit-learn; and the scores that select an epoch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax
from scipy.stats import rankdata
from sklearn import metrics as sk

from fusion_jax.records import Array, Context, Output, Target


def selection(select: str, target: Target, loss):
    """The score by which an epoch is kept, larger is better: the task's own ("score"), "loss", or the "last" epoch."""
    if select == "score":
        select = "accuracy" if target.kind == "classes" else "loss"
    return dict(accuracy=accuracy_then_loss, loss=lowest_loss, last=lambda loss: last_epoch)[select](loss)


def accuracy_then_loss(loss):
    """The selection score of classification: correct validation rows, of equally many the lower loss.

    It is the complex number correct - i loss: NumPy and JAX order those by the real part first, then by the imaginary
    one. In a sum of the two a large count would round the loss away. Counts are exact up to 2^24 rows.
    """

    def score(output: Output, target: Target, weight: Array, context: Context) -> Array:
        correct = (output.prediction.argmax(-1) == target.labels) & (weight > 0)
        value = loss(output, target, weight, context)
        count = jnp.where(jnp.isnan(value), jnp.nan, correct.sum().astype(value.dtype))  # no number is never better
        return jax.lax.complex(count, -value)

    return score


def readable(score: Array) -> Array:
    """A selection score as one real number, for the history: correct + 1 / (1 + loss) of correct - i loss."""
    if not jnp.iscomplexobj(score):
        return score
    return score.real + 1 / (1 + jnp.maximum(-score.imag, 0))


def lowest_loss(loss):
    """The selection score: minus the loss on the validation rows."""
    return lambda output, target, weight, context: -loss(output, target, weight, context)


def last_epoch(output: Output, target: Target, weight: Array, context: Context) -> Array:
    """The selection score that keeps the last epoch: no row is looked at."""
    del output, target, weight
    return context.step


def classification(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """accuracy, macro_f1, weighted_f1, auc (class 1 of two; else the one-vs-rest mean), log_loss; f1 of class 1 of two.

    Of equal logits the first class is predicted. macro_f1 is the mean over the classes that occur among labels or
    predictions, as in scikit-learn: a class that no row has and none is given has no F1. auc is NaN where a class
    does not occur among the labels. log_loss is of the logits themselves, so that a probability that rounds to 0 has
    the loss it should. Scores that are log-probabilities as they come (shares of votes, say) rank as they are: made to
    sum to 1 once more, equal shares would differ in their last bit, and would be no ties.
    """
    given = np.asarray(logits, np.float64)
    log_p = log_softmax(given, axis=-1)
    labels, classes, guess = np.asarray(labels), given.shape[1], np.asarray(logits).argmax(1)
    _, _, f1, support = sk.precision_recall_fscore_support(labels, guess, labels=np.arange(classes), zero_division=0)
    occurs = support + np.bincount(guess, minlength=classes) > 0
    out = dict(
        accuracy=float((guess == labels).mean()),
        macro_f1=f1[occurs].mean(),
        weighted_f1=(f1 * support).sum() / support.sum(),
        auc=float("nan"),
        log_loss=0.0 - log_p[np.arange(len(labels)), labels].mean(),  # 0 - 0 and not -0, which prints as -0.000
    )
    if support.all():
        # of two classes the logits' difference ranks: probabilities saturate at 1 and would make ties
        two = classes == 2
        shares = np.abs(given - log_p).max() < 1e-5  # float32 log-probabilities are off by less
        scores = given[:, 1:] - given[:, :1] if two else given if shares else log_p
        out["auc"] = area_under_roc(scores, labels[:, None] == np.arange(classes)[-scores.shape[1] :])
    if classes == 2:
        out["f1"] = f1[1]
    return {k: float(v) for k, v in out.items()}


def area_under_roc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Mean over columns of the share of (positive, negative) pairs of rows in the right order, ties counting half.

    From the rank sums of all columns at once (Mann-Whitney): scikit-learn draws a curve a class, which took longer
    than anything else between two cells.

    Args:
        scores: [N, K]. positive: bool [N, K], both kinds in every column.
    """
    count = positive.sum(0)
    ranks = np.where(positive, rankdata(scores, axis=0), 0).sum(0)
    return float(((ranks - count * (count + 1) / 2) / (count * (len(scores) - count))).mean())


def regression(prediction: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """rmse and mae in the target's own units, and r2, which has none.

    Of several outputs mae and r2 are the mean over them and rmse the root of the mean square: where outputs have
    different units, the largest decides rmse and mae, and r2 is what compares.
    """
    return dict(
        rmse=float(np.sqrt(sk.mean_squared_error(values, prediction))),
        mae=float(sk.mean_absolute_error(values, prediction)),
        r2=float(sk.r2_score(values, prediction)),
    )


def evaluate(prediction: np.ndarray, target: Target, rows: np.ndarray) -> dict[str, float]:
    """The metrics of the task on the given rows of a NumPy target."""
    if target.kind == "classes":
        return classification(prediction[rows], np.asarray(target.labels)[rows])
    if target.kind == "values":
        return regression(prediction[rows], np.asarray(target.values)[rows])
    from fusion_jax.training import survival

    return survival.evaluate(prediction[rows, 0], np.asarray(target.time)[rows], np.asarray(target.event)[rows])
