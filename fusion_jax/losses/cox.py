"""Cox's partial likelihood of a log-risk, weighted, with the risk set by time or, as BioFusionNet's release, by risk.

Cox, "Regression Models and Life-Tables", 1972, ties as in Breslow 1974; the weighted form and `order="risk"` from
Mondal et al., "BioFusionNet", 2024; code raktim-mondol/BioFusionNet at 59bc596 (`weighted_cox_loss.py`). Golden
`biofusionnet/weighted_cox`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.losses.base import check_task
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info(
    "Cox, Regression Models and Life-Tables, 1972; weights and order by risk: Mondal et al., BioFusionNet, 2024",
    2024,
    pinned="authors' code",
    golden="biofusionnet",
    cost="O(N^1.5)",
    tasks=("survival",),
)
ORDERS = ("time", "risk")


def cox(
    output: Output, target: Target, weight: Array, *, context: Context, order: str = "time", event_weight: float = 1.0
) -> Array:
    """-sum_i e_i w_i (r_i - log sum_(j in R_i) w_j exp(r_j)) / sum_i e_i w_i, r the log-risk; 0 without an event.

    e_i is 1 where the event was seen. A weight that is the same for all rows changes the loss by its logarithm
    and the gradient not at all: to count rare events more, use `event_weight`.

    Args:
        order: "time": R_i = {j: t_j >= t_i}, the partial likelihood, tied times included (Breslow). "risk":
            R_i = {j: r_j >= r_i}, what the release computes; survival times are not used and it is NOT a partial
            likelihood: say in tables which was used. (Where risks tie, the release depends on how the rows
            happen to be sorted; here ties are in each other's set.)
        event_weight: factor on w of rows with an event, > 0.
    Raises:
        ValueError: an unknown order, an event_weight that is not > 0, or a target that is not survival.
    """
    del context
    if order not in ORDERS:
        raise ValueError(f"loss 'cox': order={order!r}, expected one of {ORDERS}")
    if not event_weight > 0:
        raise ValueError(f"loss 'cox': event_weight={event_weight}, expected a number > 0")
    check_task("cox", INFO, target)
    seen = weight > 0
    risk = jnp.where(seen, output.prediction[:, 0], 0)
    weight = weight.astype(risk.dtype) * jnp.where(target.event, event_weight, 1.0).astype(risk.dtype)
    by = target.time.astype(risk.dtype) if order == "time" else jax.lax.stop_gradient(risk)
    events = jnp.where(seen & target.event, weight, 0)
    total = events.sum()
    likelihood = (events * (risk - log_risk_set(risk, jnp.where(seen, weight, 1), by, seen))).sum()
    return -likelihood / jnp.where(total > 0, total, 1)


def log_risk_set(risk: Array, weight: Array, by: Array, seen: Array) -> Array:
    """log sum_(j seen, by_j >= by_i) weight_j exp(risk_j) for every seen row i, [N]; finite in the others."""
    # Rows that are not seen go behind all others instead of getting the weight 0: the gradient of a
    # logarithm of sums that begin with exp(-inf) is NaN.
    place = jnp.where(seen, -by, jnp.inf)
    order = jnp.argsort(place)
    cumulative = cumulative_logsumexp((risk + jnp.log(weight))[order])
    last = jnp.searchsorted(place[order], place, side="right") - 1  # of the block of ties
    return cumulative[last]


def cumulative_logsumexp(a: Array) -> Array:
    """log sum_(j <= i) exp(a_j) of finite a [N], stable wherever the terms lie.

    Blocks of sqrt(N) entries: each entry sums its own block up to itself and the totals of the blocks before.
    `jax.lax.cumlogsumexp` computes the same, but the loss took four times as long to compile with it.
    """
    n, size = len(a), math.isqrt(max(len(a) - 1, 0)) + 1
    blocks = jnp.pad(a, (0, -n % size)).reshape(-1, size)  # [B, size]
    count = len(blocks)
    inside = jnp.where(np.tri(size, dtype=bool), blocks[:, None], -jnp.inf)  # [B, size, size]
    before = jnp.where(np.tri(count, k=-1, dtype=bool), jax.nn.logsumexp(blocks, -1), -jnp.inf)  # [B, B]
    before = jnp.broadcast_to(before[:, None], (count, size, count))
    return jax.nn.logsumexp(jnp.concatenate([inside, before], -1), -1).reshape(-1)[:n]
