"""Normalised adjacency: the weight of every edge in one step of graph convolution."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.dropout import dropout
from fusion_jax.nn.segment import at_receivers, at_senders, propagate, segment_sum
from fusion_jax.records import Array

NORMS = ("symmetric", "row")


def normalised(graph: Graph, how: str, dtype) -> tuple[Graph, Array]:
    """The graph with one loop a node, and the weight [E] >= 0 of each of its edges in the normalised A + I.

    Args:
        how: "symmetric": D^-1/2 (A + I) D^-1/2, D the row sums of A + I; "row": rows divided by their sum, so that
            a node takes a weighted mean of itself and its senders.
    """
    graph = graph.looped
    weight = graph.edges.get("weight", jnp.ones(graph.num_edges)).astype(dtype)
    if how == "row":
        return graph, weight / at_receivers(segment_sum(weight, graph), graph)
    scale = jax.lax.rsqrt(segment_sum(weight, graph) if graph.strength is None else graph.strength.astype(dtype))
    return graph, at_senders(scale, graph) * weight * at_receivers(scale, graph)


def convolve(
    x: Array,
    graph: Graph,
    how: str,
    present: Array | None = None,
    *,
    rate: float = 0.0,
    key: Array | None = None,
) -> Array:
    """The normalised A + I (see `normalised`) times x [N, ...]; only nodes that are `present` send or are counted.

    With `present` bool [N], A + I has only the columns of present nodes, its own loop among them: a present node gets
    what it would get in the graph of the present nodes alone, another one what they send it, 0 where none does.

    Args:
        rate: dropout on the entries of the normalised matrix, those of the loops among them.
    """
    if present is None:
        graph, weight = normalised(graph, how, x.dtype)
        return propagate(x, graph, dropout(weight, rate, key))
    # The same matrix for all modalities and seeds, whoever is present: presence stands in the right-hand sides, so
    # that one sparse product serves them all.
    graph = graph.looped
    weight = graph.edges.get("weight", jnp.ones(graph.num_edges)).astype(x.dtype)
    there = present.astype(x.dtype)
    if graph.strength is None or how == "row":
        total = propagate(there, graph, weight)
    else:  # of a part of a graph, where nobody sees what senders receive; models see to it that all are present
        total = graph.strength.astype(x.dtype)
    total = jnp.where(total > 0, total, 1).reshape(-1, *[1] * (x.ndim - 1))
    x = jnp.where(present.reshape(total.shape), x, 0)
    weight = dropout(weight, rate, key)
    if how == "row":
        return propagate(x, graph, weight) / total
    scale = jax.lax.rsqrt(total)
    return scale * propagate(scale * x, graph, weight)


def check_norm(owner: str, how: str) -> None:
    """Raises ValueError, naming the owner, where `how` is not one of `NORMS`."""
    if how not in NORMS:
        raise ValueError(f"{owner}: norm={how!r}; expected one of {NORMS}")
