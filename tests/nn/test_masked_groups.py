"""A masked group is what a loop over seeds finds."""

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn.masked_groups import groups, received
from tests.helpers import small_graph

N = 7
GRAPH = small_graph(N, 24)


def expected_groups(seeds, guide, graph, count):
    found, senders, receivers = seeds.copy(), np.asarray(graph.senders), np.asarray(graph.receivers)
    for i in np.flatnonzero(seeds):
        edges = np.flatnonzero((receivers == i) & np.isfinite(guide))
        found[senders[edges[np.argsort(-guide[edges], kind="stable")[: count[i]]]]] = True
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_group_is_the_seed_and_those_it_attends_to_most(seed):
    rng = np.random.default_rng(seed)
    guide = np.where(rng.random(GRAPH.num_edges) < 0.2, -np.inf, rng.integers(0, 4, GRAPH.num_edges) / 4)  # with ties
    seeds, count = rng.random(N) < 0.4, rng.integers(1, 4, N)
    ours = groups(jnp.asarray(seeds), jnp.asarray(guide), GRAPH, jnp.asarray(count, jnp.int32))
    np.testing.assert_array_equal(ours, expected_groups(seeds, guide, GRAPH, count))


def test_who_is_no_candidate_is_in_no_group_however_large_it_may_be():
    receivers = np.asarray(GRAPH.receivers)
    own, seeds, count = receivers == receivers[0], np.arange(N) == receivers[0], np.full(N, GRAPH.num_edges)
    guide = np.where(own & (np.cumsum(own) > 1), -np.inf, 0.5)  # one candidate of several
    ours = groups(jnp.asarray(seeds), jnp.asarray(guide), GRAPH, jnp.asarray(count, jnp.int32))
    assert own.sum() > 1
    np.testing.assert_array_equal(ours, expected_groups(seeds, guide, GRAPH, count))


def test_marks_are_counted_where_they_are_received():
    marks = np.arange(GRAPH.num_edges) % 3 == 0
    expected = np.bincount(np.asarray(GRAPH.receivers)[marks], minlength=N)
    np.testing.assert_array_equal(received(jnp.asarray(marks), GRAPH), expected)
