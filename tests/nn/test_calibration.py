"""MEFN's calibration against its equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import softmax

from fusion_jax.nn.calibration import Calibration
from tests.helpers import to_float64
from tests.nn.reference import attention, close, derivatives, drawn, normal, random_only_with_a_key

M, D = 3, 4
F, U = normal(2, M, D), jnp.asarray([[0.2, 0.9, 0.5], [0.4, 0.1, 0.7]])
MASK = jnp.asarray([[True, True, True], [True, False, True]])


@pytest.mark.parametrize("h", [1, 2])
def test_each_attends_to_the_other_present_ones_and_is_weighted_by_its_reliability(h):
    module, p = drawn(Calibration(D, heads=h, rngs=nnx.Rngs(0)))
    assert "attention.out.bias" not in p and "score" not in p
    out, changed, share = module(F, U, MASK)
    for i, present in enumerate(np.asarray(MASK)):
        x, r = np.asarray(F[i]), np.where(present, 1 - np.asarray(U[i]), 0)
        others = present[None] & ~np.eye(M, dtype=bool)
        x = np.where(present[:, None], x + attention(p, "attention.", h, x, x, mask=others)[0], 0)
        close(changed[i], x)
        close(share[i], r / r.sum())
        close(out[i], r @ x / r.sum())


def test_one_that_is_alone_stays_as_it_is_and_nobody_gives_0():
    module, _ = drawn(Calibration(D, rngs=nnx.Rngs(0)))
    out, changed, share = module(F[0], U[0], jnp.asarray([False, True, False]))
    close(out, F[0, 1])
    close(share, np.array([0.0, 1, 0]))
    for values in module(F[0], U[0], jnp.zeros(M, bool)):
        assert not np.asarray(values).any()
    _, _, share = module(F[0], jnp.ones(M), jnp.ones(M, bool))
    assert not np.asarray(share).any(), "nobody is reliable"


def test_without_attention_nothing_is_changed():
    out, changed, share = Calibration(D, mutual=False, rngs=nnx.Rngs(0))(F[1], U[1], MASK[1])
    close(changed, np.where(np.asarray(MASK[1])[:, None], F[1], 0))
    close(share, np.array([0.6, 0, 0.3]) / 0.9)


def test_a_learned_share_starts_as_the_plain_one_and_follows_its_score():
    plain, learned = (Calibration(D, mutual=False, learned=on, rngs=nnx.Rngs(0)) for on in (False, True))
    for a, b in zip(plain(F, U, MASK), to_float64(learned)(F, U, MASK), strict=True):
        close(a, b)
    module, p = drawn(learned)
    out, changed, share = module(F[1], U[1], MASK[1])
    close(share[jnp.asarray([0, 2])], softmax(np.log([0.6, 0.3]) + np.asarray(F[1])[[0, 2]] @ p["score"]))
    assert share[1] == 0 and np.isfinite(module(F[0], jnp.ones(M), MASK[0])[0]).all()


@pytest.mark.parametrize("learned", [False, True])
def test_derivatives(learned):
    module, _ = drawn(Calibration(D, learned=learned, rngs=nnx.Rngs(0)))
    derivatives(lambda f, u: module(f, u, MASK)[0], F, U)


def test_dropout_needs_a_key_and_a_rate():
    plain, _ = drawn(Calibration(D, rngs=nnx.Rngs(0)))
    close(plain(F, U, MASK, key=jax.random.key(0))[0], plain(F, U, MASK)[0])
    module, _ = drawn(Calibration(D, rate=0.3, rngs=nnx.Rngs(0)))
    random_only_with_a_key(lambda key: module(F, U, MASK, key=key)[0], unbiased=True)
