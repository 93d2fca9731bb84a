"""Mean squared error, the loss of regression."""

from fusion_jax.losses.base import check_task, weighted_mean
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info("Folklore: mean squared error", cost="O(N K)", tasks=("values",), rowwise=True)


def mse(output: Output, target: Target, weight: Array, *, context: Context) -> Array:
    """mean_w over nodes of mean_k (z_k - y_k)^2 (no factor 1/2).

    Raises:
        ValueError: a task other than regression.
    """
    del context
    check_task("mse", INFO, target)
    return weighted_mean(((output.prediction - target.values) ** 2).mean(-1), weight)
