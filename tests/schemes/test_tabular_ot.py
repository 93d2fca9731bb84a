"""The map to dummies: where they lie, who is assigned which, what a node's point is, and that the map learns them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.checking.inputs import planted
from fusion_jax.graphs import Graph
from fusion_jax.nn.transport import partners
from fusion_jax.records import Batch, Target
from fusion_jax.run.model import train_model
from fusion_jax.schemes.tabular_ot import DummyMap, TabularOT, dummy_means, instance_logits, point_logits
from fusion_jax.training.prepare import prepare
from fusion_jax.training.trial import scaled

pytestmark = pytest.mark.xdist_group("training-schemes")

N, K = 12, 3
WIDTHS = {"a": 2, "b": 3}
D = 7  # and the two bits


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    mask = rng.random((N, 2)) < 0.7
    mask[0], mask[1] = True, False
    features = {name: jnp.asarray(3 * rng.normal(size=(N, d)) + 1, jnp.float32) for name, d in WIDTHS.items()}
    graph = Graph.create(rng.integers(0, N, 20), rng.integers(0, N - 1, 20), N)
    return Batch(features, jnp.asarray(mask), graph)


def begun(batch, weight, labels, **options):
    scheme = TabularOT(**options)
    model = DummyMap(
        tuple(WIDTHS.values()), scheme.hidden, N, dummy_means(K, D, scheme.radius), rate=0.0, rngs=nnx.Rngs(0)
    )
    target = Target("classes", labels=jnp.asarray(labels), num_outputs=K)
    scheme.begin(model, batch, target, jnp.asarray(weight), None, jax.random.key(3))
    return model


@pytest.fixture
def known():
    weight = np.ones(N, np.float32)
    weight[[2, 7, 9]] = 0
    return weight, np.where(weight > 0, np.arange(N) % K, 0)


def test_dummies_stand_on_a_circle_of_radius_3_k_in_the_first_plane():
    mu = dummy_means(5, 4)
    np.testing.assert_allclose(np.linalg.norm(mu, axis=1), 15)
    np.testing.assert_allclose(mu[0], [0, 15, 0, 0], atol=1e-12)
    assert mu[1, 0] > 0 and not mu[:, 2:].any()
    apart = np.linalg.norm(mu - np.roll(mu, 1, 0), axis=1)
    np.testing.assert_allclose(apart, apart[0])


def test_a_point_is_standardised_by_training_nodes_and_averaged_over_edges(batch, known):
    model, (weight, _) = begun(batch, *known), known
    mask = np.asarray(batch.mask)
    shown = [np.where(mask[:, [m]], np.asarray(x, float), 0) for m, x in enumerate(batch.features.values())]
    p = np.concatenate([*shown, mask], axis=1)
    train = weight > 0
    z = (p - p[train].mean(0)) / p[train].std(0, ddof=1)
    expected = np.zeros_like(z)
    for i in range(N):
        pairs = zip(np.asarray(batch.graph.senders), np.asarray(batch.graph.receivers), strict=True)
        hears = [i, *(s for s, r in pairs if r == i and s != i)]  # parallel edges count as often as they are there
        hears = [j for j in hears if mask[j].any()]
        expected[i] = np.mean(z[hears], axis=0) if hears else 0
    np.testing.assert_allclose(model.points(batch), expected, rtol=1e-4, atol=1e-5)  # float32, means of divisions
    assert not np.asarray(
        begun(dataclasses.replace(batch, graph=None), *known).points(
            batch.__class__(batch.features, jnp.zeros_like(batch.mask), None)
        )
    ).any()


def test_what_stands_in_a_missing_slot_has_no_influence(batch, known):
    filth = {name: jnp.where(batch.mask[:, m, None], x, jnp.nan) for m, (name, x) in enumerate(batch.features.items())}
    one, other = begun(batch, *known), begun(dataclasses.replace(batch, features=filth), *known)
    np.testing.assert_array_equal(one.dummies[...], other.dummies[...])
    np.testing.assert_array_equal(one(batch).prediction, other(dataclasses.replace(batch, features=filth)).prediction)


def test_rows_that_are_no_node_send_nothing(batch, known):
    model = begun(batch, *known)
    gone = jnp.arange(N) != 5
    graph = dataclasses.replace(batch.graph, present=gone, looped=dataclasses.replace(batch.graph.looped, present=gone))
    there = dataclasses.replace(batch, graph=graph)
    moved = dict(there.features, a=there.features["a"].at[5].add(100.0))
    others = np.asarray(gone)
    one, two = (np.asarray(model.points(b)) for b in (there, dataclasses.replace(there, features=moved)))
    np.testing.assert_array_equal(one[others], two[others])


def test_each_training_row_has_the_dummy_of_its_class_that_transport_gives_it(batch, known):
    """Every dummy once, around the mean of its class; the least total of all ways within a class; no other row any."""
    model, (weight, labels) = begun(batch, *known), known
    z, dummies = np.asarray(model.points(batch), float), np.asarray(model.dummies[...], float)
    assert not dummies[weight == 0].any()
    mu = dummy_means(K, D)
    for c in range(K):
        own = (labels == c) & (weight > 0)
        assert len(np.unique(dummies[own], axis=0)) == own.sum()
        assert np.abs(dummies[own] - mu[c]).max() < 5
        np.testing.assert_array_equal(partners(z[own], dummies[own]), np.arange(own.sum()))
    spread = dummies[weight > 0] - mu[labels[weight > 0]]
    assert 0.6 < spread.std() < 1.4


def test_labels_beyond_training_rows_are_not_read(batch, known):
    weight, labels = known
    other = np.where(weight > 0, labels, 2)
    np.testing.assert_array_equal(begun(batch, weight, labels).dummies[...], begun(batch, weight, other).dummies[...])


def test_prediction_is_by_distance_not_its_square_and_of_several_points_by_their_product():
    rng = np.random.default_rng(0)
    f, mu = rng.normal(size=(4, 3, D)), rng.normal(size=(K, D))
    apart = np.linalg.norm(f[:, :, None] - mu, axis=-1)
    p = np.exp(-apart) / np.exp(-apart).sum(-1, keepdims=True)
    np.testing.assert_allclose(np.exp(point_logits(jnp.asarray(f), mu)), p, rtol=1e-5)  # schemes run in float32
    product = p.prod(1)
    expected = product / product.sum(-1, keepdims=True)
    np.testing.assert_allclose(np.exp(instance_logits(jnp.asarray(f), mu)), expected, rtol=1e-5)
    at = jax.grad(lambda f: point_logits(f, mu)[0].sum())(jnp.asarray(mu[:1]))
    assert np.isfinite(at).all(), "on a mean itself the distance has no gradient"


def cell(changes, seeds=(0,)):
    data, plan = planted({"scheme.name": "tabular_ot", "model.fusion.name": "concat_mlp", **changes})
    prepared = prepare(plan.data, data, seeds, **plan.preparing)
    return prepared, train_model(plan, data, prepared)


def test_the_map_learns_the_dummies_of_training_rows():
    """Of a wide map with many epochs the mean square comes far down, and of no other rows."""
    options = {"training.epochs": 300, "training.chunk": 300, "training.patience": 300}
    rate = {"optimizer.learning_rate": 1e-2, "scheme.options": dict(hidden=(64,))}
    prepared, trained = cell({**options, **rate})
    loss = trained.history["train_loss"][0]
    assert loss[-1] < 0.1 * loss[0]
    model = nnx.merge(trained.graphdef, *jax.tree.map(lambda a: a[0], (trained.params, trained.rest)))
    trial = jax.tree.map(lambda a: a[0], prepared.trials)
    said = model(scaled(prepared.batch, trial))
    # float32, one seed's program and line by line; distances to dummies far away are of some tens
    np.testing.assert_allclose(said.prediction, trained.prediction[0], rtol=1e-4, atol=1e-4)
    square = ((np.asarray(said.hidden) - np.asarray(model.dummies[...])) ** 2)[prepared.splits[0].train].mean()
    assert square == pytest.approx(float(loss[trained.best_epoch[0] + 1]), rel=1e-3)  # a step sees what the last left


def test_seeds_have_dummies_of_their_own():
    _, trained = cell({"training.epochs": 1, "training.chunk": 1}, seeds=(0, 1))
    (both,) = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(trained.rest) if "dummies" in str(path)]
    assert np.abs(np.asarray(both[0]) - np.asarray(both[1])).max() > 1


@pytest.mark.parametrize("options", [dict(hidden=(0,)), dict(rate=1.0), dict(radius=0.0)])
def test_options_out_of_range_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"scheme 'tabular_ot': .*{name}="):
        TabularOT(**options)


def test_a_fusion_that_it_would_not_read_is_refused_by_name():
    with pytest.raises(ValueError, match="would not read fusion 'mean': set model.fusion.name to 'concat_mlp'"):
        cell({"model.fusion.name": "mean"})


@pytest.mark.parametrize(("kind", "level"), [("values", "node"), ("classes", "graph")])
def test_other_targets_are_refused_by_name(kind, level):
    target = Target(kind, labels=jnp.zeros(3, jnp.int32), num_outputs=2, level=level)
    with pytest.raises(ValueError, match=f"maps classes of nodes, got {kind} of {level}s"):
        zoo.make("scheme", "tabular_ot").build(None, {}, target, None)
