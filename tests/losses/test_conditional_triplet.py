"""Triplets under conditions: which classes count in which, and what is refused."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.losses.conditional_triplet import conditional_triplet
from fusion_jax.records import EVALUATION, Output, Target, Tokens

N, C = 6, 3
FIRST, SECOND = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 0, 1])
BY_CLASS = {"first": np.eye(C)[FIRST], "second": np.eye(C)[SECOND]}


def output(*spaces, name="fusion 1: modalities", mask=None):
    e = jnp.stack([jnp.asarray(space) for space in spaces], axis=1)
    mask = jnp.ones(e.shape[:2], bool) if mask is None else jnp.asarray(mask)
    blank = jnp.zeros((N, C))
    return Output(blank, None, e, blank, mask, states=(Tokens(name, e, mask, "condition"),))


def classes(labels=FIRST):
    return Target("classes", labels=jnp.asarray(labels, jnp.int32), num_outputs=C)


def loss(output, target, weight=None, **options):
    weight = jnp.ones(N) if weight is None else jnp.asarray(weight)
    return float(conditional_triplet(output, target, weight, context=EVALUATION, **options))


def test_classes_apart_cost_nothing_and_classes_alike_the_margin():
    apart, alike = BY_CLASS["first"], np.ones((N, C))
    assert loss(output(apart, 5 * apart), classes()) == 0
    assert loss(output(apart), classes(), margin=1.5) == pytest.approx(0.5)
    assert loss(output(apart, alike), classes()) == pytest.approx(0.1)  # a mean over conditions
    assert np.isfinite(loss(output(np.zeros((N, C))), classes()))


def test_each_target_has_its_own_space():
    both = Target("several", a=classes(), b=classes(SECOND), num_outputs=2 * C)
    own = output(BY_CLASS["first"], BY_CLASS["second"], name="fusion 1: targets")
    swapped = output(BY_CLASS["second"], BY_CLASS["first"], name="fusion 1: targets")
    assert loss(own, both) == 0 < loss(swapped, both)


def test_targets_without_classes_are_passed_over():
    values = Target("values", values=jnp.zeros((N, 1)), num_outputs=1)
    both = Target("several", v=values, a=classes(), num_outputs=1 + C)
    assert loss(output(np.ones((N, C)), BY_CLASS["first"], name="fusion 1: targets"), both) == 0


def test_nodes_without_the_modality_or_weight_are_in_no_triplet():
    mixed = BY_CLASS["first"].copy()
    mixed[0] = mixed[5]
    assert loss(output(mixed), classes()) > 0
    assert loss(output(mixed, mask=np.arange(N)[:, None] > 0), classes()) == 0
    assert loss(output(mixed), classes(), np.float64(np.arange(N) > 0)) == 0


def test_a_condition_without_triplets_is_in_no_mean():
    alike = np.ones((N, C))
    nobody = np.stack([np.ones(N, bool), np.zeros(N, bool)], axis=1)
    assert loss(output(alike, alike, mask=nobody), classes()) == pytest.approx(0.2)
    assert loss(output(alike, mask=nobody[:, 1:]), classes()) == 0


def test_the_last_states_under_conditions_are_read():
    first, last = output(np.ones((N, C))), output(BY_CLASS["first"])
    both = dataclasses.replace(last, states=(*first.states, *last.states))
    assert loss(both, classes()) == 0 < loss(first, classes())
    elsewhere = dataclasses.replace(first.states[0], axis="modality")
    assert loss(dataclasses.replace(last, states=(*last.states, elsewhere)), classes()) == 0


def test_refusals():
    both = Target("several", a=classes(), b=classes(SECOND), num_outputs=2 * C)
    values = Target("several", v=Target("values", values=jnp.zeros((N, 1)), num_outputs=1), num_outputs=1)
    plain = output(np.ones((N, C)))
    with pytest.raises(ValueError, match="the model has none of"):
        loss(Output(plain.prediction, None, plain.embeddings, plain.hidden, plain.mask), classes())
    with pytest.raises(ValueError, match="expected each target to be a condition"):
        loss(output(np.ones((N, C)), np.ones((N, C))), both)
    with pytest.raises(ValueError, match="triplets from classes"):
        loss(output(np.ones((N, C)), name="fusion 1: targets"), values)
    with pytest.raises(ValueError, match="conditional_triplet"):
        loss(plain, values.fields["v"])
