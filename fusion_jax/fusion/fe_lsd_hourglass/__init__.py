"""Dual hourglass: streams go through rounds of message passing apart, are fused at every round, and decoded once.

Reference: "Detecting Line Segments in Motion-blurred Images with Events", 2022; code lh9171338/FE-LSD at e5eb91e
(`network/cmtn.py`, `network/FE_ULSD/stacked_hg.py`), two streams. Golden `fe-lsd/transformer_fusion` and
`grouped_bottleneck` pin its parts; how they are put together is from the description, there are no numbers of it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.fusion.fe_lsd_hourglass.transformer_fusion import Seen, TransformerFusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.presence import zero_absent
from fusion_jax.nn.streams import HE, Bottleneck, GroupedBottleneck, check_norm, make_norm, normed
from fusion_jax.records import Array, Attention, Fused, Info
from fusion_jax.structures.base import Structure
from fusion_jax.structures.partition import Parts


class Hourglass(nnx.Module):
    """skip_i = T_i(x), x <- E_i(x) for i = 0 ... depth - 1; y = T(E(x)); y <- D_i y + skip_i from the last to the
    first.

    E is a message-passing round of every stream by itself (`nn.streams.GroupedBottleneck`), T fuses them
    (`TransformerFusion`), D is linear. The reference halves the resolution before E and doubles it behind D; the nodes
    stay what they are here.
    """

    def __init__(self, modalities, dim, *, depth, heads, positions, norm, rngs):
        options = dict(positions=positions, norm=norm, rngs=rngs)
        rounds = range(depth + 1)
        self.fuse = nnx.List([TransformerFusion(modalities, dim, heads, **options) for _ in rounds])
        self.encode = nnx.List([GroupedBottleneck(modalities, dim, norm=norm, rngs=rngs) for _ in rounds])
        self.decode = nnx.List([nnx.Linear(dim, dim, kernel_init=HE, rngs=rngs) for _ in range(depth)])

    def __call__(
        self, x: Array, mask: Array, graph: Graph, parts: Parts, largest: int, *, training: bool
    ) -> tuple[Array, list[Seen]]:
        """x [N, M, D] -> y [N, D], and what the T look at, from the first round to the last."""
        given = mask, graph, parts, largest
        skips, looks = [], []
        for i in range(len(self.decode)):
            skip, seen = self.fuse[i](x, *given, training=training)
            skips.append(skip)
            looks.append(seen)
            x = self.encode[i](x, mask, graph, training=training)
        y, seen = self.fuse[-1](self.encode[-1](x, mask, graph, training=training), *given, training=training)
        for decode, skip in zip(reversed(self.decode), reversed(skips), strict=True):
            y = decode(y) + skip
        return y, [*looks, seen]


class Merge(nnx.Module):
    """y <- W_2 relu(norm(W_1 R(y) + b_1)) + b_2, what a stack gives to all streams; R is `nn.streams.Bottleneck`.

    In the reference conv(fc(res(y))); fc is a linear map, a norm and a relu, as stacked hourglasses have it.
    """

    def __init__(self, dim: int, *, norm: str, rngs: nnx.Rngs):
        self.res = Bottleneck(dim, norm=norm, rngs=rngs)
        self.fc = nnx.Linear(dim, dim, kernel_init=HE, rngs=rngs)
        self.bn = make_norm(norm, dim, rngs)
        self.conv = nnx.Linear(dim, dim, kernel_init=HE, rngs=rngs)

    def __call__(self, y: Array, present: Array, graph: Graph, *, training: bool) -> Array:
        y = normed(self.bn, self.fc(self.res(y, present, graph, training=training)), present, training)
        return zero_absent(self.conv(jax.nn.relu(y)), present)


class FeLsdHourglass(Fusion):
    """y_s = merge_s(hourglass_s(x)), x_m <- x_m + y_s for every stack s; out = the last y, tokens = the last x.

    In every hourglass the streams go through `depth` + 1 rounds of message passing apart, each modality with weights
    and on an edge set of its own, and are fused in front of every round and behind the last, by self-attention of the
    nodes to the clusters of their graph: means over the parts of a partition into about sr_ratio^2 nodes each. All is
    decoded once, from the last round to the first. The last stack's y is merged as the others' are.

    A missing modality sends nothing to its neighbours, is 0 where streams are joined and receives no y; a node without
    any is in no cluster's mean and gets 0.

    Attention "clusters" [N, R, H, K] has the R = stacks (depth + 1) self-attentions in order, over the clusters of the
    node's graph (over those of the batch, the others not valid, where graphs are few or differ much in size).

    Args:
        depth: rounds in front of the one at the bottom.
        stacks: hourglasses one behind the other.
        heads: H, divides D.
        sr_ratio: clusters have sr_ratio^2 nodes at most. The reference has 16, 8, 4, 2, 1 as its resolution falls,
            always 64 clusters; nodes stay as many in all rounds here, and 4 is the middle.
        positions: of so many clusters of a graph, in their order, the keys get a learned vector, N(0, 1). 0, none, as
            parts of a graph have no order of their own; it depends on the order of nodes then.
        norm: of the bottlenecks and feed-forwards, "batch" over nodes as in the reference, or "layer" (ours).
    Raises:
        ValueError: heads do not divide D; depth, stacks or sr_ratio below 1, positions below 0, or another norm.
    """

    info = Info(
        "Detecting Line Segments in Motion-blurred Images with Events",
        2022,
        pinned="authors' code",
        golden="fe-lsd",
        cost="O(R (M (E D + N D^2) + N P D)), P clusters",
        needs=("graph",),
    )
    placements = ("before", "after", "interleaved")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        depth: int = 4,
        stacks: int = 2,
        heads: int = 8,
        sr_ratio: int = 4,
        positions: int = 0,
        norm: str = "batch",
        rngs: nnx.Rngs,
    ):
        check_heads("fe_lsd_hourglass", dim, heads)
        check_norm("fe_lsd_hourglass", norm)
        least = dict(depth=(depth, 1), stacks=(stacks, 1), sr_ratio=(sr_ratio, 1), positions=(positions, 0))
        for name, (value, lowest) in least.items():
            if value < lowest:
                raise ValueError(f"fusion 'fe_lsd_hourglass': {name}={value!r}; expected an integer >= {lowest}")
        self.largest = sr_ratio**2
        self.structures = (Structure("partition", {"size": self.largest}),)
        self.symmetries = () if positions else ("nodes",)
        own = dict(depth=depth, heads=heads, positions=positions, norm=norm, rngs=rngs)
        self.hourglasses = nnx.List([Hourglass(modalities, dim, **own) for _ in range(stacks)])
        self.merges = nnx.List([Merge(dim, norm=norm, rngs=rngs) for _ in range(stacks)])

    def nodes(self, x, mask, graph, context) -> Fused:
        parts, training = graph.structure(self.structures[0]), context.key is not None
        present, looks = mask.any(1), []
        for hourglass, merge in zip(self.hourglasses, self.merges, strict=True):
            y, seen = hourglass(x, mask, graph, parts, self.largest, training=training)
            looks += seen
            y = merge(y, present, graph, training=training)
            x = jnp.where(mask[..., None], x + y[:, None], 0)
        return Fused(y, x, (_shown(looks, present),))


def _shown(looks: list[Seen], present: Array) -> Attention:
    """The attentions of all rounds, 0 of nodes without modalities."""
    valid = (looks[0].valid & present[:, None])[:, None, None]
    weights = jnp.where(valid, jnp.stack([seen.weights for seen in looks], axis=1), 0)
    return Attention("clusters", weights, ("node", "round", "head", "cluster"), "node", "cluster", valid=valid)
