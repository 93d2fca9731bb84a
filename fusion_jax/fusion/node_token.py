"""A learned node token beside the modalities, and Transformer blocks over all of them.

Reference: forum thread "Feature fusion with self-attention" (card forum-selfattention; no paper, no code);
golden `forum-selfattention/node_token`, computed independently from the equations.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.alignment import Alignment, Map, Pair, follow, put
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

    @property
    def parts(self) -> dict[str, nnx.Module]:
        """The layers by the names that an alignment has for them."""
        own = self.attention
        attention = dict(q=own.query, k=own.key, v=own.value, o=own.out)
        return dict(norm1=self.ln1, **attention, norm2=self.ln2, ff0=self.mlp.fc1, ff1=self.mlp.fc2)

    def outputs(self, z: Array, mask: Array) -> dict[str, Array]:
        """What each of them returns in evaluation on tokens z [N, L, D], and "before" and "after", the tokens."""
        normed = self.ln1(z)
        attended, _ = self.attention(normed, mask=mask)
        middle = z + attended
        hidden = self.mlp.fc1(self.ln2(middle))
        out = self.mlp.fc2(self.mlp.activation(hidden))
        projected = {n: self.parts[n](normed) for n in "qkv"}
        return dict(before=z, **projected, o=attended, ff0=hidden, ff1=out, after=middle + out)

    def align(self, anchor: Block, walk: Alignment, t: Map, z: Pair, mask: Array, rows: np.ndarray) -> tuple[Map, Pair]:
        """The map of the tokens z [N, L, D] behind the block, from that before it, and the tokens there."""
        found = [block.outputs(a, mask) for block, a in zip((self, anchor), z, strict=True)]
        seen = {n: (found[0][n], found[1][n]) for n in found[0]}
        after = seen.pop("after")
        return walk.encoder((self.parts, anchor.parts), t, seen, rows, anchor.attention.heads), after


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

    def align(self, anchor, walk, maps, states):
        """The node token gets the mean of the maps, the embedding of a modality the map of what it is added to, which
        the position table of the published encoder has no counterpart of."""
        t, mask = np.mean(maps, axis=0), jnp.asarray(states.mask)
        present = jnp.concatenate([jnp.ones_like(mask[:, :1]), mask], axis=1)
        rows = np.concatenate([np.zeros((len(mask), 1), bool), states.rows], axis=1)
        z = tuple(
            jnp.concatenate([jnp.broadcast_to(f.token[...], (len(x), 1, x.shape[-1])), x + f.embedding[...]], axis=1)
            for f, x in zip((self, anchor), states.x, strict=True)
        )
        follow(self.token, t)
        own = np.asarray(self.embedding[...], np.float64)
        put(self.embedding, np.stack([e @ s for e, s in zip(own, maps, strict=True)]))
        for block, other in zip(self.blocks, anchor.blocks, strict=True):
            t, z = block.align(other, walk, t, z, present, rows)
        follow(self.norm.scale, t)
        follow(self.norm.bias, t)
        return t
