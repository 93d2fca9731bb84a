"""The rules of a readout, asked on a batch of graphs of 4, 1 and 6 nodes."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import zoo
from fusion_jax.checking import inputs
from fusion_jax.checking.base import expect
from fusion_jax.checking.compared import check_attention, close, differ, equal, finite, not_finite
from fusion_jax.graphs import Graph
from fusion_jax.records import Context, Read

SIZES = np.array([4, 1, 6])
N, L, D = int(SIZES.sum()), 3, inputs.D
STARTS = np.cumsum(SIZES) - SIZES
PAIRS = np.array([[0, 2], [2, 1], [5, 9], [6, 6]])  # what link readouts read: within a graph, without node 3
LEVELS = {"node": N, "graph": len(SIZES), "link": len(PAIRS)}


def paths(sizes=SIZES, order=None, linked=PAIRS) -> Graph:
    """Every graph a path in both directions; node i of it becomes row rank[i] where rows are reordered."""
    starts = np.cumsum(sizes) - sizes
    pairs = [(s + i, s + i + 1) for s, n in zip(starts, sizes, strict=True) for i in range(n - 1)]
    a, b = np.array(pairs, int).reshape(-1, 2).T
    rank = np.arange(int(np.sum(sizes))) if order is None else np.argsort(order)
    made = Graph.create(np.concatenate([rank[a], rank[b]]), np.concatenate([rank[b], rank[a]]), sizes)
    return dataclasses.replace(made, pairs=jnp.asarray(rank[linked], jnp.int32))


def _inside(start: int, count: int) -> np.ndarray:
    """The pairs among `count` nodes from `start` on, whose ids begin at 0."""
    return PAIRS[((start <= PAIRS) & (PAIRS < start + count)).all(1)] - start


class Case:
    """One readout, its compiled form and its inputs."""

    kind = "readout"

    def __init__(self, name: str):
        self.name, self.mechanism = name, zoo.get("readout", name)
        self.told = dict(outputs=inputs.C) if "outputs" in self.mechanism.info.needs else {}
        self.given = ("dim", "layers"), ("rngs", *self.told)
        self.history = np.random.default_rng(3).normal(size=(N, L, D)).astype(np.float32)
        self.graph = paths()
        self.forward = jax.jit(self.run)

    @functools.cached_property
    def module(self):
        return self.build(0)

    @functools.cached_property
    def parts(self):
        """The definition, the parameters, and what else is kept."""
        return nnx.split(self.module, nnx.Param, ...)

    @property
    def params(self):
        return self.parts[1]

    def build(self, seed: int, **options):
        return self.mechanism(D, L, **self.told, **options, rngs=nnx.Rngs(seed))

    def read(self, params, history, graph, key=None):
        return nnx.merge(self.parts[0], params, self.parts[2], copy=True)(history, graph, Context(key=key))

    def run(self, params, history, graph, key=None):
        return self.read(params, history, graph, key).out

    @functools.cached_property
    def out(self) -> np.ndarray:
        return np.asarray(self.forward(self.params, self.history, self.graph))

    @property
    def of_nodes(self) -> bool:
        return self.mechanism.level == "node"


def it_returns_Read_of_the_right_shape(case):
    level = case.mechanism.level
    expect(level in LEVELS, f"level={level!r}", f"of {', '.join(LEVELS)}")
    read = jax.jit(case.read)(case.params, case.history, case.graph)
    what = "an array" if isinstance(read, jax.Array) else type(read).__name__
    expect(isinstance(read, Read), f"returned {what}, expected Read", "return Read(out)")
    shape = (LEVELS[level], case.mechanism.width(D))
    expect(
        read.out.shape == shape, f"out has the shape {read.out.shape}, expected {shape}", f"a row a {level}, width D"
    )
    expect(read.out.dtype == jnp.float32, f"out is {read.out.dtype}, expected float32 as the states are")
    expect(finite(read.out), "returned a number that is not finite")


def compiled_is_as_run_line_by_line(case):
    do = "no NumPy draw, no Python state and no branch on values inside the call"
    eager = case.run(case.params, jnp.asarray(case.history), case.graph)
    close(eager, case.out, "compiled it returns another result than run line by line", do)


def permuting_the_nodes_of_a_graph(case):
    """permutes the rows of a node readout and changes nothing for one of graphs or links."""
    rng = np.random.default_rng(0)
    order = np.concatenate([s + rng.permutation(n) for s, n in zip(STARTS, SIZES, strict=True)])
    out = case.forward(case.params, case.history[order], paths(order=order))
    expected = case.out[order] if case.of_nodes else case.out
    close(out, expected, "nodes of a graph in another order change it", "nothing may depend on a node's number")


def graph_by_graph_is_the_batch(case):
    alone = [
        case.forward(case.params, case.history[s : s + n], paths(np.array([n]), linked=_inside(s, n)))
        for s, n in zip(STARTS, SIZES, strict=True)
    ]
    do = "sum over the nodes of a graph (graph.graph_ids), not over all"
    close(np.concatenate(alone), case.out, "a graph in a batch is read as another than alone", do)


def a_padding_graph_changes_nothing(case):
    """Nor does a graph without nodes, and what is read from either is finite."""
    history = np.concatenate([case.history, np.full((2, L, D), 50, np.float32)])
    out = np.asarray(case.forward(case.params, history, paths(np.array([*SIZES, 2, 0]))))
    close(out[: len(case.out)], case.out, "a graph of padding changes what is read from the others")
    expect(finite(out), "a graph without nodes gets a number that is not finite", "guard the division by its nodes")


def rows_that_are_not_there_change_nothing(case):
    """The first graph without its last node, whether cut off or only marked as absent."""
    keep = np.arange(N) != 3
    left = np.cumsum(keep) - 1
    cut = case.forward(case.params, case.history[keep], paths(np.array([3, 1, 6]), linked=left[PAIRS]))
    full = case.graph
    ends = keep[np.asarray(full.senders)] & keep[np.asarray(full.receivers)]
    marked = Graph.create(np.asarray(full.senders)[ends], np.asarray(full.receivers)[ends], SIZES)
    marked = dataclasses.replace(marked, present=jnp.asarray(keep), pairs=full.pairs)
    history = np.where(keep[:, None, None], case.history, 50).astype(np.float32)
    out = np.asarray(case.forward(case.params, history, marked))
    found = out[keep] if case.of_nodes else out
    close(found, cut, "a row that stands for no node counts", "leave out rows where graph.present is false")


def gradients_are_finite(case):
    """With randomness of training, an empty graph in the batch and nodes without any modality (all zero)."""
    history = case.history.copy()
    history[4:6] = 0
    batch = paths(np.array([*SIZES, 0]))
    loss = jax.jit(jax.grad(lambda p, h: (case.run(p, h, batch, jax.random.key(0)) ** 2).sum(), argnums=(0, 1)))
    found = loss(case.params, history)
    bad = ", ".join(not_finite(nnx.to_pure_dict(found[0])))
    expect(finite(found), f"the gradient of {bad or 'the states'} is not finite", "jnp.where before division or root")
    expect(np.asarray(found[1]).any(), "no gradient reaches the states", "read them")


def two_seeds_at_once(case):
    other = nnx.split(case.build(1), nnx.Param, ...)[1]
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), case.params, other)
    out = jax.jit(jax.vmap(case.run, (0, None, None), axis_size=2))(both, case.history, case.graph)
    for found, params in zip(out, (case.params, other), strict=True):
        alone = case.forward(params, case.history, case.graph)
        close(found, alone, "a seed beside another gets another output", "the axis of seeds is jax.vmap")


def its_attention_its_losses_and_its_heads_are_some(case):
    """Heads have the rows of what is read; losses are finite scalars."""
    read = jax.jit(case.read)(case.params, case.history, case.graph)
    check_attention(read.attention, N)
    for head in read.heads:
        expect(len(head.values) == len(case.out), f"head {head.name!r} has {len(head.values)} rows of {len(case.out)}")
    for name, value in read.losses.items():
        expect(value.shape == () and finite(value), f"loss {name!r} is no finite scalar", "take its mean")


def a_rate_and_a_key_make_something_random(case):
    """Each of its rates above 0. Without a key nothing is: evaluation does not know of the rate."""
    for rate in inputs.rates("readout", case.name):
        readout = case.build(0, **inputs.only("readout", case.name, rate))
        run = jax.jit(lambda key, own=readout: own(case.history, case.graph, Context(key=key)).out)
        expect(differ(*(run(jax.random.key(k)) for k in range(2))), f"{rate}=0.5 and a key change nothing")
        close(run(None), case.out, f"without a key {rate}=0.5 changes the output", "dropout(x, rate, context.key)")


def without_a_key_nothing_is_random(case):
    first, second = (case.run(case.params, jnp.asarray(case.history), case.graph) for _ in range(2))
    equal(first, second, "two calls without a key differ", "draw with context.key only, and nothing where it is None")
