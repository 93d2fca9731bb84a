"""Late-fusion transformer (SimBaMM): a class token reads one token a modality, missing ones masked.

Reference: Rheude, Eils & Wild, "Fusion or Confusion? Multimodal Complexity Is Not All You Need", 2025
(arXiv:2512.22991); code TillmannRheude/simple_mml_baseline at 9eb533fd7d57 (`codefiles/transformer.py`,
`codefiles/encoders.py`, `config/modelname/transformer.yaml`), read, not run: it has no licence.

From that code: the class token first and drawn with std 0.02, sinusoidal positions, PyTorch's
`nn.TransformerEncoderLayer` as it comes (normalised after each step, ReLU), no norm after the last layer, missing
modalities masked as keys, the prediction from the class token alone, and the defaults of the options. It is their
variant of one token a modality; the other hands the encoders' whole sequences over, which a node here does not have.

Ours: the encoders before it and the linear head behind it are the model's, so that every fusion has the same ones
(theirs are MLPs a modality and Kaiming-initialised); matrices start as in `nn.transformer` (theirs as in PyTorch); and
the width is the study's (theirs 512), to which half the width, 256 in their file, is carried over as D / 2.

It has no `align`: the positions are fixed numbers in the coordinates of its features. x T + p is not (x + p) T, so that
neurons in another order compute something else, and there is no symmetry for a map to undo.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.init import normal, stack
from fusion_jax.nn.transformer import EncoderLayer
from fusion_jax.records import Array, Attention, Fused, Info


class LateTransformer(Fusion):
    """z = [c; x_1; ...; x_M] + p, then `layers` times

        s = LN1(z + MHA(z)), z = LN2(s + W2 relu(W1 s + b1) + b2);    out = z_0.

    x [M, D], c [D] learned, p [1 + M, D] the sinusoids of `positions`. All tokens attend to the class token and to the
    present modalities. Without any, `out` is what the class token makes of itself, the same for every such node.

    Args:
        layers: number of layers.
        heads: H, divides D; logits are divided by sqrt(D / H).
        hidden: width between W1 and W2, D / 2 if None.
        rate: dropout on the attention weights, behind the ReLU, and on both summands before they are added.
    Raises:
        ValueError: heads do not divide the width.

    `tokens` are z_1..z_M after the last layer; attention "class" [N, layers, H, 1 + M] is that of the class token, to
    itself first, then the modalities.
    """

    info = Info(
        "Rheude et al., Fusion or Confusion? Multimodal Complexity Is Not All You Need",
        2025,
        cost="O(N L (M D^2 + M^2 D))",
    )
    placements = ("before", "after", "interleaved")  # the heads do not divide every number of classes

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        layers: int = 4,
        heads: int = 8,
        hidden: int | None = None,
        rate: float = 0.2,
        rngs: nnx.Rngs,
    ):
        del modalities  # positions are no parameters: any number will do
        check_heads("late_transformer", dim, heads)
        hidden = max(dim // 2, 1) if hidden is None else hidden
        self.cls_token = normal(rngs, (dim,))
        self.layers = stack(lambda r: EncoderLayer(dim, heads, hidden, rate=rate, rngs=r), layers, rngs)
        self.depth = layers

    def node(self, x, mask, context):
        z = jnp.concatenate([self.cls_token[...][None], x])
        z = z + positions(*z.shape).astype(z.dtype)
        seen = jnp.concatenate([jnp.ones_like(mask[:1]), mask])
        keys = None if context.key is None else jax.random.split(context.key, self.depth)

        def step(z, layer_and_key):
            layer, key = layer_and_key
            z, weights = layer.shown(z, seen, key=key)
            return z, weights[:, 0]

        z, weights = jax.lax.scan(step, z, (self.layers, keys))
        read = Attention("class", weights, ("layer", "head", "token"), "node", "token", valid=seen[None, None])
        return Fused(z[0], z[1:], (read,))


def positions(length: int, dim: int) -> Array:
    """p [length, D]: p_t,2i = sin(t w_i), p_t,2i+1 = cos(t w_i), w_i = 10000^(-2i / D), t from 0 (the class token)."""
    rate = np.exp(-math.log(10000) / dim * np.arange(0, dim, 2))
    angle = np.arange(length)[:, None] * rate
    return jnp.asarray(np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(length, -1)[:, :dim])
