"""Attention against NumPy, head by head; what is masked, NaN or not, has no influence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import softmax

from fusion_jax.nn.attention import MultiHeadAttention, attend, masked_softmax
from tests.helpers import parameters
from tests.nn.reference import attention, close, derivatives, drawn, normal, random_only_with_a_key

B, T, L, H = 2, 3, 4, 2
Q, K, V = normal(B, T, H, 5), normal(B, L, H, 5, seed=1), normal(B, L, H, 6, seed=2)
RNG = np.random.default_rng(3)
KEYS = np.array([[True, False, True, True], [True, True, False, False]])
PAIRS, TRIPLES = RNG.random((B, T, L)) < 0.6, RNG.random((B, H, T, L)) < 0.6
PAIRS[0, 1] = TRIPLES[1, 1, 2] = False  # a query that sees no key
MASKS = {"none": None, "keys": KEYS, "query x key": PAIRS, "head x query x key": TRIPLES}


def by_hand(q, k, v, mask=None, scale=5**-0.5, bias=0.0):
    q, k, v = (np.moveaxis(np.asarray(a), 2, 1) for a in (q, k, v))  # [B, H, T, d]
    logits = q @ np.swapaxes(k, 2, 3) * scale + bias
    if mask is None:
        weights = softmax(logits, axis=-1)
    else:
        mask = np.broadcast_to(mask.reshape(B, *(1,) * (4 - mask.ndim), *mask.shape[1:]), logits.shape)
        e = np.where(mask, np.exp(logits), 0)
        weights = e / np.where(mask.any(-1), e.sum(-1), 1)[..., None]
    return np.moveaxis(weights @ v, 1, 2), weights


@pytest.mark.parametrize("axis", [0, -1])
def test_softmax_over_what_is_seen(axis):
    x = np.array([[1.0, 800.0, -3.0], [0.5, np.nan, 2.0], [1.0, 2.0, np.inf]])
    seen = np.array([[True, True, True], [True, False, True], [False, False, False]])
    x, seen = (x, seen) if axis == -1 else (x.T, seen.T)
    found = np.asarray(masked_softmax(jnp.asarray(x), jnp.asarray(seen), axis))
    expected = np.zeros((3, 3))
    rows, masks, out = (a if axis == -1 else a.T for a in (x, seen, expected))
    for i in range(2):
        out[i, masks[i]] = softmax(rows[i, masks[i]])
    close(found, expected)
    d = np.asarray(jax.grad(lambda x: (masked_softmax(x, jnp.asarray(seen), axis) ** 2).sum())(jnp.asarray(x)))
    assert np.isfinite(d).all() and not d[~seen].any()


def test_softmax_without_a_mask_or_with_one_that_is_broadcast():
    x = normal(3, 4)
    close(masked_softmax(x), softmax(x, axis=-1))
    close(masked_softmax(x, axis=0), softmax(x, axis=0))
    close(masked_softmax(x, jnp.ones(4, bool)), softmax(x, axis=-1))
    close(masked_softmax(x, jnp.arange(4) > 0)[:, 1:], softmax(x[:, 1:], axis=-1))
    derivatives(lambda x: masked_softmax(x, jnp.arange(4) != 2), x)


@pytest.mark.parametrize("form", MASKS)
def test_attend_by_hand(form):
    mask, bias = MASKS[form], normal(T, L, seed=5)
    given = None if mask is None else jnp.asarray(mask)
    for options in ({}, {"scale": 0.3}, {"bias": bias}):
        for found, expected in zip(attend(Q, K, V, given, **options), by_hand(Q, K, V, mask, **options), strict=True):
            close(found, expected)


@pytest.mark.parametrize("form", ["keys", "query x key", "head x query x key"])
def test_a_key_that_nobody_sees_has_no_influence(form):
    mask = np.array(MASKS[form])
    mask[..., 1] = False
    hidden = [jnp.asarray(np.where(np.arange(L)[:, None, None] == 1, np.nan, a)) for a in (K, V)]

    def loss(k, v):
        return (attend(Q, k, v, jnp.asarray(mask))[0] ** 2).sum()

    for found, expected in zip(attend(Q, *hidden, jnp.asarray(mask)), by_hand(Q, K, V, mask), strict=True):
        close(found, expected)
    for found, expected in zip(*(jax.grad(loss, (0, 1))(*pair) for pair in (hidden, (K, V))), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert not found[:, 1].any() and found.any()


@pytest.mark.parametrize("axes", [1, 5])
def test_a_mask_of_another_rank_is_refused(axes):
    with pytest.raises(ValueError, match=f"mask has {axes} axes, expected 2 to 4, the last over the keys"):
        attend(Q, K, V, jnp.ones((1,) * (axes - 1) + (L,), bool))


def test_derivatives():
    for mask in (None, jnp.asarray(TRIPLES)):
        derivatives(lambda q, k, v, bias, mask=mask: attend(q, k, v, mask, bias=bias), Q, K, V, normal(T, L))


def test_dropout_is_on_the_weights_and_needs_a_key():
    random_only_with_a_key(lambda key: attend(Q, K, V, rate=0.3, key=key)[0], unbiased=True)
    close(attend(Q, K, V, rate=0.3, key=jax.random.key(0))[1], attend(Q, K, V)[1])
    close(attend(Q, K, V, key=jax.random.key(0))[0], attend(Q, K, V)[0])
    plain = MultiHeadAttention(4, 2, rngs=nnx.Rngs(0))
    x = normal(3, 4).astype(jnp.float32)
    close(plain(x, key=jax.random.key(0))[0], plain(x)[0])
    module, _ = drawn(MultiHeadAttention(4, 2, rate=0.3, rngs=nnx.Rngs(0)))
    random_only_with_a_key(lambda key: module(normal(3, 4), key=key)[0], unbiased=True)


@pytest.mark.parametrize("h", [1, 2, 3])
def test_multi_head_attention_is_attention_of_the_projections(h):
    widths = dict(key_dim=5, value_dim=7, qk_dim=6 * h, v_dim=2 * h, out_dim=3)
    module, p = drawn(MultiHeadAttention(4, h, **widths, rngs=nnx.Rngs(0)))
    query, keys, values = normal(T, 4), normal(L, 5, seed=1), normal(L, 7, seed=2)
    mask = PAIRS[1]
    for found, expected in zip(
        module(query, keys, values, jnp.asarray(mask)), attention(p, "", h, query, keys, values, mask), strict=True
    ):
        close(found, expected)
    batched = module(jnp.stack([query, 2 * query]), jnp.stack([keys, keys]), jnp.stack([values, values]))
    close(batched[0][0], module(query, keys, values)[0])
    close(module.split(jnp.arange(2.0 * h)[None])[0, -1], np.array([2 * h - 2.0, 2 * h - 1]))


def test_what_is_not_given_follows_what_is():
    module, p = drawn(MultiHeadAttention(4, 2, rngs=nnx.Rngs(0)))
    x = normal(3, 4)
    close(module(x)[0], attention(p, "", 2, x, x)[0])
    close(module(x, x + 1)[0], attention(p, "", 2, x, x + 1)[0])
    shapes = {
        name: v.shape for name, v in parameters(MultiHeadAttention(4, 1, key_dim=5, qk_dim=6, rngs=nnx.Rngs(0))).items()
    }
    assert shapes == {
        **{"query.kernel": (4, 6), "query.bias": (6,), "key.kernel": (5, 6), "key.bias": (6,)},
        **{"value.kernel": (5, 6), "value.bias": (6,), "out.kernel": (6, 4), "out.bias": (4,)},
    }
    for bias, out_bias in ((False, True), (True, False)):
        made = MultiHeadAttention(4, 1, bias=bias, out_bias=out_bias, rngs=nnx.Rngs(0))
        assert {n.split(".")[0] for n in parameters(made) if n.endswith("bias")} == (
            {"query", "key", "value"} if bias else {"out"}
        )


@pytest.mark.parametrize("name", ["qk_dim", "v_dim"])
def test_heads_that_do_not_divide_a_width_are_refused(name):
    with pytest.raises(ValueError, match=f"MultiHeadAttention: {name}=5 is not divisible by heads=2"):
        MultiHeadAttention(4, 2, **{name: 5}, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("masked", [False, True])
def test_logits_of_a_size_at_which_float32_tells_hundreds_apart_have_a_softmax_when_compiled(masked):
    """Features in units of 1e5: the largest logit, rounded, is hundreds away from what it is in the difference."""
    rng, mask = np.random.default_rng(0), jnp.asarray(np.arange(20).reshape(4, 5) % 3 > 0) if masked else None

    def total(q, k, v):
        out, weights = attend(q, k, v, mask)
        return out.sum(), weights

    q, k, v = (jnp.asarray(1e5 * rng.normal(size=(4, 5, 4, 2)), jnp.float32) for _ in range(3))
    (_, weights), slopes = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))(q, k, v)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_queries_are_scaled_before_they_meet_keys():
    """So that the largest logit is subtracted as it was rounded; products before the scale may also be infinite."""
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(5, 2, 3)), jnp.float32) for _ in range(3))
    large, expected = attend(1e20 * q, 1e19 * k, v, scale=1e-37)[1], attend(10 * q, 10 * k, v, scale=1.0)[1]
    # float32: logits of some hundreds are known to 3e-5, and so are, relatively, their exponentials
    np.testing.assert_allclose(large, expected, rtol=1e-3, atol=1e-6)
