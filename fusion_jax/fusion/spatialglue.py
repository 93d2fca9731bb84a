"""SpatialGlue: attention over two graphs within each modality, then attention across the modalities.

Reference: Long et al., "Deciphering spatial domains from spatial multi-omics with SpatialGlue", Nature
Methods 2024; code JinmiaoChenLab/SpatialGlue at 7c976d811d27ace51ce47ae0ad94a068a7d222fa
(`SpatialGlue/model.py`, `preprocess.py`; AGPL-3.0). Golden `spatialglue/encoder_overall`.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import masked_softmax
from fusion_jax.nn.presence import reached, zero_absent
from fusion_jax.nn.segment import degree, propagate
from fusion_jax.records import Array, Attention, Fused, Info


class AdditiveAttention(nnx.Module):
    """a = softmax_k(u . tanh(W e_k)), out = sum_k a_k e_k."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        glorot = nnx.initializers.glorot_uniform()
        self.w_omega = nnx.Linear(dim, dim, use_bias=False, kernel_init=glorot, rngs=rngs)
        self.u_omega = nnx.Linear(dim, 1, use_bias=False, kernel_init=glorot, rngs=rngs)

    def __call__(self, e: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """e [..., K, D], mask bool [..., K] -> out [..., D], a [..., K]; both 0 where all is masked."""
        a = masked_softmax(self.u_omega(jnp.tanh(self.w_omega(e)))[..., 0], mask)
        return jnp.einsum("...k,...kd->...d", a, e), a


def smooth(h: Array, graph: Graph, present: Array | None = None) -> Array:
    """D^-1/2 (A + I) D^-1/2 h over the edges of `graph`, whose weights are not used; h [N, ..., D].

    With `present` bool [N, ...], A + I has only the columns of present nodes: others do not send and are not counted.
    """
    graph = graph.looped
    if present is None:
        scale = jax.lax.rsqrt(degree(graph, h.dtype))  # every node has its loop
        return propagate(h, graph, scale[graph.senders] * scale[graph.receivers])
    scale = jax.lax.rsqrt(jnp.maximum(propagate(present.astype(h.dtype), graph), 1))[..., None]
    return scale * propagate(scale * zero_absent(h, present), graph)


class SpatialGlue(Fusion):
    """tokens_m = a_s S x_m W_m + a_f F_m x_m W_m, out = sum_m b_m tokens_m.

    S is the normalised shared graph (in the paper the neighbours in space), F_m that of `graph.view(m)` (the
    neighbours in the features of modality m); the weights a of each modality, and b, are additive attention
    over the vectors they mix. Both graphs are taken as they are: the paper's are symmetric and unweighted.
    The encoder has no activation, as in the code.

    A missing modality sends nothing to its neighbours, is not counted in their degrees and has b_m = 0. The
    losses of the paper are added: "reconstruction", the mean square error of S out V_m against x_m, and
    "correspondence", that of S (S tokens_m V_j) W_j against tokens_m, averaged over the modalities j != m as
    the published form has only one; both summed over m and taken over the nodes that have modality m.
    Attentions are "graphs" [N, M, 2], the weights a (shared graph first), and "modalities" [N, M], b.

    Args:
        reconstruction, correspondence: weights of the losses, 0 for none (1 in the paper, but for some of its
            data sets and modalities 5 or 10).
    Raises:
        ValueError: without edge sets of the single modalities (`data.views`): with S = F_m both weights a are 1/2 for
            good, and half of the mechanism is not there.
    """

    info = Info(
        "Long et al., Deciphering spatial domains from spatial multi-omics with SpatialGlue",
        2024,
        pinned="authors' code",
        golden="spatialglue",
        cost="O(M^2 (E D + N D^2))",
        needs=("graph", "views"),
    )
    placements = ("before", "after", "interleaved", "decision")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        reconstruction: float = 1.0,
        correspondence: float = 1.0,
        rngs: nnx.Rngs,
    ):
        def linears():
            glorot = nnx.initializers.glorot_uniform()
            make = functools.partial(nnx.Linear, dim, dim, use_bias=False, kernel_init=glorot, rngs=rngs)
            return nnx.List([make() for _ in range(modalities)])

        self.encoders = linears()
        self.decoders = linears()
        self.atten_omics = nnx.List([AdditiveAttention(dim, rngs=rngs) for _ in range(modalities)])
        self.atten_cross = AdditiveAttention(dim, rngs=rngs)
        self.reconstruction, self.correspondence = reconstruction, correspondence

    def within(self, x: Array, mask: Array, graph: Graph) -> tuple[Array, Array]:
        """Tokens [N, M, D] (0 where missing) and the weights of the two graphs [N, M, 2]."""
        h = jnp.stack([encode(x[:, m]) for m, encode in enumerate(self.encoders)], axis=1)
        shared = smooth(h, graph, mask)
        own = [smooth(h[:, m], graph.view(m), mask[:, m]) for m in range(h.shape[1])]
        pairs = [jnp.stack([shared[:, m], own[m]], axis=1) for m in range(h.shape[1])]  # [N, 2, D]
        mixed = [attend(pair) for attend, pair in zip(self.atten_omics, pairs, strict=True)]
        tokens, weights = (jnp.stack(part, axis=1) for part in zip(*mixed, strict=True))
        return jnp.where(mask[..., None], tokens, 0), weights

    def reconstruct(self, out: Array, graph: Graph, present: Array | None = None) -> Array:
        """The modalities decoded from the fused vector [N, D] of the nodes that are `present` [N], [N, M, D]."""
        decoded = jnp.stack([decode(out) for decode in self.decoders], axis=1)
        present = None if present is None else jnp.broadcast_to(present[:, None], decoded.shape[:2])
        return smooth(decoded, graph, present)

    def through(self, token: Array, j: int, graph: Graph, present: Array | None = None) -> Array:
        """One modality's tokens [N, D], of the nodes `present` [N], decoded to modality j and encoded again."""
        decoded = smooth(self.decoders[j](token), graph, present)
        return smooth(self.encoders[j](decoded), graph, None if present is None else reached(present, graph))

    def _losses(self, x: Array, tokens: Array, out: Array, mask: Array, graph: Graph) -> dict[str, Array]:
        losses, modalities = {}, range(mask.shape[1])
        if self.reconstruction:
            # raw features in the paper: an encoder before this layer must not make itself easy to reconstruct
            target = jax.lax.stop_gradient(x)
            error = mean_square(self.reconstruct(out, graph, mask.any(1)) - target, mask)
            losses["reconstruction"] = self.reconstruction * error.sum()
        if self.correspondence and len(modalities) > 1:
            pairs = [(m, j) for m in modalities for j in modalities if j != m]
            there_and_back = [self.through(tokens[:, m], j, graph, mask[:, m]) for m, j in pairs]
            gaps = jnp.stack([tokens[:, m] - t for (m, _), t in zip(pairs, there_and_back, strict=True)], axis=1)
            error = mean_square(gaps, jnp.stack([mask[:, m] for m, _ in pairs], axis=1))
            losses["correspondence"] = self.correspondence * error.sum() / (len(modalities) - 1)
        return losses

    def nodes(self, x, mask, graph, context):
        del context
        x = jnp.where(mask[..., None], x, 0)
        tokens, graphs = self.within(x, mask, graph)
        out, across = self.atten_cross(tokens, mask)
        attention = (
            Attention("graphs", graphs, ("node", "modality", "graph"), "modality", "graph"),
            Attention("modalities", across, ("node", "modality"), "node", "modality", valid=mask),
        )
        return Fused(out, tokens, attention, self._losses(x, tokens, out, mask, graph))


def mean_square(error: Array, mask: Array) -> Array:
    """Mean of error^2 over the nodes and the width, error [N, M, D] under mask [N, M] -> [M]."""
    total = jnp.where(mask[..., None], error**2, 0).mean(-1).sum(0)
    return total / jnp.maximum(mask.sum(0), 1).astype(error.dtype)
