"""Tensor fusion: the product, what is left of it without a modality, and its size guard."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.tfn import TFN
from fusion_jax.records import Context
from tests.helpers import assign, parameters, to_float64


def inputs(n, m, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, m, d)), rng.random((n, m)) < 0.6


@pytest.mark.parametrize("m", [1, 2, 4])
def test_tensor_is_the_outer_product(m):
    """Entry (i_1, ..., i_M) is the product of z_m[i_m], with z_m = [1; x_m]."""
    x, _ = inputs(1, m, 3)
    model = TFN(m, 3, rngs=nnx.Rngs(0))
    z = np.concatenate([np.ones((m, 1)), x[0]], axis=1)
    expected = functools.reduce(np.multiply.outer, z)
    got = np.asarray(model.tensor(x[0], np.ones(m, bool))).reshape(expected.shape)
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    np.testing.assert_allclose(got[(slice(None),) + (0,) * (m - 1)][1:], x[0, 0], rtol=1e-14)  # unimodal part


def test_missing_modality_leaves_the_fusion_of_the_others():
    """Without the middle one of three, the output is that of the pair under the rows of W1 they share."""
    x, _ = inputs(4, 3, 3)
    three, two = (to_float64(TFN(m, 3, hidden=5, rngs=nnx.Rngs(0))) for m in (3, 2))
    values = {k: np.asarray(v[...]) for k, v in parameters(three).items()}
    rows = values["post_fusion_layer_1.kernel"].reshape(4, 4, 4, 5)[:, 0].reshape(16, 5)
    assign(two, values | {"post_fusion_layer_1.kernel": rows})
    mask = np.tile([True, False, True], (4, 1))
    np.testing.assert_allclose(three(x, mask).out, two(x[:, [0, 2]], mask[:, [0, 2]]).out, rtol=1e-12)


def test_projection_by_hand():
    """A narrower width is relu(V_m x_m + c_m) followed by the plain product, missing modalities at 0."""
    x, mask = inputs(6, 3, 8)
    narrow = to_float64(TFN(3, 8, width=2, rngs=nnx.Rngs(1)))
    values = {k: np.asarray(v[...]) for k, v in parameters(narrow).items()}
    values["subnet.bias"] = np.full_like(values["subnet.bias"], 0.7)
    assign(narrow, values)
    kernel, bias = values.pop("subnet.kernel"), values.pop("subnet.bias")
    h = np.maximum(np.einsum("nmd,mdw->nmw", x, kernel) + bias, 0)
    plain = assign(TFN(3, 2, out_dim=8, rngs=nnx.Rngs(2)), values)
    np.testing.assert_allclose(narrow(x, mask).out, plain(h, mask).out, rtol=1e-12)


@pytest.mark.parametrize("m, width", [(1, 64), (2, 63), (3, 15), (4, 7), (6, 3), (12, 1)])
def test_default_width_stays_under_the_limit(m, width):
    model = nnx.eval_shape(lambda: TFN(m, 64, rngs=nnx.Rngs(0)))
    assert model.width == width
    assert (width + 1) ** m <= 4096 < (width + 2) ** m or width == 64


def test_size_guard_names_the_size():
    with pytest.raises(ValueError, match=r"tfn.*17\^6 = 24137569 entries, over limit=4096"):
        TFN(6, 16, width=16, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"tfn.*2\^13 = 8192 entries"):
        TFN(13, 16, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="width=17 is not in"):
        TFN(1, 16, width=17, rngs=nnx.Rngs(0))


def test_dropout_is_on_the_tensor():
    """rate near 1 removes all of Z almost surely: only the biases speak."""
    x, _ = inputs(2, 2, 2)
    mask = np.ones((2, 2), bool)
    model = to_float64(TFN(2, 2, rate=1 - 1e-12, rngs=nnx.Rngs(0)))
    out = model(x, mask, context=Context(key=jax.random.key(0))).out
    np.testing.assert_array_equal(out, np.zeros((2, 2)))  # biases start at 0
    assert np.abs(model(x, mask).out).max() > 0
