"""GPCR-Filter: what the golden cases cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.gpcr_filter import GpcrFilter, Predictor
from fusion_jax.graphs import Graph
from tests import helpers

N, M, D = 6, 3, 8
COUNTS = np.array([3, 2, 1])
EDGES = np.array([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])  # a path of 3, an edge, a single node


def net(modalities=M, **options):
    return helpers.to_float64(GpcrFilter(modalities, D, heads=2, layers=(1, 1), rngs=nnx.Rngs(0), **options))


def run(fusion, x, mask, graph):
    graphdef, state = nnx.split(fusion)
    return jax.jit(lambda state, *args: nnx.merge(graphdef, state)(*args).out)(state, x, mask, graph)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(N, M, D))), jnp.asarray(rng.random((N, M)) < 0.8).at[:, 0].set(True)


def batch(edges=EDGES):
    return Graph.create(*edges, COUNTS)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_gcn():
    """On a path of 3 the weights are 1/2, 1/sqrt 6, 1/3; a single node keeps u W_g + b_g."""
    gcn = helpers.to_float64(net().net.gcn)
    gcn.linear.kernel.set_value(jnp.eye(D))
    gcn.linear.bias.set_value(jnp.full(D, 0.5))
    a = np.zeros((N, N))
    a[:3, :3] = [[1 / 2, 6**-0.5, 0], [6**-0.5, 1 / 3, 6**-0.5], [0, 6**-0.5, 1 / 2]]
    a[3:5, 3:5], a[5, 5] = 0.5, 1
    x = inputs()[0][:, 0]
    close(gcn(x, batch()), a @ x + 0.5)


def test_residues_have_no_order():
    """Permuting the memory with its mask changes nothing; what is masked in it has no influence."""
    core = helpers.to_float64(Predictor(D, D, D, D, heads=2, layers=(1, 1), rate=0.0, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    targets, memory = jnp.asarray(rng.normal(size=(2, 3, D))), jnp.asarray(rng.normal(size=(2, 5, D)))
    mask, order = jnp.ones((2, 5), bool).at[:, 3].set(False), jnp.array([4, 2, 3, 0, 1])

    @jax.jit
    def read(memory, mask):
        return core.decode(targets, jnp.ones((2, 3), bool), core.encode(memory, mask), mask)[0]

    plain = read(memory, mask)
    close(read(memory[:, order], mask[:, order]), plain)
    np.testing.assert_array_equal(read(memory.at[:, 3].set(9.0), mask), plain)
    assert np.abs(read(memory.at[:, 2].set(9.0), mask) - plain).max() > 1e-3


@pytest.mark.parametrize("readout, sees_order", [("first_token", True), ("mean", False)])
def test_order_of_nodes(readout, sees_order):
    """The first-token readout changes with the first node and with no other; the mean with none."""
    (x, mask), fusion = inputs(), net(scope="graph", readout=readout, max_nodes=3)
    plain = run(fusion, x, mask, batch())
    for order, first_stays in (([0, 2, 1, 3, 4, 5], True), ([2, 1, 0, 3, 4, 5], False)):
        order = np.array(order)
        graph = batch(np.argsort(order)[EDGES])
        other = run(fusion, x[order], mask[order], graph)
        same = np.abs(other[0] - plain[0]).max() < 1e-10
        assert same == (first_stays or not sees_order)
        close(other[3:], plain[3:])


def test_graph_scope():
    """All nodes of a graph share their output; graphs do not see each other; a graph of one node = scope node."""
    (x, mask), fusion = inputs(), net(scope="graph", max_nodes=3)
    out = run(fusion, x, mask, batch())
    for first, last in ((0, 3), (3, 5)):
        np.testing.assert_array_equal(out[first:last], jnp.broadcast_to(out[first], (last - first, D)))
    other = run(fusion, x.at[0].add(1.0), mask, batch())
    assert np.abs(other[1] - out[1]).max() > 1e-4
    close(other[3:], out[3:])
    close(run(net(), x, mask, batch())[5], out[5])


def test_max_nodes():
    """Room to spare changes nothing; a graph that does not fit is NaN, the others stay."""
    x, mask = inputs()
    fits, larger, small = (run(net(scope="graph", max_nodes=n), x, mask, batch()) for n in (3, None, 2))
    close(fits, larger)
    assert np.isnan(small[:3]).all()
    close(small[3:], fits[3:])


def test_no_memory():
    """A node with the anchor alone reads the cross-attention's output bias; so does the fusion of one modality."""
    (x, _), fusion = inputs(), net()
    mask = jnp.zeros((N, M), bool).at[:, 0].set(True)
    core, layer = fusion.net, fusion.net.decoder[0]
    layer.multihead_attn.out.bias.set_value(jnp.full(D, 0.3))
    s = layer.after_self(core.targets(x[:, 0], mask[:, 0], batch())[:, None])
    h = layer.feed_forward(layer.after_cross(s, jnp.full_like(s, 0.3)))[:, 0]
    out = run(fusion, x, mask, batch())
    close(out, core.head(h))
    single = net(modalities=1)
    single.net = core
    close(run(single, x[:, :1], mask[:, :1], batch()), out)


def test_modality_code():
    """The memory tells modalities apart by their learned vectors alone."""
    x, _ = inputs()
    mask, swapped, fusion = jnp.ones((N, M), bool), x[:, jnp.array([0, 2, 1])], net()
    assert np.abs(run(fusion, swapped, mask, batch()) - run(fusion, x, mask, batch())).max() > 1e-6
    fusion.modality.set_value(jnp.zeros((M - 1, D)))
    close(run(fusion, swapped, mask, batch()), run(fusion, x, mask, batch()))


@pytest.mark.parametrize("options", [{"anchor": 3}, {"scope": "all"}, {"readout": "max"}, {"out_dim": 5}])
def test_options(options):
    """Unknown options are refused by name; a width of the output is kept."""
    if "out_dim" in options:
        assert run(net(**options), *inputs(), batch()).shape == (N, 5)
        return
    with pytest.raises(ValueError, match="gpcr_filter"):
        net(**options)
