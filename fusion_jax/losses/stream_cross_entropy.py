"""Every modality's own cross-entropy, nothing through the fusion: how late fusion is trained."""

import jax

from fusion_jax.losses.base import check_task, weighted_mean
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info("Folklore: independent classifiers, combined afterwards", cost="O(N M C)", tasks=("classes",))


def stream_cross_entropy(output: Output, target: Target, weight: Array, *, context: Context) -> Array:
    """mean_w over nodes and their present modalities of -log softmax(z_m)_y.

    Raises:
        ValueError: a task other than classification; the model has no per-modality predictions (placement other than
            `decision`).
    """
    del context
    check_task("stream_cross_entropy", INFO, target)
    if output.streams is None:
        raise ValueError("loss 'stream_cross_entropy' needs placement 'decision': there is one prediction a modality")
    log_p = jax.nn.log_softmax(output.streams)  # [N, M, C]
    per = -jax.numpy.take_along_axis(log_p, target.labels[:, None, None], axis=-1)[..., 0]
    return weighted_mean(per, weight[:, None] * output.present.astype(weight.dtype))
