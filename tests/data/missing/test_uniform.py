"""Entries are lost independently: of a node's modalities and of different nodes."""

import numpy as np

from fusion_jax.data.missing.uniform import uniform
from tests.data.missing.nodes import N, made


def test_what_a_node_loses_says_nothing_of_what_else_it_loses():
    gone = uniform(made(), np.random.default_rng(0), rate=0.4)
    off = np.corrcoef(gone.T) - np.eye(3)
    assert np.abs(off).max() < 4 / np.sqrt(N)
    np.testing.assert_allclose(gone.all(1).mean(), 0.4**3, atol=0.02)
