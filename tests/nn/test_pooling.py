"""Means over the graphs of a batch."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from fusion_jax.graphs import Graph
from fusion_jax.nn.pooling import graph_mean, node_count
from tests.nn.reference import close, derivatives, normal

BATCH = Graph.create([0], [1], np.array([3, 0, 2, 1]))
X = normal(6, 4)
PRESENT = np.array([True, False, True, False, True, False])


def test_means_and_counts_of_each_graph():
    x = np.asarray(X)
    assert node_count(BATCH).tolist() == [3, 0, 2, 1]
    close(graph_mean(X, BATCH), np.stack([x[:3].mean(0), np.zeros(4), x[3:5].mean(0), x[5]]))


def test_rows_that_stand_for_no_node_are_left_out():
    some, x = dataclasses.replace(BATCH, present=jnp.asarray(PRESENT)), np.asarray(X)
    assert node_count(some).tolist() == [2, 0, 1, 0]
    found = graph_mean(jnp.where(PRESENT[:, None], X, jnp.nan), some)
    close(found, np.stack([x[[0, 2]].mean(0), np.zeros(4), x[4], np.zeros(4)]))
    derivatives(lambda x: graph_mean(x, some), X)
    assert graph_mean(X.astype(jnp.float32), some).dtype == jnp.float32
