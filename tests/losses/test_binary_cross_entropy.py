"""Binary cross-entropy against scikit-learn's log-loss, of several labels a row and of links."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics as sk

from fusion_jax.losses.binary_cross_entropy import binary_cross_entropy
from fusion_jax.records import EVALUATION, Output, Target

RNG = np.random.default_rng(0)


def loss(target, z, weight):
    output = Output(jnp.asarray(z), None, None, None, None)
    return float(binary_cross_entropy(output, target, jnp.asarray(weight), context=EVALUATION))


def test_it_is_the_mean_over_labels_and_rows_with_weight():
    y, z, weight = RNG.random((9, 3)) < 0.5, RNG.normal(size=(9, 3)), RNG.random(9) * (np.arange(9) % 3 > 0)
    expected = np.mean([sk.log_loss(y[:, c], expit(z[:, c]), sample_weight=weight) for c in range(3)])
    assert loss(Target("labels", labels=y, num_outputs=3), z, weight) == pytest.approx(expected, rel=1e-12)


def test_of_links_it_is_that_of_one_label():
    y, z = RNG.random(9) < 0.5, RNG.normal(size=(9, 1))
    target = Target("links", labels=y, pairs=np.zeros((9, 2), int), level="link")
    assert loss(target, z, np.ones(9)) == pytest.approx(sk.log_loss(y, expit(z[:, 0])), rel=1e-12)


def test_large_logits_are_finite_and_other_tasks_are_refused():
    assert loss(Target("labels", labels=np.array([[True], [False]])), np.array([[-800.0], [0.0]]), np.ones(2)) > 399
    with pytest.raises(ValueError, match="loss 'binary_cross_entropy' is defined for labels and links, the task"):
        loss(Target("values", values=np.zeros((2, 1))), np.zeros((2, 1)), np.ones(2))
