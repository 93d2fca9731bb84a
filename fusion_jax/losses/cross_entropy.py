"""Softmax cross-entropy of the fused prediction, the loss of classification."""

import jax
import jax.numpy as jnp

from fusion_jax.losses.base import check_task, weighted_mean
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info("Folklore: softmax cross-entropy", cost="O(N C)", tasks=("classes",), rowwise=True)


def cross_entropy(
    output: Output, target: Target, weight: Array, *, context: Context, smoothing: float = 0.0, streams: float = 0.0
) -> Array:
    """mean_w of -sum_c y_c log softmax(z)_c, y = (1 - smoothing) onehot + smoothing / C.

    Args:
        smoothing: label smoothing in [0, 1).
        streams: weight of the same loss on every single modality's prediction (placement `decision`),
            averaged over the present ones.
    Raises:
        ValueError: a task other than classification.
    """
    del context
    check_task("cross_entropy", INFO, target)
    classes = output.prediction.shape[-1]
    onehot = jax.nn.one_hot(target.labels, classes, dtype=output.prediction.dtype)
    y = (1 - smoothing) * onehot + smoothing / classes
    loss = weighted_mean(-(y * jax.nn.log_softmax(output.prediction)).sum(-1), weight)
    if streams and output.streams is not None:
        per = -(y[:, None] * jax.nn.log_softmax(output.streams)).sum(-1)  # [N, M]
        loss = loss + streams * weighted_mean(per, weight[:, None] * output.present.astype(weight.dtype))
    return jnp.asarray(loss)
