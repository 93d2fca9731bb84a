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
from tests.helpers import drawn, parameters, run, shown

N, M, D = 6, 3, 8
NOBODY = np.array([], int)
TRAINING = Context(key=jax.random.key(0))


def inputs(n=N, m=M, seed=0):
    return np.random.default_rng(seed).normal(size=(n, m, D)), np.ones((n, m), bool)


def net(m=M, **options):
    return drawn(lambda: CoordinateAttention(m, D, rngs=nnx.Rngs(1), **options))


def tokens(fusion, *given):
    return np.asarray(run(fusion, *given).tokens)


def batch(*sizes):
    return Graph.create(NOBODY, NOBODY, np.array(sizes))


def test_zero_gates_leave_a_quarter():
    x, mask = inputs()
    fusion = net()
    for path, value in parameters(fusion).items():
        if "conv_" in path:
            value.set_value(jnp.asarray(np.zeros(value.shape)))
    np.testing.assert_array_equal(tokens(fusion, x, mask), x / 4)


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("context", [Context(), TRAINING])
def test_gates_lie_between_0_and_1(norm, context):
    x, mask = inputs()
    fused = run(net(norm=norm), x, mask, None, context)
    for name in ("nodes", "modalities"):
        gate = shown(fused, name)
        assert ((gate > 0) & (gate < 1)).all() and np.ptp(gate) > 0.01
    assert (np.abs(np.asarray(fused.tokens)) < np.abs(x)).all()
    product = shown(fused, "nodes").T[:, :, None] * shown(fused, "modalities")
    np.testing.assert_allclose(fused.tokens, x * product.swapaxes(1, 2), rtol=1e-12)


def test_it_hears_both_axes():
    """A token moves with the other modalities of its node and with its modality at other nodes, with no other token
    in evaluation."""
    x, mask = inputs()
    fusion, other = net(), x.copy()
    other[2, 1] += 1
    moved = np.abs(tokens(fusion, other, mask) - tokens(fusion, x, mask)).max(-1) > 1e-6
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
        one, two = tokens(fusion, x, mask, None, context), tokens(other, x.swapaxes(0, 1), mask.T, None, context)
        np.testing.assert_allclose(one, two.swapaxes(0, 1), rtol=1e-12)


def test_activation_is_not_silu():
    x = jnp.linspace(-6, 6, 241)
    assert 0.13 < np.abs(hard_swish(x) - jax.nn.silu(x)).max() < 0.15
    np.testing.assert_allclose(hard_swish(jnp.array([-3.0, 0.0, 1.0, 3.0, 9.0])), [0, 0, 2 / 3, 3, 9], rtol=1e-12)


def test_width_of_the_bottleneck():
    """max(8, D // reduction), not less than 8."""
    for dim, reduction, width in ((16, 32, 8), (256, 32, 8), (512, 32, 16), (64, 4, 16)):
        fusion = nnx.eval_shape(lambda d=dim, r=reduction: CoordinateAttention(2, d, reduction=r, rngs=nnx.Rngs(0)))
        assert fusion.gates.conv1.kernel.shape == (dim, width)


def test_batches_of_graphs_do_not_leak():
    x, mask = inputs()
    mask[0, 1] = mask[3:, 2] = mask[5] = False  # the second graph lacks a modality
    fusion = net()
    both = run(fusion, x, mask, batch(3, 3))
    for rows in (slice(0, 3), slice(3, 6)):
        alone = run(fusion, x[rows], mask[rows])
        for name in ("tokens", "out"):
            found, expected = (np.asarray(getattr(fused, name)) for fused in (both, alone))
            np.testing.assert_allclose(found[rows], expected, rtol=1e-12, atol=1e-15)
    assert np.abs(np.asarray(both.tokens)[:3] - tokens(fusion, x, mask)[:3]).max() > 1e-4


def test_batch_statistics_are_of_both_descriptors():
    """By hand: rows of nodes with a modality and of modalities that a graph has, jointly; the rest not at all."""
    x, mask = inputs(9)
    mask[0, 1] = mask[5:, 2] = mask[7] = False
    x[7], x[0, 1] = np.nan, 1e9
    fusion = net()
    before = {name: np.asarray(value[...]) for name, value in parameters(fusion).items()}
    fused = run(fusion, x, mask, batch(5, 4), TRAINING)
    rows = [x[n][mask[n]].mean(0) for n in range(9) if mask[n].any()]
    for nodes in (range(5), range(5, 9)):
        for m in range(M):
            held = [n for n in nodes if mask[n, m]]
            rows += [x[held, m].mean(0)] if held else []
    assert len(rows) == 8 + 3 + 2
    y = np.array(rows) @ before["gates.conv1.kernel"] + before["gates.conv1.bias"]
    now = parameters(fusion)
    mean, var = (0.9 * before[f"gates.bn1.{name}"] for name in ("mean", "var"))
    np.testing.assert_allclose(now["gates.bn1.mean"][...], mean + 0.1 * y.mean(0), rtol=1e-10)
    np.testing.assert_allclose(now["gates.bn1.var"][...], var + 0.1 * y.var(0, ddof=1), rtol=1e-10)
    assert np.isfinite(fused.tokens).all()


@pytest.mark.parametrize("context", [Context(), TRAINING])
def test_missing_and_padding(context):
    """As if the node were not in its graph: a node with nothing among others, in training too."""
    x, mask = inputs()
    mask[3], kept = False, np.array([0, 1, 2, 4, 5])
    nothing = x.copy()
    nothing[3] = np.nan
    for norm in ("batch", "layer"):
        whole = run(net(norm=norm), nothing, mask, None, context)
        part = tokens(net(norm=norm), x[kept], mask[kept], None, context)
        np.testing.assert_allclose(np.asarray(whole.tokens)[kept], part, rtol=1e-12)
        np.testing.assert_array_equal(np.asarray(whole.out)[3], 0)


def test_no_edge_is_read():
    x, mask = inputs()
    graph = Graph.create(np.array([0, 1, 2]), np.array([1, 2, 0]), N)
    np.testing.assert_array_equal(run(net(), x, mask, graph).out, run(net(), x, mask).out)


def gated_by_itself(fusion, x):
    gates, rows = fusion.gates, jnp.concatenate([x, x.mean(0, keepdims=True)])
    y = hard_swish(gates.bn1(gates.conv1(rows)))
    return x * jax.nn.sigmoid(gates.conv_h(y[:N])) * jax.nn.sigmoid(gates.conv_w(y[N:]))


def test_one_modality():
    """Both means are of one modality: p_h is x itself."""
    x, mask = inputs(m=1)
    fusion = net(1)
    np.testing.assert_allclose(run(fusion, x, mask).out, run(fusion, x[:, 0], by=gated_by_itself), rtol=1e-12)


@pytest.mark.parametrize("options", [{"reduction": 0}, {"norm": "group"}])
def test_refusals(options):
    with pytest.raises(ValueError, match=f"fusion 'coordinate_attention': {next(iter(options))}="):
        nnx.eval_shape(lambda: CoordinateAttention(M, D, rngs=nnx.Rngs(0), **options))
