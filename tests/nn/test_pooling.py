"""Means over the graphs of a batch."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from fusion_jax.graphs import Graph
from fusion_jax.nn.pooling import at_nodes, graph_mean, node_count, pool_max, pool_mean
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


def test_pools_of_what_is_there_in_each_modality_and_graph():
    x, mask = normal(6, 2, 4), np.random.default_rng(1).random((6, 2)) < 0.6
    mask[3:5, 1] = False  # nobody in the third graph has the second modality
    spoiled = jnp.where(mask[..., None], x, jnp.nan)
    for graph, ends in ((BATCH, [0, 3, 3, 5, 6]), (None, [0, 6])):
        spans = list(zip(ends, ends[1:], strict=False))
        for pool, reduce in ((pool_mean, np.mean), (pool_max, np.max)):
            expected = np.zeros((len(spans), 2, 4))
            for g, (a, b) in enumerate(spans):
                for m in range(2):
                    if mask[a:b, m].any():
                        expected[g, m] = reduce(np.asarray(x)[a:b, m][mask[a:b, m]], axis=0)
            found = pool(spoiled, jnp.asarray(mask), graph)
            close(found, expected)
            close(
                at_nodes(found, graph, 6),
                np.concatenate([np.tile(e, (b - a, 1, 1)) for e, (a, b) in zip(expected, spans, strict=True)]),
            )
            derivatives(lambda x, pool=pool, graph=graph: pool(x, jnp.asarray(mask), graph), x)
