"""Sampled neighbourhoods of fixed shape: a batch of rows, some of their senders, some of theirs, and so on.

Hamilton, Ying and Leskovec, "Inductive Representation Learning on Large Graphs" (GraphSAGE), NeurIPS 2017. A
neighbourhood is a tree of slots: level 0 the B rows, and for every slot of level l so many of level l + 1 as the
fan-out says. Which slot sends to which never changes, so a program has one form for all batches and seeds; which node
is in a slot, and whether any is, is drawn on the device.

A node with no more senders than slots has each of them once, and slots that stay empty; another one a uniformly random
subset, without replacement. An edge that was drawn stands for degree / fan-out edges (`Graph.stands_for`), so that sums
over senders are unbiased, means and softmaxes are consistent (means over senders that are all there: unbiased), and all
of them are those of the whole graph where the fan-out is no less than its largest degree. An edge is drawn with its
weight, features and time. A node that stands in several slots is computed in each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax import keys
from fusion_jax.graphs import Graph
from fusion_jax.records import Array, Batch

LOOP = -1  # stands in `Neighbourhood.drawn` for an edge that was not drawn: a slot's own loop


def subsets(key: Array, sizes: Array, count: int) -> Array:
    """int [n, count]: of each range(sizes[i]) a uniformly random subset of `count`, without replacement (Floyd).

    Where the range is no longer than that, 0, 1, ..., count - 1: the places behind the range hold nothing.
    """
    places = jnp.arange(count, dtype=sizes.dtype)
    tops = jnp.maximum(sizes[:, None] - count + places, 0)  # [n, count]
    draws = jax.random.randint(key, tops.shape, 0, tops + 1, sizes.dtype)

    def one(j: Array, chosen: Array) -> Array:
        drawn, top = draws[:, j], tops[:, j]
        taken = (chosen == drawn[:, None]).any(1)
        return chosen.at[:, j].set(jnp.where(taken, top, drawn))

    chosen = jax.lax.fori_loop(0, count, one, jnp.full(tops.shape, -1, sizes.dtype))
    return jnp.where(sizes[:, None] <= count, places, chosen)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """The slots of a neighbourhood, B and behind them an edge each.

    Attributes:
        nodes: int [T], the node of every slot (any, where there is none).
        there: bool [T], whether there is one.
        edges: int [T - B], the edge of the whole graph by which a slot sends.
        stands_for: float [T - B], how many edges of the whole graph it stands for; 0 where it is empty.
        loop: bool [T - B], whether it is an edge from a node to itself.
    """

    nodes: Array
    there: Array
    edges: Array
    stands_for: Array
    loop: Array


class Neighbourhood:
    """The fixed form of the neighbourhoods of B = `rows` rows, one `fanout` a graph layer, from the rows outwards.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(self, rows: int, fanout: Sequence[int] = ()):
        if rows < 1 or any(f < 1 for f in fanout):
            raise ValueError(f"neighbourhood: rows={rows}, fanout={tuple(fanout)}; expected numbers of at least 1")
        self.rows, self.fanout = rows, tuple(fanout)
        levels = np.cumprod([rows, *self.fanout])
        self.sizes = tuple(int(size) for size in np.cumsum(levels))  # slots up to every level
        parents = [np.arange(size - level, size) for size, level in zip(self.sizes, levels, strict=True)]
        receivers = [np.repeat(ids, f) for ids, f in zip(parents, self.fanout, strict=False)]
        receivers = np.concatenate([np.zeros(0, int), *receivers])
        self._forms = []
        with jax.ensure_compile_time_eval():
            for size in self.sizes:
                edges = size - rows
                self._forms.append(Graph.create(rows + np.arange(edges), receivers[:edges], size))
        self._drawn = [self._by_which(form.looped) for form in self._forms]

    def _by_which(self, looped: Graph) -> np.ndarray:
        senders, receivers = np.asarray(looped.senders), np.asarray(looped.receivers)
        return np.where(senders == receivers, LOOP, senders - self.rows)

    def draw(self, graph: Graph, rows: Array, there: Array, key: Array) -> Drawn:
        """The slots of these rows, int [B], of which those are `there`."""
        nodes, here = [rows.astype(jnp.int32)], [there]
        edges, counts = [jnp.zeros(0, jnp.int32)], [jnp.zeros(0, jnp.float32)]
        loop = [jnp.zeros(0, bool)]
        for level, fanout in enumerate(self.fanout):
            first = graph.row_ptr[nodes[-1]]
            degree = jnp.where(here[-1], graph.row_ptr[nodes[-1] + 1] - first, 0)
            place = subsets(keys.fold_in(key, level), degree, fanout)
            taken = jnp.arange(fanout, dtype=degree.dtype) < degree[:, None]
            edge = jnp.where(taken, first[:, None] + place, 0)
            often = jnp.where(taken, jnp.maximum(degree[:, None].astype(jnp.float32) / fanout, 1), 0)
            # of a graph without edges there is nothing that could be looked up
            sender = graph.senders[edge] if graph.num_edges else jnp.zeros_like(edge)
            loop.append((sender == nodes[-1][:, None]).reshape(-1))
            nodes.append(jnp.where(taken, sender, 0).reshape(-1))
            here.append(taken.reshape(-1))
            edges.append(edge.reshape(-1))
            counts.append(often.reshape(-1))
        return Drawn(*(jnp.concatenate(held) for held in (nodes, here, edges, counts, loop)))

    def graph(self, whole: Graph, drawn: Drawn, level: int | None = None) -> Graph:
        """The slots up to a level (all if None) as a graph, with those up to the level before as its `inner`."""
        level = len(self.fanout) if level is None else level
        # else the compiler works out beforehand what it can of so many constants, which takes it many seconds
        form, size = jax.lax.optimization_barrier(self._forms[level]), self.sizes[level]
        edges = size - self.rows
        values = {name: v[drawn.edges[:edges]] for name, v in whole.edges.items()} if whole.num_edges else {}
        there = drawn.there[:size]
        by_loops, own = self._drawn[level], self._drawn[level] == LOOP

        def with_loops(values: Array, fill: float) -> Array:
            if not edges:
                return jnp.full((size, *values.shape[1:]), fill, values.dtype)
            loops = own.reshape(-1, *[1] * (values.ndim - 1))
            return jnp.where(loops, jnp.asarray(fill, values.dtype), values[by_loops])

        strength = None if whole.looped.strength is None else whole.looped.strength[drawn.nodes[:size]]
        looped = dataclasses.replace(
            _with_edges(form.looped, {k: with_loops(v, float(k == "weight")) for k, v in values.items()}),
            present=there,
            stands_for=with_loops(jnp.where(drawn.loop[:edges], 0, drawn.stands_for[:edges]), 1.0),
            strength=strength,
        )
        inner = self.graph(whole, drawn, level - 1) if level else None
        if inner is not None:
            looped = dataclasses.replace(looped, inner=inner.looped)
        return dataclasses.replace(
            _with_edges(form, values),
            present=there,
            stands_for=drawn.stands_for[:edges],
            looped=looped,
            inner=inner,
        )

    def sample(self, batch: Batch, rows: Array, there: Array, key: Array) -> Batch:
        """The neighbourhood of these rows as a model is given it: a row a slot, nothing in those that are empty."""
        if batch.graph is None:
            nodes, here, graph = rows, there, None
        else:
            drawn = self.draw(batch.graph, rows, there, key)
            nodes, here, graph = drawn.nodes, drawn.there, self.graph(batch.graph, drawn)
        features = {name: x[nodes] for name, x in batch.features.items()}
        return Batch(features, batch.mask[nodes] & here[:, None], graph, batch.names)


def _with_edges(form: Graph, values: dict[str, Array]) -> Graph:
    return dataclasses.replace(form, jraph=form.jraph._replace(edges=values or None))
