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
from tests.helpers import filled, parameters, run

RNG = np.random.default_rng(4)
N, D, H = 11, 8, 2
EDGES = RNG.integers(0, N, (2, 30))


def fusion(modalities=2, **options):
    options = dict(parts=3, heads=H, layers=1) | options
    return filled(
        lambda: UFC(modalities, D, **options, rngs=nnx.Rngs(0)), lambda _, shape: 0.4 * RNG.normal(size=shape)
    )


def graph_of(module, senders=EDGES[0], receivers=EDGES[1], nodes=N):
    return derive([Graph.create(senders, receivers, nodes)], module.structures)[0]


def pair(module, a, b, has_a, has_b, graph):
    structures = tuple(graph.structure(s) for s in module.structures)
    source, target = (Plane.of(has, graph, *structures) for has in (has_a, has_b))
    return module.pair(a, b, source, target)


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
    a, b = (np.where(m[:, None], RNG.normal(size=(N, D)), 0) for m in (mask_a, mask_b))
    new_a, new_b, cost, _ = run(module, a, b, mask_a, mask_b, graph, by=pair)
    other_b, other_a, other_cost, _ = run(module, b, a, mask_b, mask_a, graph, by=pair)
    np.testing.assert_allclose(other_a, new_a, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(other_b, new_b, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(other_cost, transpose(cost), rtol=1e-9, atol=1e-11)


def test_without_weights_on_the_values_features_stay():
    module = fusion()
    for path, variable in parameters(module).items():
        if any(part in path for part in ("v_proj.", "v_cross.", "mlp.fc2", "mlp_cross.fc2")):
            variable.set_value(jnp.asarray(np.zeros(variable.shape)))
    x, mask = RNG.normal(size=(N, 2, D)), np.ones((N, 2), bool)
    np.testing.assert_allclose(run(module, x, mask, graph_of(module)).tokens, x, rtol=1e-12)


def test_linear_attention_is_the_explicit_form():
    q, k, v = (positive(jnp.asarray(RNG.normal(size=(2, 5, H, 3)))) for _ in range(3))
    weights = np.einsum("glhd,gnhd->ghln", q, k)
    weights = weights / (weights.sum(-1, keepdims=True) + 1e-6)
    found = read(normalised(q, k), k, v)
    np.testing.assert_allclose(found, np.einsum("ghln,gnhe->glhe", weights, v), rtol=1e-12)


def test_correlation_is_the_cosine_but_for_its_constant_and_0_at_0():
    a, b = RNG.normal(size=(4, D)), RNG.normal(size=(3, D))
    b[0] = 0
    lengths = [np.linalg.norm(x, axis=1, keepdims=True) + 1e-5 for x in (a, b)]
    np.testing.assert_allclose(
        correlation(jnp.asarray(a), jnp.asarray(b)), (a / lengths[0]) @ (b / lengths[1]).T, rtol=1e-12
    )
    assert not np.asarray(correlation(jnp.asarray(a), jnp.asarray(b)))[:, 0].any()


def test_attention_is_over_parts_that_have_a_node_of_the_other_modality():
    module = fusion()
    graph = graph_of(module)
    part = np.asarray(graph.structure(module.structures[0]).part)
    mask = np.ones((N, 2), bool)
    mask[part == 1, 1] = False  # nobody in part 1 has the second modality
    found = run(module, RNG.normal(size=(N, 2, D)), mask, graph)
    weights = {a.name: np.asarray(a.weights) for a in found.attention}
    np.testing.assert_allclose(weights["source"][0, 0].sum(-1), 1, rtol=1e-9)  # pair (0, 1): over parts of 1
    assert not weights["source"][0, 0, :, :, 1].any()


def test_a_token_without_a_partner_stays_as_it_is_and_one_modality_has_no_pairs():
    module, x = fusion(3), RNG.normal(size=(N, 3, D))
    mask = RNG.random((N, 3)) < 0.7
    mask[0], mask[1] = (True, False, False), True
    found = run(module, x, mask, graph_of(module))
    np.testing.assert_array_equal(np.asarray(found.tokens)[0, 0], x[0, 0])
    assert np.any(np.asarray(found.tokens)[1] != x[1])
    alone = fusion(1)
    np.testing.assert_array_equal(run(alone, x[:, :1], np.ones((N, 1), bool), graph_of(alone)).out, x[:, 0])


def test_a_graph_of_a_batch_is_what_it_is_alone():
    module = fusion()
    two = [np.concatenate([e, e + N]) for e in EDGES]
    x, mask = RNG.normal(size=(2 * N, 2, D)), RNG.random((2 * N, 2)) < 0.8
    batch = run(module, x, mask, graph_of(module, *two, nodes=np.array([N, N])))
    alone = run(module, x[:N], mask[:N], graph_of(module))
    np.testing.assert_allclose(np.asarray(batch.out)[:N], alone.out, rtol=1e-9, atol=1e-11)


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
        nnx.eval_shape(lambda: UFC(2, D, **options, rngs=nnx.Rngs(0)))
