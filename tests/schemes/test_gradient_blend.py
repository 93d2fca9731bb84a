"""Gradient-Blending: its weights, what they do to the training loss, and which rows they come from."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from fusion_jax.checking.inputs import planted
from fusion_jax.records import Context
from fusion_jax.run.model import train_model
from fusion_jax.schemes.gradient_blend import (
    Blended,
    Course,
    GradientBlend,
    all_courses,
    blend,
    cross_entropies,
    run_course,
)
from fusion_jax.training.build import plain_model
from fusion_jax.training.prepare import prepare

pytestmark = pytest.mark.xdist_group("training-schemes")


def test_the_weights_are_gain_over_squared_overfitting():
    course = Course(*(jnp.array(a) for a in ([1.0, 1, 1], [0.5, 0.1, 0.2], [1.1, 1.2, 1.0], [0.8, 0.9, 0.4])))
    gain = np.array([0.3, 0.3, 0.6])
    more = np.array([0.3 - 0.1, 0.8 - 0.2, 0.2 - 0.0])
    expected = gain / more**2 / (gain / more**2).sum()
    np.testing.assert_allclose(blend(course, 1e-3), expected, rtol=1e-5)
    worse = course._replace(unseen_after=jnp.array([0.8, 2.0, 0.4]))
    assert blend(worse, 1e-3)[1] == 0  # what gains nothing has no say
    np.testing.assert_allclose(blend(course._replace(unseen_after=jnp.full(3, 9.0)), 1e-3), 1 / 3, rtol=1e-6)


def test_overfitting_counts_by_its_size_and_little_of_it_as_the_least():
    course = Course(*(jnp.array(a) for a in ([1.0, 1, 1], [0.9, 0.8, 0.5], [1.1, 1.1, 1.1], [0.8, 0.9, 0.6])))
    gain, more = np.array([0.3, 0.2, 0.5]), np.array([0.2, 0.01, 0.01])  # of -0.2, 0.0 and 0.0
    np.testing.assert_allclose(blend(course, 0.01), gain / more**2 / (gain / more**2).sum(), rtol=1e-6)


def test_options_out_of_range_are_refused():
    for options in (dict(steps=0), dict(held_out=1.0), dict(learning_rate=0.0), dict(overfit=0.0)):
        with pytest.raises(ValueError, match="scheme 'gradient_blend': steps="):
            GradientBlend(**options)


@pytest.fixture(scope="module")
def made():
    """The blended model of a small cell with its batch, target and training weight."""
    data, plan = planted({"scheme.name": "gradient_blend", "training.epochs": 8, "training.chunk": 8})
    prepared = prepare(plan.data, data, (0,), **plan.preparing)
    return data, plan, prepared


def test_a_missing_modality_says_nothing_and_the_heads_carry_the_shares(made):
    data, plan, prepared = made
    model = blended(plan, data)
    model.weights[...] = jnp.array([0.2, 0.3, 0.5])
    output = model(prepared.batch)
    assert [head.name for head in output.heads] == ["modality m0", "modality m1"]
    np.testing.assert_allclose([float(head.weight) for head in output.heads], [0.4, 0.6], rtol=1e-6)
    for m, head in enumerate(output.heads):
        absent = ~np.asarray(prepared.batch.mask)[:, m]
        assert absent.any() and not np.any(np.asarray(head.values)[absent])
        assert np.any(np.asarray(head.values)[~absent])


def test_a_joint_prediction_of_no_weight_counts_a_tenth(made):
    data, plan, prepared = made
    model = blended(plan, data)
    model.weights[...] = jnp.array([0.7, 0.3, 0.0])
    np.testing.assert_allclose([float(head.weight) for head in model(prepared.batch).heads], [7, 3], rtol=1e-6)


def test_rows_without_a_modality_are_not_in_its_cross_entropy(made):
    data, plan, prepared = made
    model, target = blended(plan, data), jax.tree.map(lambda a: a[0], prepared.target)
    weight = jnp.asarray(prepared.trials.train_weight[0])
    found = cross_entropies(model, prepared.batch, target, weight, Context())
    for m, head in enumerate(model(prepared.batch).heads):
        log_p = jax.nn.log_softmax(head.values)[np.arange(len(weight)), target.labels]
        rows = (np.asarray(weight) > 0) & np.asarray(prepared.batch.mask)[:, m]
        np.testing.assert_allclose(found[m], -np.asarray(log_p)[rows].mean(), rtol=1e-5)


def test_a_course_tells_a_model_the_labels_of_the_rows_it_sees(made, monkeypatch):
    data, plan, prepared = made
    model, target = blended(plan, data), jax.tree.map(lambda a: a[0], prepared.target)
    weight, told = jnp.asarray(prepared.trials.train_weight[0]), []
    unseen = jnp.zeros_like(weight).at[np.flatnonzero(weight)[:4]].set(1)

    def seen_context(model, batch, target, rows, context):
        told.append((context.labels, context.key is not None))
        return sum(jnp.sum(p) for p in jax.tree.leaves(nnx.state(model, nnx.Param))) * jnp.ones(3)

    monkeypatch.setattr("fusion_jax.schemes.gradient_blend.cross_entropies", seen_context)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    how = dict(graphdef=graphdef, steps=1, learning_rate=0.05)
    with jax.disable_jit():
        run_course(jnp.ones(3), params, rest, prepared.batch, target, weight - unseen, unseen, jax.random.key(1), **how)
    assert [key for _, key in told] == [False, False, True, False, False]
    for labels, _ in told:
        np.testing.assert_array_equal(labels, np.where(weight - unseen > 0, target.labels, -1))


@pytest.mark.parametrize("share, count", [(0.2, 5), (0.999, 23), (0.001, 1)])
def test_a_course_leaves_out_the_rows_it_is_judged_by(made, monkeypatch, share, count):
    data, plan, prepared = made
    model, target = blended(plan, data), jax.tree.map(lambda a: a[0], prepared.target)
    weight, asked = jnp.asarray(np.arange(60) < 24, jnp.float32), []

    def courses(params, rest, batch, target, seen, unseen, key, **how):
        asked.append((np.asarray(seen), np.asarray(unseen)))
        return Course(*jnp.ones((4, 3)))

    monkeypatch.setattr("fusion_jax.schemes.gradient_blend.all_courses", courses)
    scheme = GradientBlend(held_out=share)
    scheme.estimated(model, prepared.batch, target, weight, jax.random.key(0))
    ((seen, unseen),) = asked
    assert unseen.sum() == count and not np.any(seen * unseen)
    np.testing.assert_array_equal(seen + unseen, weight)
    with pytest.raises(ValueError, match="of which there are 1"):
        scheme.estimated(model, prepared.batch, target, weight.at[1:].set(0), jax.random.key(0))


def blended(plan, data) -> Blended:
    scheme = GradientBlend()
    widths = {name: x.shape[1] for name, x in data.features.items()}
    return scheme.build(
        lambda dims, key: plain_model(plan.model, data.target, dims, key), widths, data.target, jax.random.key(0)
    )


def test_a_course_is_adam_on_its_own_loss_alone(made):
    data, plan, prepared = made
    model, target = blended(plan, data), jax.tree.map(lambda a: a[0], prepared.target)
    weight = jnp.asarray(prepared.trials.train_weight[0])
    train = np.flatnonzero(weight)
    unseen = jnp.zeros_like(weight).at[train[:4]].set(1)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    how = dict(graphdef=graphdef, steps=3, learning_rate=0.05)
    found = all_courses(params, rest, prepared.batch, target, weight - unseen, unseen, jax.random.key(1), **how)
    tx, k = optax.adam(0.05), 1
    state, own = tx.init(params), params
    for i in range(3):
        key = jax.random.fold_in(jax.random.key(1), i)

        def loss(p, key=key):
            model = nnx.merge(graphdef, p, rest, copy=True)
            return cross_entropies(model, prepared.batch, target, weight - unseen, Context(key=key))[k]

        updates, state = tx.update(jax.grad(loss)(own), state, own)
        own = optax.apply_updates(own, updates)
    after = nnx.merge(graphdef, own, rest, copy=True)
    np.testing.assert_allclose(
        found.unseen_after[k], cross_entropies(after, prepared.batch, target, unseen, Context())[k], rtol=1e-4
    )
    np.testing.assert_allclose(
        found.seen_before[k], cross_entropies(model, prepared.batch, target, weight - unseen, Context())[k], rtol=1e-5
    )
    # labels of other rows have no part in it
    labels = jnp.where(weight > 0, target.labels, (target.labels + 1) % 2)
    other = all_courses(
        params,
        rest,
        prepared.batch,
        type(target)("classes", labels=labels, num_outputs=2),
        weight - unseen,
        unseen,
        jax.random.key(1),
        **how,
    )
    np.testing.assert_array_equal(found.unseen_after, other.unseen_after)


def test_training_begins_with_the_estimated_weights(made):
    data, plan, prepared = made
    trained = train_model(plan, data, prepared)
    weights = np.asarray(jax.tree.leaves(trained.rest)[0])
    (found,) = [np.asarray(x) for x in jax.tree.leaves(trained.rest) if np.shape(x) == (1, 3)]
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)
    assert np.ptp(found) > 0 and (found >= 0).all() and weights.size
