"""A condition asks, the node's tokens answer: one embedding of a node for each target, or for each modality.

Reference: Song, Hwang, Yoon, Choi and Gu, "Conditional Cross Attention Network for Multi-Space Embedding without
Entanglement in Only a SINGLE Network", ICCV 2023 (arXiv 2307.13254). There is no authors' code, and the paper's body
could not be read: the block is that of a public re-implementation. Golden `conditional-cross-attention/block`. The loss
of its embeddings is `conditional_triplet`.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.attention import MultiHeadAttention, attend
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import masked_mean, normal
from fusion_jax.nn.mlp import MLP, gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.transformer import EncoderLayer
from fusion_jax.records import Array, Attention, Fused, Info, Tokens

CONDITIONS = ("auto", "targets", "modalities")
EPSILON = 1e-6  # of all layer norms, as in vision transformers
RATIO = 4  # of the width between the two maps of an MLP to D


class ConditionalBlock(nnx.Module):
    """e_k = W_e LN(h + MLP(LN h)) + b_e at position 0, h = x + MHA(query c_k, keys and values LN x), c_k of a table.

    The condition is the query and nothing else: it is not normalised, in no key and not in the residual. All positions
    have the same query, so one is asked, and keys and values are made once for all conditions.

    Args:
        dim: D, width of the tokens.
        conditions: K.
        heads: H.
        hidden: width of the MLP.
        out: width of e.
        rate: dropout on the weights, on what is attended to, and behind both maps of the MLP.
    """

    def __init__(self, dim: int, conditions: int, heads: int, hidden: int, out: int, *, rate: float, rngs: nnx.Rngs):
        self.embedding = normal(rngs, (conditions, dim), 1.0)
        self.ln_1, self.ln_2, self.ln = (layer_norm(dim, epsilon=EPSILON, rngs=rngs) for _ in range(3))
        self.cross_attention = MultiHeadAttention(dim, heads, rngs=rngs)
        self.mlp = MLP(dim, hidden, activation=gelu, rate=rate, rngs=rngs)
        self.dis_proj = nnx.Linear(dim, out, rngs=rngs)
        self.rate = rate

    def asked(self, x: Array, mask: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """One node, x [n, D], mask bool [n] -> what each condition attends to [K, D], and its weights [H, K, n]."""
        mha, normed = self.cross_attention, self.ln_1(x)
        first, second = split_key(key, 2)
        q = mha.split(mha.query(self.embedding[...]))
        k, v = mha.split(mha.key(normed)), mha.split(mha.value(normed))
        out, weights = attend(q, k, v, mask, rate=self.rate, key=first)
        return dropout(mha.out(out.reshape(len(out), -1)), self.rate, second), weights

    def after(self, x: Array, a: Array, *, key: Array | None = None) -> Array:
        """x [n, D] and a [K, D] -> [K, n, D], behind the residual, the MLP and the last norm."""
        first, second = split_key(key, 2)
        h = x + a[:, None]
        return self.ln(h + dropout(self.mlp(self.ln_2(h), key=first), self.rate, second))

    def __call__(self, x: Array, mask: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """One node -> e [K, out] and the weights [H, K, n]."""
        first, second = split_key(key, 2)
        a, weights = self.asked(x, mask, key=first)
        return self.dis_proj(self.after(x[:1], a, key=second)[:, 0]), weights


class ConditionalCrossAttention(Fusion):
    """out = mean_k e_k, e_k of `ConditionalBlock`, its tokens [class token; x_1; ...; x_M] + P behind self-attention.

    Of several targets each is a condition: `prediction` has W_k e_k + b_k in the columns of target k (what a model
    with `model.head="fusion"` predicts; without it the head reads `out`). Of one target each modality is one, e_m being
    the node as modality m sees it, and the mean is over the modalities that are there; 0 without any.

    The self-attention layers are those of a vision transformer, normalised before each step, P its learned code of
    positions; missing modalities are no keys. State "targets" or "modalities" [N, K, D] with the axis "condition" is e.
    Attention "conditions" [N, H, K, M + 1], the class token first, and "layer 1" ... [N, H, M + 1, M + 1].

    Args:
        conditions: "targets", "modalities", or "auto" for the targets where there are two or more.
        layers: of self-attention before the block (12 in the re-implementation).
        heads: H, divides D (12 at width 768).
        rate: dropout, see `ConditionalBlock` and `nn.transformer.EncoderLayer`.
    Raises:
        ValueError: heads do not divide D, a negative number of layers or unknown conditions.
    """

    info = Info(
        "Song et al., Conditional Cross Attention Network for Multi-Space Embedding without Entanglement in Only a "
        "SINGLE Network",
        2023,
        pinned="stand-in",
        golden="conditional-cross-attention",
        cost="O(L N (M D^2 + M^2 D) + K N (D^2 + M D))",
        needs=("targets",),
    )
    placements = ("before", "after")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        targets: tuple[int, ...],
        conditions: str = "auto",
        layers: int = 2,
        heads: int = 4,
        rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        check_heads("conditional_cross_attention", dim, heads)
        if conditions not in CONDITIONS:
            raise ValueError(
                f"fusion 'conditional_cross_attention': conditions={conditions!r}; expected one of {CONDITIONS}"
            )
        if layers < 0:
            raise ValueError(f"fusion 'conditional_cross_attention': layers={layers}; expected a number >= 0")
        self.of_targets = conditions == "targets" or (conditions == "auto" and len(targets) > 1)
        count = len(targets) if self.of_targets else modalities
        self.cls_token = normal(rngs, (1, dim))
        self.position = normal(rngs, (modalities + 1, dim))

        def layer():
            made = EncoderLayer(dim, heads, RATIO * dim, norm_first=True, activation=gelu, rate=rate, rngs=rngs)
            made.norm1.epsilon = made.norm2.epsilon = EPSILON
            return made

        self.layers = nnx.List([layer() for _ in range(layers)])
        self.block = ConditionalBlock(dim, count, heads, RATIO * dim, dim, rate=rate, rngs=rngs)
        self.heads = nnx.List([nnx.Linear(dim, c, rngs=rngs) for c in targets if self.of_targets])

    def encode(self, x: Array, mask: Array, *, key: Array | None = None) -> tuple[Array, Array, list[Array]]:
        """One node, x [M, D], mask [M] -> tokens [M + 1, D], which are there, and every layer's weights [H, ., .]."""
        there = jnp.append(True, mask)
        tokens = jnp.concatenate([self.cls_token[...].astype(x.dtype), x]) + self.position[...]
        shown = []
        for layer, k in zip(self.layers, split_key(key, len(self.layers)), strict=True):
            tokens, weights = layer.shown(tokens, there, key=k)
            shown.append(weights)
        return tokens, there, shown

    def node(self, x, mask, context):
        first, second = split_key(context.key, 2)
        tokens, there, shown = self.encode(x, mask, key=first)
        e, weights = self.block(tokens, there, key=second)
        attention = [
            Attention(f"layer {i + 1}", w, ("head", "token", "token"), "token", "token", valid=there[None, None])
            for i, w in enumerate(shown)
        ]
        axes = ("head", "condition", "token")
        attention.append(Attention("conditions", weights, axes, "condition", "token", valid=there[None, None]))
        has = jnp.broadcast_to(mask.any(), len(e)) if self.of_targets else mask
        state = Tokens("targets" if self.of_targets else "modalities", e, has, "condition")
        out = e.mean(0) if self.of_targets else masked_mean(e, mask)
        said = [head(e_k) for head, e_k in zip(self.heads, e, strict=False)]
        prediction = jnp.concatenate(said) if said else None
        return Fused(out, attention=tuple(attention), states=(state,), prediction=prediction)
