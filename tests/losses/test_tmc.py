"""The loss of TMC: `evidential` without the perceptual term, its annealing and what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.tmc import TMC
from fusion_jax.losses.evidential import evidential, risk
from fusion_jax.losses.tmc import tmc
from fusion_jax.records import EVALUATION, Context, Output, Target

N, M, C = 5, 3, 4
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, M, C)))
MASK = jnp.asarray(RNG.random((N, M)) < 0.7)
TARGET = Target("classes", labels=jnp.asarray(RNG.integers(0, C, N)), num_outputs=C)
WEIGHT = jnp.asarray([1.0, 0, 1, 2, 1])


def output(streams=X):
    fused = TMC(M, C, rngs=nnx.Rngs(0))(X, MASK)
    return Output(fused.out, streams, X, None, MASK, uncertainty=fused.uncertainty, evidence=fused.evidence)


def test_is_evidential_without_its_perceptual_term():
    said, told = output(), Context(step=20)
    value = tmc(said, TARGET, WEIGHT, context=told)
    assert value == evidential(said, TARGET, WEIGHT, context=told, upl=0.0)
    assert value < evidential(said, TARGET, WEIGHT, context=told)


@pytest.mark.parametrize("step, annealed", [(0, 0.0), (5, 0.5), (30, 1.0)])
def test_is_the_sum_over_present_modalities_and_the_combined_opinion(step, annealed):
    y = np.eye(C)[np.asarray(TARGET.labels)]
    alpha = np.log1p(np.exp(X)) + 1
    views = np.where(MASK, risk(jnp.asarray(alpha), y[:, None], annealed), 0).sum(1)
    total = views + risk(output().evidence.fused + 1, y, annealed)
    value = tmc(output(), TARGET, WEIGHT, context=Context(step=step), annealing=10.0)
    np.testing.assert_allclose(value, (total * WEIGHT).sum() / WEIGHT.sum(), rtol=1e-12)


def test_the_cap_is_that_of_every_modality():
    said, told = output(), Context(step=20)
    capped = tmc(said, TARGET, WEIGHT, context=told, cap=0.5)
    assert capped == evidential(said, TARGET, WEIGHT, context=told, upl=0.0, cap=0.5)
    assert capped != tmc(said, TARGET, WEIGHT, context=told)


def test_refusals():
    with pytest.raises(ValueError, match="tmc"):
        tmc(output(), Target("values", labels=TARGET.labels), WEIGHT, context=EVALUATION)
    with pytest.raises(ValueError, match="loss 'tmc' needs one prediction a modality: placement 'decision'"):
        tmc(Output(X[:, 0], None, X, None, MASK), TARGET, WEIGHT, context=EVALUATION)
