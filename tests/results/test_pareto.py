"""The front against its definition, row by row."""

import numpy as np

from fusion_jax.results.pareto import front


def test_no_row_of_the_front_is_beaten_and_every_other_is():
    rng = np.random.default_rng(0)
    score, cost = rng.integers(0, 5, 40) / 5, rng.integers(0, 5, 40).astype(float)
    expected = [
        not any(
            score[j] >= score[i] and cost[j] <= cost[i] and (score[j], cost[j]) != (score[i], cost[i])
            for j in range(40)
        )
        for i in range(40)
    ]
    assert front(score, cost).tolist() == expected and 0 < sum(expected) < 40


def test_equal_means_may_differ_in_their_last_bit():
    assert front(np.array([0.1 + 0.2, 0.3]), np.array([2.0, 1.0])).tolist() == [False, True]


def test_a_row_without_a_number_is_not_on_it_and_beats_nobody():
    assert front(np.array([0.9, np.nan, 0.5]), np.array([np.nan, 1.0, 2.0])).tolist() == [False, False, True]
