"""Shapley values and interactions against their definitions over orders and coalitions, and the axioms they obey."""

import itertools
import math

import numpy as np
import pytest

from fusion_jax.analysis.shapley.game import interactions, members, values

RNG = np.random.default_rng(0)


def number(coalition) -> int:
    return sum(2**j for j in coalition)


def by_orders(v, players):
    """What a player adds where it comes, meaned over all orders."""
    found = np.zeros(players)
    for order in itertools.permutations(range(players)):
        for place, j in enumerate(order):
            found[j] += v[number(order[: place + 1])] - v[number(order[:place])]
    return found / math.factorial(players)


def by_pairs(v, i, j, players):
    """The Shapley value of the pair merged into one player against those of each where the other is gone."""
    others = [k for k in range(players) if k not in (i, j)]

    def reduced(first):
        """The game of the others and one player that stands for all of `first`."""
        subsets = [list(s) for r in range(players - 1) for s in itertools.combinations(range(len(others)), r)]
        game = np.zeros(2 ** (len(others) + 1))
        for s in subsets:
            held = [others[k] for k in s]
            game[number(s)] = v[number(held)]
            game[number([*s, len(others)])] = v[number([*held, *first])]
        return by_orders(game, len(others) + 1)[-1]

    return reduced([i, j]) - reduced([i]) - reduced([j])


@pytest.mark.parametrize("players", [1, 2, 3, 5])
def test_the_value_is_the_mean_over_orders_and_they_sum_to_the_whole(players):
    v = RNG.normal(size=(4, 2**players))
    found = values(v)
    np.testing.assert_allclose(found, [by_orders(one, players) for one in v], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.sum(-1), v[:, -1] - v[:, 0], rtol=1e-12)


@pytest.mark.parametrize("players", [2, 3, 4])
def test_the_interaction_is_what_the_pair_has_beyond_its_two(players):
    """Grabisch and Roubens' recursive axiom."""
    v = RNG.normal(size=2**players)
    found = interactions(v)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 0)
    for i, j in itertools.combinations(range(players), 2):
        np.testing.assert_allclose(found[i, j], by_pairs(v, i, j, players), rtol=1e-12, atol=1e-14)


def test_who_is_alike_has_alike_and_who_adds_nothing_has_nothing():
    inside = members(4)
    v = RNG.normal(size=6)[inside[:, :2].sum(1) + 3 * inside[:, 2]]  # 0 and 1 count alike, 3 does not
    phi, pairs = values(v), interactions(v)
    np.testing.assert_allclose(phi[0], phi[1], rtol=1e-12)
    np.testing.assert_allclose(pairs[0, 2], pairs[1, 2], rtol=1e-12)
    np.testing.assert_allclose([phi[3], *pairs[3]], 0, atol=1e-14)


def test_what_adds_up_does_not_interact_and_a_product_of_two_does():
    inside = members(3)
    own = np.array([0.5, -2.0, 3.0])
    np.testing.assert_allclose(values(inside @ own), own, rtol=1e-12)
    np.testing.assert_allclose(interactions(inside @ own), 0, atol=1e-14)
    both = (inside[:, 0] & inside[:, 2]).astype(float)
    np.testing.assert_allclose(values(both), [0.5, 0, 0.5], atol=1e-14)
    np.testing.assert_allclose(interactions(both)[0], [0, 0, 1], atol=1e-14)
    either = (inside[:, 0] | inside[:, 2]).astype(float)
    np.testing.assert_allclose(interactions(either)[0, 2], -1)


def test_a_number_of_values_that_no_game_has_is_refused():
    with pytest.raises(ValueError, match="a value for every coalition.*found 6"):
        values(np.zeros(6))
