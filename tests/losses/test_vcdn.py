"""The loss of MOGONET: the sum of the views' and the fused cross-entropy."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.losses.vcdn import vcdn
from fusion_jax.records import EVALUATION, Context, Output, Target

N, M, C = 6, 3, 2


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    mask = np.ones((N, M), bool)
    mask[:3, 1] = False
    prediction, streams = rng.normal(size=(N, C)), rng.normal(size=(N, M, C))
    labels, weight = np.array([0, 1, 1, 0, 1, 0]), np.array([1, 2, 0.5, 1, 0, 3])
    output = Output(*map(jnp.asarray, (prediction, streams, np.zeros((N, M, 4)))), None, jnp.asarray(mask))
    return output, Target("classes", labels=jnp.asarray(labels), num_outputs=C), jnp.asarray(weight)


def entropy(logits, labels, weight):
    logits, labels, weight = map(np.asarray, (logits, labels, weight))
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -(weight * log_p[np.arange(N), labels]).sum() / weight.sum()


def test_sum_over_views_and_the_fused_prediction(case):
    output, target, weight = case
    fused = entropy(output.prediction, target.labels, weight)
    views = sum(entropy(output.streams[:, m], target.labels, np.where(output.mask[:, m], weight, 0)) for m in range(M))
    np.testing.assert_allclose(vcdn(output, target, weight, context=EVALUATION), views + fused, rtol=1e-12)
    np.testing.assert_allclose(
        vcdn(output, target, weight, context=EVALUATION, gamma=0.5), views + 0.5 * fused, rtol=1e-12
    )
    for step, factor in ((9, 0), (10, 1)):
        value = vcdn(output, target, weight, context=Context(step=step), pretraining=10)
        np.testing.assert_allclose(value, views + factor * fused, rtol=1e-12)


def test_without_views_it_is_refused(case):
    output, target, weight = case
    with pytest.raises(ValueError, match="placement 'decision'"):
        vcdn(dataclasses.replace(output, streams=None), target, weight, context=EVALUATION)
