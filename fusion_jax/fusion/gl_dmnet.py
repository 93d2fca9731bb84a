"""Mutual fusion: each modality and what is fused of all attend to one another without softmax, by node and by channel.

Reference: "Dual Mutual Learning Network with Global-local Awareness for RGB-D Salient Object Detection", GL-DMNet, 2025
(arXiv 2501.01648), section III-B. The authors' code is not public: this is a reimplementation from the paper's
equations 1 to 23, whose numbers stand below. Golden `gl-dmnet`, of independent code. A position of its maps is a node,
a channel a feature, and a 3 x 3 or 7 x 7 convolution a linear map of a node and of the mean of its neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.pooling import at_nodes, pool_max, pool_mean
from fusion_jax.nn.presence import sending, zero_absent
from fusion_jax.nn.segment import at_receivers, at_senders, segment_sum
from fusion_jax.nn.stencil import Stencil, StencilLinear, around, itself
from fusion_jax.nn.streams import make_norm, normed
from fusion_jax.nn.within_graph import Blocks, blocks
from fusion_jax.records import Array, Attention, Context, Fused, Info
from fusion_jax.zoo import nearest

FORMS = ("parallel", "serial", "position", "channel", "none")
OVER = ("graph", "edges")
NORM_OVER = ("channels", "positions")
NORMS = ("batch", "layer")


class ConvBlock(nnx.Module):
    """relu(norm(W stencil(x) + b)): a convolution, its batch norm and its ReLU. 0 where not present.

    A layer norm of one feature would be a constant: then there is none.
    """

    def __init__(self, dim: int, out: int, *, views: int, norm: str, rngs: nnx.Rngs):
        self.linear = StencilLinear(dim, out, views=views, use_bias=True, rngs=rngs)
        self.norm = None if norm == "layer" and out == 1 else make_norm(norm, out, rngs)

    def __call__(self, x: Array, stencil: Stencil, present: Array, training: bool) -> Array:
        """x [N, dim] -> [N, out]; present bool [N]."""
        y = self.linear(x, stencil)
        y = y if self.norm is None else normed(self.norm, y, present, training)
        return zero_absent(jax.nn.relu(y), present)


class Reduce(nnx.Module):
    """Conv3(Conv1(x)), equations 1, 21 and 22."""

    def __init__(self, dim: int, out: int, *, norm: str, rngs: nnx.Rngs):
        self.conv1 = ConvBlock(dim, out, views=1, norm=norm, rngs=rngs)
        self.conv3 = ConvBlock(out, out, views=2, norm=norm, rngs=rngs)

    def __call__(self, x: Array, stencil: Stencil, present: Array, training: bool) -> Array:
        return self.conv3(self.conv1(x, itself, present, training), stencil, present, training)


class Steps(NamedTuple):
    """What a call goes through, by the paper's names."""

    f: Array  # [N, M, C]
    w_spatial: Array  # [N, 1], equation 4
    f_sp: Array  # [N, C], f_S
    w_channel: Array  # [G, M C], equation 13
    f_ch: Array  # [N, C], f_H
    affinity: Array  # [N, M], sum over f_S's nodes i of Ms_m(i, node)
    by_position: Array  # [N, M + 1, C], P_1 ... P_M, P_F
    by_channel: Array  # [N, M + 1, C], C_1 ... C_M, C_F
    channel_affinity: Array  # [G, M, C, C], Mc_m
    f_pmf: Array  # [N, C]
    f_cmf: Array  # [N, C]
    out: Array  # [N, C]


class GLDMNet(Fusion):
    """out = PMF + CMF of f_m = Conv3(Conv1(x_m)), D to C features, with weights of its own for each modality.

        f_A = sum_m f_m,  f_S = Conv1(f_A W_S + f_A),  W_S = Conv7([max_c f_A; mean_c f_A])              (3-5)
        Ms_m(i, j) = s(f_S(i) . f_m(j)),  P_m(j) = n(sum_i f_m(i) Ms_m(i, j)),  Ms_F = sum_m Ms_m        (6-11)
        W_C = FC(max over nodes) + FC(mean over nodes),  f_H = Conv1([f_1; ...; f_M] W_C)                (12-14)
        Mc_m = s(sum_i f_m(i) f_H(i)'),  C_m(i) = n(Mc_m f_m(i)),  Mc_F = sum_m Mc_m                     (15-20)
        PMF = Conv3(Conv1([P_1; ...; P_M; P_F])),  CMF alike                                             (21-23)

    s(a) = sign(a) sqrt|a|: the paper prints a power of -1/2, which is singular at 0; n(v) = v / |v|. P_F and C_F have
    f_S and f_H in the place of f_m. i and j are nodes of one graph. There is no softmax, no scale and no residual. A
    missing modality is 0 in every sum and counts in no pool, mean or batch statistic; a node without any is 0.

    All features are behind a ReLU, so that P and C are sums of like terms over the whole graph: where graphs are large
    they hardly differ between nodes, and what a node has of its own reaches `out` through little else.

    Args:
        form: "parallel", the paper's; "position" or "channel", one of the two; "serial", CMF of f_m + PMF (which two
            the paper joins is not said: ours); "none", f_A alone. The rows of the paper's ablation.
        over: what i runs over: "graph", all nodes of the graph, min(G B^2, N^2) numbers a modality with B the largest
            graph; "edges" (ours, for large graphs), the senders of j and j itself.
        norm_over: n over "channels" at each node, or over "positions", the nodes of a graph, at each channel.
        norm: of the blocks, "batch" or (ours) "layer".
        reduction: the hidden layer of FC has max(1, M C // reduction) units.
        out_dim: C, D if None.

    Attention "affinity" [N, M] is sum_i Ms_m(i, j), of any size: how much f_S finds of modality m's kind.

    Raises:
        ValueError: an option that is none of these.
    """

    info = Info(
        "Dual Mutual Learning Network with Global-local Awareness for RGB-D Salient Object Detection",
        2025,
        golden="gl-dmnet",
        cost="O(N M (B + D) D), B nodes in the largest graph",
        needs=("graph",),
    )
    placements = ("before", "after")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        form: str = "parallel",
        over: str = "graph",
        norm_over: str = "channels",
        norm: str = "batch",
        reduction: int = 16,
        out_dim: int | None = None,
        rngs: nnx.Rngs,
    ):
        given = (("form", form, FORMS), ("over", over, OVER), ("norm_over", norm_over, NORM_OVER))
        for name, value, known in (*given, ("norm", norm, NORMS)):
            if value not in known:
                raise ValueError(f"fusion 'gl_dmnet': {name}={value!r}{nearest(value, known)}; expected one of {known}")
        if reduction < 1:
            raise ValueError(f"fusion 'gl_dmnet': reduction={reduction}; expected at least 1")
        width = dim if out_dim is None else out_dim
        self.form, self.over, self.norm_over = form, over, norm_over
        self.reduce = nnx.List([Reduce(dim, width, norm=norm, rngs=rngs) for _ in range(modalities)])
        if form not in ("none", "channel"):
            self.spatial = ConvBlock(2, 1, views=2, norm=norm, rngs=rngs)
            self.sp = ConvBlock(width, width, views=1, norm=norm, rngs=rngs)
            self.pmf = Reduce((modalities + 1) * width, width, norm=norm, rngs=rngs)
        if form not in ("none", "position"):
            hidden = max(1, modalities * width // reduction)
            self.fc1 = nnx.Linear(modalities * width, hidden, rngs=rngs)
            self.fc2 = nnx.Linear(hidden, modalities * width, rngs=rngs)
            self.ch = ConvBlock(modalities * width, width, views=1, norm=norm, rngs=rngs)
            self.cmf = Reduce((modalities + 1) * width, width, norm=norm, rngs=rngs)

    def nodes(self, x: Array, mask: Array, graph: Graph, context: Context) -> Fused:
        near = [around(graph.view(m), mask[:, m]) for m in range(x.shape[1])]
        steps = self.steps(x, mask, graph, near, around(graph, mask.any(1)), training=context.key is not None)
        if steps.affinity is None:
            return Fused(steps.out)
        seen = Attention(
            "affinity", steps.affinity, ("node", "modality"), "node", "modality", valid=mask, normalised=False
        )
        return Fused(steps.out, attention=(seen,))

    def steps(
        self,
        x: Array,
        mask: Array,
        graph: Graph,
        near: list[Stencil],
        wide: Stencil,
        *,
        training: bool = False,
        wider: Stencil | None = None,
    ) -> Steps:
        """All of a call; what the form leaves out is None.

        Args:
            near: the stencil of Conv3 of every modality.
            wide: that of Conv3 of what is fused.
            wider: that of Conv7; `wide` if None.
        """
        present = mask.any(1)
        f = [one(x[:, m], near[m], mask[:, m], training) for m, one in enumerate(self.reduce)]
        f, held = jnp.stack(f, axis=1), dict.fromkeys(Steps._fields)
        held |= dict(f=f, out=f.sum(1))
        if self.form not in ("none", "channel"):
            held |= self._by_position(f, present, graph, wide, wide if wider is None else wider, training)
            held["out"] = held["f_pmf"]
        if self.form not in ("none", "position"):
            streams = f
            if self.form == "serial":
                streams = jnp.where(mask[..., None], f + held["f_pmf"][:, None], 0)
            held |= self._by_channel(streams, mask, graph, wide, training)
            held["out"] = held["f_cmf"] + (held["f_pmf"] if self.form == "parallel" else 0)
        return Steps(**held)

    def _by_position(self, f, present, graph: Graph, wide: Stencil, wider: Stencil, training: bool) -> dict:
        """Equations 3 to 11 and 21."""
        total = f.sum(1)
        described = jnp.stack([total.max(-1), total.mean(-1)], axis=-1)
        w = self.spatial(described, wider, present, training)
        f_sp = self.sp(total * w + total, itself, present, training)
        sums = along_edges if self.over == "edges" else within_graphs
        p, affinity = sums(f, f_sp, graph, present)
        p = self._normalised(p, present, graph)
        f_pmf = self.pmf(p.reshape(len(p), -1), wide, present, training)
        return dict(w_spatial=w, f_sp=f_sp, by_position=p, affinity=affinity, f_pmf=f_pmf)

    def _by_channel(self, f, mask, graph: Graph, wide: Stencil, training: bool) -> dict:
        """Equations 12 to 20 and 22."""
        n, m, width = f.shape
        present = mask.any(1)
        pools = (pool(f, mask, graph).reshape(-1, m * width) for pool in (pool_max, pool_mean))
        w = sum(self.fc2(jax.nn.relu(self.fc1(pool))) for pool in pools)  # [G, M C]
        f_ch = self.ch(f.reshape(n, -1) * at_nodes(w, graph, n), itself, present, training)
        held = blocks(graph, n)
        apart, fused = held.gather(f), held.gather(f_ch)  # [G, B, M, C], [G, B, C]
        mc = signed_root(jnp.einsum("gbmc,gbd->gmcd", apart, fused))
        c = jnp.einsum("gmcd,gbmd->gbmc", mc, apart)
        both = jnp.concatenate([c, jnp.einsum("gcd,gbd->gbc", mc.sum(1), fused)[:, :, None]], axis=2)
        c = self._normalised(held.scatter(both), present, graph)
        f_cmf = self.cmf(c.reshape(n, -1), wide, present, training)
        return dict(w_channel=w, f_ch=f_ch, channel_affinity=mc, by_channel=c, f_cmf=f_cmf)

    def _normalised(self, v: Array, present: Array, graph: Graph) -> Array:
        """n of v [N, M + 1, C]."""
        if self.norm_over == "channels":
            return unit(v, (v**2).sum(-1, keepdims=True))
        there = jnp.broadcast_to(present[:, None], v.shape[:2])
        count = pool_mean((v**2), there, graph) * _counts(there, graph, v.dtype)
        return unit(v, at_nodes(count, graph, len(v)))


def _counts(there: Array, graph: Graph, dtype) -> Array:
    """How many rows are there, [G, M, 1]."""
    total = jax.ops.segment_sum(there.astype(dtype), graph.graph_ids, graph.num_graphs, indices_are_sorted=True)
    return total[..., None]


def signed_root(a: Array) -> Array:
    """sign(a) sqrt|a|, with a gradient that is 0 at 0 and finite near it."""
    eps = 1e-14 if a.dtype == jnp.float64 else 1e-7
    return jnp.sign(a) * jnp.sqrt(jnp.abs(a) + eps)


def unit(v: Array, square: Array) -> Array:
    """v / sqrt(square), 0 where square is; square is at least 1e-24."""
    there = square > 1e-24
    return jnp.where(there, v / jnp.sqrt(jnp.where(there, square, 1)), 0)


def within_graphs(f: Array, f_sp: Array, graph: Graph, present: Array) -> tuple[Array, Array]:
    """sum_i v(i) s(f_S(i) . f_m(j)) over the nodes i of j's graph: [N, M + 1, C] before n, and the sums of s [N, M].

    On blocks of graphs, or on one matrix of all nodes with a mask, whichever is smaller.
    """
    n, held = len(f), blocks(graph, len(f))
    same = None
    if held.rows.size > n and held.rows.shape[0] * held.rows.shape[1] ** 2 > n**2:
        ids = jnp.arange(n)
        same = (held.graph[:, None] == held.graph[None])[None]
        held = Blocks(ids[None], present[None], jnp.zeros_like(ids), ids)
    apart, fused = held.gather(f), held.gather(f_sp)
    total, sums, found = 0, [], []
    for m in range(f.shape[1]):
        affinity = signed_root(jnp.einsum("gic,gjc->gij", fused, apart[:, :, m]))
        affinity = affinity if same is None else jnp.where(same, affinity, 0)
        total = total + affinity
        sums.append(affinity.sum(1))
        found.append(jnp.einsum("gij,gic->gjc", affinity, apart[:, :, m]))
    found.append(jnp.einsum("gij,gic->gjc", total, fused))
    return held.scatter(jnp.stack(found, axis=2)), held.scatter(jnp.stack(sums, axis=2))


def along_edges(f: Array, f_sp: Array, graph: Graph, present: Array) -> tuple[Array, Array]:
    """As `within_graphs`, with i the senders of j, as often as there are edges, and j itself."""
    keep = sending(present, graph) & (graph.senders != graph.receivers)
    at = at_senders(jnp.concatenate([f, f_sp[:, None]], axis=1), graph)  # [E, M + 1, C]
    there = at_receivers(f, graph)
    along = signed_root((at[:, -1:] * there).sum(-1)) * keep[:, None].astype(f.dtype)  # [E, M]
    own = signed_root((f_sp[:, None] * f).sum(-1))  # [N, M]
    weights = [jnp.concatenate([w, w.sum(1, keepdims=True)], axis=1)[..., None] for w in (along, own)]
    summed = segment_sum(weights[0] * at, graph)
    return summed + weights[1] * jnp.concatenate([f, f_sp[:, None]], axis=1), segment_sum(along, graph) + own
