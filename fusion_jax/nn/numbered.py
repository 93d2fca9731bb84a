"""Randomness that does not depend on how the nodes are shared out over devices.

There the rows of a graph stand in another order, some of them for no node. Within `numbered` what is drawn for a node
or an edge is what it would get in the whole graph: a row is known by the number that it has there.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.records import Array

Found = dict[int, tuple[Array, int]]  # length of an array: the numbers of its rows, how many there are of them in all
_NOW: contextvars.ContextVar[Found | None] = contextvars.ContextVar("numbers of rows", default=None)


@contextlib.contextmanager
def numbered(graph: Graph | None) -> Iterator[None]:
    """Inside, arrays with a row a node or an edge of `graph` draw by the numbers of the whole graph.

    An array is known by its length; lengths of nodes and of edge sets differ (`training.parting`). Nothing changes
    where the nodes are not shared out.
    """
    found: Found = {}
    for each in () if graph is None else (graph, *graph.views):
        for edge_set in filter(None, (each, each.looped)):
            if edge_set.parted is not None:
                rows, edges = edge_set.parted.rows.reshape(-1), edge_set.parted.edges.reshape(-1)
                found |= {edges.shape[0]: (edges, edges.shape[0]), rows.shape[0]: (rows, edge_set.parted.nodes)}
    with _set(found):
        yield


def of_one_node() -> contextlib.AbstractContextManager[None]:
    """Inside, no array has a row a node: what is written for one node is lifted to all."""
    return _set({})


@contextlib.contextmanager
def _set(found: Found) -> Iterator[None]:
    before = _NOW.set(found)
    try:
        yield
    finally:
        _NOW.reset(before)


def _known(rows: int) -> tuple[Array, int] | None:
    return (_NOW.get() or {}).get(rows)


def positions(shape: tuple[int, ...]) -> Array:
    """uint32 of `shape`, the place of each entry, counted through the whole graph where there is a row a node."""
    known = _known(shape[0]) if shape else None
    if known is None:
        return jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    inner = math.prod(shape[1:])
    first = known[0].astype(jnp.uint32).reshape(-1, *[1] * (len(shape) - 1)) * jnp.uint32(inner)
    return first + jax.lax.iota(jnp.uint32, inner).reshape(1, *shape[1:])


def for_rows(draw: Callable[[int], Array], rows: int) -> Array:
    """draw(rows), [rows, ...]; where the nodes are shared out what is drawn for all of the whole graph, row by row."""
    known = _known(rows)
    if known is None:
        return draw(rows)
    numbers, nodes = known
    return draw(nodes)[jnp.minimum(numbers, nodes - 1)]
