"""Sums over edges and every layer that says it can: nodes on eight devices give the numbers of one graph in float64."""

import os
import subprocess
import sys

BEGIN = """
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.nn.numbered import numbered
from fusion_jax.nn.segment import (
    at_receivers, at_senders, degree, edge_attend, edge_dot, propagate, segment_max, segment_softmax, segment_sum
)
from fusion_jax.records import Context
from fusion_jax.training.node_layout import layout, node_mesh
from fusion_jax.training.parting import parted

assert jax.device_count() == 8
RNG = np.random.default_rng(0)

def random(n, edges):  # loops, edges that are there twice, nodes that send or receive nothing
    senders, receivers = RNG.integers(0, n - 3, (2, edges))
    senders[:4], receivers[:4] = receivers[:4], receivers[:4]
    senders[4:8], receivers[4:8] = senders[8:12], receivers[8:12]
    return Graph.create(senders, receivers, n, dict(weight=RNG.random(edges) + 0.1))

def shared(graph, parts):
    where, mesh = layout(graph, parts), node_mesh(parts)
    return where, parted(graph, where, mesh), NamedSharding(mesh, PartitionSpec("nodes"))

def close(a, b, what):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-9, atol=1e-9, err_msg=what)
"""

SUMS = """
def sums(x, weight, graph):  # x [N, 2, 3], weight [E]: every function that looks along edges, into a row a node
    heads = jnp.stack([weight, weight**2], 1)
    soft = segment_softmax(edge_dot(x, jnp.sin(x), graph), graph, weight > 0.4)
    top = segment_max(weight, graph)
    found = [
        propagate(x, graph), propagate(x, graph, weight), propagate(x, graph, heads),
        segment_sum(at_senders(x, graph) * at_receivers(x, graph) * soft[:, :, None], graph),
        edge_attend(x, x**2, jnp.cos(x), graph, bias=heads)[0],
        jnp.broadcast_to(jnp.where(jnp.isfinite(top), top, 0)[:, None, None], x.shape),
        jnp.broadcast_to(degree(graph, x.dtype)[:, None, None], x.shape),
        propagate(jax.vmap(lambda v: propagate(v, graph, weight), 1, 1)(x), graph),
    ]
    return jnp.stack(found, 1)

def both(x, weight, c, graph):
    def value(x, weight):
        found = sums(x, weight, graph)
        return (found * c).sum(), found
    (_, found), gradients = jax.value_and_grad(value, (0, 1), has_aux=True)(x, weight)
    return found, *gradients

run, gathered = jax.jit(both), set()
nobody, path = np.zeros(0, int), np.arange(39)
for name, graph, parts in (
    ("random", random(21, 70), 8),
    ("random", random(20, 70), 3),
    ("all to all", Graph.create(*np.divmod(np.arange(256), 16), 16), 8),
    ("path", Graph.create(np.append(path, path + 1), np.append(path + 1, path), 40), 2),
    ("no edges", Graph.create(nobody, nobody, 9), 4),
    ("empty parts", Graph.create(np.array([0, 1, 2, 2]), np.array([1, 0, 1, 2]), 3), 8),
    ("one part", random(9, 20), 1),
):
    where, other, along = shared(graph, parts)
    gathered.add(other.parted.send is None)
    x, c = RNG.normal(size=(graph.num_nodes, 2, 3)), RNG.normal(size=(graph.num_nodes, 8, 2, 3))
    weight = np.asarray(graph.edges.get("weight", np.ones(graph.num_edges)), np.float64)
    number = np.asarray(other.parted.edges).reshape(-1)
    own = number < graph.num_edges
    weights = jax.device_put(np.append(weight, 1)[number], along)
    expected = run(x, weight, c, graph)
    placed = (jax.device_put(where.of_rows(a), along) for a in (x, c))
    found = run(next(placed), weights, next(placed), other)
    for what, a, b in zip(("values", "gradient of x"), found, expected):
        close(np.asarray(a)[where.row], b, f"{name}: {what}")
    gradient = np.zeros(graph.num_edges)
    gradient[number[own]] = np.asarray(found[2])[own]
    close(gradient, expected[2], f"{name}: gradient of the weights")
assert gathered == {False, True}, "both ways of exchange"
"""

LAYERS = """
graph = random(21, 70)
where, other, along = shared(graph, 8)
n, D, key = graph.num_nodes, 4, jax.random.key(3)
x, c = RNG.normal(size=(2, n, D))
present = RNG.random(n) < 0.7
OPTIONS = dict(appnp=dict(hops=2), gin=dict(learn_eps=True))
OPTIONS |= dict(gat=dict(heads=2, rate=0.3, value_rate=0.2), gatv2=dict(heads=2, rate=0.3))
names = [name for name in zoo.names("layer") if zoo.get("layer", name).parted]
assert set(names) >= {"gcn", "sage", "gin", "gat", "gatv2", "sgc", "appnp"}, names
for name in names:
    layer = zoo.make("layer", name, D, options=OPTIONS.get(name, {}), rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(layer)
    state = jax.tree.map(lambda a: a.astype(jnp.float64), state)

    def run(state, x, c, graph, present):
        def value(state, x):
            own = nnx.merge(graphdef, state, copy=True)
            with numbered(graph):
                y = own(jax.nn.relu(x), graph, present, Context(key=key))
            return jnp.where(c != 0, y * c, 0).sum(), (y, own.reached(present, graph), nnx.state(own, nnx.BatchStat))
        return jax.value_and_grad(value, (0, 1), has_aux=True)(state, x)

    run = jax.jit(run)
    (value, (y, reached, statistics)), (of_state, of_x) = run(state, x, c, graph, present)
    placed = (jax.device_put(where.of_rows(a), along) for a in (x, c))
    (v, (a, reaches, s)), (da, dx) = run(state, *placed, other, jax.device_put(where.of_rows(present), along))
    close(v, value, f"{name}: value")
    for what, mine, its in (("y", a, y), ("who is reached", reaches, reached), ("gradient of x", dx, of_x)):
        close(np.asarray(mine)[where.row], its, f"{name}: {what}")
    for mine, its in zip(*map(jax.tree.leaves, ((da, s), (of_state, statistics)))):
        close(mine, its, f"{name}: parameters or statistics")
"""


def test_nodes_on_several_devices_give_the_numbers_of_one_graph():
    """In one process: its start takes as long as all of that."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    code = [sys.executable, "-c", BEGIN + SUMS + LAYERS]
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(code, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
