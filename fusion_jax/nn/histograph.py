"""Attention over the stored layers, then over the nodes of each graph: what both HistoGraph readouts share.

Reference: Galron, Sinai, Maron, Eliasof, "Learning from Historical Activations in Graph Neural Networks", ICLR 2026
(arXiv 2601.01123); golden `histograph`. Step numbers are those of the paper's algorithm.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.pooling import graph_mean, node_count
from fusion_jax.nn.presence import sending
from fusion_jax.nn.segment import edge_attend
from fusion_jax.nn.within_graph import attend_within
from fusion_jax.records import Array, Attention
from fusion_jax.zoo import nearest

FORMS = ("gated", "core")
OVER = ("graph", "edges")


class Steps(NamedTuple):
    """What the history goes through, in order. log |sum_l c_gl| tells how near the weights are to exploding."""

    states: Array  # [N, L, D], X~: projected, with the code of the layer
    logits: Array  # [N, L], z
    c: Array  # [G, L], mean of z over the nodes of the graph
    alpha: Array  # [G, L], sums to 1, of any sign
    summed: Array  # [N, D], H
    attended: Array  # [N, D], Z
    out: Array  # [N, D], LN(Z + H); Z itself in form "core"


def layer_code(layers: int, dim: int) -> np.ndarray:
    """P [L, D]: sin(l / 10000^(2j/D)) at 2j, the cosine at 2j + 1."""
    even = np.arange(0, dim, 2)
    angle = np.arange(layers)[:, None] / 10000.0 ** (even / dim)
    code = np.zeros((layers, dim))
    code[:, 0::2], code[:, 1::2] = np.sin(angle), np.cos(angle)[:, : dim // 2]
    return code


def signed_weights(c: Array, count: Array, guard: float = 0.0) -> Array:
    """alpha_l = c_l / sum_l' c_l', [G, L]; 0 where `count` [G] is, so that a graph without nodes is no 0 / 0.

    A sum nearer to 0 than `guard` is replaced by guard with the sum's own sign, and alpha no longer sums to 1.
    """
    total = c.sum(-1, keepdims=True)
    if guard:
        total = jnp.where(jnp.abs(total) < guard, jnp.where(total < 0, -guard, guard).astype(c.dtype), total)
    return c / jnp.where(count[:, None] > 0, total, 1)


class HistoryAttention(nnx.Module):
    """Steps 1-8 of HistoGraph (see `readouts.histograph`) on the nodes of a batch of graphs.

    Args:
        name: of the readout, for errors.
        dim, out_dim: width of the history, and D.
        heads, rate, form, guard, over: as in `readouts.histograph`.
    """

    def __init__(
        self,
        name: str,
        dim: int,
        out_dim: int | None,
        *,
        heads: int,
        rate: float,
        form: str,
        guard: float,
        over: str,
        rngs: nnx.Rngs,
    ):
        width = dim if out_dim is None else out_dim
        if width % heads:
            raise ValueError(f"readout {name!r}: heads={heads} does not divide the width D={width}")
        for option, value, allowed in (("form", form, FORMS), ("over", over, OVER)):
            if value not in allowed:
                raise ValueError(f"readout {name!r}: {option}={value!r}{nearest(value, allowed)}; one of {allowed}")
        if guard < 0:
            raise ValueError(f"readout {name!r}: guard={guard}, expected 0 (none) or a positive number")
        self.emb_hist = nnx.Linear(dim, width, rngs=rngs)
        self.W_Q = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.W_K = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.mhsa = MultiHeadAttention(width, heads, rngs=rngs)
        self.ln = layer_norm(width, rngs=rngs) if form == "gated" else None
        self.rate, self.guard, self.over = rate, guard, over

    def layer_weights(self, states: Array, graph: Graph) -> tuple[Array, Array, Array]:
        """z [N, L], c [G, L] and alpha [G, L] of the states X~ [N, L, D], in float32 or wider."""
        wide = jnp.float64 if states.dtype == jnp.float64 else jnp.float32  # the sum of c may nearly vanish
        q, k = self.W_Q(states[:, -1]).astype(wide), self.W_K(states).astype(wide)
        logits = jnp.einsum("nd,nld->nl", q, k) / math.sqrt(states.shape[-1])
        c = graph_mean(logits, graph)
        return logits, c, signed_weights(c, node_count(graph), self.guard)

    def attend_nodes(self, x: Array, graph: Graph, key: Array | None) -> Array:
        """Self-attention of x [N, D] over the nodes of each graph, or over edges and the node itself."""
        m = self.mhsa
        q, k, v = m.split(m.query(x)), m.split(m.key(x)), m.split(m.value(x))
        (key,) = split_key(key, 1)
        if self.over == "edges":
            y, _ = edge_attend(q, k, v, graph.looped, sending(graph.present, graph.looped), rate=self.rate, key=key)
        else:
            y = attend_within(q, k, v, graph, rate=self.rate, key=key)
        return m.out(y.reshape(x.shape[0], -1))

    def shown(self, steps: Steps, graph: Graph) -> tuple[Attention]:
        """The weights of the layers, of any sign."""
        there = node_count(graph)[:, None] > 0
        axes = ("graph", "layer")
        return (Attention("layers", steps.alpha, axes, "graph", "layer", valid=there, normalised=not self.guard),)

    def __call__(self, history: Array, graph: Graph, *, key: Array | None = None) -> Steps:
        """history [N, L, dim], last state last."""
        states = self.emb_hist(history)
        states = states + jnp.asarray(layer_code(*states.shape[1:]), states.dtype)
        logits, c, alpha = self.layer_weights(states, graph)
        summed = jnp.einsum("nl,nld->nd", alpha[graph.graph_ids].astype(states.dtype), states)
        attended = self.attend_nodes(summed, graph, key)
        out = attended if self.ln is None else self.ln(attended + summed)
        return Steps(states, logits, c, alpha, summed, attended, out)
