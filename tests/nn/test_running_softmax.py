"""Blocks of keys against one softmax over all: numbers, gradients, groups, masks, memory, dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn.attention import attend
from fusion_jax.nn.running_softmax import FLOOR, absorb, attend_all, finish, start

T, H, D, E = 11, 2, 3, 4
RNG = np.random.default_rng(0)
Q, K, V = (jnp.asarray(RNG.normal(size=(T, H, width))) for width in (D, D, E))
VALID = jnp.asarray(RNG.random(T) < 0.7).at[:4].set(jnp.array([True, False, False, True]))
GROUP = jnp.asarray([0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2])
BLOCKS = (1, 4, T, 100)


def dense(q, k, v, valid=VALID, group=None):
    seen = jnp.broadcast_to(valid, (T, T))
    seen = seen if group is None else seen & (group[:, None] == group)
    return attend(q, k, v, seen)[0]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("group", [None, GROUP], ids=["one", "groups"])
def test_blocks_are_one_softmax_and_so_is_their_gradient(block, group):
    weight = jnp.asarray(RNG.normal(size=(T, H, E)))

    def loss(run):
        return lambda *args: (run(*args) * weight).sum()

    ours = jax.jit(lambda q, k, v: attend_all(q, k, v, VALID, group, block=block))
    np.testing.assert_allclose(ours(Q, K, V), dense(Q, K, V, VALID, group), rtol=1e-12, atol=1e-13)
    grads = jax.grad(loss(ours), (0, 1, 2))(Q, K, V)
    expected = jax.grad(loss(lambda *args: dense(*args, VALID, group)), (0, 1, 2))(Q, K, V)
    for a, b in zip(grads, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_scores_of_any_size_neither_overflow_nor_vanish():
    large = attend_all(1e3 * Q, 1e3 * K, V, VALID, block=4)
    np.testing.assert_allclose(large, dense(1e3 * Q, 1e3 * K, V), rtol=1e-10, atol=1e-12)
    low = K.at[..., 0].add(-1e6)  # so that all scores of q with a positive first entry are far below 0
    np.testing.assert_allclose(attend_all(abs(Q), low, V, VALID, block=4), dense(abs(Q), low, V), rtol=1e-6)


def test_keys_that_cannot_be_seen_have_no_influence():
    """NaN in their place; with none at all, or in a group without one, the result and all gradients are 0."""
    spoilt = (jnp.where(VALID[:, None, None], a, jnp.nan) for a in (K, V))
    np.testing.assert_array_equal(attend_all(Q, *spoilt, VALID, block=4), attend_all(Q, K, V, VALID, block=4))
    alone = VALID & (GROUP != 1)
    out = attend_all(Q, K, V, alone, GROUP, block=4)
    assert not np.asarray(out)[np.asarray(GROUP) == 1].any() and np.asarray(out)[:3].any()
    grads = jax.grad(lambda *args: (attend_all(*args, alone, GROUP, block=4) ** 2).sum(), (0, 1, 2))(Q, K, V)
    for grad in grads:
        assert np.isfinite(grad).all() and not np.asarray(grad)[np.asarray(GROUP) == 1].any()
    nobody = jnp.zeros(T, bool)
    grads = jax.grad(lambda *args: attend_all(*args, nobody, block=4).sum(), (0, 1, 2))(Q, K, V)
    assert not attend_all(Q, K, V, nobody, block=4).any() and not any(np.asarray(g).any() for g in grads)


def test_keys_that_nobody_sees_leave_the_state_as_it_is():
    q, k, v = (jnp.moveaxis(a, 1, 0) for a in (Q, K, V))
    nothing, some = jnp.zeros((T, T), bool), jnp.broadcast_to(VALID, (T, T))
    before = start(q, v)
    assert float(before.m.max()) == FLOOR
    for state in (before, absorb(before, q, k, v, some)):
        after = absorb(state, q, 1e3 * k, v, nothing)
        for a, b in zip(after, state, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not finish(before).any()


def test_bfloat16_is_summed_in_float32():
    """Of 4096 equal keys the mean; a sum in bfloat16 would stop at 256."""
    many = 4096
    q = k = jnp.zeros((many, 1, 2), jnp.bfloat16)
    v = jnp.ones((many, 1, 1), jnp.bfloat16)
    out = jax.jit(lambda *args: attend_all(*args, jnp.ones(many, bool), block=1024))(q, k, v)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(out, np.float32), 1)
    state = start(q[:4].transpose(1, 0, 2), v[:4].transpose(1, 0, 2))
    assert {a.dtype for a in state} == {jnp.dtype(jnp.float32)}


def test_seeds_and_compiled_alike():
    two = jnp.stack([Q, 2 * Q])
    run = jax.jit(jax.vmap(lambda q: attend_all(q, K, V, VALID, GROUP, block=4)))
    for i in range(2):
        np.testing.assert_allclose(run(two)[i], attend_all(two[i], K, V, VALID, GROUP, block=4), rtol=1e-12)


def test_memory_grows_with_the_length_not_with_its_square():
    """Of the compiled gradient: eight times the length needs less than twelve times the memory."""

    def temporary(length):
        args = [jax.ShapeDtypeStruct((length, 2, 8), jnp.float32)] * 3
        loss = jax.grad(lambda q, k, v: attend_all(q, k, v, jnp.ones(length, bool), block=64).sum(), (0, 1, 2))
        return jax.jit(loss).lower(*args).compile().memory_analysis().temp_size_in_bytes

    assert temporary(4096) < 12 * temporary(512)


def test_blocks_of_other_groups_are_not_looked_at():
    """NaN in values that may be seen, but only in another block: where blocks meet, it would be 0 times NaN."""
    group = jnp.asarray([0] * 4 + [1] * 4 + [2] * 3)
    spoilt = V.at[4:8].set(jnp.nan)

    def run(q, k, v):
        return attend_all(q, k, v, jnp.ones(T, bool), group, block=4)

    out, back = jax.vjp(run, Q, K, spoilt)
    expected, back_expected = jax.vjp(run, Q, K, V)
    far = np.asarray(group) != 1
    np.testing.assert_array_equal(out[far], expected[far])
    for a, b in zip(back(jnp.ones_like(out)), back_expected(jnp.ones_like(out)), strict=True):
        np.testing.assert_array_equal(a[far], b[far])


def test_scores_of_bfloat16_are_not_rounded_to_it():
    """Scores of some tens, of which bfloat16 would keep quarters."""
    q, k, v = (jnp.asarray(a, jnp.bfloat16) for a in (8 * Q, 4 * K, V))
    exact = dense(*(a.astype(jnp.float64) for a in (q, k, v)))
    found = np.asarray(attend_all(q, k, v, VALID, block=4), float)
    # the weights and the output are bfloat16, 2**-9 each; scores rounded to quarters would be off by a tenth
    np.testing.assert_allclose(found, exact, rtol=2**-8, atol=1e-3)
