"""The cross-entropy of every label by itself, the loss of multi-label classification and of link prediction."""

import jax

from fusion_jax.losses.base import check_task, weighted_mean
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info("Folklore: sigmoid cross-entropy", cost="O(N C)", tasks=("labels", "links"), rowwise=True)


def binary_cross_entropy(output: Output, target: Target, weight: Array, *, context: Context) -> Array:
    """mean_w over rows of mean_c -y_c log s(z_c) - (1 - y_c) log s(-z_c), s the logistic function.

    Raises:
        ValueError: a task without labels to be had or not.
    """
    del context
    check_task("binary_cross_entropy", INFO, target)
    z = output.prediction
    y = target.labels.reshape(z.shape).astype(z.dtype)
    each = -y * jax.nn.log_sigmoid(z) - (1 - y) * jax.nn.log_sigmoid(-z)
    return weighted_mean(each.mean(-1), weight)
