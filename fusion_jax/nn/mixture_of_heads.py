"""What the two MoH attentions with a trained router share: from heads to `Fused`."""

from __future__ import annotations

from flax import nnx

from fusion_jax.nn.head_router import HeadRouter
from fusion_jax.nn.init import masked_mean
from fusion_jax.records import Array, Attention, Fused


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
    return Fused(masked_mean(tokens, mask), tokens, routing(attention, mask, gates, p), losses)


def routing(
    attention: Array, mask: Array, gates: Array, p: Array, scores: Array | None = None
) -> tuple[Attention, Attention, Attention]:
    """What a MoH attention shows: its attention [N, H, M, M], its gates [N, M, H], its router's p [N, M, E]."""
    return (
        Attention(
            "attention",
            attention,
            ("node", "head", "modality", "modality"),
            "modality",
            "modality",
            valid=mask[:, None, None],
        ),
        Attention("gates", gates, ("node", "modality", "head"), "modality", "head", normalised=False),
        Attention("router", p, ("node", "modality", "candidate"), "modality", "candidate", scores=scores),
    )
