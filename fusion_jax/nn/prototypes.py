"""Classification by the nearest class mean, and episodes of it: a few rows a class to average, some to classify."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fusion_jax.records import Array


def class_means(hidden: Array, labels: Array, valid: Array, classes: int) -> Array:
    """Means of hidden [N, ..., F] over the valid rows of each class, [C, ..., F]; 0 for a class without any."""
    member = valid[:, None] & (labels[:, None] == jnp.arange(classes, dtype=labels.dtype))
    member = member.astype(hidden.dtype)  # [N, C]
    shown = jnp.where(valid.reshape(-1, *[1] * (hidden.ndim - 1)), hidden, 0)
    total = jnp.einsum("nc,n...->c...", member, shown)
    count = jnp.maximum(member.sum(0), 1)
    return total / count.reshape(-1, *[1] * (hidden.ndim - 1))


def cosine(x: Array, w: Array) -> Array:
    """x [..., F] against w [C, F]: [..., C]; 0, with gradient 0, where either is the vector 0."""
    return jnp.einsum("...f,cf->...c", unit(x), unit(w))


def unit(x: Array) -> Array:
    """x / |x| over the last axis, 0 for 0."""
    square = (x**2).sum(-1, keepdims=True)
    return jnp.where(square > 0, x * jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)


class Episode(NamedTuple):
    """Rows drawn for every class, and what they are for; shapes do not depend on the draw."""

    rows: Array  # int [C, queries + shots]
    query: Array  # bool, as rows
    support: Array  # bool, as rows
    chosen: Array  # bool [C], the classes of the episode


def episode(
    labels: Array, valid: Array, classes: int, key: Array, *, shots: int, queries: int = 1, ways: int | None = None
) -> Episode:
    """`ways` classes at random (all if None), of each `queries` rows to classify and `shots` others to average.

    A class is chosen only if something is left to average; one with fewer valid rows than asked for has less support.

    Args:
        labels: int [N], read where `valid` [N].
    """
    draw, choose = jax.random.split(key)
    y = jnp.where(valid, labels, classes).astype(jnp.int32)  # rows that do not count stand last
    order = jnp.lexsort((jax.random.bits(draw, y.shape), y))
    count = (y[:, None] == jnp.arange(classes, dtype=jnp.int32)).sum(0, dtype=jnp.int32)
    start, place = jnp.cumsum(count, dtype=jnp.int32) - count, jnp.arange(queries + shots, dtype=jnp.int32)
    rows = order[jnp.minimum(start[:, None] + place, len(y) - 1)]
    able = count > queries
    lot = jnp.where(able, jax.random.uniform(choose, (classes,)), 2.0)
    chosen = able & (jnp.argsort(jnp.argsort(lot)) < (classes if ways is None else ways))
    there = (place < count[:, None]) & chosen[:, None]
    return Episode(rows, there & (place < queries), there & (place >= queries), chosen)
