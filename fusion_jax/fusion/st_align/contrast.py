"""Contrast with paired negatives from other parts of the graph, and its three targets.

Reference: dumbgoos/ST-Align at 738da0b (`pretrain.py`, `find_negtive_index.py`) with the package info-nce-pytorch;
golden `st-align/three_target_loss`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jraph

from fusion_jax.graphs import Graph
from fusion_jax.nn.segment import at_senders
from fusion_jax.records import Array
from fusion_jax.structures.partition import Parts


def info_nce(
    query: Array, positive: Array, negatives: Array, valid: Array | None = None, *, temperature: float
) -> Array:
    """-log softmax([q . p, q . n_1, ..., q . n_K] / temperature)_0 of vectors scaled to unit length, [...].

    Args:
        query, positive: [..., W].
        negatives: [..., K, W].
        valid: bool [..., K], the negatives that count; all if None.
    """
    query, positive, negatives = unit(query), unit(positive), unit(negatives)
    same = (query * positive).sum(-1, keepdims=True)
    other = jnp.einsum("...w,...kw->...k", query, negatives)
    if valid is not None:
        other = jnp.where(valid, other, -jnp.inf)
    return -jax.nn.log_softmax(jnp.concatenate([same, other], -1) / temperature)[..., 0]


def unit(x: Array) -> Array:
    """x / |x| along the last axis; a vector without length stays 0, and has the gradient 0."""
    square = (x**2).sum(-1, keepdims=True)
    return jnp.where(square > 1e-24, x * jax.lax.rsqrt(jnp.maximum(square, 1e-24)), 0)


def three_targets(spot: Array, niche: Array, cross: Array, *, alpha: float, beta: float) -> dict[str, Array]:
    """alpha spot + beta niche + (1 - alpha - beta) cross, term by term; a term of weight 0 is left out."""
    weighed = dict(spot_alignment=(alpha, spot), niche_alignment=(beta, niche))
    weighed["cross_level_alignment"] = (1 - alpha - beta, cross)
    return {name: share * value for name, (share, value) in weighed.items() if share > 1e-9}


class Drawn(NamedTuple):
    """Negatives of every node: rows int [N, K], and bool [N, K], false where a part has nobody to draw."""

    rows: Array
    found: Array


def draw(parts: Parts, count: int, has: Array, key: Array | None) -> Drawn:
    """One node of every other part of the same graph, uniform among those that have something.

    Without a key it is the one at the node's own place in its part, counted round the other part.

    Args:
        count: the number of parts of each graph, K + 1.
        has: bool [N], who can be drawn.
    """
    total, n = len(parts.size), len(has)
    held = parts.valid & has[jnp.minimum(parts.members, n - 1)]  # [P, B]
    members = jnp.take_along_axis(parts.members, jnp.argsort(~held, axis=1, stable=True), axis=1)
    own = jnp.minimum(parts.part, total - 1)
    slot = parts.slot[own][:, None]
    other = own[:, None] - slot + (slot + jnp.arange(1, count, dtype=slot.dtype)) % count  # [N, K]
    size = held.sum(1, dtype=jnp.int32)[other]
    if key is None:
        place = parts.local[:, None] % jnp.maximum(size, 1)
    else:
        share = jax.random.uniform(key, other.shape)
        place = jnp.minimum((share * size.astype(share.dtype)).astype(jnp.int32), jnp.maximum(size - 1, 0))
    return Drawn(jnp.minimum(members[other, place], n - 1), (size > 0) & (parts.part < total)[:, None])


def rows_of(x: Array, rows: Array) -> Array:
    """x[rows] of x [N, W] and rows int [N, K], [N, K, W], its gradient a sum over sorted rows."""
    n, count = rows.shape
    senders = rows.reshape(n * count).astype(jnp.int32)
    by_sender = jnp.argsort(senders, stable=True).astype(jnp.int32)
    ends = jnp.arange(n + 1, dtype=jnp.int32)
    receivers = jnp.repeat(ends[:-1], count, total_repeat_length=n * count)
    edges = jraph.GraphsTuple(None, None, receivers, senders, None, jnp.array([n]), jnp.array([n * count]))
    sender_ptr = jnp.searchsorted(senders[by_sender], ends).astype(jnp.int32)
    drawn = at_senders(x, Graph(edges, ends * count, by_sender, sender_ptr))
    return drawn.reshape(n, count, *x.shape[1:])
