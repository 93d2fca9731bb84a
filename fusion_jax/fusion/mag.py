"""Multimodal adaptation gate: the other modalities shift the main one, by a step no longer than it is.

Reference: Rahman et al., "Integrating Multimodal Information in Large Pretrained Transformers", ACL 2020;
code of the authors, WasifurRahman/BERT_multimodal_transformer at dc7876f (`modeling.py`, no licence stated);
golden `mag`, one main modality (text) and two others (visual, acoustic).
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.dropout import dropout
from fusion_jax.nn.norm import layer_norm
from fusion_jax.records import Array, Fused, Info, Tokens


class MAG(Fusion):
    """out = LN(x_0 + a h), h = sum_m relu(G_m [x_m; x_0] + c_m) * (V_m x_m + d_m).

    a = min(beta |x_0| / (|h| + 1e-6), 1).

    0 stands for the main modality, the sum is over the others. `tokens` are the modalities with the main one
    replaced by out. A missing modality is left out of h; where the main one is missing x_0 = 0 and a = 1
    (there is no length to keep to), so that out = LN(h) is what the others say.

    The state "step" [N, 1, 1] is a, in [0, 1].

    Args:
        main: index of the main modality.
        beta: the longest step, in lengths of the main vector.
        rate: dropout on out.
    Raises:
        ValueError: `main` is not the index of a modality.
    """

    info = Info(
        "Rahman et al., Integrating Multimodal Information in Large Pretrained Transformers",
        2020,
        pinned="authors' code",
        golden="mag",
        cost="O(N M D^2)",
    )
    # Not "decision": the layer norm of two logits knows only which is larger, that of one is 0.
    placements = ("before", "after", "interleaved")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        main: int = 0,
        beta: float = 1.0,
        rate: float = 0.5,
        rngs: nnx.Rngs,
    ):
        if not 0 <= main < modalities:
            raise ValueError(f"fusion 'mag': main={main} is no index of M={modalities} modalities")
        others = range(modalities - 1)
        self.gates = nnx.List([nnx.Linear(2 * dim, dim, rngs=rngs) for _ in others])
        self.shifts = nnx.List([nnx.Linear(dim, dim, rngs=rngs) for _ in others])
        self.norm = layer_norm(dim, rngs=rngs)
        self.main, self.beta, self.rate = main, beta, rate

    def shifted(self, x: Array, mask: Array) -> tuple[Array, Array]:
        """x_0 + a h [D] of one node, and a."""
        x = jnp.where(mask[:, None], x, 0)
        text, h = x[self.main], jnp.zeros_like(x[self.main])
        others = [m for m in range(x.shape[0]) if m != self.main]
        for m, gate, shift in zip(others, self.gates, self.shifts, strict=True):
            step = jax.nn.relu(gate(jnp.concatenate([x[m], text]))) * shift(x[m])
            h = h + jnp.where(mask[m], step, 0)
        length = _length(h)
        length = jnp.where(length == 0, 1, length)
        scale = jnp.minimum(_length(text) / (length + 1e-6) * self.beta, 1)
        scale = jnp.where(mask[self.main], scale, 1)
        return text + scale * h, scale

    def node(self, x, mask, context):
        shifted, scale = self.shifted(x, mask)
        out = dropout(self.norm(shifted), self.rate, context.key)
        step = Tokens("step", scale[None, None], jnp.ones(1, bool), "modality")
        return Fused(out, x.at[self.main].set(out), states=(step,))


def _length(x: Array) -> Array:
    """|x|, with derivative 0 at x = 0."""
    square = (x * x).sum()
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
