"""The node token: what an empty node gives, what the modality embedding is for, dropout, refusals."""

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.node_token import NodeToken
from fusion_jax.records import Context
from tests.helpers import assign, shown, to_float64

N, M, D = 5, 3, 8


@pytest.fixture
def nodes():
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.7
    mask[0], mask[1], mask[2] = False, True, [True, False, True]
    return rng.normal(size=(N, M, D)), mask


@pytest.fixture
def module():
    """Embeddings and token of size 1: their start, 0.02, hides mistakes."""
    module = to_float64(NodeToken(M, D, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(1)
    return assign(module, {"token": rng.normal(size=D), "embedding": rng.normal(size=(M, D))}, partial=True)


def test_weights_are_the_tokens_row(module, nodes):
    x, mask = nodes
    weights = shown(module(x, mask), "token")  # [N, B, H, 1 + M]
    assert weights.shape == (N, 2, 4, 1 + M)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-12)
    np.testing.assert_array_equal(weights[..., 1:].transpose(0, 3, 1, 2)[~mask], 0)


def test_empty_node_sees_itself_only(module, nodes):
    x, mask = nodes
    fused = module(x, mask)
    np.testing.assert_array_equal(shown(fused, "token")[0], np.broadcast_to(np.eye(1 + M)[0], (2, 4, 1 + M)))
    other = module(x[::-1], np.zeros_like(mask))
    np.testing.assert_allclose(other.out, np.broadcast_to(fused.out[0], (N, D)), rtol=1e-12)


def test_permuted_with_its_embedding(module, nodes):
    x, mask = nodes
    order = np.array([2, 0, 1])
    fused = module(x, mask)
    without = module(x[:, order], mask[:, order])
    assert not np.allclose(fused.out[1], without.out[1]), "the token cannot tell the modalities apart"
    assign(module, {"embedding": np.asarray(module.embedding[...])[order]}, partial=True)
    moved = module(x[:, order], mask[:, order])
    np.testing.assert_allclose(moved.out, fused.out, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(moved.tokens, fused.tokens[:, order], rtol=1e-11, atol=1e-13)


def test_missing_is_as_if_never_there(module, nodes):
    x, mask = nodes
    present = np.flatnonzero(mask[2])
    part = to_float64(NodeToken(2, D, rngs=nnx.Rngs(0)))
    values = {"token": module.token[...], "embedding": module.embedding[...][present]}
    assign(part, values, partial=True)
    out = part(x[2:3, present], np.ones((1, 2), bool)).out[0]
    np.testing.assert_allclose(module(x, mask).out[2], out, rtol=1e-11)


def test_out_is_normalised(module, nodes):
    """The last norm is on: mean 0 and variance 1 over the features at the start."""
    out = np.asarray(module(*nodes).out)
    np.testing.assert_allclose(out.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(out.var(-1), 1, rtol=1e-3)


def test_dropout_is_for_training_only(module, nodes):
    x, mask = nodes
    calm, one, again = module(x, mask), *(module(x, mask, context=Context(key=jax.random.key(s))) for s in (1, 1))
    np.testing.assert_array_equal(one.out, again.out)
    assert not np.allclose(calm.out, one.out)
    off = to_float64(NodeToken(M, D, rate=0.0, rngs=nnx.Rngs(0)))
    np.testing.assert_array_equal(off(x, mask).out, off(x, mask, context=Context(key=jax.random.key(1))).out)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="node_token.*heads=3"):
        NodeToken(M, D, heads=3, rngs=nnx.Rngs(0))
    assert "decision" not in NodeToken.placements  # the width there is the number of classes
