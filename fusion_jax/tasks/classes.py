"""Classification: every row has one of C classes, of whose probabilities a prediction holds the logits [N, C]."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from fusion_jax.arrays import numbers, one_column, refuse
from fusion_jax.records import Array, Context, Output, Target
from fusion_jax.tasks.base import Field, Task


def to_labels(value: Any, where: str) -> np.ndarray:
    """int32 [N]; one-hot rows and floats are refused."""
    expected = "integers [N] (of names: np.unique(names, return_inverse=True)[1])"
    array = one_column(numbers(value, where, expected))
    if array.ndim != 1:
        refuse(where, f"shape {array.shape}", "one class a row, [N] (of one-hot rows: labels.argmax(1))")
    if array.dtype.kind == "f":
        bad = np.flatnonzero(array != np.floor(array))
        hint = f"row {bad[0]} holds {array[bad[0]]}" if bad.size else "of whole numbers: labels.astype(int)"
        refuse(where, f"dtype {array.dtype}", f"integers ({hint})")
    if array.size and not -(2**31) <= int(array.min()) <= int(array.max()) < 2**31:
        refuse(where, f"classes from {array.min()} to {array.max()}", "classes in [0, num_outputs)")
    return array.astype(np.int32, copy=False)


class Classes(Task):
    """`labels` int [N], in [0, C). Of equal logits the first class is predicted."""

    fields = {"labels": Field(to_labels)}
    loss = "cross_entropy"
    primary, tie = "accuracy", "log_loss"
    probabilities = True

    def validate(self, target, data, fail):
        bad = np.flatnonzero((target.labels < 0) | (target.labels >= target.num_outputs))
        if bad.size:
            value = target.labels[bad[0]]
            fail("target.labels", f"row {bad[0]} holds {value}", f"a class in [0, {target.num_outputs})")
        if data.class_names and len(data.class_names) != target.num_outputs:
            fail("class_names", f"{len(data.class_names)} names", f"{target.num_outputs}, one a class, or none")

    def check_split(self, target, parts, where):
        missing = np.setdiff1d(np.arange(target.num_outputs), target.labels[parts["train"]])
        if missing.size:
            raise ValueError(f"{where}: class {missing[0]} has no training row ({missing.size} such classes)")

    def class_weights(self, target, rows):
        """1 / (C share of the row's class among them)."""
        known = np.asarray(target.labels)[rows]
        share = np.bincount(known, minlength=target.num_outputs) / len(known)
        return 1 / (target.num_outputs * share[known])

    def score(self, loss):
        return accuracy_then_loss(loss)

    def told(self, prediction):
        """The softmax."""
        return scipy.special.softmax(np.asarray(prediction, np.float64), axis=-1)

    def answers(self, told, names=()):
        """The class of the largest mean probability, and the mean probability of each."""
        mean = told.mean(0)
        called = np.array(names or [str(c) for c in range(mean.shape[1])], dtype=object)
        return {"prediction": called[mean.argmax(1)]} | {f"p {name}": mean[:, c] for c, name in enumerate(called)}

    def validation(self, score, rows):
        return "accuracy", min(math.floor(score), rows) / rows  # `selection.readable` adds the loss behind the point


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
