"""The normalised adjacency against its dense definition; absent nodes against the graph without them."""

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.graphs import Graph
from fusion_jax.nn.adjacency import NORMS, check_norm, convolve, normalised
from tests.nn.reference import RECEIVERS, SENDERS, WEIGHT, N, close, derivatives, graph, matrix, normal

X = normal(N, 3)


def dense(a: np.ndarray, how: str) -> np.ndarray:
    """Of A without its loops: A + I, normalised."""
    a = a * (1 - np.eye(len(a))) + np.eye(len(a))
    d = a.sum(1)
    return a / d[:, None] if how == "row" else a / np.sqrt(np.outer(d, d))


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("how", NORMS)
def test_the_weights_of_the_edges_are_those_of_the_dense_matrix(how, weighted):
    g = graph(weighted)
    looped, weight = normalised(g, how, jnp.float64)
    expected = dense(matrix(g, g.edges.get("weight")), how)
    close(matrix(looped, weight), expected)
    close(convolve(X, g, how), expected @ X)
    assert weight.dtype == jnp.float64 and normalised(g, how, jnp.float32)[1].dtype == jnp.float32


@pytest.mark.parametrize("how", NORMS)
def test_a_node_without_edges_keeps_what_it_has(how):
    close(convolve(X, graph(), how)[5], X[5])


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("how", NORMS)
def test_present_nodes_get_what_they_get_without_the_others(how, weighted):
    present = np.array([True, True, False, True, True, False])
    kept = present[SENDERS] & present[RECEIVERS]
    edges = {"weight": WEIGHT[kept]} if weighted else {}
    rank = np.cumsum(present) - 1
    alone = Graph.create(rank[SENDERS[kept]], rank[RECEIVERS[kept]], int(present.sum()), edges)
    x = jnp.where(present[:, None], X, jnp.nan)
    y = np.asarray(convolve(x, graph(weighted), how, jnp.asarray(present)))
    close(y[present], convolve(X[present], alone, how))
    a = matrix(graph(weighted), WEIGHT[np.lexsort((SENDERS, RECEIVERS))] if weighted else None)
    assert a[2, 0] > 0 and np.isfinite(y).all() and not y[5].any(), "2 hears of 0, 5 of nobody"
    total = a[2] @ present  # its own loop is not there
    expected = (
        (a[2] * present) @ X
        if how == "row"
        else a[2, 0] * X[0] / np.sqrt((a * (1 - np.eye(N)) + np.eye(N))[0] @ present)
    )
    close(y[2], expected / (total if how == "row" else np.sqrt(total)))


@pytest.mark.parametrize("how", NORMS)
def test_everybody_present_is_nobody_absent(how):
    wide = normal(N, 2, 3)
    close(convolve(wide, graph(), how, jnp.ones(N, bool)), convolve(wide, graph(), how))
    assert not np.asarray(convolve(X, graph(), how, jnp.zeros(N, bool))).any()


@pytest.mark.parametrize("how", NORMS)
@pytest.mark.parametrize("present", [None, jnp.arange(N) != 3])
def test_derivatives(how, present):
    derivatives(lambda x: convolve(x, graph(), how, present), X)


def test_another_norm_is_refused_with_its_owner():
    check_norm("layer 'x'", "row")
    with pytest.raises(ValueError, match=r"layer 'x': norm='column'; expected one of \('symmetric', 'row'\)"):
        check_norm("layer 'x'", "column")
