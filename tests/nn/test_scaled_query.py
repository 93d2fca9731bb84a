"""One query over modalities, and what its logits are multiplied by."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from fusion_jax.nn.scaled_query import check_choice, factor, read
from tests.nn.reference import close, derivatives, normal

QUERY, KEYS, VALUES = normal(3), normal(4, 3, seed=1), normal(4, 5, seed=2)


def test_the_three_scales():
    found = [factor("x", scale, 9, 4) for scale in ("sqrt_p", "sqrt_D", "none")]
    assert found == [1 / math.sqrt(4), 1 / math.sqrt(9), 1]
    with pytest.raises(ValueError, match="fusion 'x': scale='sqrt' is none of sqrt_p, sqrt_D, none"):
        factor("x", "sqrt", 9, 4)


def test_a_choice_is_one_of_its_choices():
    check_choice("x", "form", "a", ("a", "b"))
    with pytest.raises(ValueError, match="fusion 'x': form='c' is none of a, b"):
        check_choice("x", "form", "c", ("a", "b"))


@pytest.mark.parametrize("mask", [[True] * 4, [True, False, True, False]])
def test_one_query_reads_what_is_there(mask):
    mask = np.array(mask)
    keys, values = (jnp.where(mask[:, None], a, jnp.nan) for a in (KEYS, VALUES))
    weights = np.zeros(4)
    weights[mask] = softmax(0.7 * np.asarray(KEYS)[mask] @ QUERY)
    y, found = read(QUERY, keys, values, jnp.asarray(mask), 0.7)
    close(y, weights @ np.asarray(VALUES))
    close(found.weights, weights)
    assert (found.name, found.axes, found.queries, found.keys) == ("query", ("modality",), "node", "modality")
    np.testing.assert_array_equal(found.valid, mask)
    derivatives(lambda q, k, v: read(q, k, v, jnp.asarray(mask), 0.7)[0], QUERY, KEYS, VALUES)


def test_nothing_is_read_where_nothing_is():
    y, found = read(QUERY, KEYS, VALUES, jnp.zeros(4, bool), 1.0)
    assert not np.asarray(y).any() and not np.asarray(found.weights).any()
