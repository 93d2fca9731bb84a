"""Heads of full width over neighbours: against dense attention, the debiased step in the limit, who is seen."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.analysis.icl_linear_regression import estimators
from fusion_jax.fusion.icl_linear_regression import IclLinearRegression
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import attend
from tests.helpers import drawn, run, small_graph

M, D, N = 2, 3, 7


def inputs():
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.7
    mask[0] = False
    return np.where(mask[..., None], rng.normal(size=(N, M, D)), 0), mask


def module(**options):
    return drawn(lambda: IclLinearRegression(M, D, outputs=2, **{"widths": (3, 1), **options}, rngs=nnx.Rngs(0)))


def dense(block, z, seen):
    q, k, v = (f(z).reshape(N, block.heads, -1) for f in (block.query, block.key, block.value))
    return block.out(attend(q, k, v, seen)[0].reshape(N, -1))


def test_it_is_dense_attention_over_the_senders_that_have_something():
    """Nobody sees itself; every head is as wide as the token, and scores are divided by the root of that."""
    x, mask = inputs()
    graph, made = small_graph(N), module()
    seen = np.zeros((N, N), bool)
    seen[graph.receivers, graph.senders] = True
    seen &= mask.any(1)
    z = np.concatenate([x[:, 0], x[:, 1, :1]], 1)
    pairs = set(zip(np.asarray(graph.receivers).tolist(), np.asarray(graph.senders).tolist(), strict=True))
    graph = Graph.create(*np.array([(j, i) for i, j in sorted(pairs)]).T, N)  # an edge given twice counts twice
    expected = np.asarray(dense(made.blocks[0], z, seen))
    fused = run(made, x, mask, graph)
    np.testing.assert_allclose(fused.out, expected, atol=1e-12)
    assert made.blocks[0].query.kernel.shape == (4, 8) and fused.prediction is None
    assert not np.asarray(fused.out)[~seen.any(1)].any()


def test_several_layers_see_themselves_and_end_in_a_linear_map():
    x, mask = inputs()
    mask[:] = True
    pairs = [(j, i) for i in range(N) for j in range(i)]
    made, graph = module(layers=2), Graph.create(*np.array(pairs).T, N)
    z, seen = np.concatenate([x[:, 0], x[:, 1, :1]], 1), np.tril(np.ones((N, N), bool))
    for block in made.blocks:
        z = dense(block, z, seen)
    np.testing.assert_allclose(run(made, x, mask, graph).out, made.last(z), atol=1e-12)


def test_twice_takes_a_softmax_over_all_of_the_graph_first():
    x, mask = inputs()
    pairs = [(j, i) for i in range(N) for j in range(i)]
    made, graph = module(layers=2, twice=True, heads=1), Graph.create(*np.array(pairs).T, N)
    there = mask.any(1)
    z = np.concatenate([x[:, 0], x[:, 1, :1]], 1)
    for block in made.blocks:
        q, k, v = (np.asarray(f(z)) for f in (block.query, block.key, block.value))
        first = np.where(there, np.exp(q @ k.T / 2), 0)
        second = np.exp(first / first.sum(1, keepdims=True)) * (np.tril(np.ones((N, N))) * there)
        total = second.sum(1, keepdims=True)
        z = np.asarray(block.out(second / np.where(total > 0, total, 1) @ v))
    expected = np.where(np.arange(N)[:, None] >= np.flatnonzero(there)[0], np.asarray(made.last(z)), 0)
    np.testing.assert_allclose(run(made, x, mask, graph).out, expected, atol=1e-12)


def test_opposite_heads_of_small_omega_are_the_debiased_step():
    """K Q = omega I on the features, O V = mu on the label, omega mu fixed; the difference falls as omega^2."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(6, D)), rng.normal(size=5)
    blocks = np.zeros((6, 2, D))
    blocks[:, 0], blocks[:5, 1, 0] = x, y
    mask = np.ones((6, 2), bool)
    mask[5, 1] = False
    graph = Graph.create(np.arange(5), np.full(5, 5), 6)
    made = IclLinearRegression(2, D, widths=(D, 1), predicts=True, outputs=1, rngs=nnx.Rngs(0))
    eye, label = np.diag([1.0] * D + [0.0]), np.diag([0.0] * D + [1.0])

    def told(omega):
        mu = 0.5 / omega
        (block,) = made.blocks
        block.query.kernel.set_value(jnp.asarray(np.concatenate([2 * omega * eye, -2 * omega * eye], 1)))
        block.key.kernel.set_value(jnp.asarray(np.concatenate([eye, eye], 1)))
        block.value.kernel.set_value(jnp.asarray(np.concatenate([label, label], 1)))
        block.out.kernel.set_value(jnp.asarray(np.concatenate([mu * label[:, -1:], -mu * label[:, -1:]])))
        return float(run(made, blocks, mask, graph).prediction[5, 0])

    step = estimators.debiased_step(x[:5], y, x[5])  # 2 omega mu = 1
    errors = [abs(told(omega) - step) for omega in (0.1, 0.01)]
    assert 50 < errors[0] / errors[1] < 200 and errors[1] < 1e-3
    pair = estimators.multi_head(x[:5], y, x[5], [0.1, -0.1], [5.0, -5.0])
    assert told(0.1) == pytest.approx(float(pair), abs=1e-12)


@pytest.mark.parametrize(
    "options,match",
    [
        (dict(heads=0), "heads=0; expected a whole number, at least 1"),
        (dict(layers=1.5), "layers=1.5; expected a whole number"),
        (dict(widths=(3,)), r"widths=\(3,\); expected M=2 whole numbers from 1 to D=3"),
        (dict(widths=(4, 1)), r"widths=\(4, 1\)"),
        (dict(twice=True), "twice=True with layers=1"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(ValueError, match=f"fusion 'icl_linear_regression': {match}"):
        IclLinearRegression(M, D, outputs=1, **options, rngs=nnx.Rngs(0))
