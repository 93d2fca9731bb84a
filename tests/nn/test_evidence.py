"""Opinions: the identities of the module, and its fold against Dempster's rule as the papers write it."""

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn.evidence import CAP, discounted_gain, evidence, from_gain, gain, opinion
from tests.nn.reference import close, derivatives

K = 3
E = jnp.asarray(np.random.default_rng(0).gamma(1.0, 3.0, size=(4, 5, K)))  # 4 opinions on 5 rows


def dempster(first, second):
    """Reduced rule: (b, u) of two opinions, conflict C and all."""
    (b1, u1), (b2, u2) = first, second
    conflict = (b1[:, :, None] * b2[:, None]).sum((1, 2)) - (b1 * b2).sum(1)
    b = (b1 * b2 + b1 * u2[:, None] + b2 * u1[:, None]) / (1 - conflict)[:, None]
    return b, u1 * u2 / (1 - conflict)


def test_evidence_is_softplus_with_a_cap():
    x = jnp.asarray([-800.0, -1.0, 0.0, 2.0, 30.0, 1e6])
    close(evidence(x, 20.0), np.minimum(np.logaddexp(0, np.asarray(x)), 20))
    assert evidence(x)[-1] == CAP == 1e4


def test_an_opinion_is_divided_among_classes_and_doubt():
    b, u = opinion(E)
    total = np.asarray(E).sum(-1) + K
    close(b, np.asarray(E) / total[..., None])
    close(u, K / total)
    close(b.sum(-1) + u, np.ones((4, 5)))


def test_gain_is_the_logarithm_it_says():
    b, u = opinion(E)
    close(gain(E), np.log((b + u[..., None]) / u[..., None]))
    assert not np.asarray(gain(jnp.zeros(K))).any(), "an opinion that knows nothing adds nothing"


def test_the_gain_gives_the_opinion_back():
    b, u, e, log_p = from_gain(gain(E))
    close(e, E)
    for found, expected in zip((b, u), opinion(E), strict=True):
        close(found, expected)
    close(log_p, np.log((np.asarray(E) + 1) / (np.asarray(E).sum(-1) + K)[..., None]))
    close(jnp.exp(log_p), b + u[..., None] / K)


def test_adding_gains_is_dempsters_rule():
    folded = tuple(np.asarray(part)[0] for part in opinion(E))
    for i in range(1, 4):
        folded = dempster(folded, tuple(np.asarray(part)[i] for part in opinion(E)))
        b, u, *_ = from_gain(gain(E)[: i + 1].sum(0))
        close(b, folded[0])
        close(u, folded[1])


def test_a_discounted_opinion_is_that_of_the_weakened_beliefs():
    b, u = opinion(E)
    w = jnp.asarray(np.random.default_rng(1).random(u.shape))
    weak_u = 1 - w + w * u
    close(discounted_gain(b, u, w), np.log((w[..., None] * b + weak_u[..., None]) / weak_u[..., None]))
    close(discounted_gain(b, u, jnp.ones_like(u)), gain(E))
    assert not np.asarray(discounted_gain(b, u, jnp.zeros_like(u))).any()


@pytest.mark.parametrize("size", [0.0, 1e-9, 50.0, 800.0, 5000.0])
def test_any_number_of_sure_opinions_can_be_added(size):
    g = jnp.asarray([size, 0.0, size / 2])
    b, u, e, log_p = from_gain(g)
    assert all(np.isfinite(a).all() for a in (b, u, e, log_p)) and (e <= CAP * (1 + 1e-9)).all()
    close(b.sum() + u, 1.0, 1e-9)
    close(jnp.exp(log_p).sum(), 1.0, 1e-9)
    assert b[0] >= b[2] >= b[1] == 0 and (size < 50 or b[0] > 0.99)
    close(from_gain(g, cap=2.0)[2], np.minimum(K * np.expm1(np.minimum(g, 50)), 2.0))


def test_derivatives():
    derivatives(lambda e: (gain(e), opinion(e)), E[0])
    derivatives(lambda g: from_gain(g), gain(E[0]))
    derivatives(discounted_gain, *opinion(E[0]), jnp.linspace(0.1, 0.9, 5))
