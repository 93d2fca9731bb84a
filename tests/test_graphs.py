"""A graph made directly holds what a data set's edge sets hold: ids, shapes, signs and values of the edge arrays."""

import warnings

import numpy as np
import pytest

from fusion_jax.graphs import Graph
from tests.tiny import as_users_run

SENDERS, RECEIVERS = np.array([0, 2, 1]), np.array([1, 1, 0])


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ({"weight": [1.0, -1.0, 1.0]}, "graph.edges['weight']: row 1 holds -1.0 (1 negative); expected weights >= 0"),
        ({"weight": [1.0, np.nan, 1.0]}, "graph.edges['weight']: row 1 is not finite (nan)"),
        ({"weight": [1.0, 1.0, np.inf]}, "graph.edges['weight']: row 2 is not finite (inf)"),
        ({"weight": np.float64([1e39, 1, 1])}, "graph.edges['weight']: row 0 is not finite (1e+39); expected finite v"),
        ({"weight": np.ones((3, 2))}, "graph.edges['weight']: shape (3, 2); expected [E] with E = 3"),
        ({"weight": np.ones((1, 3))}, "edges['weight'] has 1 rows, expected 3"),
        ({"weight": 1.0}, "edges['weight'] has no rows, expected 3"),
        ({"weight": np.ones(3, complex)}, "graph.edges['weight']: dtype complex128; expected numbers [E]"),
        ({"weight": ["1", "2", "3"]}, "graph.edges['weight']: dtype <U1"),
        ({"weight": [None, 1, 2]}, "graph.edges['weight']: dtype object"),
        ({"features": np.ones((3, 0))}, "graph.edges['features']: shape (3, 0); expected [E, F] with E = 3"),
        ({"features": np.ones((3, 1, 1))}, "graph.edges['features']: shape (3, 1, 1)"),
        ({"features": [[1.0], [np.nan], [0]]}, "graph.edges['features']: row 1 is not finite"),
        ({"time": np.ones((3, 2))}, "graph.edges['time']: shape (3, 2); expected [E] with E = 3"),
        ({"time": np.array([0, 1, 2]) + 10**18}, "graph.edges['time']: column 0 varies by less than float32 can tell"),
        ({"relation": np.array([0, 1, 2**40])}, "graph.edges['relation']: integers from 0 to 1099511627776"),
        ([1.0, 1.0, 1.0], "graph.edges: list; expected a dictionary"),
    ],
)
def test_edge_arrays_that_layers_cannot_read_are_refused_by_name(edges, message):
    with as_users_run(), pytest.raises(ValueError) as error:
        Graph.create(SENDERS, RECEIVERS, 3, edges)
    assert message in str(error.value)


@pytest.mark.parametrize("count", [2.5, -1, [1, -1], "3", None])
def test_node_counts_are_integers(count):
    with pytest.raises(ValueError, match="num_nodes is .*; expected N, or the counts"):
        Graph.create(SENDERS, RECEIVERS, count)


def test_edge_arrays_of_one_column_and_other_dtypes_are_the_vectors_they_mean():
    weight = np.array([2, 0, 1])
    given = (weight, weight[:, None], weight.tolist(), weight.astype(np.float32), weight.astype(np.uint8))
    for w in given:
        graph = Graph.create(SENDERS, RECEIVERS, 3, {"weight": w, "features": w, "time": np.reshape(w, (3, 1))})
        assert graph.edges["weight"].tolist() == [1, 2, 0] == graph.edges["time"].tolist()
        assert graph.edges["weight"].dtype == np.float32
        assert graph.edges["features"].shape == (3, 1)
        assert graph.looped.edges["weight"].shape == (6,) and graph.looped.edges["features"].shape == (6, 1)
    assert Graph.create(SENDERS, RECEIVERS, 3, {"weight": weight.astype(float)}).edges["weight"].dtype == np.float64
    none = Graph.create([], [], 3, {"weight": [], "features": np.ones((0, 2))})
    assert none.num_edges == 0 and none.looped.edges["features"].shape == (3, 2)


def test_an_edge_array_of_nearly_the_name_of_one_that_is_read_is_warned_of():
    with pytest.warns(UserWarning, match=r"edges\['wieght'\]: no layer reads.*did you mean 'weight'"):
        Graph.create([0], [1], 2, {"wieght": np.ones(1)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Graph.create([0], [1], 2, {"weight": np.ones(1), "kind": np.ones(1, int)})
