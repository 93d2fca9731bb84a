"""Gradient modulation beyond its golden numbers: which parameters it reaches, when, and that training differs by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.checking.inputs import planted
from fusion_jax.records import Batch, Output, Target
from fusion_jax.run.model import train_model
from fusion_jax.schemes.ogm_ge import OGMGE, alone_scores, coefficients, modulated
from fusion_jax.training.prepare import prepare

pytestmark = pytest.mark.xdist_group("training-schemes")


def gradients():
    return {
        "encoders": {"0": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "1": {"kernel": jnp.ones((4, 3))}},
        "streams": {"0": {"layers": {"kernel": jnp.ones((2, 3, 3)), "bias": jnp.ones((2, 3))}}},
        "head": {"kernel": jnp.ones((3, 2))},
    }


def test_only_matrices_of_the_modalities_are_reached():
    made = modulated(gradients(), jnp.array([0.5, 1.0]), None)
    np.testing.assert_array_equal(made["encoders"]["0"]["kernel"], 0.5)
    np.testing.assert_array_equal(made["encoders"]["1"]["kernel"], 1)
    np.testing.assert_array_equal(made["streams"]["0"]["layers"]["kernel"][0], 0.5)
    np.testing.assert_array_equal(made["streams"]["0"]["layers"]["kernel"][1], 1)
    for untouched in (made["encoders"]["0"]["bias"], made["streams"]["0"]["layers"]["bias"], made["head"]["kernel"]):
        np.testing.assert_array_equal(untouched, 1)


def test_noise_is_a_function_of_the_key_and_as_large_as_the_gradient_varies():
    grads = {"encoders": {"0": {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(80, 50)) * 3 + 1)}}}
    one, same, other = (modulated(grads, jnp.ones(1), jax.random.key(k)) for k in (0, 0, 1))
    noise = np.asarray(one["encoders"]["0"]["kernel"] - grads["encoders"]["0"]["kernel"])
    np.testing.assert_array_equal(*(a["encoders"]["0"]["kernel"] for a in (one, same)))
    assert np.any(np.asarray(one["encoders"]["0"]["kernel"]) != np.asarray(other["encoders"]["0"]["kernel"]))
    np.testing.assert_allclose(noise.std(), 3, rtol=0.05)


def test_the_noise_of_few_numbers():
    """Of two it is their sample deviation, that of one number there is none."""
    grads = {"encoders": {"0": {"kernel": jnp.array([[1.0, 3.0]])}, "1": {"kernel": jnp.array([[2.0]])}}}
    keys = jax.random.split(jax.random.key(0), 2)
    made = modulated(grads, jnp.ones(2), jax.random.key(0))["encoders"]
    drawn = jax.random.normal(keys[0], (1, 2), grads["encoders"]["0"]["kernel"].dtype)
    np.testing.assert_allclose(made["0"]["kernel"] - grads["encoders"]["0"]["kernel"], np.sqrt(2) * drawn, rtol=1e-6)
    np.testing.assert_allclose(made["1"]["kernel"], 2, atol=1e-6)


def test_who_is_behind_or_alone_is_left_as_it_is():
    np.testing.assert_array_equal(coefficients(jnp.array([0.4]), 0.5), 1)
    k = coefficients(jnp.array([0.2, 0.9, 0.4]), 0.5)
    np.testing.assert_allclose(k, [1, 1 - np.tanh(0.5 * 0.9 / 0.3), 1], rtol=1e-6)
    np.testing.assert_array_equal(coefficients(jnp.array([0.3, 0.3]), 0.5), 1)  # at 1 nobody is ahead


def test_scores_see_training_rows_that_have_the_modality_and_it_alone():
    told = []

    def model(batch, context):
        told.append(context.labels)
        x = batch.features["b"] + batch.features["a"]  # what is missing or another's is 0
        return Output(jnp.concatenate([x, jnp.zeros_like(x)], 1), None, x[:, None], None, batch.mask)

    a, b = jnp.array([[1.0], [2.0], [0.0], [5.0]]), jnp.array([[3.0], [0.0], [4.0], [7.0]])
    mask = jnp.array([[True, True], [False, True], [True, False], [True, True]])
    batch = Batch({"b": b, "a": a}, mask, None, ("b", "a"))
    target = Target("classes", labels=jnp.zeros(4, jnp.int32), num_outputs=2)
    found = alone_scores(model, batch, target, jnp.array([1.0, 1.0, 1.0, 0.0]))
    sigmoid = jax.nn.sigmoid
    np.testing.assert_allclose(found[0], (sigmoid(3.0) + sigmoid(4.0)) / 2, rtol=1e-6)  # rows 0 and 2 have b
    np.testing.assert_allclose(found[1], (sigmoid(2.0) + sigmoid(1.0)) / 2, rtol=1e-6)  # rows 0 and 1 have a
    np.testing.assert_array_equal(told, [[0, 0, 0, -1]] * 2)  # a model may ask for the labels of training rows
    with pytest.raises(ValueError, match="compares probabilities of classes, got values of nodes"):
        alone_scores(model, batch, Target("values", values=jnp.zeros((4, 1))), jnp.ones(4))


@pytest.mark.parametrize("options", [dict(alpha=0.0), dict(alpha=-1.0), dict(until=0.0), dict(until=1.5)])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="scheme 'ogm_ge': alpha="):
        OGMGE(**options)


def trained(**changes):
    data, plan = planted({"training.epochs": 4, "training.chunk": 4, "model.fusion.name": "concat_mlp", **changes})
    return train_model(plan, data, prepare(plan.data, data, (0,), **plan.preparing))


def test_training_differs_by_it_until_it_ends():
    plain = trained()
    own = {"scheme.name": "ogm_ge", "scheme.options": dict(alpha=0.5, noise=False, until=1.0)}
    never = trained(**own | {"scheme.options": dict(alpha=0.5, noise=False, until=0.1)})  # rounded to no epoch
    np.testing.assert_array_equal(never.history["train_loss"], plain.history["train_loss"])
    changed = trained(**own)
    assert np.any(changed.history["train_loss"] != plain.history["train_loss"])
    np.testing.assert_allclose(changed.history["train_loss"][0, 0], plain.history["train_loss"][0, 0], rtol=1e-6)
