"""What an encoder reads where a modality is missing, and that an inductive training fills from training nodes only."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.model.filling import given, given_widths
from tests import tiny
from tests.helpers import small_graph

MASK = np.array([True, False, True, True, False, True, True])
X = np.random.default_rng(0).normal(size=(7, 3))


def test_an_indicator_is_one_more_column_and_1_where_the_modality_is_missing():
    assert given_widths("indicator", dict(b=3, a=1)) == dict(b=4, a=2) and given_widths("mean", dict(a=1)) == dict(a=1)
    found = given("indicator", jnp.where(MASK[:, None], X, jnp.nan), jnp.asarray(MASK), None)
    np.testing.assert_array_equal(found, np.c_[np.where(MASK[:, None], X, 0), ~MASK])


def test_propagation_needs_a_graph():
    with pytest.raises(ValueError, match="model.missing='propagate'.*has no graph"):
        given("propagate", jnp.asarray(X), jnp.asarray(MASK), None)
    filled = given("propagate", jnp.asarray(X), jnp.asarray(MASK), small_graph())
    assert np.abs(filled[~MASK]).max() > 0


@pytest.mark.parametrize("missing", ["indicator", "propagate"])
def test_training_of_an_inductive_cell_knows_nothing_of_nodes_that_are_yet_to_come(missing):
    data = tiny.dataset(missing=0.4)
    test = data.split(0).test
    loud = {k: x.copy() for k, x in data.features.items()}
    for x in loud.values():
        x[test] *= -3
    with tiny.as_users_run():
        a, b = (
            tiny.train(d, (0,), model__missing=missing, data__setting="inductive", data__scale="none")
            for d in (data, dataclasses.replace(data, features=loud))
        )
    for one, other in zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(a.prediction, b.prediction)
