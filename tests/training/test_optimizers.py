"""The optimiser of a config: its rates and its clipping on numbers, against Optax and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fusion_jax.training import optimizers

RATE = 0.1


def moves(tx, gradients):
    """What an optimiser makes of {"a": g, "b": {"c": g}} at every step, [T, 2]."""
    params = {"a": jnp.float32(0.0), "b": {"c": jnp.float32(0.0)}}
    state, moved = tx.init(params), []
    for g in gradients:
        updates, state = tx.update(jax.tree.map(lambda _, g=g: jnp.float32(g), params), state, params)
        moved.append((float(updates["a"]), float(updates["b"]["c"])))
    return np.array(moved)


def rates(**options):
    """The learning rate at ten steps, of 8 epochs: plain descent moves a gradient of 1 by so much."""
    moved = moves(optimizers.make("sgd", RATE, epochs=8, **options), np.ones(10))
    np.testing.assert_array_equal(moved[:, 0], moved[:, 1])
    return -moved[:, 0]


def cosine(t, length):
    return RATE * (1 + np.cos(np.pi * np.minimum(t, length) / length)) / 2


def test_the_rate_is_constant_unless_something_is_asked_for():
    np.testing.assert_allclose(rates(), np.full(10, RATE), rtol=1e-6)


def test_warm_up_rises_evenly_and_stays():
    np.testing.assert_allclose(rates(warmup=4), RATE * np.minimum(np.arange(10) / 4, 1), rtol=1e-6)


def test_decay_falls_as_a_cosine_to_0_at_the_last_epoch():
    found = rates(decay=True)
    np.testing.assert_allclose(found, cosine(np.arange(10), 8), rtol=1e-6, atol=1e-8)
    assert found[4] == pytest.approx(RATE / 2) and abs(found[8]) < 1e-8


def test_decay_follows_the_warm_up():
    expected = np.r_[RATE * np.arange(3) / 3, cosine(np.arange(7), 5)]
    np.testing.assert_allclose(rates(warmup=3, decay=True), expected, rtol=1e-6, atol=1e-8)
    joined = optax.warmup_cosine_decay_schedule(0.0, RATE, 3, 8)
    np.testing.assert_allclose(rates(warmup=3, decay=True), [joined(t) for t in range(10)], rtol=1e-6, atol=1e-8)


def test_steps_multiply_whatever_the_schedule_is():
    factor = np.where(np.arange(10) >= 6, 0.05, np.where(np.arange(10) >= 2, 0.5, 1.0))
    np.testing.assert_allclose(rates(rate_steps=((2, 0.5), (6, 0.1))), RATE * factor, rtol=1e-6)
    both = rates(rate_steps=((2, 0.5), (6, 0.1)), decay=True)
    np.testing.assert_allclose(both, factor * cosine(np.arange(10), 8), rtol=1e-6, atol=1e-8)


def test_clipping_is_of_the_norm_over_all_parameters():
    """A gradient (g, g) has the norm g sqrt(2): shorter ones pass, longer ones are shortened to it."""
    gradients = np.array([0.1, -0.5, 1.0, -20.0])
    clipped = moves(optimizers.make("sgd", RATE, clip=1.0, epochs=4), gradients)
    expected = np.sign(gradients) * np.minimum(np.abs(gradients), 1 / np.sqrt(2))
    np.testing.assert_allclose(clipped, -RATE * np.stack([expected, expected], 1), rtol=1e-6)


def test_clipping_comes_before_the_moments():
    gradients, plain = np.array([1.0, 30.0, -0.2]), optax.adamw(RATE, weight_decay=0.0)
    ours = moves(optimizers.make("adamw", RATE, options=dict(weight_decay=0.0), clip=1.0, epochs=3), gradients)
    np.testing.assert_array_equal(ours, moves(optax.chain(optax.clip_by_global_norm(1.0), plain), gradients))
    assert not np.allclose(ours, moves(plain, gradients), rtol=1e-3)


def test_factors_multiply_the_updates_of_a_part():
    moved = moves(optimizers.make("adam", RATE, part_rates={"b": 3.0}, epochs=9), [1.0, -2.0, 0.5])
    plain = moves(optax.adam(RATE), [1.0, -2.0, 0.5])
    np.testing.assert_allclose(moved, plain * [1.0, 3.0], rtol=1e-6)
    with pytest.raises(ValueError, match="optimizer.part_rates: the model has no part 'c'.*it has: a, b"):
        moves(optimizers.make("adam", RATE, part_rates={"c": 3.0}, epochs=9), [1.0])


def test_everything_together():
    options = dict(clip=1.0, warmup=2, decay=True, rate_steps=((3, 0.5),), part_rates={"a": 2.0})
    gradients = np.array([3.0, 3.0, 0.1, -9.0, 0.2])
    rate = np.r_[0, RATE / 2, cosine(np.arange(3), 6)] * [1, 1, 1, 0.5, 0.5]
    clipped = np.sign(gradients) * np.minimum(np.abs(gradients), 1 / np.sqrt(2))
    moved = moves(optimizers.make("sgd", RATE, epochs=8, **options), gradients)
    np.testing.assert_allclose(moved, -np.stack([2 * rate * clipped, rate * clipped], 1), rtol=1e-6, atol=1e-9)


def test_names_and_options_are_those_of_optax():
    with pytest.raises(ValueError, match="no optimiser 'adamm'.*did you mean 'adam"):
        optimizers.make("adamm", RATE, epochs=1)
    with pytest.raises(ValueError, match="optimiser 'adam' has no option 'beta1'"):
        optimizers.make("adam", RATE, options=dict(beta1=0.5), epochs=1)
    assert optimizers.defaults("sgd")["momentum"] is None and optimizers.defaults("adam")["b2"] == 0.999


def test_with_several_steps_an_epoch_the_rate_is_that_of_the_epoch():
    """Two epochs of three steps each, warmed up over one epoch and halved from the next on."""
    tx = optimizers.make("sgd", 1.0, warmup=1, rate_steps=[(1, 0.5)], epochs=2, steps=3)
    state, rates = tx.init(jnp.ones(())), []
    for _ in range(6):
        update, state = tx.update(jnp.ones(()), state)
        rates.append(-float(update))
    assert rates == [0.0] * 3 + [0.5] * 3
