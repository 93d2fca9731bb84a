"""Operators on graphs: what a flat field, a missing modality and a table do; gates from what a graph holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.gradient_operators import (
    OPERATORS,
    ChannelAttention,
    Filtered,
    Operator,
    Operators,
    Selection,
    blend,
    squared_differences,
)
from fusion_jax.nn.rings import one_hop, two_hop
from fusion_jax.structures.base import Structure, derive
from tests import helpers

M, D = 2, 3
PAIRS = Structure("two_hop")


def derived(graph):
    return derive([graph], [PAIRS])[0]


def batch():
    """A star with a tail and an isolated node; a triangle and a path of three in one graph."""
    senders, receivers = [0, 1, 2, 3, 6, 7, 8, 9, 10], [1, 0, 1, 2, 7, 8, 6, 10, 11]
    return derived(Graph.create(senders, receivers, np.array([6, 6])))


def features(n=12, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(n, M, D)))


def squares(x, mask, graph):
    return tuple(
        squared_differences(x, mask, ring) for ring in (one_hop(graph), two_hop(graph.structure(PAIRS), graph))
    )


def everybody(n=12):
    return jnp.ones((n, M), bool)


def floor(name):
    return 1e-4 if name != "learnable" else 1e-3 * jax.nn.sigmoid(0.1)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_flat_field_and_isolated_nodes_have_the_least_response(name):
    operator, graph, x = helpers.to_float64(Operator(name)), batch(), features()
    flat = operator(*squares(jnp.full_like(x, 2.5), everybody(), graph))
    np.testing.assert_allclose(flat, np.full(x.shape, floor(name)), rtol=1e-7)
    response = np.asarray(operator(*squares(x, everybody(), graph)))
    np.testing.assert_allclose(response[[4, 5]], np.full((2, M, D), floor(name)), rtol=1e-7)
    assert (response[[0, 1, 6, 7]] > 0.01).all()


def test_the_learnable_one_lies_between_the_others():
    """Its kernel is Sobel's for a large alpha and Scharr's for a small one, the larger number 1."""
    operator = Operator("learnable")
    for alpha, other in ((40.0, "sobel"), (-40.0, "scharr")):
        operator.alpha.set_value(jnp.float32(alpha))
        kernel = Operator(other).kernel()
        np.testing.assert_allclose(operator.kernel(), kernel / kernel.max(), rtol=1e-6)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_constant_in_a_channel_changes_nothing(name):
    operator, graph, x = helpers.to_float64(Operator(name)), batch(), features()
    moved = x + jnp.asarray(np.random.default_rng(1).normal(size=(M, D)))
    one, two = (operator(*squares(a, everybody(), graph)) for a in (x, moved))
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


def test_a_missing_modality_is_no_neighbour_and_has_no_difference():
    """Each modality as on its own graph of the nodes that have it; loops are not counted."""
    graph, x = batch(), features()
    looped = derived(Graph.create([0, 1, 2, 3, 0, 1], [1, 0, 1, 2, 0, 1], 6))
    mask = everybody().at[2, 0].set(False)
    near, _ = squares(jnp.where(mask[..., None], x, jnp.nan), mask, graph)
    np.testing.assert_allclose(near[1, 0], (x[0, 0] - x[1, 0]) ** 2, rtol=1e-12)
    np.testing.assert_allclose(near[1, 1], ((x[0, 1] - x[1, 1]) ** 2 + (x[2, 1] - x[1, 1]) ** 2) / 2, rtol=1e-12)
    assert not np.asarray(near[2, 0]).any() and np.asarray(near[2, 1]).all()
    np.testing.assert_allclose(squares(x[:6], mask[:6], looped)[0], near[:6], rtol=1e-12)


def test_no_response_has_an_infinite_gradient():
    graph = batch()
    for name in OPERATORS:
        operator = Operator(name)

        def total(x, operator=operator):
            return operator(*squares(x, everybody(), graph)).sum()

        assert np.isfinite(jax.grad(total)(jnp.ones((12, M, D), jnp.float32))).all()


@pytest.mark.parametrize(("resolution", "pool"), [("coarse", np.max), ("fine", np.mean)])
def test_gates_come_from_the_maximum_or_the_mean_of_those_there(resolution, pool):
    attention = helpers.to_float64(ChannelAttention(M * D, resolution, 2, rngs=nnx.Rngs(0)))
    graph, x, mask = batch(), features() - 3, everybody().at[jnp.array([1, 3]), 1].set(False)
    y, gates, s = attention(x, mask, graph)
    held = np.concatenate([pool(x[:6, 0], 0), pool(np.asarray(x)[[0, 2, 4, 5], 1], 0)])
    np.testing.assert_allclose(s[0], held, rtol=1e-12)
    np.testing.assert_allclose(y[:6], x[:6] * gates[0], rtol=1e-12)
    widths = [ChannelAttention(64, r, rngs=nnx.Rngs(0)).fc1.out_features for r in ("coarse", "fine")]
    assert widths == [4, 8] and ChannelAttention(4, "coarse", rngs=nnx.Rngs(0)).fc1.out_features == 1


def filtered(select="table", operator="learnable", table=()):
    selection = Selection(select, operator, table).checked("filtered")
    return helpers.to_float64(Filtered(M * D, selection, "coarse", None, rngs=nnx.Rngs(0)))


def test_an_empty_table_is_the_default_everywhere():
    graph, x = batch(), features()
    for name in OPERATORS:
        _, plain, said = filtered(operator=name)(x, everybody(), graph, graph.structure(PAIRS))
        _, other, _ = filtered(operator=name, table=(name, name))(x, everybody(), graph, graph.structure(PAIRS))
        np.testing.assert_array_equal(plain, other)
        np.testing.assert_array_equal([a.weights for a in said if a.name == "operators"], np.ones((1, 2, 1)))


def test_a_table_gives_each_graph_its_operator():
    """The second graph is not in it and has the default."""
    graph, x = batch(), features()
    _, both, _ = filtered(operator="scharr", table=("sobel",))(x, everybody(), graph, graph.structure(PAIRS))
    _, sobel, _ = filtered(operator="sobel")(x, everybody(), graph, graph.structure(PAIRS))
    _, scharr, _ = filtered(operator="scharr")(x, everybody(), graph, graph.structure(PAIRS))
    np.testing.assert_array_equal(both[:6], sobel[:6])
    np.testing.assert_array_equal(both[6:], scharr[6:])
    assert np.abs(sobel - scharr)[:3].max() > 0.1
    with pytest.raises(ValueError, match="table has 3 operators, the batch has 2 graphs"):
        filtered(table=("sobel",) * 3)(x, everybody(), graph, graph.structure(PAIRS))


def test_a_gate_without_weights_is_the_mean_of_the_operators():
    module, graph, x = filtered(select="gate"), batch(), features()
    module.operators.gate.kernel.set_value(jnp.zeros((M * D, 3)))
    gated, blended, said = module(x, everybody(), graph, graph.structure(PAIRS))
    near, far = squares(gated, everybody(), graph)
    response = sum(operator(near, far) for operator in module.operators.operators) / 3
    np.testing.assert_allclose(blended, (response + gated) / 2, rtol=1e-12)
    np.testing.assert_allclose([a.weights for a in said if a.name == "operators"], np.full((1, 2, 3), 1 / 3))


def test_the_weight_of_the_blend_is_free():
    """0 leaves the input, 1 the response, and 2 is neither bounded nor shared out."""
    module, graph, x, found = filtered(), batch(), features(), {}
    for weight in (0.0, 1.0, 2.0):
        module.weight.set_value(jnp.asarray(weight))
        gated, found[weight], _ = module(x, everybody(), graph, graph.structure(PAIRS))
    np.testing.assert_array_equal(found[0.0], gated)
    np.testing.assert_allclose(found[2.0], 2 * found[1.0] - gated, rtol=1e-12)
    np.testing.assert_array_equal(blend(x, 2 * x, 0.5), 1.5 * x)


def test_what_is_missing_stays_0():
    mask = everybody().at[jnp.array([0, 7]), jnp.array([0, 1])].set(False)
    x = jnp.where(mask[..., None], features(), 0)
    gated, blended, _ = filtered()(x, mask, batch(), batch().structure(PAIRS))
    assert not np.asarray(gated)[~np.asarray(mask)].any() and not np.asarray(blended)[~np.asarray(mask)].any()


def test_operators_without_parameters_have_none():
    def names(operator):
        return set(helpers.parameters(Operators(4, Selection("table", operator, ()), rngs=nnx.Rngs(0))))

    assert names("sobel") == names("scharr") == set() and len(names("learnable")) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("gates", "learnable", ()), "select='gates' .did you mean 'gate'"),
        (("table", "prewitt", ()), "operator='prewitt'"),
        (("table", "sobel", ("shcarr",)), "table='shcarr' .did you mean 'scharr'"),
        (("gate", "sobel", ()), "select='gate' weighs all operators"),
        (("gate", "learnable", ("sobel",)), "select='gate' weighs all operators"),
    ],
)
def test_refusals(given, words):
    with pytest.raises(ValueError, match=f"here: {words}"):
        Selection(*given).checked("here")
