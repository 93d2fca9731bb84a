"""Attention that starts from co-occurrence: exact where centroids are independent, of training nodes alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.self_attention import SelfAttention
from fusion_jax.model.given import given
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.projection import ABSENT, Maps, Symbols, centroids, counts_of_graph, inverse, maps_of
from fusion_jax.records import Target
from fusion_jax.schemes.distributional_projection import DistributionalProjection, components, set_identity, set_maps
from fusion_jax.training.prepare import prepare
from fusion_jax.training.trial import scaled
from tests import tiny
from tests.cells import tiny_cell

pytestmark = pytest.mark.xdist_group("training-schemes")

V, D = 5, 8
NAME = "distributional_projection"


def relation():
    return np.log1p(np.random.default_rng(0).random((V, V)))


def scores(maps, c):
    """C W_Q W_K^T C^T of all heads together."""
    (w_q,), (w_k,) = maps.kernels
    return c @ w_q @ w_k.T @ c.T


@pytest.mark.parametrize("kind", ["directed", "symmetric"])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_independent_centroids_have_the_relation_as_scores(kind, heads):
    """More columns than symbols: those left have keys of 0 and queries as drawn."""
    f = relation() if kind == "directed" else relation() + relation().T
    module = MultiHeadAttention(D, heads, rngs=nnx.Rngs(0))
    module.key.bias.set_value(jnp.ones(D))
    drawn = np.array(module.query.kernel[...])
    c = np.random.default_rng(1).normal(size=(V, D))
    maps = Maps("it", module, heads)
    set_maps(maps, c, f, kind)
    np.testing.assert_allclose(scores(maps, c), f, rtol=1e-3, atol=1e-4)  # parameters are float32
    assert not np.asarray(module.key.kernel[...])[:, V:].any() and not np.asarray(module.key.bias[...]).any()
    np.testing.assert_array_equal(np.asarray(module.query.kernel[...])[:, V:], drawn[:, V:])
    first = module.query.kernel[...][:, : D // heads], module.key.kernel[...][:, : D // heads]
    w_q, w_k = components(f, kind, D // heads)
    own = c @ np.asarray(first[0], float) @ np.asarray(first[1], float).T @ c.T
    np.testing.assert_allclose(own, w_q @ w_k.T, rtol=1e-3, atol=1e-4, err_msg="the first head has the largest")


def test_dependent_centroids_have_its_projection():
    c = np.random.default_rng(1).normal(size=(V, 3))
    module = SelfAttention(2, 3, width=V, rngs=nnx.Rngs(0))
    set_maps(Maps("it", module, 1), c, relation(), "directed")
    onto = c @ np.linalg.pinv(c)
    np.testing.assert_allclose(scores(Maps("it", module, 1), c), onto @ relation() @ onto, rtol=1e-3, atol=1e-4)


def test_values_pass_what_they_are_given():
    module = MultiHeadAttention(D, 2, rngs=nnx.Rngs(0))
    module.out.bias.set_value(jnp.ones(D))
    set_identity(module)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, D)), jnp.float32)
    np.testing.assert_allclose(module(x)[0], x, rtol=1e-6)


def small(**changes):
    cell = tiny_cell(seeds=1, model__fusion__name="self_attention", scheme__name=NAME, **changes)
    data = tiny.load_data(cell.plan.data.name, **cell.plan.data.options)
    prepared = prepare(cell.plan.data, data, (0,), **cell.plan.preparing)
    trial, target = jax.tree.map(lambda a: a[0], (prepared.trials, prepared.target))
    batch = scaled(prepared.batch, trial)
    widths = {name: x.shape[1] for name, x in batch.features.items()}
    scheme = DistributionalProjection(prototypes=2)
    model = tiny.build_model(cell.plan.model, scheme, widths, target, jax.random.key(0))
    return scheme, model, batch, target, trial.train_weight


def begun(scheme, model, batch, target, weight):
    model = nnx.clone(model)
    scheme.begin(model, batch, target, weight, None, jax.random.key(0))
    return model


def test_begin_counts_training_nodes_and_reads_what_the_fusion_is_given():
    scheme, model, batch, target, weight = small()
    after = begun(scheme, model, batch, target, weight)
    rows = np.flatnonzero(np.asarray(weight) > 0)
    features, mask = {k: np.asarray(x) for k, x in batch.features.items()}, np.asarray(batch.mask)
    known = Symbols.fit(features, mask, rows, 2)
    own = np.full(mask.shape, ABSENT)
    own[rows] = known.read(features, mask)[rows]
    (x,), _ = given(model, batch)
    c = centroids(own, np.asarray(x), known.size)
    (maps,) = maps_of(after.fusions[0])
    f, onto = np.log1p(counts_of_graph(own, known.size, batch.graph).directed), c @ inverse(c)
    assert np.linalg.matrix_rank(onto, tol=0.5) < known.size, "standardised features make them dependent"
    np.testing.assert_allclose(scores(maps, c), onto @ f @ onto, rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(maps.module.value.kernel[...], np.eye(x.shape[-1]))
    # other nodes, NaN in what is missing, and labels have no say
    moved = {
        name: jnp.where(batch.mask[:, m, None], jnp.where(weight[:, None] > 0, v, v + 3), jnp.nan)
        for m, (name, v) in enumerate(batch.features.items())
    }
    hidden = Target("classes", labels=jnp.zeros_like(target.labels), num_outputs=target.num_outputs)
    other = begun(scheme, model, dataclasses.replace(batch, features=moved), hidden, weight)
    for part in ("query", "key"):
        one, two = (getattr(m.fusions[0], part).kernel[...] for m in (after, other))
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_without_edges_the_symmetric_relation_is_named():
    scheme, model, batch, target, weight = small()
    alone = dataclasses.replace(batch, graph=None)
    model = nnx.clone(model)
    model.layers = nnx.List([])
    with pytest.raises(ValueError, match="without edges between them set relation='symmetric'"):
        scheme.begin(model, alone, target, weight, None, jax.random.key(0))


def test_another_fusion_and_another_target_are_refused_by_name():
    scheme, *_ = small()
    cell = tiny_cell(seeds=1, model__fusion__name="mean")
    target = Target("classes", labels=jnp.zeros(3, jnp.int32), num_outputs=2)
    with pytest.raises(ValueError, match="fusion 'mean' has none: such are self_attention"):
        tiny.build_model(cell.plan.model, scheme, {"a": 2, "b": 3}, target, jax.random.key(0))
    with pytest.raises(ValueError, match="counts in training nodes, got classes of graphs"):
        scheme.build(None, {}, dataclasses.replace(target, level="graph"), None)


@pytest.mark.parametrize(("options", "message"), [(dict(prototypes=0), "prototypes=0"), (dict(relation="D"), "'D'")])
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=f"scheme '{NAME}'.*{message}"):
        DistributionalProjection(**options)
