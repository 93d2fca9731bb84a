"""Sum, mean, max and single against numpy over the present modalities."""

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo

N, M, D = 6, 3, 5


@pytest.fixture
def nodes():
    """x < 0 everywhere, so that a 0 counted as a value would win a maximum; node 0 has nothing."""
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.6
    mask[0], mask[1] = False, True
    return -1 - rng.random((N, M, D)), mask


@pytest.mark.parametrize("name", ["sum", "mean", "max"])
def test_pooling_is_numpys_over_present_modalities(name, nodes):
    x, mask = nodes
    out = zoo.make("fusion", name, M, D, rngs=nnx.Rngs(0))(x, mask).out
    want = [getattr(a[m], name)(0) if m.any() else np.zeros(D) for a, m in zip(x, mask, strict=True)]
    np.testing.assert_allclose(out, want, rtol=1e-15)


def test_max_without_modality_has_no_gradient(nodes):
    x, mask = nodes
    module = zoo.make("fusion", "max", M, D, rngs=nnx.Rngs(0))
    gradient = np.asarray(jax.grad(lambda x: module(x, mask).out.sum())(x))
    assert np.isfinite(gradient).all() and not gradient[0].any()
    np.testing.assert_allclose(gradient[1].sum(0), 1)  # one modality a feature


@pytest.mark.parametrize("index", [0, 2])
def test_single_is_that_modality(index, nodes):
    x, mask = nodes
    out = zoo.make("fusion", "single", M, D, options=dict(index=index), rngs=nnx.Rngs(0))(x, mask).out
    np.testing.assert_array_equal(out, np.where(mask[:, index, None], x[:, index], 0))


@pytest.mark.parametrize("index", [-1, M])
def test_single_refuses_an_index_that_is_none(index):
    with pytest.raises(ValueError, match=f"single.*index={index}"):
        zoo.make("fusion", "single", M, D, options=dict(index=index), rngs=nnx.Rngs(0))
