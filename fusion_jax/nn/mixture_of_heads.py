"""What the two MoH attentions with a trained router share: from heads to `Fused`."""

from __future__ import annotations

from flax import nnx

from fusion_jax.nn.head_router import HeadRouter
from fusion_jax.nn.init import masked_mean
from fusion_jax.records import Array, Fused


def split_qkv(qkv: nnx.Linear, x: Array, heads: int) -> list[Array]:
    """Queries, keys and values [N, M, H, d] of x [N, M, D]."""
    stacked = qkv(x).reshape(*x.shape[:-1], 3, heads, -1)
    return [stacked[..., i, :, :] for i in range(3)]


def mix(
    x: Array,  # [N, M, D], the tokens the gates are made from
    mask: Array,
    heads: Array,  # [N, M, H, d]
    attention: Array,  # [N, H, M, M]
    router: HeadRouter,
    proj: nnx.Linear,
    balance: float,
    training: bool,
) -> Fused:
    """Gates the heads, projects, averages over the present modalities; the load-balance loss in training."""
    gates, p = router(x)
    tokens = proj((gates[..., None] * heads).reshape(x.shape))
    losses = {}
    if training and router.routed > 0:
        losses["load_balance"] = balance * router.balance_loss(p, mask)
    weights = {"attention": attention, "gates": gates, "router": p}
    return Fused(masked_mean(tokens, mask), tokens, weights, losses)
