"""What every readout must satisfy, for every file found in the folder: a batch of graphs of 4, 1 and 6 nodes."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.records import Context
from tests.contract import cases
from tests.contract.cases import close

SIZES = np.array([4, 1, 6])
N, L, D = int(SIZES.sum()), 3, 16
STARTS = np.cumsum(SIZES) - SIZES
PAIRS = np.array([[0, 2], [2, 1], [5, 9], [6, 6]])  # what link readouts read: within a graph, without node 3
each = pytest.mark.parametrize("name", zoo.names("readout"))


def graph(sizes=SIZES, order=None, linked=PAIRS) -> Graph:
    """Every graph a path in both directions; node i of it becomes row rank[i] where rows are reordered."""
    starts = np.cumsum(sizes) - sizes
    pairs = [(s + i, s + i + 1) for s, n in zip(starts, sizes, strict=True) for i in range(n - 1)]
    a, b = np.array(pairs, int).reshape(-1, 2).T
    rank = np.arange(int(np.sum(sizes))) if order is None else np.argsort(order)
    made = Graph.create(np.concatenate([rank[a], rank[b]]), np.concatenate([rank[b], rank[a]]), sizes)
    return dataclasses.replace(made, pairs=jnp.asarray(rank[linked], jnp.int32))


def inside(start: int, count: int) -> np.ndarray:
    """The pairs among `count` nodes from `start` on, whose ids begin at 0."""
    return PAIRS[((start <= PAIRS) & (PAIRS < start + count)).all(1)] - start


class Case:
    def __init__(self, name: str):
        self.cls = zoo.get("readout", name)
        self.graphdef, self.params, self.rest = nnx.split(self.cls(D, L, rngs=nnx.Rngs(0)), nnx.Param, ...)
        self.history = np.random.default_rng(3).normal(size=(N, L, D)).astype(np.float32)
        self.graph = graph()
        self.forward = jax.jit(self.run)
        self.out = np.asarray(self.forward(self.params, self.history, self.graph))

    def read(self, params, history, graph, key=None):
        return nnx.merge(self.graphdef, params, self.rest, copy=True)(history, graph, Context(key=key))

    def run(self, params, history, graph, key=None):
        return self.read(params, history, graph, key).out


@functools.cache
def case(name: str) -> Case:
    return Case(name)


@each
def test_shape(name):
    c = case(name)
    rows = {"node": N, "graph": len(SIZES), "link": len(PAIRS)}[c.cls.level]
    assert c.out.shape == (rows, c.cls.width(D)) and c.out.dtype == np.float32 and np.isfinite(c.out).all()


@each
def test_permuting_the_nodes_of_a_graph(name):
    """permutes the rows of a node readout and changes nothing for one of graphs or links."""
    c, rng = case(name), np.random.default_rng(0)
    order = np.concatenate([s + rng.permutation(n) for s, n in zip(STARTS, SIZES, strict=True)])
    assert (order != np.arange(N)).any()
    out = c.forward(c.params, c.history[order], graph(order=order))
    close(out, c.out[order] if c.cls.level == "node" else c.out)


@each
def test_graph_by_graph_is_the_batch(name):
    c = case(name)
    alone = [
        c.forward(c.params, c.history[s : s + n], graph(np.array([n]), linked=inside(s, n)))
        for s, n in zip(STARTS, SIZES, strict=True)
    ]
    close(np.concatenate(alone), c.out)


@each
def test_a_padding_graph_changes_nothing(name):
    """Nor does a graph without nodes, and what is read from either is finite."""
    c = case(name)
    history = np.concatenate([c.history, np.full((2, L, D), 50, np.float32)])
    out = np.asarray(c.forward(c.params, history, graph(np.array([*SIZES, 2, 0]))))
    close(out[: len(c.out)], c.out)
    assert np.isfinite(out).all()


@each
def test_rows_that_are_not_there_change_nothing(name):
    """The first graph without its last node, whether cut off or only marked as absent."""
    c = case(name)
    keep = np.arange(N) != 3
    left = np.cumsum(keep) - 1
    cut = c.forward(c.params, c.history[keep], graph(np.array([3, 1, 6]), linked=left[PAIRS]))
    full = c.graph
    ends = keep[np.asarray(full.senders)] & keep[np.asarray(full.receivers)]
    marked = Graph.create(np.asarray(full.senders)[ends], np.asarray(full.receivers)[ends], SIZES)
    marked = dataclasses.replace(marked, present=jnp.asarray(keep), pairs=full.pairs)
    history = np.where(keep[:, None, None], c.history, 50).astype(np.float32)
    out = np.asarray(c.forward(c.params, history, marked))
    close(out[keep] if c.cls.level == "node" else out, cut)


@each
def test_gradients_are_finite(name):
    """With randomness of training, an empty graph in the batch and nodes without any modality (all zero)."""
    c = case(name)
    history = c.history.copy()
    history[4:6] = 0
    batch = graph(np.array([*SIZES, 0]))
    loss = jax.jit(jax.grad(lambda p, h: (c.run(p, h, batch, jax.random.key(0)) ** 2).sum(), argnums=(0, 1)))
    dparams, dhistory = loss(c.params, history)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves((dparams, dhistory)))
    assert np.asarray(dhistory).any()


@each
def test_two_seeds_at_once(name):
    c = case(name)
    other = nnx.split(c.cls(D, L, rngs=nnx.Rngs(1)), nnx.Param, ...)[1]
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), c.params, other)
    out = jax.jit(jax.vmap(c.run, (0, None, None), axis_size=2))(both, c.history, c.graph)
    close(out[0], c.out)
    close(out[1], c.forward(other, c.history, c.graph))


@each
def test_attention_losses_and_heads(name):
    """Heads have the rows of what is read; losses are finite scalars."""
    c = case(name)
    read = jax.jit(c.read)(c.params, c.history, c.graph)
    cases.check_attention(read.attention, N)
    assert all(len(head.values) == len(c.out) for head in read.heads)
    assert all(v.shape == () and np.isfinite(v) for v in read.losses.values())


@pytest.mark.parametrize("name, rate", cases.with_rates("readout"))
def test_a_rate_above_0_and_a_key_make_something_random(name, rate):
    """Without a key nothing is: evaluation does not know of the rate."""
    c = case(name)
    readout = c.cls(D, L, **cases.only("readout", name, rate), rngs=nnx.Rngs(0))
    run = jax.jit(lambda key: readout(c.history, c.graph, Context(key=key)).out)
    assert cases.differ(*(run(jax.random.key(k)) for k in range(2)))
    close(run(None), c.out)
