"""The encoder of a transformer for tables, whose branches are normalised before they are added.

Reference: Quadrio and Candelieri, "Transformers for Tabular Data: A Training Perspective of Self-Attention via Optimal
Transport", 2025 (arXiv 2512.09530); code AleQuad43/self-attention-optimal-transport at f488e1a. Golden
`tabular-ot/encoder_block`. How its training moves points is what `analysis.tabular_ot` looks at.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.init import masked_mean, stack
from fusion_jax.nn.mlp import MLP
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.transformer import GLOROT
from fusion_jax.records import Array, Attention, Fused, Info

EPSILON = 1e-6  # of Keras


class EncoderBlock(nnx.Module):
    """h = x + LN(MHA(x, x)), out = h + LN(W_2 relu(W_1 h + b_1) + b_2): the sums themselves are not normalised.

    Args:
        dim: D.
        heads, size: of the attention; its width heads x size need not be D.
        hidden: width between W_1 and W_2.
        rate: dropout on the attention weights.
    """

    def __init__(self, dim: int, heads: int, size: int, hidden: int, *, rate: float = 0.0, rngs: nnx.Rngs):
        self.attention = MultiHeadAttention(dim, heads, qk_dim=heads * size, rate=rate, kernel_init=GLOROT, rngs=rngs)
        self.norm_1, self.norm_2 = (layer_norm(dim, epsilon=EPSILON, rngs=rngs) for _ in range(2))
        self.conv = MLP(dim, hidden, kernel_init=GLOROT, rngs=rngs)

    def attend(self, x: Array, mask: Array | None = None, *, key: Array | None = None) -> tuple[Array, Array]:
        """h [..., T, D] and the weights [..., H, T, T]; mask as in `nn.attention.attend`."""
        out, weights = self.attention(x, mask=mask, key=key)
        return x + self.norm_1(out), weights

    def __call__(self, x: Array, mask: Array | None = None, *, key: Array | None = None) -> tuple[Array, Array]:
        h, weights = self.attend(x, mask, key=key)
        return h + self.norm_2(self.conv(h)), weights


class TabularOT(Fusion):
    """x <- h + LN(W_2 relu(W_1 h)), h = x + LN(MHA(x, x)), `blocks` times; out = mean of the present rows of x.

    The modalities stand where the paper has time steps. It predicts at every step and multiplies the predictions; here
    the mean of the tokens goes on (ours).

    Args:
        blocks: how many; the paper's simulations have 2.
        heads, size: of the attention, whose width is their product.
        hidden: width between W_1 and W_2.
        rate: dropout on the attention weights.
    Raises:
        ValueError: an option below 1.

    `tokens` are the last x; attention "blocks" [N, blocks, H, M, M].
    """

    info = Info(
        "Quadrio and Candelieri, Transformers for Tabular Data: A Training Perspective of Self-Attention via Optimal "
        "Transport",
        2025,
        pinned="independent",
        golden="tabular-ot",
        cost="O(N L (M D H d + M^2 H d))",
    )
    placements = ("before", "after", "interleaved", "decision")
    symmetries = ("nodes", "modalities")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        blocks: int = 2,
        heads: int = 10,
        size: int = 16,
        hidden: int = 32,
        rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        del modalities  # the weights are shared: any number will do
        for name, value in dict(blocks=blocks, heads=heads, size=size, hidden=hidden).items():
            if value < 1:
                raise ValueError(f"fusion 'tabular_ot': {name}={value}, expected an integer >= 1")
        self.blocks = stack(lambda r: EncoderBlock(dim, heads, size, hidden, rate=rate, rngs=r), blocks, rngs)
        self.depth = blocks

    def node(self, x, mask, context):
        def step(x, block_and_key):
            block, key = block_and_key
            return block(x, mask, key=key)

        keys = None if context.key is None else jnp.stack(split_key(context.key, self.depth))
        x, weights = jax.lax.scan(step, x, (self.blocks, keys))
        shown = Attention(
            "blocks",
            weights,
            ("block", "head", "modality", "modality"),
            "modality",
            "modality",
            valid=mask[None, None, None],
        )
        return Fused(masked_mean(x, mask), x, (shown,))
