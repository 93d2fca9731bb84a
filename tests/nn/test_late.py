"""The mean probability of the present modalities."""

import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from fusion_jax.nn.late import log_mean_probability
from tests.nn.reference import close, derivatives, normal

X = 5 * normal(4, 3)


def test_it_is_the_mean_of_the_softmaxes():
    mask = np.array([True, False, True, True])
    close(log_mean_probability(X, jnp.asarray(mask)), np.log(softmax(X, axis=-1)[mask].mean(0)))
    close(log_mean_probability(X[:1], jnp.ones(1, bool)), log_softmax(X[0]))


def test_it_is_normalised_and_finite_far_out():
    x = jnp.asarray([[0.0, 2000.0, -1000.0], [0.0, -2000.0, 5.0]])
    found = log_mean_probability(x, jnp.ones(2, bool))
    assert np.isfinite(found).all()
    close(logsumexp(found), 0.0)


def test_a_node_without_modality_is_uniform():
    close(log_mean_probability(jnp.zeros((4, 3)), jnp.zeros(4, bool)), np.full(3, -np.log(3)))


def test_derivatives():
    derivatives(lambda x: log_mean_probability(x, jnp.arange(4) != 1), X)
