"""What is lost depends on itself, and on no other modality."""

import numpy as np

from fusion_jax.data.missing.value import value
from tests.data.missing.nodes import N, made


def test_the_larger_its_first_component_the_likelier_it_is_lost():
    nodes = made()
    gone = value(nodes, np.random.default_rng(0), rate=0.5, strength=3.0)
    for m, x in enumerate(nodes.features.values()):
        has = nodes.mask[:, m]
        assert not gone[~has, m].any()
        assert np.corrcoef(gone[has, m], x[has, 0])[0, 1] > 0.5
        other = nodes.features[f"m{(m + 1) % 3}"][:, 0]
        assert abs(np.corrcoef(gone[has, m], other[has])[0, 1]) < 4 / np.sqrt(N)


def test_a_modality_that_nobody_has_or_that_does_not_vary_is_no_error():
    nodes = made(100)
    mask = nodes.mask.copy()
    mask[:, 0] = False
    flat = made(100, mask=mask, features={**nodes.features, "m1": np.ones((100, 3))})
    gone = value(flat, np.random.default_rng(0), rate=0.5)
    assert not gone[:, 0].any() and 0.2 < gone[:, 1].mean() < 0.7
