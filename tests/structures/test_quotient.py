"""Quotient graphs: edges counted between the parts of each graph."""

import numpy as np
import pytest

from fusion_jax.structures.base import Structure, derive
from tests.structures import cases


@pytest.mark.parametrize("absent", [0, 4])
@pytest.mark.parametrize("options", [{"parts": 4}, {"size": 3}, {"parts": "sqrt", "weighted": True}], ids=str)
def test_counts_are_those_of_the_definition(options, absent):
    graph = cases.batch(absent=absent)
    structures = [Structure("quotient", options), Structure("partition", options)]
    (found,) = derive([graph], structures)
    quotient, parts = (cases.host(found.structure(s)) for s in structures)
    slots = int(parts.slot.max()) + 1
    expected = np.zeros((graph.num_graphs, slots, slots), int)
    ids = cases.graph_ids(graph)
    for i, j in np.argwhere(cases.undirected(graph)):
        p, q = (int(parts.slot[parts.part[k]]) for k in (i, j))
        expected[ids[i], p, q] += p != q
    assert expected.any()
    np.testing.assert_array_equal(quotient.counts, expected)
    np.testing.assert_array_equal(quotient.adjacent, expected > 0)
    assert quotient.report() == dict(edges=expected.sum() // 2, joined=(expected > 0).sum() // 2)
