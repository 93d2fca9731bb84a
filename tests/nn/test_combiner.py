"""The causal forms of Combiner: who depends on whom, their limits, and sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import softmax

from fusion_jax.nn.attention import attend
from fusion_jax.nn.combiner import RowKey, axial, bidirectional, fixed, logn, summaries
from tests.helpers import drawn
from tests.nn.reference import close, derivatives, normal

H, HD = 2, 3


def qkv(*lead):
    return tuple(normal(*lead, H, HD, seed=s) for s in range(3))


def depends(f, x):
    """bool [L, L], whether an output changes with an input at all; f of [L, ...]."""
    jacobian = np.asarray(jax.jit(jax.jacrev(f))(x))
    return (jacobian != 0).any((1, 2, 4, 5))


def self_attended(form, length):
    """form(x, x, x) by x [L, H, d]."""
    return depends(lambda x: form(x, x, x).out, normal(length, H, HD))


@pytest.mark.parametrize("length", [1, 2, 5, 8, 9, 11, 17])
def test_logn_depends_on_all_that_came_before_and_on_nothing_else(length):
    np.testing.assert_array_equal(self_attended(logn, length), np.tri(length, dtype=bool))


@pytest.mark.parametrize("length", [9, 17])
def test_with_as_many_levels_as_the_reference_has_the_last_position_sees_itself_alone(length):
    levels = int(np.ceil(np.log2(length - 1)))
    found = self_attended(lambda q, k, v: logn(q, k, v, levels), length)
    np.testing.assert_array_equal(np.flatnonzero(found[-1]), [length - 1])
    assert logn(*qkv(length)).weights.shape[-1] == levels + 2


def test_logn_by_hand():
    """Position 11 = 0b1011 sees itself, 10, the two of 8 and 9, and the eight of 0 to 7."""
    q, k, v = (np.asarray(a) for a in qkv(13))
    found = logn(*qkv(13))
    spans = [range(10, 11), range(8, 10), None, range(8)]
    for h in range(H):
        logits, values = [q[11, h] @ k[11, h]], [v[11, h]]
        for span in filter(None, spans):
            rows = np.array(span)
            logits.append(q[11, h] @ k[rows, h].max(0))
            values.append(softmax(k[rows, h] @ q[rows, h].max(0)) @ v[rows, h])
        close(found.out[11, h], softmax(logits) @ np.array(values))
        close(found.weights[11, h], np.insert(softmax(logits), 3, 0))
    np.testing.assert_array_equal(found.seen[11, 0], [True, True, True, False, True])
    derivatives(lambda q, k, v: logn(q, k, v).out, *qkv(6))


def test_fixed_by_hand():
    """Position 7 in spans of 3 sees 6 and itself, and the summaries of the first two spans."""
    q, k, v = (np.asarray(a) for a in qkv(9))
    found = fixed(*qkv(9), 3)
    for h in range(H):
        rows, logits, values = np.arange(6, 8), [], []
        for span in (np.arange(3), np.arange(3, 6)):
            logits.append(q[7, h] @ k[span, h].max(0))
            values.append(softmax(k[span, h] @ q[span, h].max(0)) @ v[span, h])
        p = softmax([*(k[rows, h] @ q[7, h]), *logits])
        close(found.out[7, h], p @ np.concatenate([v[rows, h], values]))
        close(found.weights[7, h], np.array([*p[:2], 0, *p[2:], 0]))
    close(found.weights.sum(-1), np.ones((9, H)))
    np.testing.assert_array_equal(self_attended(lambda q, k, v: fixed(q, k, v, 3), 9), np.tri(9, dtype=bool))
    derivatives(lambda q, k, v: fixed(q, k, v, 3).out, *qkv(6))


@pytest.mark.parametrize("size", [1, 6])
def test_fixed_with_one_span_or_spans_of_one_is_causal_attention(size):
    expected, _ = attend(*qkv(6), np.tri(6, dtype=bool), scale=1.0)
    close(fixed(*qkv(6), size).out, expected)


def test_fixed_refuses_spans_that_do_not_divide_the_length():
    with pytest.raises(ValueError, match="size=4 do not divide a length of 6"):
        fixed(*qkv(6), 4)


def test_axial_depends_on_all_that_came_before_and_weights_sum_to_one():
    x = normal(3, 4, H * HD)
    row_key = drawn(lambda: RowKey(H * HD, H, rngs=nnx.Rngs(0)))

    def form(x):
        q = x.reshape(3, 4, H, HD)
        return axial(q, q, q, lambda y: row_key(y, x))

    seen = depends(lambda x: form(x.reshape(3, 4, -1)).out.reshape(12, H, HD), x.reshape(12, H, HD))
    np.testing.assert_array_equal(seen, np.tri(12, dtype=bool))
    found = form(x)
    close(found.weights.sum(-1), np.ones((3, 4, H)))
    assert found.weights.shape == (3, 4, H, 4 + 3) and not found.weights[0, :, :, 4:].any()
    y, _ = attend(*(x.reshape(3, 4, H, HD) for _ in range(3)), scale=1.0)
    logits = np.einsum("hd,rhd->hr", x[2, 1].reshape(H, HD), row_key(y, x)[:2, 1])
    direct = np.einsum("hd,chd->hc", x[2, 1].reshape(H, HD), x[2, :2].reshape(2, H, HD))
    p = softmax(np.concatenate([direct, logits], 1), 1)
    close(found.weights[2, 1, :, [0, 1, 4, 5]].T, p)
    values = np.concatenate([x[2, :2].reshape(2, H, HD), y[:2, 1]])
    close(found.out[2, 1], np.einsum("hk,khd->hd", p, values))


def test_summaries_leave_out_who_is_not_there_and_are_zero_without_anybody():
    there = np.array([[True, False, True], [False, False, False]])
    q, k, v = (jnp.where(there[..., None, None], a, jnp.nan) for a in qkv(2, 3))
    found = summaries(q, k, v, jnp.asarray(there))
    kept = summaries(*(a[:1, ::2] for a in (q, k, v)))
    close(found.key[:1], kept.key)
    close(found.value[:1], kept.value)
    close(found.weights[0, :, ::2], kept.weights[0])
    for a in (found.key[1], found.value[1], found.weights[1], found.weights[0, :, 1]):
        assert not np.asarray(a).any()
    d = jax.jit(jax.grad(lambda x: sum((a**2).sum() for a in summaries(x, x, x, jnp.asarray(there)))))(q)
    assert np.isfinite(d).all() and not np.asarray(d)[~there].any()


def test_both_ways_scales_queries_alone():
    """Twice the queries are twice the logits of both levels; the key of a span is the largest raw key."""
    q, k, v = qkv(2, 3)
    there = jnp.ones((2, 3), bool)
    found = bidirectional(q, k, v, there, own_summary=True)
    close(found.spans.key, np.asarray(k).max(1))
    ratio = jnp.log(found.weights[0, 0, :, 0] / found.weights[0, 0, :, 4])
    twice = bidirectional(2 * q, k, v, there, own_summary=True).weights
    close(jnp.log(twice[0, 0, :, 0] / twice[0, 0, :, 4]), 2 * ratio)
    without = bidirectional(q, k, v, there)
    assert not np.asarray(without.weights)[[0, 1], :, :, [3, 4]].any() and found.weights.all()


def test_both_ways_nobody_hears_of_who_is_not_there():
    q, k, v = qkv(3, 2)
    there = jnp.asarray([[True, False], [True, True], [False, False]])
    spoiled = (jnp.where(there[..., None, None], a, jnp.nan) for a in (k, v))
    found = bidirectional(q, *spoiled, there)
    close(found.weights[0, 0, :, 1], np.zeros(H))
    close(found.weights[:, :, :, 4], np.zeros((3, 2, H)))
    close(found.weights.sum(-1), np.ones((3, 2, H)))
    close(found.out, bidirectional(q, *(jnp.where(there[..., None, None], a, 7) for a in (k, v)), there).out)
