"""HistoGraph: what its card lists under checks, and the forms of ours."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.histograph import layer_code, signed_weights
from fusion_jax.nn.within_graph import attend_within
from fusion_jax.readouts.histograph import HistoGraph
from fusion_jax.readouts.histograph_node import HistoGraphNode
from tests.helpers import assign, to_float64

SIZES = np.array([4, 7])
N, L, D = 11, 5, 8


def batch(sizes=SIZES, edges=((), ())) -> Graph:
    return Graph.create(np.array(edges[0], int), np.array(edges[1], int), sizes)


def complete(n: int) -> Graph:
    a, b = np.nonzero(~np.eye(n, dtype=bool))
    return Graph.create(a, b, n)


def build(cls=HistoGraph, layers=L, seed=0, **options):
    return to_float64(cls(D, layers, **options, rngs=nnx.Rngs(seed)))


def states(seed=1, n=N, layers=L):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(n, layers, D)))


def close(a, b, tol=1e-10):
    np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def test_weights_sum_to_one_are_per_graph_and_may_be_negative():
    module, history = build().attention, states()
    steps = module(history, batch())
    assert steps.alpha.shape == (2, L)
    close(steps.alpha.sum(-1), 1)
    assert (steps.alpha < 0).any(), "a softmax would pass every other line of this test"
    for g, part in enumerate((slice(0, 4), slice(4, N))):
        close(module(history[part], batch(SIZES[g : g + 1])).alpha[0], steps.alpha[g])


@pytest.mark.parametrize("factor", [3.0, -1.0])
def test_scaling_the_query_changes_no_weight(factor):
    """alpha is a ratio; a softmax would follow the factor."""
    history, graph = states(), batch()
    plain, scaled = build().attention, build().attention
    assign(scaled, {"W_Q.kernel": factor * np.asarray(plain.W_Q.kernel[...])}, partial=True)
    a, b = plain(history, graph), scaled(history, graph)
    close(b.c, factor * a.c)
    close(b.alpha, a.alpha)
    close(b.summed, a.summed)


def test_one_layer_is_itself():
    steps = build(layers=1).attention(states(layers=1), batch())
    close(steps.alpha, 1)
    close(steps.summed, steps.states[:, 0])


def test_equal_layers_give_their_common_value():
    """Once the code of the layers is taken off: H = sum_l alpha_l (v + P_l) = v + sum_l alpha_l P_l."""
    module = build().attention
    one = states(layers=1)
    steps = module(jnp.repeat(one, L, axis=1), batch())
    code = steps.alpha[batch().graph_ids] @ jnp.asarray(layer_code(L, D))
    close(steps.summed - code, module.emb_hist(one)[:, 0])


def test_the_gate():
    """Starts at one half; a -> -inf leaves the plain mean of the last X~, a -> inf the mean of LN(Z + H)."""
    module, history, graph = build(), states(), batch()
    steps = module.attention(history, graph)
    read, last, gate = module.parts(steps, graph)
    assert gate == 0.5
    close(module(history, graph).out, (read + last) / 2)
    for a, want in ((-1e3, last), (1e3, read)):
        close(assign(module, {"gate_logit": np.float64(a)}, partial=True)(history, graph).out, want)
    close(last, jnp.stack([steps.states[:4, -1].mean(0), steps.states[4:, -1].mean(0)]))
    assert not np.allclose(last, jnp.stack([history[:4, -1].mean(0), history[4:, -1].mean(0)]))


def test_core_has_neither_residual_nor_gate():
    module, history, graph = build(form="core"), states(), batch()
    attended = module.attention(history, graph).attended
    close(module(history, graph).out, jnp.stack([attended[:4].mean(0), attended[4:].mean(0)]))
    close(build(HistoGraphNode, form="core")(history, graph).out, attended)


def test_guard_acts_only_where_the_sum_nearly_vanishes():
    c = jnp.asarray([[1.0, -1.0 + 1e-9], [-1.0, 1.0 - 1e-9], [1.0, 2.0], [0.0, 0.0]])
    count = jnp.asarray([3, 3, 3, 0])
    free, guarded = signed_weights(c, count), signed_weights(c, count, 1e-6)
    close(free[:3].sum(-1), 1, 1e-6)
    close(guarded[:2, 0], [1e6, 1e6])  # -1 / -1e-6: the guard takes the sum's sign
    close(guarded[2], free[2])
    close(free[3], 0)


def test_blocks_and_one_matrix_agree():
    """The blocks of a batch of like graphs, the matrix of one large and many small ones, the same attention."""
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(N, 2, 4))) for _ in range(3))
    graph = dataclasses.replace(batch(), present=jnp.asarray(np.arange(N) % 5 != 2))
    matrix = dataclasses.replace(graph, largest=0)
    run = jax.jit(lambda g: attend_within(q, k, v, g, rate=0.0, key=None))
    assert graph.num_graphs * graph.largest**2 < N**2
    close(run(graph), run(matrix))
    uneven = batch(np.array([8, 1, 1, 1]))
    assert uneven.num_graphs * uneven.largest**2 > N**2
    alone = attend_within(q[:8], k[:8], v[:8], batch(np.array([8])), rate=0.0, key=None)
    close(run(uneven)[:8], alone)
    close(run(uneven)[8:], v[8:])


def test_over_edges_is_over_the_graph_where_all_are_neighbours():
    history, graph = states(), complete(N)
    close(build(over="edges")(history, graph).out, build()(history, graph).out)
    few = Graph.create(np.array([0]), np.array([1]), N)
    assert not np.allclose(build(over="edges")(history, few).out, build()(history, few).out)


def test_dropout_falls_on_the_attention_only():
    module, history, graph = build(rate=0.5), states(), batch()
    a, b = (module.attention(history, graph, key=jax.random.key(s)) for s in (0, 1))
    close(a.summed, b.summed)
    assert not np.allclose(a.attended, b.attended)


@pytest.mark.parametrize("cls, name", [(HistoGraph, "histograph"), (HistoGraphNode, "histograph_node")])
def test_refusals(cls, name):
    for options, found in (
        (dict(heads=3), "heads=3 does not divide the width D=8"),
        (dict(form="gate"), "did you mean 'gated'"),
        (dict(over="edge"), "did you mean 'edges'"),
        (dict(guard=-1.0), "guard=-1.0"),
    ):
        with pytest.raises(ValueError, match=found) as error:
            cls(D, L, **options, rngs=nnx.Rngs(0))
        assert f"readout {name!r}" in str(error.value)
