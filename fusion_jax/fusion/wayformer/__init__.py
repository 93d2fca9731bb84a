"""Wayformer: a node's neighbours and modalities as one scene of tokens, read by a learned query.

Reference: Nayakanti et al., "Wayformer: Motion Forecasting via Simple & Efficient Attention Networks", 2022 (arXiv
2207.05844). No code by the authors; the numbers are those of re-implementations, ginlov/wayformer commit bc5d9fea
(scene encoders) and happy-yan/WayFormer commit 81baee8a (factorised attention); golden `wayformer`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.fusion.wayformer.scene_encoder import ATTENTIONS, SceneEncoder
from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.init import normal, stack
from fusion_jax.nn.neighbours import neighbours
from fusion_jax.nn.transformer import GLOROT, DecoderLayer
from fusion_jax.records import Attention, Fused, Info

PLACES = ("early", "late", "hierarchical")


class Wayformer(Fusion):
    """out_i = D(query, E(grid_i)), grid_i[m, j] = relu(W_m x_jm + b_m) + p_m[j is i], j over i and its senders.

    The paper's agent is the node, its time axis the M modalities ("temporal"), its space axis the node and its
    neighbours ("spatial"). E is the scene encoder: by `place` one encoder a modality, whose outputs are put side
    by side (late), one over all tokens (early), or both with half the depth each (hierarchical). D is a decoder
    layer with one query. Each layer is z <- LN(z + MHA(z)); z <- LN(z + W2 relu(W1 z)). The paper has a position
    an axis; neighbours have no order, so here p_m only tells the node itself from the others.

    Attention "scene" [N, H, T S]: where the query looks in the encoded scene; (T, S) is (M, K), with latents (M, R) for
    late fusion and (1, R) or (M, R / M) otherwise.

    Args:
        place: "early", "late" or "hierarchical". All have `depth` layers between input and scene, but the
            modality encoders have weights of their own: late fusion has M times the parameters of early fusion.
        attention: "multi_axis" (all tokens see each other), or factorised: "sequential" (half of the layers along
            the modalities, then half along the neighbours) or "interleaved" (in turns).
        latents: R learned queries that read the tokens in the first layer, the others work on them; None for
            none. A modality encoder has R, and so has the cross-modal encoder. Factorised attention needs two
            axes (this combination is ours): latents of a cross-modal encoder form a grid (M, R / M).
        latent_reads_source: later layers read the tokens again (first re-implementation); multi-axis only.
        pos_on_kv: p is added to keys and values wherever tokens are read, never to queries (first
            re-implementation); otherwise once, to the tokens.
        depth: layers of the scene encoder.
        heads: H, divides D.
        hidden: width of the feed-forward, 4 D if None.
        context: K, the node itself and at most K - 1 of its senders.
        rate: dropout in the layers, in [0, 1).
    Raises:
        ValueError: heads do not divide the width, an unknown place or attention, a depth or number of latents
            that cannot be halved or divided, or `latent_reads_source` where it means nothing.
    """

    info = Info(
        "Nayakanti et al., Wayformer: Motion Forecasting via Simple & Efficient Attention Networks",
        2022,
        pinned="stand-in",
        golden="wayformer",
        cost="O(N (M K)^2 D); factorised O(N M K (M + K) D); latents O(N R M K D)",
        needs=("graph",),
    )
    placements = ("before", "after")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        place: str = "early",
        attention: str = "multi_axis",
        latents: int | None = None,
        latent_reads_source: bool = False,
        pos_on_kv: bool = False,
        depth: int = 4,
        heads: int = 4,
        hidden: int | None = None,
        context: int = 16,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        check_heads("wayformer", dim, heads)
        check_options(modalities, place, attention, latents, depth)
        hidden = 4 * dim if hidden is None else hidden
        rows = 1 if attention == "multi_axis" else modalities
        self.projection = stack(lambda rngs: nnx.Linear(dim, dim, kernel_init=GLOROT, rngs=rngs), modalities, rngs)
        self.position = normal(rngs, (modalities, 2, dim))  # of the node itself, of a neighbour
        self.scene = SceneEncoder(
            modalities,
            dim,
            heads,
            hidden,
            {"late": (depth, 0), "early": (0, depth), "hierarchical": (depth // 2, depth // 2)}[place],
            attention=attention,
            latent_reads_source=latent_reads_source,
            rate=rate,
            rngs=rngs,
            latents=None if latents is None else ((1, latents), (rows, latents // rows)),
        )
        self.query = normal(rngs, (1, dim), std=1.0)
        self.decoder = DecoderLayer(dim, heads, hidden, self_attention=False, rate=rate, rngs=rngs)
        self.context, self.pos_on_kv = context, pos_on_kv

    def nodes(self, x, mask, graph, context):
        scene_key, decoder_key = split_key(context.key, 2)
        table = neighbours(graph, self.context)
        tokens = jax.nn.relu(jax.vmap(lambda f, x: f(x), in_axes=(0, 1), out_axes=1)(self.projection, x))
        tokens = table.gather(tokens, graph).swapaxes(1, 2)  # [N, M, K, D]
        seen = (table.gather(mask, graph) & table.valid[..., None]).swapaxes(1, 2)  # [N, M, K]
        position = self.position[:, jnp.minimum(jnp.arange(self.context), 1)]  # [M, K, D]
        if self.pos_on_kv:
            scene, seen = self.scene(tokens, seen, position, key=scene_key)
        else:
            scene, seen = self.scene(tokens + position, seen, key=scene_key)
        n = x.shape[0]
        query = jnp.broadcast_to(self.query[...], (n, *self.query.shape))
        flat, flat_mask = scene.reshape(n, -1, x.shape[-1]), seen.reshape(n, -1)
        out, weights = self.decoder(query, flat, None, flat_mask, key=decoder_key)
        scene = Attention(
            "scene", weights[:, :, 0], ("node", "head", "token"), "node", "token", valid=flat_mask[:, None]
        )
        return Fused(out[:, 0], attention=(scene,))


def check_options(modalities: int, place: str, attention: str, latents: int | None, depth: int):
    """Raises ValueError where the options name no member of the family."""
    for value, allowed in ((place, PLACES), (attention, ATTENTIONS)):
        if value not in allowed:
            raise ValueError(f"fusion 'wayformer': {value!r} is none of {allowed}")
    if depth < 1 or (place == "hierarchical" and depth % 2):
        raise ValueError(f"fusion 'wayformer': depth={depth}, expected at least 1, and even for hierarchical fusion")
    rows = 1 if attention == "multi_axis" or place == "late" else modalities
    if latents is not None and (latents < 1 or latents % rows):
        raise ValueError(f"fusion 'wayformer': latents={latents} do not form a grid of {rows} rows")
