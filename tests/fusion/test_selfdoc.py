"""Identities of SelfDoc that golden cases cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.selfdoc import CrossModalityLayer, Selfdoc, partner
from fusion_jax.graphs import Graph
from tests.helpers import assign, shown, small_graph, to_float64

N, M, D, H = 7, 2, 8, 2


@pytest.fixture(scope="module")
def layer():
    layer = to_float64(CrossModalityLayer(M, D, H, ffn=False, rate=0.0, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(1)  # weights of deviation 0.02 would hide what is tested
    for leaf in jax.tree.leaves(nnx.state(layer), is_leaf=lambda v: isinstance(v, nnx.Variable)):
        leaf.set_value(jnp.asarray(rng.normal(size=leaf.shape) / 2))
    return layer


def streams(seed=0, m=M):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(N, m, D)))


def run(layer, x, graph):
    seen = jnp.ones((graph.num_edges, M), bool)
    return layer(x, jnp.ones((N, M), bool), graph, seen, seen, seen)


def test_equal_streams_are_self_attention(layer):
    """a = b: the first cross-attention is the self-attention with its weights."""
    graph, x = small_graph(N).looped, streams()[:, :1].repeat(M, axis=1)
    seen = jnp.ones((graph.num_edges, M), bool)
    itself, weights = layer.cross1.core(x, x, x, graph, seen)
    step = run(layer, x, graph)[0]
    np.testing.assert_allclose(step.core, itself, rtol=1e-12)
    np.testing.assert_allclose(step.weights, weights, rtol=1e-12)
    other, _ = layer.cross1.core(x, partner(streams(), jnp.ones((N, M), bool)), x, graph, seen)
    assert np.abs(other - itself).max() > 1e-3


def test_isolated_nodes(layer):
    """One token a stream: the attentions are the projections of the values, whatever the partner is."""
    empty = np.zeros(0, np.int32)
    graph = Graph.create(empty, empty, N).looped
    steps = run(layer, streams(), graph)
    values = (streams(), *(step.streams for step in steps[:3]))
    blocks = (layer.cross1, layer.self1, layer.cross2, layer.self2)
    for step, value, block in zip(steps, values, blocks, strict=True):
        for m in range(M):
            att = jax.tree.map(lambda a, m=m: a[m], block.attention)
            np.testing.assert_allclose(step.core[:, m], att.out(att.value(value[:, m])), rtol=1e-9)


def test_partner_gives_keys_only(layer):
    """The first core is linear in the values and sees the partner through its keys and their place only."""
    graph, x = small_graph(N).looped, streams()
    p, seen = partner(x, jnp.ones((N, M), bool)), jnp.ones((graph.num_edges, M), bool)
    block = to_float64(CrossModalityLayer(M, D, H, ffn=False, rate=0.0, rngs=nnx.Rngs(1))).cross1
    kernel = np.random.default_rng(2).normal(size=(M, D, D))
    kernel[:, 0] = 0  # keys do not see the first feature
    assign(block, {"attention.key.kernel": kernel, "attention.query.kernel": kernel}, partial=True)

    def core(p, v):
        return block.core(x, p, v, graph, seen)[0]

    np.testing.assert_allclose(core(p.at[..., 0].add(9.0), x), core(p, x), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(core(p, 3 * x), 3 * core(p, x), rtol=1e-10, atol=1e-15)
    assert np.abs(core(p[::-1], x) - core(p, x)).max() > 1e-5  # alignment of the tokens is used


def test_residual_is_the_value_stream(layer):
    """Without output projections stream m passes through all four steps alone: only norms act on it."""
    x, graph = streams(), small_graph(N).looped
    module = to_float64(CrossModalityLayer(M, D, H, ffn=False, rate=0.0, rngs=nnx.Rngs(0)))
    for block in ("cross1", "self1", "cross2", "self2"):
        assign(module, {f"{block}.attention.out.kernel": np.zeros((M, D, D))}, partial=True)
    expected = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    streams_out = run(module, x, graph)[-1].streams
    np.testing.assert_allclose(streams_out, expected, atol=1e-3)  # the norms' epsilon


def test_missing_modalities():
    """No weight on senders without the modality or its partner."""
    graph, rng = small_graph(N), np.random.default_rng(3)
    mask = jnp.asarray(rng.random((N, 3)) < 0.6).at[0].set(jnp.array([True, False, False]))
    module = to_float64(Selfdoc(3, D, heads=H, rngs=nnx.Rngs(0)))
    weights = [a.weights[0] for a in module(streams(m=3), mask, graph).attention[1:]]  # four of [E', 3, H]
    senders, receivers = np.asarray(graph.looped.senders), np.asarray(graph.looped.receivers)
    pair = np.asarray(mask) & (np.asarray(mask).sum(1, keepdims=True) > 1)
    own = np.asarray(mask)[senders]
    allowed = pair[senders], own, pair[senders] & pair[receivers], own
    for step, seen in zip(weights, allowed, strict=True):
        assert (step[~seen] == 0).all() and (step[seen] > 0).all()
    np.testing.assert_array_equal(shown(module(streams(m=3), mask, graph), "gate") > 0, mask)


def test_nothing_in_common(layer):
    """Where no edge counts the attention is 0, its output bias included, and the residual stays."""
    graph, x = small_graph(N).looped, streams()
    seen = jnp.ones((graph.num_edges, M), bool)
    first, *_ = layer(x, jnp.ones((N, M), bool), graph, seen, seen & (graph.receivers != 3)[:, None], seen)
    assert not np.asarray(first.core[3]).any() and np.asarray(first.core[2]).all()
    norm = jax.tree.map(lambda a: a[0], layer.cross1.norm)
    np.testing.assert_allclose(first.streams[3, 0], norm(x[3, 0]), rtol=1e-12)


def test_partner_is_the_mean_of_the_others():
    x = streams(m=3)
    mask = jnp.ones((N, 3), bool).at[1, 1].set(False).at[2].set(False)
    p = partner(x, mask)
    np.testing.assert_allclose(p[0, 0], (x[0, 1] + x[0, 2]) / 2, rtol=1e-12)
    np.testing.assert_allclose(p[1, :2], jnp.stack([x[1, 2], (x[1, 0] + x[1, 2]) / 2]), rtol=1e-12)
    assert not np.asarray(p[2]).any()


def test_options():
    """Softmax gates sum to 1 over what is present; the feed-forward changes the output; a typo is refused."""
    x, mask, graph = streams(m=3), jnp.ones((N, 3), bool).at[1, 0].set(False), small_graph(N)
    fused = to_float64(Selfdoc(3, D, heads=H, gate="softmax", ffn=True, rngs=nnx.Rngs(0)))(x, mask, graph)
    np.testing.assert_allclose(shown(fused, "gate").sum(1), 1, rtol=1e-12)
    assert shown(fused, "gate")[1, 0] == 0
    plain = to_float64(Selfdoc(3, D, heads=H, gate="softmax", rngs=nnx.Rngs(0)))(x, mask, graph)
    assert np.abs(plain.tokens - fused.tokens).max() > 1e-3
    with pytest.raises(ValueError, match="selfdoc.*gate"):
        Selfdoc(3, D, gate="tanh", rngs=nnx.Rngs(0))
