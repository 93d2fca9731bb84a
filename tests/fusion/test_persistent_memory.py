"""Identities of persistent memory that golden cases cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.persistent_memory import AllAttentionLayer, PersistentMemory
from fusion_jax.nn.attention import attend
from tests.helpers import assign, shown, to_float64

N, M, D, H, P = 5, 3, 8, 2, 6


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.6
    mask[0], mask[1] = False, True
    return jnp.asarray(rng.normal(size=(N, M, D))), jnp.asarray(mask)


def fusion(**options):
    options = {"layers": 2, "heads": H, "persistent": P} | options
    return to_float64(PersistentMemory(M, D, **options, rngs=nnx.Rngs(0)))


def plain(layer, h, mask):
    def split(a):
        return a.reshape(*a.shape[:-1], layer.heads, -1)

    q, k, v = split(layer.proj_query(h)), split(layer.proj_key(h)), split(layer.proj_val(h))
    out, _ = attend(q, k, v, mask)
    return layer.norm1(h + layer.proj_out(out.reshape(h.shape)))


def test_no_memory_is_plain_attention(data):
    """P = 0, and logits of the memory at minus infinity, are attention without feed-forward."""
    x, mask = data
    none = to_float64(AllAttentionLayer(D, H, 0, rngs=nnx.Rngs(0)))
    np.testing.assert_allclose(none(x, mask=mask[:, None, None])[0], plain(none, x, mask), rtol=1e-12)
    far = to_float64(AllAttentionLayer(D, H, 1, rngs=nnx.Rngs(0)))
    one = jnp.ones((1, 1, D))
    key = -1e4 * far.proj_query(one).reshape(H, D // H, 1)  # q . key is far below every other logit
    assign(far, {"persistent.key": key}, partial=True)
    np.testing.assert_allclose(far(one)[0], plain(far, one, jnp.ones((1, 1), bool)), rtol=1e-12)
    assert np.abs(far(-one)[0] - plain(far, -one, jnp.ones((1, 1), bool))).max() > 1e-3


def test_weights(data):
    """Rows sum to 1; a node without modalities has all of it on the memory, masked modalities have none."""
    x, mask = data
    weights = shown(fusion()(x, mask), "memory")
    assert weights.shape == (N, 2, H, M, M + P)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-12)
    assert not weights[0, ..., :M].any()
    assert not np.moveaxis(weights[..., :M], -1, 1)[~np.asarray(mask)].any()


def test_zero_queries_are_uniform(data):
    """W_q = 0: every query gives 1 / (present + P) to all it may see."""
    x, mask = data
    module = fusion(layers=1)
    assign(module, {"layers.0.proj_query.kernel": np.zeros((D, D))}, partial=True)
    weights = shown(module(x, mask), "memory")[:, 0]
    present = np.asarray(mask).sum(1)
    seen = np.concatenate([np.asarray(mask), np.ones((N, P), bool)], axis=1)
    expected = seen / (present + P)[:, None]
    np.testing.assert_allclose(weights, np.broadcast_to(expected[:, None, None], weights.shape), rtol=1e-12)


def test_memory_has_no_order(data):
    """Permuting persistent keys and values together changes nothing; permuting only one does."""
    x, mask = data
    module = fusion(layers=1)
    before = module(x, mask).out
    memory = module.layers[0].persistent
    memory.key.set_value(memory.key[..., ::-1])
    assert np.abs(module(x, mask).out - before).max() > 1e-3
    memory.val.set_value(memory.val[:, ::-1])
    np.testing.assert_allclose(module(x, mask).out, before, rtol=1e-12, atol=1e-12)


def test_initial_memory_is_standard_normal():
    """Stored with deviation 1 / sqrt(d) and 1 / sqrt(P), N(0, 1) in use."""
    memory = AllAttentionLayer(64, 2, 256, rngs=nnx.Rngs(0)).persistent
    assert np.asarray(memory.key[...]).std() * np.sqrt(32) == pytest.approx(1, abs=0.03)
    assert np.asarray(memory.val[...]).std() * np.sqrt(256) == pytest.approx(1, abs=0.03)


def test_without_persistent_vectors_there_are_no_empty_parameters():
    """A checkpoint cannot hold them."""
    module = PersistentMemory(3, 8, heads=2, persistent=0, rngs=nnx.Rngs(0))
    assert all(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
