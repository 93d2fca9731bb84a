"""Rows to be scored, made by hand, and derivatives by weights."""

from __future__ import annotations

import numpy as np

from fusion_jax import metrics
from fusion_jax.metrics.base import Scored
from fusion_jax.records import Target


def classes(logits, labels, uncertainty=None) -> Scored:
    logits = np.asarray(logits)
    target = Target("classes", labels=np.asarray(labels), num_outputs=logits.shape[1])
    return Scored(target, logits, uncertainty)


def values(prediction, true) -> Scored:
    return Scored(Target("values", values=np.asarray(true), num_outputs=true.shape[1]), np.asarray(prediction))


def survival(risk, time, event) -> Scored:
    return Scored(Target("survival", time=np.asarray(time), event=np.asarray(event)), np.asarray(risk, float)[:, None])


def value(name: str, rows: Scored):
    """The value of the metric of that name for the rows' task; None where it does not apply."""
    found = [metric for table in ("main", "calibration") for metric in [metrics.of(rows.target.kind, table).get(name)]]
    return next(metric for metric in found if metric is not None)(rows)


def influence(name: str, rows: Scored):
    return metrics.of(rows.target.kind)[name].influence(rows)


def numerical(metric, n, eps=1e-5):
    """N dT/dw_i at weights 1 of a function of weights [N]."""
    steps = np.eye(n) * eps
    return n * np.array([(metric(1 + e) - metric(1 - e)) / (2 * eps) for e in steps])


def check_influence(name: str, rows: Scored, metric) -> None:
    """The influence of a metric is the derivative of the same function of weights."""
    np.testing.assert_allclose(influence(name, rows), numerical(metric, len(rows.prediction)), rtol=1e-5, atol=1e-7)


def ranked(classes_: int, rows: int = 40, seed: int | None = None) -> Scored:
    """Rounded logits, with ties, that know something; every class occurs."""
    rng = np.random.default_rng(classes_ if seed is None else seed)
    labels = rng.permutation(np.arange(rows) % classes_)
    return classes((rng.normal(size=(rows, classes_)) + np.eye(classes_)[labels]).round(1), labels)


def few(seed: int) -> Scored:
    """Few rows of up to nine classes: some occur among the labels only, some among the predictions, some nowhere."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 10))
    labels, guess = rng.integers(0, count, (2, int(rng.integers(1, 12))))
    return classes(3 * np.eye(count)[guess] + rng.normal(size=(len(guess), count)) / 9, labels)


def guess(rows: Scored) -> np.ndarray:
    return rows.prediction.argmax(1)
