"""The sum of every modality's own cross-entropy and that of the fused prediction, as MOGONET is trained.

Reference: Wang et al., MOGONET, Nature Communications 2021; code txWang/MOGONET @ 32d9066b, `train_test.py`.
"""

import jax
import jax.numpy as jnp

from fusion_jax.losses.base import check_task, epoch_of, weighted_mean
from fusion_jax.losses.cross_entropy import cross_entropy
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info(
    "Wang et al., MOGONET integrates multi-omics data using graph convolutional networks",
    2021,
    cost="O(N M C)",
    tasks=("classes",),
)


def vcdn(
    output: Output, target: Target, weight: Array, *, context: Context, gamma: float = 1.0, pretraining: int = 0
) -> Array:
    """sum_m CE(z_m) + gamma CE(z), each a weighted mean over the nodes (that have the modality).

    Args:
        gamma: weight of the fused prediction. With `vcdn`'s default, which keeps its gradient from the
            modalities, and an optimiser that does not see scale it changes nothing.
        pretraining: number of first steps without the fused term.
    Raises:
        ValueError: a task other than classification; the model has no per-modality predictions (placement other than
            `decision`).
    """
    check_task("vcdn", INFO, target)
    if output.streams is None:
        raise ValueError("loss 'vcdn' needs placement 'decision': there is one prediction a modality")
    fused = cross_entropy(output, target, weight, context=context)
    own = -jnp.take_along_axis(jax.nn.log_softmax(output.streams), target.labels[:, None, None], axis=-1)[..., 0]
    present = weight[:, None] * output.present.astype(weight.dtype)
    streams = jax.vmap(weighted_mean, (1, 1))(own, present).sum()
    return streams + jnp.where(jnp.asarray(epoch_of(context)) < pretraining, 0.0, gamma).astype(fused.dtype) * fused
