"""Cooperative games: what each of P players is worth where every coalition's value is known, and what pairs are.

A game is float [..., 2^P], the values of all coalitions; player j is in coalition b where bit j of b is set.

References: Shapley, "A value for n-person games", 1953; Grabisch and Roubens, "An axiomatic approach to the concept of
interaction among players in cooperative games", 1999.
"""

from __future__ import annotations

import functools
import math

import numpy as np


def members(players: int) -> np.ndarray:
    """bool [2^P, P], who is in which coalition."""
    return (np.arange(2**players)[:, None] >> np.arange(players)) % 2 == 1


def values(game: np.ndarray) -> np.ndarray:
    """[..., P], the Shapley value of every player.

    phi_j = sum over S without j of |S|! (P - |S| - 1)! / P! (v(S + j) - v(S)): what j adds, meaned over all orders in
    which the players may come. They sum to v(all) - v(nothing).
    """
    return np.asarray(game, np.float64) @ _of_players(_players(game)).T


def interactions(game: np.ndarray) -> np.ndarray:
    """[..., P, P], the interaction index of every pair, symmetric, 0 on the diagonal.

    I_ij = sum over S without i, j of |S|! (P - |S| - 2)! / (P - 1)! (v(S + ij) - v(S + i) - v(S + j) + v(S)): above 0
    where two are worth more together than apart, below where one can stand in for the other.
    """
    return np.tensordot(np.asarray(game, np.float64), _of_pairs(_players(game)), (-1, -1))


def _players(game: np.ndarray) -> int:
    count = np.shape(game)[-1]
    players = count.bit_length() - 1
    if count != 2**players or players < 1:
        raise ValueError(f"a game has a value for every coalition, 2, 4, 8, ... of them; found {count}")
    return players


@functools.cache
def _of_players(players: int) -> np.ndarray:
    """[P, 2^P], the Shapley values as a linear map."""
    inside = members(players)
    size = inside.sum(1)
    gain = np.array([math.factorial(s) * math.factorial(players - s - 1) for s in range(players)], float)
    joins = np.where(inside, gain[np.maximum(size - 1, 0)][:, None], -gain[np.minimum(size, players - 1)][:, None])
    return joins.T / math.factorial(players)


@functools.cache
def _of_pairs(players: int) -> np.ndarray:
    """[P, P, 2^P], the interaction indices as a linear map."""
    inside, found = members(players), np.zeros((players, players, 2**players))
    if players < 2:
        return found
    weight = [math.factorial(s) * math.factorial(players - s - 2) for s in range(players - 1)]
    for i in range(players):
        for j in range(players):
            if i != j:
                both = inside[:, i].astype(int) + inside[:, j]
                others = inside.sum(1) - both
                found[i, j] = np.where(both == 1, -1, 1) * np.array(weight)[others] / math.factorial(players - 1)
    return found
