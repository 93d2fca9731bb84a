"""Masked feature regression: what counts, what is moved, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.losses.probing_inter_modality import probing_inter_modality
from fusion_jax.nn.masked_groups import AXIS
from fusion_jax.records import Context, Output, Target, Tokens
from tests import tiny

N, M, D = 5, 2, 3
RNG = np.random.default_rng(0)
TOKENS, FEATURES = (jnp.asarray(RNG.normal(size=(N, M, D))) for _ in range(2))
MASKED = np.array([[1, 0], [0, 0], [1, 1], [0, 1], [0, 0]], bool)
WEIGHT = jnp.asarray([1.0, 1.0, 2.0, 0.0, 1.0])
TARGET = Target("classes", labels=jnp.zeros(N, jnp.int32), num_outputs=2)


def output(tokens=TOKENS, features=FEATURES, masked=MASKED):
    states = tuple(
        Tokens(f"encoder {m}: {AXIS}", features[:, m : m + 1], jnp.asarray(masked[:, m : m + 1]), AXIS)
        for m in range(M)
    )
    other = Tokens("fusion 1: modalities", 9 * features, jnp.ones((N, M), bool), "condition")
    everything = jnp.ones((N, M), bool)
    said = Output(jnp.zeros((N, 2)), None, features, None, everything, tokens=(None, tokens, None), states=states)
    return dataclasses.replace(said, states=(*states, other))


def loss(said, weight=WEIGHT, target=TARGET):
    return probing_inter_modality(said, target, weight, context=Context())


def test_it_is_the_mean_over_masked_tokens_of_the_squared_distance():
    distance = np.asarray(((TOKENS - FEATURES) ** 2).sum(-1))
    expected = (distance[0, 0] + 2 * distance[2, 0] + 2 * distance[2, 1]) / 5  # row 3 has no weight
    assert loss(output()) == pytest.approx(expected)
    assert loss(output(masked=np.zeros((N, M), bool))) == 0


def test_it_moves_the_tokens_of_masked_nodes_and_nothing_else():
    tokens, features = jax.grad(lambda t, f: loss(output(t, f)), argnums=(0, 1))(TOKENS, FEATURES)
    counts = MASKED & (np.asarray(WEIGHT) > 0)[:, None]
    np.testing.assert_array_equal(np.asarray(tokens).any(-1), counts)
    assert not np.asarray(features).any()


def test_a_not_masked_nan_has_no_influence():
    hole = jnp.where(MASKED[..., None], TOKENS, jnp.nan)
    value, grad = jax.value_and_grad(lambda t: loss(output(t)))(hole)
    assert value == loss(output()) and np.isfinite(np.asarray(grad)).all()


@pytest.mark.parametrize(
    "said,target,message",
    [
        (dataclasses.replace(output(), states=()), TARGET, "which the model has none of: encoder"),
        (dataclasses.replace(output(), tokens=(None,)), TARGET, "the model has none: take a fusion with tokens"),
        (output(TOKENS[..., :2]), TARGET, r"tokens of shape \(5, 2, 2\)"),
        (output(), dataclasses.replace(TARGET, level="graph"), "is of nodes, the target is classes of graphs"),
    ],
    ids=["states", "tokens", "width", "level"],
)
def test_what_it_cannot_compare_is_named(said, target, message):
    with pytest.raises(ValueError, match=f"loss 'probing_inter_modality' .*{message}"):
        loss(said, target=target)


def test_a_model_is_trained_on_it_and_evaluated_without():
    changes = dict(
        model__encoder__name="probing_inter_modality",
        model__encoder__options=dict(heads=2, rate=0.5),
        model__fusion__name="self_attention",
        training__epochs=3,
    )
    with tiny.as_users_run():
        data = tiny.dataset()
        plain, helped = (
            tiny.train(data, (0,), **changes, loss__extra=extra) for extra in ({}, {"probing_inter_modality": 0.1})
        )
    ours, theirs = (np.asarray(each.history["train_loss"]).reshape(-1) for each in (helped, plain))
    assert np.isfinite(ours).all() and ours[0] > theirs[0]
    first = [np.asarray(each.history["val_loss"]).reshape(-1)[0] for each in (helped, plain)]
    assert abs(first[0] - first[1]) < 0.05, "evaluation masks nothing: only the weights differ, by one step"
