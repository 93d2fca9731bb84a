"""Attention among neighbours on the smooth band of the features, modulated by their detail bands.

Reference: "It Takes Two: A Duet of Periodicity and Directionality for Burst Flicker Removal", CVPR 2026
(Flickerformer); code qulishen/Flickerformer at 56f2bef; golden `flickerformer/wdam` and `haar`.
"""

from __future__ import annotations

from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.nn.directional_attention import DirectionalAttention
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.presence import reached, sending, zero_absent
from fusion_jax.nn.pyramid import pyramid
from fusion_jax.nn.stencil import around
from fusion_jax.records import EVALUATION, Attention, Info


class FlickerformerWDAM(Encoder):
    """y = z + o + sum_b relu(S_b detail_b), z = W x + b; smooth and details are bands of layer_norm(z).

        smooth = (I - L/2) z',  detail_b = (L/2) (I - L/2)^(b-1) z',  b = 1, 2, 3   (`nn.pyramid`)
        o_i = attention over the senders of i and i itself (`DirectionalAttention`)

    The smooth band stands for the wavelets' LL, the details for LH, HL and HH; the inverse transform is a sum. There
    are no windows, so neither the paper's relative bias nor its shift.

    Attention "neighbours" [E', H] lies on the edges of `graph.looped`.

    Args:
        heads: H, divides D.
    Raises:
        ValueError: heads do not divide D.
    """

    info = Info(
        "It Takes Two: A Duet of Periodicity and Directionality for Burst Flicker Removal (Flickerformer)",
        2026,
        pinned="authors' code",
        golden="flickerformer",
        cost="O(E D + N D^2)",
        needs=("graph",),
    )

    def __init__(self, in_dim: int, dim: int, *, heads: int = 4, rngs: nnx.Rngs):
        if heads < 1 or dim % heads:
            raise ValueError(f"encoder 'flickerformer_wdam': heads={heads} does not divide the width D={dim}")
        self.project = nnx.Linear(in_dim, dim, rngs=rngs)
        self.norm = layer_norm(dim, rngs=rngs)
        self.wdam = DirectionalAttention(dim, heads, rngs=rngs)

    def _bands(self, x, graph, present):
        """z, the smooth band and the three detail bands, [N, D] each."""
        z = self.project(zero_absent(x, present))
        normed = self.norm(z)
        _, details = pyramid(normed, graph, 3, present)
        return z, normed - details[0], details

    def _attended(self, smooth, details, graph, present):
        stencil = around(graph, present)
        v = zero_absent(self.wdam.values(smooth, details, stencil), present)
        return self.wdam.attend(smooth, v, graph.looped, sending(present, graph.looped))

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        del context
        z, smooth, details = self._bands(x, graph, present)
        out, _ = self._attended(smooth, details, graph, present)
        return z + out + sum(self.wdam.detailed(details, around(graph, present)))

    def reached(self, present, graph):
        return reached(present, graph)

    def attention(self, x, graph, present, context):
        del context
        _, smooth, details = self._bands(x, graph, present)
        _, weights = self._attended(smooth, details, graph, present)
        graph = graph.looped
        seen = sending(present, graph)
        valid = None if seen is None else seen[:, None]
        ends = graph.senders, graph.receivers
        return (Attention("neighbours", weights, ("edge", "head"), "node", "node", *ends, valid=valid),)
