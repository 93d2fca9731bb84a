"""What every mechanism must satisfy, for every file found in the folders.

Compilation is what costs time: each mechanism is compiled a few times (evaluation with padding, without,
training gradient, two seeds) and every property is read from those programs.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.records import Context, Fused
from tests import helpers

N, M, D = 7, 3, 16
PADDING = 2  # nodes at the end without modalities, joined only to each other


def each(kind: str):
    return [pytest.param(n, marks=pytest.mark.xdist_group(f"{kind}-{n}")) for n in zoo.names(kind)]


def padded(graph: Graph) -> Graph:
    """The graph with PADDING more nodes and some edges among them."""
    n = graph.num_nodes
    extra = np.arange(n, n + PADDING)
    edges = {k: np.concatenate([v, np.zeros((PADDING, *v.shape[1:]), v.dtype)]) for k, v in graph.edges.items()}
    return Graph.create(
        np.concatenate([np.asarray(graph.senders), extra]),
        np.concatenate([np.asarray(graph.receivers), extra[::-1]]),
        np.concatenate([np.asarray(graph.jraph.n_node), [PADDING]]),
        edges,
        tuple(padded(v) for v in graph.views),
    )


def graphs(modalities: int) -> Graph:
    rng = np.random.default_rng(5)

    def one(seed, views=()):
        g = helpers.small_graph(N, 20, seed)
        e = g.num_edges
        edges = {"weight": rng.random(e).astype(np.float32) + 0.1, "time": rng.random(e).astype(np.float32)}
        return Graph.create(np.asarray(g.senders), np.asarray(g.receivers), N, edges, views)

    return one(0, tuple(one(1 + m) for m in range(modalities)))


DEPTHS = ("layers", "memory_layers", "blocks", "depth", "self_attends")


def shallow(name: str, modalities: int) -> dict[str, int]:
    """Two layers where the default has more, if the mechanism exists so: a third takes time and shows nothing new."""
    deep = {k: 2 for k, v in zoo.options("fusion", name).items() if k in DEPTHS and isinstance(v, int) and v > 2}
    try:
        nnx.eval_shape(lambda: zoo.get("fusion", name)(modalities, D, **deep, rngs=nnx.Rngs(0)))
    except ValueError:
        return {}
    return deep


class Case:
    """One fusion, its compiled forms and its inputs."""

    def __init__(self, name: str):
        self.cls = zoo.get("fusion", name)
        self.m = self.cls.info.modalities[0] if self.cls.info.modalities else M
        self.shallow = shallow(name, self.m)
        self.module = self.build(0)
        self.graphdef, self.params, self.rest = nnx.split(self.module, nnx.Param, ...)
        rng = np.random.default_rng(1)
        self.x = rng.normal(size=(N, self.m, D)).astype(np.float32)
        self.mask = rng.random((N, self.m)) < 0.7
        self.mask[0] = False  # a node with nothing
        self.mask[1] = True
        self.mask[2:4, 0] = True
        self.graph = graphs(self.m)
        self.padded_graph = padded(self.graph)
        self.forward = jax.jit(lambda params, x, mask, graph: self.merge(params)(x, mask, graph))
        self.train = jax.jit(jax.value_and_grad(self.train_loss, argnums=(0, 1)))

    def build(self, seed: int):
        return self.cls(self.m, D, **self.shallow, rngs=nnx.Rngs(seed))

    def merge(self, params):
        return nnx.merge(self.graphdef, params, self.rest, copy=True)

    def train_loss(self, params, x, mask, graph):
        fused = self.merge(params)(x, mask, graph, context=Context(key=jax.random.key(3)))
        return (fused.out**2).sum() + sum(fused.losses.values(), jnp.float32(0))

    def pad(self, a):
        fill = np.zeros((PADDING, *a.shape[1:]), a.dtype)
        return np.concatenate([a, fill])

    @functools.cached_property
    def out(self) -> Fused:
        return self.forward(self.params, self.pad(self.x), self.pad(self.mask), self.padded_graph)


@functools.cache
def case(name: str) -> Case:
    return Case(name)


def close(a, b, tol=2e-5):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a, b, rtol=tol, atol=tol * max(1.0, float(np.abs(b).max(initial=0))))


@pytest.mark.parametrize("name", each("fusion"))
def test_fusion_shapes(name):
    """Shapes and dtypes as the contract says; jit = eager; losses are scalars."""
    c = case(name)
    n = N + PADDING
    assert c.out.out.shape == (n, D) and c.out.out.dtype == jnp.float32
    if c.out.tokens is not None:
        assert c.out.tokens.shape == (n, c.m, D) and c.out.tokens.dtype == jnp.float32
    assert ("interleaved" in c.cls.placements) <= (c.out.tokens is not None), "interleaved needs tokens"
    assert all(v.shape == () for v in c.out.losses.values())
    with jax.disable_jit(False):
        eager = c.module(jnp.asarray(c.pad(c.x)), jnp.asarray(c.pad(c.mask)), c.padded_graph)
    close(eager.out, c.out.out)


@pytest.mark.parametrize("name", each("fusion"))
def test_fusion_padding(name):
    """Padding nodes and edges changes nothing."""
    c = case(name)
    plain = c.forward(c.params, c.x, c.mask, c.graph)
    close(c.out.out[:N], plain.out)
    for k, v in plain.losses.items():
        close(c.out.losses[k], v)


@pytest.mark.parametrize("name", each("fusion"))
def test_fusion_mask(name):
    """A masked modality, NaN in its slot, has exactly no influence; a node with none is finite."""
    c = case(name)
    nan = np.where(c.mask[..., None], c.x, np.nan).astype(np.float32)
    other = c.forward(c.params, c.pad(nan), c.pad(c.mask), c.padded_graph)
    for a, b in zip(jax.tree.leaves(c.out), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert all(np.isfinite(np.asarray(v)).all() for v in jax.tree.leaves((c.out.out, c.out.tokens, c.out.losses)))


@pytest.mark.parametrize("name", each("fusion"))
def test_fusion_gradients(name):
    """Training gradients are finite, with NaN in masked slots too, and exactly 0 there."""
    c = case(name)
    x, mask = c.pad(c.x), c.pad(c.mask)
    value, (dparams, dx) = c.train(c.params, x, mask, c.padded_graph)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(dparams))
    assert not np.asarray(dx)[~mask].any()
    nan = np.where(mask[..., None], x, np.nan).astype(np.float32)
    value2, (dparams2, dx2) = c.train(c.params, nan, mask, c.padded_graph)
    np.testing.assert_array_equal(value, value2)
    for a, b in zip(jax.tree.leaves((dparams, dx)), jax.tree.leaves((dparams2, dx2)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", each("fusion"))
def test_fusion_node_permutation(name):
    """Permuting the nodes permutes the output."""
    c = case(name)
    order = np.random.default_rng(2).permutation(N)
    order = np.concatenate([order, np.arange(N, N + PADDING)])
    rank = np.argsort(order)

    def permuted(g: Graph) -> Graph:
        edges = {k: np.asarray(v) for k, v in g.edges.items()}
        return Graph.create(
            rank[np.asarray(g.senders)],
            rank[np.asarray(g.receivers)],
            np.asarray(g.jraph.n_node),
            edges,
            tuple(permuted(v) for v in g.views),
        )

    other = c.forward(c.params, c.pad(c.x)[order], c.pad(c.mask)[order], permuted(c.padded_graph))
    close(other.out, c.out.out[order])


@pytest.mark.parametrize("name", each("fusion"))
def test_fusion_seeds(name):
    """A seed alone equals that seed in a batch of seeds, and vmap over seeds works in training too."""
    c = case(name)
    other = nnx.split(c.build(1), nnx.Param, ...)[1]
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), c.params, other)
    args = c.pad(c.x), c.pad(c.mask), c.padded_graph
    train = jax.value_and_grad(c.train_loss, argnums=(0, 1))
    # axis_size: a mechanism without parameters has nothing to read the number of seeds from
    value, (dparams, _) = jax.jit(jax.vmap(train, (0, None, None, None), axis_size=2))(both, *args)
    for i, params in enumerate((c.params, other)):
        alone, (grads, _) = c.train(params, *args)
        close(value[i], alone, 1e-4)
        for a, b in zip(jax.tree.leaves(dparams), jax.tree.leaves(grads), strict=True):
            close(a[i], b, 1e-3)


@pytest.mark.parametrize("m", [1, 2, 6])
@pytest.mark.parametrize("name", each("fusion"))
def test_fusion_modality_counts(name, m):
    """Any number of modalities, or a refusal by name where the published form has a fixed one."""
    cls = zoo.get("fusion", name)
    if cls.info.modalities and m not in cls.info.modalities:
        with pytest.raises(ValueError, match=name):
            cls(m, D, rngs=nnx.Rngs(0))
        return
    graph = graphs(m)
    shape = nnx.eval_shape(
        lambda x: cls(m, D, rngs=nnx.Rngs(0))(x, jnp.ones((N, m), bool), graph).out,
        jax.ShapeDtypeStruct((N, m, D), jnp.float32),
    )
    assert shape.shape == (N, D)


@pytest.mark.parametrize("name", each("layer"))
def test_graph_layer(name):
    """Shape, dtype, finite gradients, permutation, padding, isolated node, batch of seeds."""
    layer = zoo.get("layer", name)(D, rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(layer, nnx.Param, ...)
    graph = graphs(1)
    x = np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)

    def forward(params, x, graph):
        return nnx.merge(graphdef, params, rest, copy=True)(x, graph)

    run = jax.jit(forward)
    y = np.asarray(run(params, x, graph))
    assert y.shape == (N, D) and y.dtype == np.float32 and np.isfinite(y).all()
    big = run(params, np.concatenate([x, np.ones((PADDING, D), np.float32)]), padded(graph))
    close(big[:N], y)
    order = np.random.default_rng(2).permutation(N)
    rank = np.argsort(order)
    moved = Graph.create(
        rank[np.asarray(graph.senders)],
        rank[np.asarray(graph.receivers)],
        N,
        {k: np.asarray(v) for k, v in graph.edges.items()},
    )
    close(run(params, x[order], moved), y[order])
    grads = jax.jit(jax.grad(lambda p, x: (forward(p, x, graph) ** 2).sum(), argnums=(0, 1)))(params, x)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    two = jax.tree.map(lambda a: jnp.stack([a, a]), params)
    close(jax.jit(jax.vmap(forward, (0, None, None)))(two, x, graph)[1], y)


@pytest.mark.parametrize("name", each("layer"))
def test_graph_layer_widths(name):
    """From one width to another, the second argument; not an option of the mechanism."""
    assert "out" not in zoo.options("layer", name)

    def make(*widths):
        return zoo.make("layer", name, *widths, rngs=nnx.Rngs(0))

    y = make(D, 12)(jnp.ones((N, D), jnp.float32), graphs(1))
    assert y.shape == (N, 12) and y.dtype == jnp.float32
    same = jax.tree.map(jnp.array_equal, nnx.state(make(D)), nnx.state(make(D, D)))
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize("name", each("layer"))
def test_graph_layer_presence(name):
    """Absent nodes, NaN in their rows, are not there: present nodes get what they get in the graph without them."""
    one_round = {"hops": 1} if "hops" in zoo.options("layer", name) else {}
    layer = zoo.get("layer", name)(D, **one_round, rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(layer, nnx.Param, ...)
    graph, x = graphs(1), np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
    present = np.array([1, 1, 0, 1, 0, 1, 1], bool)
    s, r = np.asarray(graph.senders), np.asarray(graph.receivers)
    assert (present[r] & ~present[s]).any()

    def forward(params, x, graph, present, key=None):
        return nnx.merge(graphdef, params, rest, copy=True)(x, graph, present, context=Context(key=key))

    run = jax.jit(forward)
    nan = np.where(present[:, None], x, np.nan)
    y = np.asarray(run(params, nan, graph, present))
    assert y.shape == (N, D) and y.dtype == np.float32 and np.isfinite(y).all()
    close(run(params, x, graph, np.ones(N, bool)), run(params, x, graph, None))
    rank, kept = np.cumsum(present) - 1, present[s] & present[r]
    edges = {k: np.asarray(v)[kept] for k, v in graph.edges.items()}
    alone = Graph.create(rank[s[kept]], rank[r[kept]], int(present.sum()), edges)
    close(y[present], run(params, x[present], alone, None))

    def loss(p, x, key):
        return (forward(p, x, graph, present, key) ** 2).sum()

    grads = jax.jit(jax.grad(loss, argnums=(0, 1)))
    for key in (None, jax.random.key(0)):
        (dparams, dx), (dparams2, dx2) = (grads(params, a, key) for a in (x, nan))
        assert not np.asarray(dx)[~present].any()
        for a, b in zip(jax.tree.leaves((dparams, dx)), jax.tree.leaves((dparams2, dx2)), strict=True):
            assert np.isfinite(a).all()
            np.testing.assert_array_equal(a, b)
    many = np.stack([present, np.roll(present, 1)])
    together = jax.jit(jax.vmap(forward, (None, None, None, 0)))(params, x, graph, many)
    for i in range(2):
        close(together[i], run(params, x, graph, many[i]))
    after = np.asarray(layer.reached(jnp.asarray(present), graph))
    hears = np.bincount(r[present[s]], minlength=N) > 0
    np.testing.assert_array_equal(after, present if name == "none" else present | hears)


@pytest.mark.parametrize("name", each("encoder"))
def test_encoder_presence(name):
    """A node that lacks the modality is not there: the others get what they get in the graph without it."""
    one_round = {"hidden": ()} if name == "gcn" else {}
    encoder = zoo.get("encoder", name)(D, D, **one_round, rngs=nnx.Rngs(0))
    graph, x = graphs(1), np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
    present = np.array([1, 1, 0, 1, 0, 1, 1], bool)
    x = np.where(present[:, None], x, 0)
    s, r = np.asarray(graph.senders), np.asarray(graph.receivers)
    rank, kept = np.cumsum(present) - 1, present[s] & present[r]
    edges = {k: np.asarray(v)[kept] for k, v in graph.edges.items()}
    alone = Graph.create(rank[s[kept]], rank[r[kept]], int(present.sum()), edges)
    y = np.asarray(encoder(x, graph, jnp.asarray(present)))
    close(y[present], encoder(x[present], alone))
    close(encoder(x, graph, jnp.ones(N, bool)), encoder(x, graph))
    after = np.asarray(encoder.reached(jnp.asarray(present), graph))
    hears = np.bincount(r[present[s]], minlength=N) > 0
    messages = "graph" in encoder.info.needs
    np.testing.assert_array_equal(after, present | hears if messages else present)


@pytest.mark.parametrize("kind", list(zoo.KINDS))
def test_catalogue(kind):
    """Every file defines a mechanism of its name, with a one-line summary and an entry."""
    for entry in (r for r in zoo.catalogue() if r["kind"] == kind):
        assert entry["summary"].endswith("."), entry["name"]
        assert entry["paper"], entry["name"]
        assert entry["pinned"] in ("authors' code", "stand-in", "independent"), entry["name"]
