"""Multimodal bottleneck transformer: streams of tokens that exchange only through a few shared tokens.

Reference: Nagrani et al., "Attention Bottlenecks for Multimodal Fusion", NeurIPS 2021; code
google-research/scenic at 4a38d475ee89cb821078c0e2bf2065ee030e1535 (`scenic/projects/mbt/model.py`,
Apache-2.0). Golden `mbt/model` (two modalities, the whole model) and `mbt/encoder` (three and four).
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import masked_mean, normal, stack, zeros
from fusion_jax.nn.mlp import MLP
from fusion_jax.nn.norm import layer_norm
from fusion_jax.records import Array, Fused, Info

EPSILON = 1e-6  # the reference's layer norms are Flax's


class Block(nnx.Module):
    """Pre-norm transformer block: y = z + MHSA(LN(z)), out = y + MLP(LN(y))."""

    def __init__(self, dim: int, heads: int, hidden: int, *, rate: float, rngs: nnx.Rngs):
        xavier = nnx.initializers.xavier_uniform()
        self.norm0 = layer_norm(dim, epsilon=EPSILON, rngs=rngs)
        self.attention = MultiHeadAttention(dim, heads, rate=rate, kernel_init=xavier, rngs=rngs)
        self.norm1 = layer_norm(dim, epsilon=EPSILON, rngs=rngs)
        # the tanh form of gelu, as in the reference
        self.mlp = MLP(dim, hidden, activation=jax.nn.gelu, rate=rate, kernel_init=xavier, rngs=rngs)
        self.rate = rate

    def __call__(self, z: Array, drop: float, *, key: Array | None = None) -> Array:
        """z [L, D]; in training each of the two branches is left out with probability `drop`."""
        keys = split_key(key, 6)
        y = dropout(self.attention(self.norm0(z), key=keys[0])[0], self.rate, keys[1])
        z = z + skip(y, drop, keys[2])
        y = dropout(self.mlp(self.norm1(z), key=keys[3]), self.rate, keys[4])
        return z + skip(y, drop, keys[5])


def skip(y: Array, drop: float, key: Array | None) -> Array:
    """0 with probability `drop`, y otherwise; the reference does not divide by 1 - drop."""
    if key is None or drop == 0.0:
        return y
    return jnp.where(jax.random.bernoulli(key, drop), 0, y)


class MBT(Fusion):
    """Streams z_m = [cls_m; patches of x_m] + pos_m of T + 1 tokens and B bottleneck tokens b, L layers:

    z_m <- block_lm(z_m) for the layers l < fusion_layer, and from then on
    [z_m; b_m] <- block_lm([z_m; b]), b <- mean_m b_m. tokens_m = LN(z_m)[cls], out = mean_m tokens_m.

    x_m [D] is cut into T sub-tokens of width D / T, which a linear map takes to D, as the reference does with
    patches of images. A missing modality has no stream: both means are over the present ones. The mean of the
    class tokens before a linear head equals the published mean of the logits.

    Args:
        tokens: T, divides D.
        bottlenecks: B (the reference adds one to the number in its configuration where it uses class tokens).
        layers: L, 12 in the paper.
        fusion_layer: first layer with bottlenecks, 0 (early) to L (late); 8 of 12 in the paper. What a stream
            writes into b the others read one layer later, so the class tokens hear of each other up to L - 2.
        heads: divides D.
        hidden: width of the MLPs, 4 D if None.
        rate: dropout on attention weights, on its output and twice in the MLP.
        drop_layer: probability of leaving out the branches of the last layer in training, growing linearly
            from 0 at the first (0.3 in the paper).
    Raises:
        ValueError: T or heads do not divide D, no bottleneck, or fusion_layer out of range.
    """

    info = Info(
        "Nagrani et al., Attention Bottlenecks for Multimodal Fusion",
        2021,
        pinned="authors' code",
        golden="mbt",
        cost="O(N L M (T + B) D (D + T + B))",
    )
    placements = ("before", "after", "interleaved")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        tokens: int = 4,
        bottlenecks: int = 4,
        layers: int = 4,
        fusion_layer: int = 2,
        heads: int = 4,
        hidden: int | None = None,
        rate: float = 0.0,
        drop_layer: float = 0.0,
        rngs: nnx.Rngs,
    ):
        check_heads("mbt", dim, heads)
        if dim % tokens:
            raise ValueError(f"fusion 'mbt': tokens={tokens} does not divide the width D={dim}")
        if bottlenecks < 1:
            raise ValueError(f"fusion 'mbt': bottlenecks={bottlenecks}, expected 1 or more")
        if not 0 <= fusion_layer <= layers:
            raise ValueError(f"fusion 'mbt': fusion_layer={fusion_layer}, expected 0 to layers={layers}")
        hidden = 4 * dim if hidden is None else hidden
        self.embedding = stack(lambda r: nnx.Linear(dim // tokens, dim, rngs=r), modalities, rngs)
        self.cls = zeros((modalities, 1, dim))
        self.pos_embedding = normal(rngs, (modalities, tokens + 1, dim))
        self.bottleneck = normal(rngs, (bottlenecks, dim))

        def block(rngs):
            return Block(dim, heads, hidden, rate=rate, rngs=rngs)

        # one stack of M blocks a layer: the streams have weights of their own and run side by side
        self.encoderblocks = nnx.List([stack(block, modalities, rngs) for _ in range(layers)])
        self.encoder_norm = layer_norm(dim, epsilon=EPSILON, rngs=rngs)
        self.fusion_layer, self.drop_layer = fusion_layer, drop_layer

    def encode(self, x: Array, mask: Array, *, key: Array | None = None) -> Array:
        """x [M, D], mask bool [M] -> the normalised streams [M, T + 1, D], the class token first."""
        modalities, length, _ = self.pos_embedding.shape
        patches = x.reshape(modalities, length - 1, -1)
        z = jax.vmap(lambda embed, p: embed(p))(self.embedding, patches)
        z = jnp.concatenate([self.cls[...].astype(z.dtype), z], axis=1) + self.pos_embedding[...]
        b = self.bottleneck[...]
        layers = len(self.encoderblocks)
        for l, (blocks, k) in enumerate(zip(self.encoderblocks, split_key(key, layers), strict=True)):
            drop = self.drop_layer * l / max(layers - 1, 1)
            if l < self.fusion_layer:
                z = run(blocks, z, drop, k)
                continue
            shared = jnp.broadcast_to(b, (modalities, *b.shape))
            both = run(blocks, jnp.concatenate([z, shared], axis=1), drop, k)
            z = both[:, :length]
            b = masked_mean(jnp.moveaxis(both[:, length:], 0, 1), mask)
        return self.encoder_norm(z)

    def node(self, x, mask, context):
        tokens = self.encode(jnp.where(mask[:, None], x, 0), mask, key=context.key)[:, 0]
        return Fused(masked_mean(tokens, mask), tokens)


def run(blocks: Block, z: Array, drop: float, key: Array | None) -> Array:
    """Block m of the stack on stream m; z [M, L, D]."""
    if key is None:
        return jax.vmap(lambda block, s: block(s, drop))(blocks, z)
    keys = jax.random.split(key, z.shape[0])
    return jax.vmap(lambda block, s, k: block(s, drop, key=k))(blocks, z, keys)
