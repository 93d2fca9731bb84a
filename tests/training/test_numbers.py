"""What a program is told in numbers: cells that differ in it share one, and a grid of them is one."""

import dataclasses

import jax
import numpy as np
import pytest

from fusion_jax.run.model import train_model, train_models
from fusion_jax.training import programs
from fusion_jax.training.numbers import (
    DECAY,
    DROPOUT,
    EXTRA,
    PENALTY,
    RATE,
    TOLD,
    compiled_in,
    exact,
    in_space,
    numbers_of,
    with_numbers,
)
from tests import tiny

SEEDS = (0, 1)
FIRST = dict(optimizer__learning_rate=0.02, model__rate=0.3, loss__l2=0.01)
SECOND = dict(optimizer__learning_rate=0.05, model__rate=0.3, optimizer__options__weight_decay=0.1, loss__l2=0.03)
THIRD = dict(optimizer__learning_rate=0.05, model__rate=0.0)  # nothing random, and no L2 term


def plan_of(**changes):
    return tiny.cell(**changes).plan


def leaves(trained, part=slice(None)):
    kept = (trained.params, trained.rest, trained.history, trained.best_epoch, trained.prediction)
    return [np.asarray(x)[part] for x in jax.tree.leaves(kept)]


@pytest.fixture(scope="module")
def alone():
    """The data, what is prepared of it, and every cell trained by itself, all of it compiled in."""
    data, plans = tiny.dataset(), [plan_of(**changes) for changes in (FIRST, SECOND, THIRD)]
    with tiny.as_users_run():
        ready = tiny.prepared(plans[0], data, SEEDS)
        return data, plans, ready, [train_models([plan], data, ready, told=()) for plan in plans]


def test_a_grid_is_one_program_and_every_trial_is_its_cell_trained_alone(alone):
    """Dropout and L2 of the third are multiplied by 1 and 0 where alone they are not there."""
    data, plans, ready, expected = alone
    grid = train_models(plans, data, ready, told=TOLD)
    for t, own in enumerate(expected):
        for a, b in zip(leaves(own), leaves(grid, slice(2 * t, 2 * t + 2)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert not np.allclose(*[trained.prediction for trained in expected[:2]], rtol=1e-2)


def test_cells_that_differ_in_numbers_share_a_program_and_train_to_the_bits_of_constants(alone, monkeypatch):
    data, plans, ready, expected = alone
    made = []

    def counted(key, make, real=programs.compiled):
        return real(key, lambda: made.append(key) or make())

    monkeypatch.setattr(programs, "compiled", counted)
    with programs.held():
        found = [train_model(plan, data, ready) for plan in plans[:2]]
        assert len(made) == 1
        longer = dataclasses.replace(plans[0], training=dataclasses.replace(plans[0].training, patience=1))
        train_model(longer, data, ready)
    assert len(made) == 2
    for own, other in zip(expected[:2], found, strict=True):
        for a, b in zip(leaves(own), leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


def test_plans_that_differ_in_more_than_what_is_told_are_not_one_program(alone):
    data, plans, ready, _ = alone
    for others, told in (([plans[0], plan_of(model__dim=4)], TOLD), ([plans[0], plans[2]], (RATE, PENALTY))):
        with pytest.raises(ValueError, match="2 plans differ in more than numbers"):
            train_models(others, data, ready, told=told)


def test_what_is_compiled_in_is_all_but_what_is_told():
    plain, other = plan_of(), plan_of(**SECOND, loss__extra={"triplet": 0.2})
    assert compiled_in(plain, TOLD) == compiled_in(plan_of(**SECOND), TOLD) != compiled_in(other, TOLD)
    assert compiled_in(other, TOLD) == compiled_in(plan_of(loss__extra={"triplet": 0.3}), TOLD)
    assert compiled_in(other, ()) == other
    static = (dict(loss__l2_parts=("head",)), dict(optimizer__clip=1.0), dict(optimizer__name="lion"), dict(seeds=3))
    found = [compiled_in(plan_of(**changes), TOLD) != compiled_in(plain, TOLD) for changes in static]
    assert found == [True, True, True, False]


def test_a_cell_by_itself_is_told_what_gives_the_bits_of_a_constant():
    def of(**changes):
        return set(exact(plan_of(**changes)))

    assert of() == {RATE, DECAY} and of(optimizer__options__weight_decay=0.0) == {RATE} and of(**FIRST) > {PENALTY}
    assert of(optimizer__name="rmsprop", optimizer__options={}) == set()
    parts = dict(optimizer__part_rates={"head": 2.0})
    assert of(**parts) == {DECAY} and of(**parts, optimizer__decay=True) == {RATE, DECAY}
    space = ("optimizer.learning_rate", "loss.extra.triplet", "model.rate", "model.dim", "loss.l2_parts")
    assert in_space(space) == (RATE, DROPOUT, EXTRA)


def test_the_numbers_of_a_plan():
    told = numbers_of([plan_of(**SECOND, loss__extra={"triplet": 0.2})], (1.0, 0.3), TOLD)
    np.testing.assert_array_equal(told.learning_rate, np.float32([[0.05], [0.05 * 0.3]]))
    assert told.options == {"weight_decay": np.float32([0.1])} and told.extra == {"triplet": np.float32([0.2])}
    assert told.l2 == np.float32([0.03]) and told.rate.threshold == np.uint32(round(0.3 * 2**32))
    np.testing.assert_array_equal(told.rate.scale, 1 / np.float32([1 - 0.3]))
    assert jax.tree.leaves(numbers_of([plan_of(**SECOND)], (1.0,), ())) == []
    some = numbers_of([plan_of(**THIRD), plan_of(**FIRST)], (1.0,), (PENALTY, DROPOUT))
    assert some.learning_rate == () and some.options == {}
    np.testing.assert_array_equal(some.l2, np.float32([0, 0.01]))
    np.testing.assert_array_equal(some.rate.scale, np.float32([1, 1 / np.float32(0.7)]))


def test_trials_are_told_theirs_seed_by_seed():
    plans = [plan_of(**FIRST), plan_of(**SECOND)]
    ready = tiny.prepared(plans[0], tiny.dataset(), SEEDS)
    tiled = with_numbers(ready.trials, numbers_of(plans, (1.0,), TOLD), 2)
    np.testing.assert_allclose(tiled.numbers.learning_rate[0], [0.02, 0.02, 0.05, 0.05])
    np.testing.assert_array_equal(np.concatenate([ready.trials.train_weight] * 2), tiled.train_weight)
