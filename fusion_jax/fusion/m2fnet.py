"""Fusion attention along edges: the anchor modality is query and value, every other modality a key.

Reference: Chudasama et al., "M2FNet: Multi-modal Fusion Network for Emotion Recognition in Conversation",
2022. The authors' code is not public: numbers from the re-implementation
iosonopersia/Multimodal-Emotion-Recognition at a279b917 (two modalities) and from independent arithmetic after
figure 3 (three); golden `m2fnet`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.init import normal
from fusion_jax.nn.segment import edge_attend
from fusion_jax.records import Array, Attention, Fused, Info


class FusionAttention(nnx.Module):
    """f <- W [u_1; f; u_2; ...; u_(M-1)] + b, u_m = MHA_m(query f, key x_m, value f).

    With `relus` (the re-implementation's, not the paper's) f <- relu(W relu([u_1; f; ...]) + b).
    """

    def __init__(self, others: int, dim: int, heads: int, *, rate: float, relus: bool, rngs: nnx.Rngs):
        glorot = nnx.initializers.glorot_uniform()
        self.attentions = nnx.List(
            [MultiHeadAttention(dim, heads, rate=rate, kernel_init=glorot, rngs=rngs) for _ in range(others)]
        )
        self.fc = nnx.Linear((others + 1) * dim, dim, kernel_init=glorot, rngs=rngs)
        self.relus = relus

    def __call__(self, f: Array, others: list[Array], attend, *, key: Array | None = None):
        """f [..., D] and the other modalities; `attend(mha, f, x_m, m, key)` -> out, weights, which come back
        too.

        Returns:
            the next f [..., D], the attention outputs u and their weights, a list each.
        """
        keys = split_key(key, max(len(others), 1))
        seen = [
            attend(mha, f, x, m, k)
            for m, (mha, x, k) in enumerate(zip(self.attentions, others, keys[: len(others)], strict=True))
        ]
        u = [out for out, _ in seen]
        joined = jnp.concatenate([*u[:1], f, *u[1:]], -1)
        f = jax.nn.relu(self.fc(jax.nn.relu(joined))) if self.relus else self.fc(joined)
        return f, u, [weights for _, weights in seen]


class M2FNet(Fusion):
    """out = W_o [f; x_1; ...; x_(M-1)] + b_o after `layers` times f <- `FusionAttention`(f; x_1 ...), f =
    anchor.

    Node i attends to its senders and itself (the paper: all utterances of the dialogue): the weight of sender
    j says how well its key x_(m, j) fits the query f_i, and multiplies the value f_j of the ANCHOR. The other
    modalities are never updated. Sender j without modality m is no key for m; a node that sees no key gets
    the output bias. A node without the anchor starts from a learned vector (ours). The context encoders
    before the fusion (transformers over the dialogue in the paper) are the model's graph layers.

    `tokens` are f in the anchor's place and the other modalities as they came; attention "fusion"
    [E', L, M - 1, H] lies on the edges of `graph.looped`, before dropout, the other modalities in their order.

    Args:
        anchor: index of the modality that is query and value (the paper: text).
        layers: L, m in the paper (5).
        heads: H, divides D; the re-implementation has 8 at D = 768.
        relus: the re-implementation's two relus in every layer.
        rate: dropout on the attention weights.
    Raises:
        ValueError: heads do not divide D; anchor outside 0 ... M - 1.
    """

    info = Info(
        "Chudasama et al., M2FNet: Multi-modal Fusion Network for Emotion Recognition in Conversation",
        2022,
        pinned="stand-in",
        golden="m2fnet",
        cost="O(L M (E D + N D^2))",
        needs=("graph",),
    )
    placements = ("before", "after", "interleaved")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        anchor: int = 0,
        layers: int = 5,
        heads: int = 4,
        relus: bool = False,
        rate: float = 0.4,
        rngs: nnx.Rngs,
    ):
        check_heads("m2fnet", dim, heads)
        if not 0 <= anchor < modalities:
            raise ValueError(f"fusion 'm2fnet': anchor={anchor} is no modality, M={modalities}")
        self.anchor = anchor
        self.others = tuple(m for m in range(modalities) if m != anchor)
        self.missing = normal(rngs, (dim,))
        self.layers = nnx.List(
            [FusionAttention(len(self.others), dim, heads, rate=rate, relus=relus, rngs=rngs) for _ in range(layers)]
        )
        self.fc = nnx.Linear(modalities * dim, dim, rngs=rngs)

    def states(self, x: Array, mask: Array, attend, *, key: Array | None = None):
        """f after every layer, the attention outputs and weights of every layer, and [f; x_1; ...]."""
        f = jnp.where(mask[..., self.anchor, None], x[..., self.anchor, :], self.missing[...].astype(x.dtype))
        others = [x[..., m, :] for m in self.others]
        states, outputs, weights = [], [], []
        for layer, k in zip(self.layers, split_key(key, len(self.layers)), strict=True):
            f, u, w = layer(f, others, attend, key=k)
            states.append(f)
            outputs.append(u)
            weights.append(w)
        return states, outputs, weights, jnp.concatenate([f, *others], -1)

    def nodes(self, x, mask, graph, context):
        graph = graph.looped

        def attend(mha, f, other, m, key):
            q, k, v = mha.split(mha.query(f)), mha.split(mha.key(other)), mha.split(mha.value(f))
            has = mask[graph.senders, self.others[m]]
            out, weights = edge_attend(q, k, v, graph, has, rate=mha.rate, key=key)
            return mha.out(out.reshape(*out.shape[:-2], -1)), weights

        states, _, weights, final = self.states(x, mask, attend, key=context.key)
        f = states[-1] if states else final[..., : x.shape[-1]]
        tokens = x.at[:, self.anchor].set(f)
        if not weights or not weights[0]:  # nothing to attend to
            return Fused(self.fc(final), tokens)
        stacked = jnp.stack([jnp.stack(layer, 1) for layer in weights], 1)
        has = mask[graph.senders][:, None, jnp.asarray(self.others), None]
        ends = graph.senders, graph.receivers
        along = Attention("fusion", stacked, ("edge", "layer", "other", "head"), "node", "node", *ends, valid=has)
        return Fused(self.fc(final), tokens, (along,))

    def dense(self, x: Array, mask: Array, seen: Array, *, key: Array | None = None):
        """Padded sequences in place of a graph: every position attends to all positions seen.

        Args:
            x: [B, L, M, D], 0 where missing.
            mask: bool [B, L, M], true where the position has the modality.
            seen: bool [B, L], false at padding, which nothing attends to.
        Returns:
            as `states`, attention weights [B, H, L, L].
        """

        def attend(mha, f, other, m, key):
            return mha(f, other, f, mask[..., self.others[m]] & seen, key=key)

        return self.states(jnp.where(mask[..., None], x, 0), mask, attend, key=key)
