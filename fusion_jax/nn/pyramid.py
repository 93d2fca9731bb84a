"""Pyramids of Laplacian polynomials: a graph signal as a smooth band and detail bands whose sum it is."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.segment import propagate
from fusion_jax.records import Array


def laplacian(x: Array, graph: Graph, present: Array | None = None) -> Array:
    """L x with L = I - D^-1/2 A D^-1/2, [N, ...] as x; the row of a node that receives nothing is 0.

    A has the weights of the edges, 1 where there are none; D are its row sums. On an edge set that is the same in both
    directions the eigenvalues lie in [0, 2].

    Args:
        x: [N, ...]; with `present` [N, M] it is [N, M, ...], and modality m is on the edge set `graph.view(m)`.
        present: bool [N] or [N, M], who has something in x: the others are neither senders nor counted in D, so that
            a modality's nodes get what they would get in the subgraph of those that have it. The others still receive,
            as in a graph layer. None: everybody.
    """
    if present is None:
        present = jnp.ones(x.shape[:1], bool)
    if present.ndim == 2 and graph.views:
        each = [_one(x[:, m], graph.view(m), present[:, m]) for m in range(x.shape[1])]
        return jnp.stack(each, 1)
    return _one(x, graph, present)


def _one(x: Array, graph: Graph, present: Array) -> Array:
    """Presence stands in the right-hand sides, so that one sparse product serves all modalities of an edge set."""
    weight = graph.edges.get("weight", jnp.ones(graph.num_edges)).astype(x.dtype)
    total = propagate(present.astype(x.dtype), graph, weight)
    scale = jnp.where(total > 0, jax.lax.rsqrt(jnp.where(total > 0, total, 1)), 0)

    def along(a: Array) -> Array:
        return a.reshape(*a.shape, *[1] * (x.ndim - a.ndim))

    x = jnp.where(along(present & (total > 0)), x, 0)
    return x - along(scale) * propagate(along(scale) * x, graph, weight)


def pyramid(x: Array, graph: Graph | None, levels: int, present: Array | None = None) -> tuple[Array, list[Array]]:
    """low_K and [high_1, ..., high_K], each as x: low_0 = x, high_(k+1) = (L/2) low_k, low_(k+1) = low_k - high_(k+1).

    Nothing is thinned out, and x = low_K + sum_k high_k. An isolated node has low = x and high = 0; so has everybody
    without a graph.

    Args:
        x, present: as in `laplacian`.
        levels: K >= 0.
    """
    low, high = x, []
    for _ in range(levels):
        high.append(jnp.zeros_like(low) if graph is None else laplacian(low, graph, present) / 2)
        low = low - high[-1]
    return low, high
