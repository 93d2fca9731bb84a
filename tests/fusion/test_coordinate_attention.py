"""Coordinate attention: limits and symmetries, what is missing, batches of graphs, batch statistics of both axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.coordinate_attention import CoordinateAttention
from fusion_jax.graphs import Graph
from fusion_jax.nn.coordinate import hard_swish
from fusion_jax.records import Context
from tests.helpers import parameters, shown, to_float64

N, M, D = 6, 3, 8
NOBODY = np.array([], int)
TRAINING = Context(key=jax.random.key(0))


def inputs(n=N, m=M, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(n, m, D))), jnp.ones((n, m), bool)


def net(m=M, **options):
    return to_float64(CoordinateAttention(m, D, rngs=nnx.Rngs(1), **options))


def batch(*sizes):
    return Graph.create(NOBODY, NOBODY, np.array(sizes))


def test_zero_gates_leave_a_quarter():
    x, mask = inputs()
    fusion = net()
    for path, value in parameters(fusion).items():
        if "conv_" in path:
            value.set_value(jnp.zeros_like(value[...]))
    np.testing.assert_array_equal(fusion(x, mask).tokens, x / 4)


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("context", [Context(), TRAINING])
def test_gates_lie_between_0_and_1(norm, context):
    x, mask = inputs()
    fused = net(norm=norm)(x, mask, None, context)
    for name in ("nodes", "modalities"):
        gate = shown(fused, name)
        assert ((gate > 0) & (gate < 1)).all() and np.ptp(gate) > 0.01
    assert (np.abs(fused.tokens) < np.abs(x)).all()
    product = shown(fused, "nodes").T[:, :, None] * shown(fused, "modalities")
    np.testing.assert_allclose(fused.tokens, x * product.swapaxes(1, 2), rtol=1e-12)


def test_it_hears_both_axes():
    """A token moves with the other modalities of its node and with its modality at other nodes, with no other token
    in evaluation."""
    x, mask = inputs()
    fusion = net()
    moved = np.abs(fusion(x.at[2, 1].add(1.0), mask).tokens - fusion(x, mask).tokens).max(-1) > 1e-6
    expected = np.zeros((N, M), bool)
    expected[2], expected[:, 1] = True, True
    np.testing.assert_array_equal(moved, expected)


def test_axes_are_alike():
    """Transposing nodes and modalities, with the two decoders swapped, transposes the output."""
    x, mask = inputs()
    fusion, other = net(), net(N)
    names = {"conv_h": "conv_w", "conv_w": "conv_h"}
    for path, value in parameters(fusion).items():
        name = path.split(".")[1]
        parameters(other)[path.replace(name, names.get(name, name))].set_value(value[...])
    for context in (Context(), TRAINING):
        one, two = fusion(x, mask, None, context), other(x.swapaxes(0, 1), mask.T, None, context)
        np.testing.assert_allclose(one.tokens, two.tokens.swapaxes(0, 1), rtol=1e-12)


def test_activation_is_not_silu():
    x = jnp.linspace(-6, 6, 241)
    assert 0.13 < np.abs(hard_swish(x) - jax.nn.silu(x)).max() < 0.15
    np.testing.assert_allclose(hard_swish(jnp.array([-3.0, 0.0, 1.0, 3.0, 9.0])), [0, 0, 2 / 3, 3, 9], rtol=1e-12)


def test_width_of_the_bottleneck():
    """max(8, D // reduction), not less than 8."""
    for dim, reduction, width in ((16, 32, 8), (256, 32, 8), (512, 32, 16), (64, 4, 16)):
        fusion = CoordinateAttention(2, dim, reduction=reduction, rngs=nnx.Rngs(0))
        assert fusion.gates.conv1.kernel.shape == (dim, width)


def test_batches_of_graphs_do_not_leak():
    x, mask = inputs(8)
    mask = mask.at[0, 1].set(False).at[4:, 2].set(False).at[7].set(False)  # the second graph lacks a modality
    fusion = net()
    both = fusion(x, mask, batch(4, 4))
    for rows in (slice(0, 4), slice(4, 8)):
        alone = fusion(x[rows], mask[rows])
        np.testing.assert_allclose(both.tokens[rows], alone.tokens, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(both.out[rows], alone.out, rtol=1e-12, atol=1e-15)
    assert np.abs(both.tokens[:4] - fusion(x, mask).tokens[:4]).max() > 1e-4


def test_batch_statistics_are_of_both_descriptors():
    """By hand: rows of nodes with a modality and of modalities that a graph has, jointly; the rest not at all."""
    x, mask = inputs(9)
    mask = mask.at[0, 1].set(False).at[5:, 2].set(False).at[7].set(False)
    x = x.at[7].set(jnp.nan).at[0, 1].set(1e9)
    fusion = net()
    before = {name: np.asarray(value[...]) for name, value in parameters(fusion).items()}
    fused = fusion(x, mask, batch(5, 4), TRAINING)
    there = np.asarray(mask)
    rows = [np.asarray(x)[n][there[n]].mean(0) for n in range(9) if there[n].any()]
    for nodes in (range(5), range(5, 9)):
        for m in range(M):
            held = [n for n in nodes if there[n, m]]
            rows += [np.asarray(x)[held, m].mean(0)] if held else []
    assert len(rows) == 8 + 3 + 2
    y = np.array(rows) @ before["gates.conv1.kernel"] + before["gates.conv1.bias"]
    now = parameters(fusion)
    np.testing.assert_allclose(now["gates.bn1.mean"][...], 0.1 * y.mean(0), rtol=1e-10)
    np.testing.assert_allclose(now["gates.bn1.var"][...], 0.9 + 0.1 * y.var(0, ddof=1), rtol=1e-10)
    assert np.isfinite(fused.tokens).all()


@pytest.mark.parametrize("context", [Context(), TRAINING])
def test_missing_and_padding(context):
    """As if the node were not in its graph: a node with nothing among others, in training too."""
    x, mask = inputs()
    mask = mask.at[3].set(False)
    kept = np.array([0, 1, 2, 4, 5])
    for norm in ("batch", "layer"):
        whole = net(norm=norm)(x.at[3].set(jnp.nan), mask, None, context)
        part = net(norm=norm)(x[kept], mask[kept], None, context)
        np.testing.assert_allclose(whole.tokens[kept], part.tokens, rtol=1e-12)
        np.testing.assert_array_equal(whole.out[3], 0)


def test_no_edge_is_read():
    x, mask = inputs()
    graph = Graph.create(np.array([0, 1, 2]), np.array([1, 2, 0]), N)
    np.testing.assert_array_equal(net()(x, mask, graph).out, net()(x, mask).out)


def test_one_modality():
    """Both means are of one modality: p_h is x itself."""
    x, mask = inputs(m=1)
    fusion = net(1)
    gates = fusion.gates
    rows = jnp.concatenate([x[:, 0], x.mean(0)])
    y = hard_swish(gates.bn1(gates.conv1(rows)))
    expected = x[:, 0] * jax.nn.sigmoid(gates.conv_h(y[:N])) * jax.nn.sigmoid(gates.conv_w(y[N:]))
    np.testing.assert_allclose(fusion(x, mask).out, expected, rtol=1e-12)


@pytest.mark.parametrize("options", [{"reduction": 0}, {"norm": "group"}])
def test_refusals(options):
    with pytest.raises(ValueError, match=f"fusion 'coordinate_attention': {next(iter(options))}="):
        CoordinateAttention(M, D, rngs=nnx.Rngs(0), **options)
