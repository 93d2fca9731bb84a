"""UFC beyond its golden numbers: symmetry of a pair, weights at zero, linear attention, parts, who is missing."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.ufc import UFC
from fusion_jax.fusion.ufc.layer import normalised, positive, read, transpose
from fusion_jax.fusion.ufc.plane import Plane, correlation
from fusion_jax.graphs import Graph
from fusion_jax.structures.base import derive
from tests.helpers import parameters, to_float64

RNG = np.random.default_rng(4)
N, D, H = 11, 8, 2
EDGES = RNG.integers(0, N, (2, 30))


def fusion(modalities=2, **options):
    options = dict(parts=3, heads=H, layers=1) | options
    module = to_float64(UFC(modalities, D, **options, rngs=nnx.Rngs(0)))
    for variable in parameters(module).values():
        variable.set_value(jnp.asarray(0.4 * RNG.normal(size=variable.shape)))
    return module


def graph_of(module, senders=EDGES[0], receivers=EDGES[1], nodes=N):
    return derive([Graph.create(senders, receivers, nodes)], module.structures)[0]


def planes(module, graph, *masks):
    structures = tuple(graph.structure(s) for s in module.structures)
    return [Plane.of(jnp.asarray(mask), graph, *structures) for mask in masks]


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape))


def alike_on_both_sides(module):
    """The 4-D convolutions that embed and refine have a kernel a side: both the same."""
    values = parameters(module)
    for path, variable in values.items():
        if ".supp_conv." in path or path.startswith("corr.supp_conv."):
            variable.set_value(values[path.replace("supp_conv", "query_conv")][...])
    return module


def test_swapping_source_and_target_swaps_the_features_and_transposes_the_cost():
    module = alike_on_both_sides(fusion())
    graph = graph_of(module)
    mask_a, mask_b = RNG.random(N) < 0.8, RNG.random(N) < 0.8
    a, b = (jnp.where(jnp.asarray(m)[:, None], normal(N, D), 0) for m in (mask_a, mask_b))
    source, target = planes(module, graph, mask_a, mask_b)
    new_a, new_b, cost, _ = module.pair(a, b, source, target)
    other_b, other_a, other_cost, _ = module.pair(b, a, target, source)
    np.testing.assert_allclose(other_a, new_a, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(other_b, new_b, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(other_cost, transpose(cost), rtol=1e-9, atol=1e-11)


def test_without_weights_on_the_values_features_stay():
    module = fusion()
    for path, variable in parameters(module).items():
        if any(part in path for part in ("v_proj.", "v_cross.", "mlp.fc2", "mlp_cross.fc2")):
            variable.set_value(jnp.zeros_like(variable[...]))
    x, mask = normal(N, 2, D), jnp.ones((N, 2), bool)
    np.testing.assert_allclose(module(x, mask, graph_of(module)).tokens, x, rtol=1e-12)


def test_linear_attention_is_the_explicit_form():
    q, k, v = (positive(normal(2, 5, H, 3)) for _ in range(3))
    weights = np.einsum("glhd,gnhd->ghln", q, k)
    weights = weights / (weights.sum(-1, keepdims=True) + 1e-6)
    found = read(normalised(q, k), k, v)
    np.testing.assert_allclose(found, np.einsum("ghln,gnhe->glhe", weights, v), rtol=1e-12)


def test_correlation_is_the_cosine_but_for_its_constant_and_0_at_0():
    a, b = normal(4, D), normal(3, D).at[0].set(0)
    lengths = [np.linalg.norm(x, axis=1, keepdims=True) + 1e-5 for x in (a, b)]
    np.testing.assert_allclose(correlation(a, b), (a / lengths[0]) @ (b / lengths[1]).T, rtol=1e-12)
    assert not np.asarray(correlation(a, b))[:, 0].any()


def test_attention_is_over_parts_that_have_a_node_of_the_other_modality():
    module = fusion()
    graph = graph_of(module)
    part = np.asarray(graph.structure(module.structures[0]).part)
    mask = np.ones((N, 2), bool)
    mask[part == 1, 1] = False  # nobody in part 1 has the second modality
    found = module(normal(N, 2, D), jnp.asarray(mask), graph)
    weights = {a.name: np.asarray(a.weights) for a in found.attention}
    np.testing.assert_allclose(weights["source"][0, 0].sum(-1), 1, rtol=1e-9)  # pair (0, 1): over parts of 1
    assert not weights["source"][0, 0, :, :, 1].any()


def test_a_token_without_a_partner_stays_as_it_is_and_one_modality_has_no_pairs():
    module, x = fusion(3), normal(N, 3, D)
    mask = jnp.asarray(RNG.random((N, 3)) < 0.7).at[0].set(jnp.array([True, False, False])).at[1].set(True)
    found = module(x, mask, graph_of(module))
    np.testing.assert_array_equal(found.tokens[0, 0], x[0, 0])
    assert np.any(np.asarray(found.tokens[1]) != np.asarray(x[1]))
    alone = fusion(1)
    np.testing.assert_array_equal(alone(x[:, :1], jnp.ones((N, 1), bool), graph_of(alone)).out, x[:, 0])


def test_a_graph_of_a_batch_is_what_it_is_alone():
    module = fusion()
    two = [np.concatenate([e, e + N]) for e in EDGES]
    x, mask = normal(2 * N, 2, D), jnp.asarray(RNG.random((2 * N, 2)) < 0.8)
    batch = module(x, mask, graph_of(module, *two, nodes=np.array([N, N])))
    alone = module(x[:N], mask[:N], graph_of(module))
    np.testing.assert_allclose(batch.out[:N], alone.out, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(parts=65), "parts=65"),
        (dict(parts=0), "parts=0"),
        (dict(heads=3), "heads=3"),
        (dict(layers=0), "layers=0"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=f"fusion 'ufc'.*{message}"):
        UFC(2, D, **options, rngs=nnx.Rngs(0))
