"""A model's predictions of all nodes in blocks, layer by layer: exact, without ever holding more than the states of all
nodes at one depth and what a block needs.

Encoders, fusions and heads take so many nodes at a time. A graph layer takes so many receivers at a time with all of
their senders, of which it reads the states of the depth before: memory O(N D + a block), time that of the whole forward
pass. Only for models whose mechanisms treat each node by itself, and whose graph layers are `local`
(`training.sampled.check` says which are not).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.model import Model
from fusion_jax.model.said import Said
from fusion_jax.records import EVALUATION, Array, Batch, Fused, Output


def block_edges(row_ptr: np.ndarray, rows: int) -> int:
    """The most edges that a block of so many receivers has, at least 1."""
    starts = np.arange(0, len(row_ptr) - 1, rows)
    return max(int(np.max(row_ptr[np.minimum(starts + rows, len(row_ptr) - 1)] - row_ptr[starts], initial=0)), 1)


def in_blocks(model: Model, batch: Batch, *, rows: int, edges: int) -> Output:
    """What `model(batch)` says in evaluation, to rounding: prediction, streams, uncertainty and evidence of all nodes.

    Args:
        rows: nodes in a block.
        edges: the most edges that a block receives (`block_edges`); fewer would leave some out.
    """
    graph, n, held = batch.graph, len(batch.mask), nnx.split(model)
    before, last = model.placement == "before", len(model.fusions) - 1

    def own() -> Model:
        """The model within a block: of a loop outside of it no variable may be set, as layers do."""
        return nnx.merge(*held, copy=True)

    def each(call: Callable, *given: Any) -> Any:
        return _by_rows(call, given, n, min(rows, n))

    def fuse(i: int, h: Array, seen: Array) -> tuple[Fused, Said]:
        fused, said = own().fusions[i](h, seen), Said()
        said.fused("", fused)
        return fused, said

    def encode(features: dict, mask: Array, there: Array | None):
        part = Batch(features, mask, None if there is None else _without_edges(there), batch.names)
        x, present = own().encode(part)
        if not before:
            return x, present, present, None
        seen = model.seen(present, part)
        fused, said = fuse(0, x, seen)
        return fused.out, model.fusions[0].reached(seen, None), present, (said.uncertainty, said.evidence)

    there = None if graph is None or graph.present is None else graph.present
    h, present, mask, opinion = each(encode, batch.features, batch.mask, there)
    present, seen = model.senders(present, graph), model.seen(mask, batch)
    place, depth = ("layer", len(model.layers)) if before else ("stream", len(model.streams))
    for i in range(depth):
        if model.placement == "interleaved":
            h = each(lambda h, seen, i=i: fuse(i, h, seen)[0].tokens, h, seen)
            present = model.senders(seen, graph)
        predicts = model.head is None and i + 1 == depth and (before or model.placement == "decision")

        def convolve(h: Array, present: Array | None, graph: Graph | None = None, i=i, predicts=predicts):
            one = own()
            layer = (one.layers if before else one.streams)[i]
            return one.convolve(layer, h, graph, present, EVALUATION, Said(), f"{place} {i + 1}", predicts, i)

        if graph is None:
            h, present = each(convolve, h, present)
        else:
            h, present = _by_receivers(convolve, h, present, graph, n, min(rows, n), edges)
        seen = seen if present is None or before else model.seen(present, batch)

    def finish(h: Array, seen: Array):
        one, said, streams = own(), Said(), None
        if model.placement == "decision":
            h = h if one.head is None else jax.vmap(lambda head, h: head(h), (0, 1), 1)(one.head, h)
            streams = h
        if not before:
            fused, said = fuse(last, h, seen)
            h = fused.prediction if model.head_kind == "fusion" else fused.out
        if one.readout is not None:
            h = one.head(one.readout(h[:, None], None).out)
        return h, streams, (said.uncertainty, said.evidence)

    prediction, streams, stated = each(finish, h, seen)
    uncertainty, evidence = opinion if before else stated
    return Output(prediction, streams, None, None, batch.mask, present=seen, uncertainty=uncertainty, evidence=evidence)


def _by_rows(call: Callable, held: Any, n: int, rows: int) -> Any:
    """`call` of the arrays [N, ...] in `held`, so many rows at a time; the last block repeats the last row."""

    def one(i: Array) -> Any:
        ids = jnp.minimum(i * rows + jnp.arange(rows), n - 1)
        return call(*jax.tree.map(lambda a: a[ids], held))

    return _joined(jax.lax.map(one, jnp.arange(-(-n // rows))), n)


def _joined(found: Any, n: int) -> Any:
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], found)


def _by_receivers(
    call: Callable, h: Array, present: Array | None, graph: Graph, n: int, rows: int, edges: int
) -> tuple[Array, Array | None]:
    """`call(h, present, graph)` of a graph layer, so many receivers at a time, each block with all of its senders."""

    def one(i: Array) -> Any:
        part, ids = _block(graph, i * rows, n, rows, edges)
        own, heard = call(h[ids], None if present is None else present[ids], part)
        return own[:rows], None if heard is None else heard[:rows]

    return _joined(jax.lax.map(one, jnp.arange(-(-n // rows))), n)


def _block(graph: Graph, start: Array, n: int, rows: int, edges: int) -> tuple[Graph, Array]:
    """The receivers from `start` on, and behind them a node for each of their edges, which it sends by; and the nodes'
    ids in the whole graph. Edges that are not there stand for none, and lead to the last node."""
    at = start + jnp.arange(rows + 1)
    ends = graph.row_ptr[jnp.minimum(at, n)]
    ptr, first = ends - ends[0], ends[0]
    edge = jnp.arange(edges, dtype=ptr.dtype)
    there = edge < ptr[-1]
    ids_of = jnp.where(there, first + edge, 0)
    receiver = jnp.where(there, jnp.searchsorted(ptr, edge, side="right").astype(ptr.dtype) - 1, rows + edges - 1)
    own = jnp.minimum(at[:-1], n - 1).astype(ptr.dtype)
    sender = graph.senders[ids_of] if graph.num_edges else jnp.zeros_like(edge)
    ids = jnp.concatenate([own, sender])
    values = {name: v[ids_of] for name, v in graph.edges.items()} if graph.num_edges else {}
    one = there.astype(jnp.float32)
    if graph.stands_for is not None:
        one = one * graph.stands_for[ids_of]
    row_ptr = jnp.concatenate([ptr, jnp.full(edges - 1, ptr[-1]), jnp.full(1, edges, ptr.dtype)])
    zeros = jnp.zeros(rows, ptr.dtype)
    plain = _graph(
        rows + edge, receiver, row_ptr, edge, jnp.concatenate([zeros, jnp.arange(edges + 1, dtype=ptr.dtype)]), values
    )
    # with loops: of every receiver its own first, then its edges
    before_edge = edge + jnp.minimum(receiver, rows - 1) + 1
    before_loop = ptr[:-1] + jnp.arange(rows, dtype=ptr.dtype)
    order = jnp.concatenate([before_loop, before_edge])

    def placed(loops: Array, others: Array) -> Array:
        joined = jnp.concatenate([loops, others])
        return jnp.zeros_like(joined).at[order].set(joined, unique_indices=True)

    here = jnp.arange(rows, dtype=ptr.dtype)
    loops = {
        name: placed(jnp.full((rows, *v.shape[1:]), float(name == "weight"), v.dtype), v) for name, v in values.items()
    }
    again = there & (sender == own[jnp.minimum(receiver, rows - 1)])  # a loop that was there is the one that is added
    all_nodes = jnp.arange(rows + edges + 1, dtype=ptr.dtype)
    looped = _graph(
        placed(here, rows + edge),
        placed(here, receiver),
        row_ptr + jnp.minimum(all_nodes, rows),
        order,
        all_nodes,
        loops,
    )
    present = None if graph.present is None else graph.present[ids]
    strength = None if graph.looped.strength is None else graph.looped.strength[ids]
    looped = dataclasses.replace(
        looped,
        present=present,
        strength=strength,
        stands_for=placed(jnp.ones(rows, jnp.float32), jnp.where(again, 0, one)),
    )
    return dataclasses.replace(plain, present=present, stands_for=one, looped=looped), ids


def _graph(senders: Array, receivers: Array, row_ptr: Array, by_sender: Array, sender_ptr: Array, edges: dict) -> Graph:
    count = row_ptr.shape[0] - 1
    held = jraph.GraphsTuple(
        nodes=None,
        edges=edges or None,
        receivers=receivers,
        senders=senders,
        globals=None,
        n_node=jnp.full(1, count, jnp.int32),
        n_edge=jnp.full(1, senders.shape[0], jnp.int32),
    )
    return Graph(held, row_ptr, by_sender, sender_ptr, largest=count)


def _without_edges(there: Array) -> Graph:
    """Nodes of which some are there, none of which sends."""
    none, ptr = jnp.zeros(0, jnp.int32), jnp.zeros(len(there) + 1, jnp.int32)
    return dataclasses.replace(_graph(none, none, ptr, none, ptr, {}), present=there)
