"""The table of a node's neighbourhood against the lists of its senders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn.neighbours import neighbours
from tests.nn.reference import RECEIVERS, SENDERS, N, close, derivatives, graph, normal

X = normal(N, 2, 3)
OTHERS = [sorted(SENDERS[(RECEIVERS == i) & (SENDERS != i)].tolist()) for i in range(N)]


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7])
def test_the_node_itself_and_then_its_senders(width):
    g = graph()
    table = jax.jit(neighbours, static_argnums=1)(g, width)
    valid, gathered = np.asarray(table.valid), np.asarray(table.gather(X, g))
    assert table.edges.shape == (N, width - 1) and valid.shape == (N, width) and gathered.shape == (N, width, 2, 3)
    for i, others in enumerate(OTHERS):
        if len(others) > width - 1:  # evenly spaced
            others = [others[c * len(others) // (width - 1)] for c in range(width - 1)]
        assert valid[i].tolist() == [True] * (1 + len(others)) + [False] * (width - 1 - len(others))
        close(gathered[i, : 1 + len(others)], np.asarray(X)[[i, *others]])
        assert not gathered[i, 1 + len(others) :].any()
    assert np.asarray(table.edges).max(initial=0) < g.looped.num_edges


def test_derivatives_and_dtype():
    g = graph()
    table = neighbours(g, 3)
    derivatives(lambda x: table.gather(x, g) ** 2, X)
    assert table.gather(X.astype(jnp.float32), g).dtype == jnp.float32
    assert table.gather(jnp.arange(N), g)[:, 0].tolist() == list(range(N))
