"""A plain pre-norm transformer over the modalities of a node, read by their mean: what token mixers are studied on.

Reference: Xue, Moosavi and Aletras, "Deconstructing Attention: Investigating Design Principles for Effective Language
Modeling", 2025 (arXiv 2510.11602); no code. The mixers are `model.mixer` (`fusion_jax/mixers`), golden
`deconstructing-attention`; their stack is a language model (Qwen2.5: RMS norm, gated feed-forward, rotary positions,
causal mask).

Ours: one token a modality with an embedding of its own in the place of positions, no causal mask, `nn.transformer`'s
layer with a gelu, and the mean of the present tokens at the end, so that a mixer which lets no token see another still
fuses (late), where a class token would read nothing.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.init import masked_mean, normal
from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.transformer import EncoderLayer
from fusion_jax.records import Attention, Fused, Info


class DeconstructingAttention(Fusion):
    """z = [x_1 + e_1; ...; x_M + e_M], then `layers` times

        s = z + MHA(LN1 z), z = s + W2 gelu(W1 LN2 s + b1) + b2;    out = mean over present m of LN(z_m).

    x [M, D], e [M, D] learned. Layers are built and called in order: those of odd number are the simple ones of the
    configuration `hybrid`.

    Args:
        layers: L, number of layers (the paper's models have 6 to 28).
        heads: H, divides D.
        hidden: width between W1 and W2, 4 D if None.
        rate: dropout on the attention weights, behind the gelu, and on both summands before they are added.
    Raises:
        ValueError: heads do not divide the width, or no layer.

    `tokens` are z after the last layer; attention "layers" [N, L, H, M, M] is that of every layer.
    """

    info = Info(
        "Xue et al., Deconstructing Attention: Investigating Design Principles for Effective Language Modeling",
        2025,
        golden="deconstructing-attention",
        cost="O(N L (M D^2 + M^2 D))",
    )
    placements = ("before", "after", "interleaved")  # the heads do not divide every number of classes

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        layers: int = 6,
        heads: int = 4,
        hidden: int | None = None,
        rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        check_heads("deconstructing_attention", dim, heads)
        if layers < 1:
            raise ValueError(f"fusion 'deconstructing_attention': layers={layers}; expected at least 1")
        hidden = 4 * dim if hidden is None else hidden
        self.embedding = normal(rngs, (modalities, dim))
        options = dict(norm_first=True, activation=gelu, rate=rate)
        self.layers = nnx.List([EncoderLayer(dim, heads, hidden, **options, rngs=rngs) for _ in range(layers)])
        self.norm = layer_norm(dim, rngs=rngs)

    def node(self, x, mask, context):
        z, shown = x + self.embedding[...].astype(x.dtype), []
        for layer, key in zip(self.layers, split_key(context.key, len(self.layers)), strict=True):
            z, weights = layer.shown(z, mask, key=key)
            shown.append(weights)
        axes = ("layer", "head", "modality", "modality")
        looked = Attention("layers", jnp.stack(shown), axes, "modality", "modality", valid=mask[None, None, None])
        return Fused(masked_mean(self.norm(z), mask), z, (looked,))
