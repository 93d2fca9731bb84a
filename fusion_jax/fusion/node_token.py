"""A learned node token beside the modalities, and Transformer blocks over all of them.

Reference: forum thread "Feature fusion with self-attention" (card forum-selfattention; no paper, no code);
golden `forum-selfattention/node_token`, computed independently from the equations.
"""

import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import normal
from fusion_jax.nn.mlp import MLP, gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.records import Array, Attention, Fused, Info


class Block(nnx.Module):
    """z <- z + MHA(LN1 z); z <- z + W2 gelu(W1 LN2 z + b1) + b2, with the exact (erf) gelu.

    `rate` is dropout on the attention weights, behind the gelu, and on both summands before they are added.
    """

    def __init__(self, dim: int, heads: int, hidden: int, *, rate: float = 0.0, rngs: nnx.Rngs):
        self.ln1, self.ln2 = layer_norm(dim, rngs=rngs), layer_norm(dim, rngs=rngs)
        self.attention = MultiHeadAttention(dim, heads, rate=rate, rngs=rngs)
        self.mlp = MLP(dim, hidden, activation=gelu, rate=rate, rngs=rngs)
        self.rate = rate

    def __call__(self, z: Array, mask: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """z [L, D], mask [L] of the keys -> z [L, D] and the weights [H, L, L]."""
        keys = split_key(key, 4)
        attended, weights = self.attention(self.ln1(z), mask=mask, key=keys[0])
        z = z + dropout(attended, self.rate, keys[1])
        return z + dropout(self.mlp(self.ln2(z), key=keys[2]), self.rate, keys[3]), weights


class NodeToken(Fusion):
    """z = [t; x_1 + e_1; ...; x_M + e_M], B pre-norm blocks; out = LN(z_0).

    x [M, D], t [D] and e [M, D] learned (without e the token could not tell the modalities apart; the thread
    does not mention it). The token attends to itself and to the present modalities; without any, to itself.

    Args:
        blocks: B.
        heads: H, divides D; logits are divided by sqrt(D / H).
        hidden: width of the MLP, 4 D if None.
        rate: dropout, see `Block`.
    Raises:
        ValueError: heads do not divide the width.

    `tokens` are z_1..z_M after the last block; attention "token" [N, B, H, 1 + M] is that of the node token, to itself
    first, then the modalities.
    """

    info = Info(
        'Forum thread "Feature fusion with self-attention"', golden="forum-selfattention", cost="O(N B (M D^2 + M^2 D))"
    )
    placements = ("before", "after", "interleaved")  # the heads do not divide every number of classes

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        blocks: int = 2,
        heads: int = 4,
        hidden: int | None = None,
        rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        check_heads("node_token", dim, heads)
        hidden = 4 * dim if hidden is None else hidden
        self.token, self.embedding = normal(rngs, (dim,)), normal(rngs, (modalities, dim))
        self.blocks = nnx.List([Block(dim, heads, hidden, rate=rate, rngs=rngs) for _ in range(blocks)])
        self.norm = layer_norm(dim, rngs=rngs)

    def run_blocks(self, x: Array, mask: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """One node: the tokens [1 + M, D] before the last norm and the node token's weights [B, H, 1 + M]."""
        z = jnp.concatenate([self.token[...][None], x + self.embedding[...]])
        mask = jnp.concatenate([jnp.ones_like(mask[:1]), mask])
        rows = []
        for block, block_key in zip(self.blocks, split_key(key, len(self.blocks)), strict=True):
            z, weights = block(z, mask, key=block_key)
            rows.append(weights[:, 0])
        return z, jnp.stack(rows)

    def node(self, x, mask, context):
        z, weights = self.run_blocks(x, mask, key=context.key)
        seen = jnp.concatenate([jnp.ones_like(mask[:1]), mask])[None, None]
        token = Attention("token", weights, ("block", "head", "token"), "node", "token", valid=seen)
        return Fused(self.norm(z[0]), z[1:], (token,))
