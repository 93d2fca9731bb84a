"""What a trained model predicts where nodes lack more modalities, features are others, or edges are gone or others."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.records import Array, Batch, Context
from fusion_jax.results.restore import Restored, predict
from fusion_jax.structures.base import derive
from fusion_jax.training.compilation import own_settings
from fusion_jax.training.derived import structures_of


@own_settings()
def under_masks(cell: Restored, i: int, masks: np.ndarray, graph: Graph | None = None) -> np.ndarray:
    """[K, R, C], what the i-th seed's model predicts for all rows under each of the masks, in the target's own units.

    All are one compiled program, which all seeds share.

    Args:
        masks: bool [K, N', M], who has which modality, N' nodes as `cell.batch(i)` has; no node gains by them what it
            lacks.
        graph: in the place of the cell's own.
    """
    batch = cell.batch(i)
    batch = batch if graph is None else batch.with_graph(graph)
    told = _under_masks(*nnx.split(cell.models[i]), batch, cell.context(i), jnp.asarray(masks))
    return np.stack([cell.prepared.own_units(one, i) for one in np.asarray(told, np.float32)])


@functools.partial(jax.jit, static_argnums=0)
def _under_masks(graphdef: Any, state: Any, batch: Batch, context: Context, masks: Array) -> Array:
    def one(mask: Array) -> Array:
        return nnx.merge(graphdef, state)(batch.with_mask(batch.mask & mask), context=context).prediction

    return jax.lax.map(one, masks)


def under_features(cell: Restored, i: int, change: Callable[[str, np.ndarray], np.ndarray]) -> np.ndarray:
    """[R, C], what the i-th seed's model predicts from other features, in the target's own units.

    Args:
        change: (modality, x [N', d] as the model sees it) -> what it sees instead.
    """
    batch = cell.batch(i)
    features = {name: jnp.asarray(change(name, np.asarray(x)), x.dtype) for name, x in batch.features.items()}
    told = predict(cell.models[i], dataclasses.replace(batch, features=features), cell.context(i))
    return cell.prepared.own_units(told, i)


def under_graph(cell: Restored, i: int, graph: Graph) -> np.ndarray:
    """[R, C], what the i-th seed's model predicts on another graph, in the target's own units."""
    told = predict(cell.models[i], cell.batch(i).with_graph(graph), cell.context(i))
    return cell.prepared.own_units(told, i)


def without_edges(cell: Restored, i: int) -> Graph:
    """The graph that the i-th seed's model is evaluated on without an edge, in every view too.

    Raises:
        ValueError: a mechanism needs a structure that cannot be made of no edges; names it.
    """

    def bare(g: Graph) -> Graph:
        none, loops = np.zeros(g.num_edges, bool), np.asarray(g.looped.senders) == np.asarray(g.looped.receivers)
        return dataclasses.replace(_of_edges(g, none), looped=_of_edges(g.looped, loops))

    return _structured(cell, i, bare)


def rewired(cell: Restored, i: int, share: float, rng: np.random.Generator) -> Graph:
    """The graph that the i-th seed's model is evaluated on, with a share of its edges led astray, in every view too.

    Of the pairs of nodes with an edge, in whatever direction, the share is drawn; of each one end stays, and the other
    becomes a node of the same graph of the batch, drawn uniformly of those that are there, that is not the first; both
    directions move alike, and edges keep what they carry. Loops stay. With equal generators the pairs of a lower share
    are among those of a higher one.
    """

    def astray(g: Graph) -> Graph:
        pairs = np.unique(_pairs(g)[np.asarray(g.senders) != np.asarray(g.receivers)])
        low, high = pairs // g.num_nodes, pairs % g.num_nodes
        moves, stays_low, place = rng.random(len(pairs)) < share, rng.random(len(pairs)) < 0.5, rng.random(len(pairs))
        stays, goes = np.where(stays_low, low, high), np.where(stays_low, high, low)
        new = np.where(moves, _another(g, stays, place), goes)

        def moved(h: Graph) -> Graph:
            s, r = np.asarray(h.senders), np.asarray(h.receivers)
            if len(pairs) == 0:
                return h
            of = np.minimum(np.searchsorted(pairs, _pairs(h)), len(pairs) - 1)  # of a loop any: it stays
            ends = (np.where((end == stays[of]) | (s == r), end, new[of]) for end in (s, r))
            return _of_edges(h, np.ones(len(s), bool), *ends)

        return dataclasses.replace(moved(g), looped=moved(g.looped))

    return _structured(cell, i, astray)


def _pairs(g: Graph) -> np.ndarray:
    """int64 [E], a number for the two ends of every edge, whatever its direction."""
    s, r = np.asarray(g.senders, np.int64), np.asarray(g.receivers, np.int64)
    return np.minimum(s, r) * g.num_nodes + np.maximum(s, r)


def _another(g: Graph, node: np.ndarray, place: np.ndarray) -> np.ndarray:
    """A node of the same graph of the batch as each of `node` [P], not itself, at the place in [0, 1) among those that
    are there; itself where it is alone."""
    there = np.ones(g.num_nodes, bool) if g.present is None else np.asarray(g.present)
    ids = np.flatnonzero(there)  # ascending, so that those of a graph stand together
    counts = np.asarray(g.jraph.n_node)
    ends = np.cumsum(counts)
    graph_of = np.searchsorted(ends, node, side="right")
    first = np.searchsorted(ids, (ends - counts)[graph_of])
    count = np.searchsorted(ids, ends[graph_of]) - first
    own = np.searchsorted(ids, node) - first
    drawn = (place * np.maximum(count - 1, 0)).astype(int)
    return ids[first + np.where(count > 1, drawn + (drawn >= own), own)]


def _of_edges(
    g: Graph, keep: np.ndarray, senders: np.ndarray | None = None, receivers: np.ndarray | None = None
) -> Graph:
    """One edge set, with the edges of `keep` bool [E] only and with other ends where some are given; without what was
    derived from it."""
    senders = np.asarray(g.senders) if senders is None else senders
    receivers = np.asarray(g.receivers) if receivers is None else receivers
    edges = {name: np.asarray(value)[keep] for name, value in g.edges.items()}
    made = Graph.create(senders[keep], receivers[keep], np.asarray(g.jraph.n_node), edges, looped=False)
    return dataclasses.replace(made, present=g.present, pairs=g.pairs)


def _structured(cell: Restored, i: int, change: Callable[[Graph], Graph]) -> Graph:
    graph = cell.batch(i).graph
    made = dataclasses.replace(change(graph), views=tuple(change(view) for view in graph.views))
    shared, views = structures_of(cell.models[i])
    return derive([made], shared, views)[0] if shared or views else made
