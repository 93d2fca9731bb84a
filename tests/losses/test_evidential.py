"""The evidential loss: missing modalities, annealing, the corrected alpha, the stopped gradient, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import integrate, stats

from fusion_jax.fusion.mefn import MEFN
from fusion_jax.losses.evidential import evidential, kl_to_uniform, perceptual, risk
from fusion_jax.records import EVALUATION, Context, Evidence, Output, Target

N, M, C = 6, 3, 4
RNG = np.random.default_rng(0)
STREAMS = jnp.asarray(RNG.normal(size=(N, M, C)))
MASK = jnp.asarray(RNG.random((N, M)) < 0.6).at[0].set(False)
TARGET = Target("classes", labels=jnp.asarray(RNG.integers(0, C, N)), num_outputs=C)
WEIGHT = jnp.asarray([1.0, 1, 1, 0, 2, 1])


def output(streams, mask=MASK):
    fused = MEFN(M, C, rngs=nnx.Rngs(0))(streams, mask)
    return Output(fused.out, streams, streams, None, mask, uncertainty=fused.uncertainty, evidence=fused.evidence)


def held(logits):
    """What `mefn_calibrated` holds: opinions of the modalities, none of them combined."""
    return Evidence(logits, jnp.ones((N, M)))


def test_missing_modalities_and_hidden_labels_do_not_count():
    def loss(streams):
        return evidential(output(streams), TARGET, WEIGHT, context=Context(step=20))

    value, grad = jax.value_and_grad(loss)(STREAMS)
    gone = ~MASK | (WEIGHT == 0)[:, None]
    assert value == loss(jnp.where(MASK[..., None], STREAMS, 7.0))
    assert not np.asarray(grad)[gone].any() and np.asarray(grad)[~gone].any()
    labels = TARGET.labels.at[3].set((TARGET.labels[3] + 1) % C)
    other = dataclasses.replace(TARGET, labels=labels)
    assert evidential(output(STREAMS), other, WEIGHT, context=Context(step=20)) == value


def test_annealing():
    """lambda = min(1, step / annealing): linear up to `annealing`, constant after, steps traced or not."""
    at = [
        float(evidential(output(STREAMS), TARGET, WEIGHT, context=Context(step=s), annealing=10.0))
        for s in (0, 5, 10, 30)
    ]
    np.testing.assert_allclose(at[1] - at[0], at[2] - at[1], rtol=1e-9)
    assert at[2] > at[1] and at[3] == at[2]
    traced = jax.jit(lambda s: evidential(output(STREAMS), TARGET, WEIGHT, context=Context(step=s), annealing=10.0))
    np.testing.assert_allclose(traced(jnp.int32(5)), at[1], rtol=1e-12)


def test_divergence_is_the_integral():
    """Two classes: the Dirichlet is a beta distribution, its divergence from the uniform one an integral."""
    for a, b in ((3.0, 1.5), (1.0, 1.0), (1.0, 4.0)):
        density = stats.beta(a, b)
        expected = integrate.quad(lambda p, f=density: f.pdf(p) * np.log(max(f.pdf(p), 1e-300)), 0, 1)[0]
        np.testing.assert_allclose(kl_to_uniform(jnp.asarray([a, b])), expected, rtol=1e-6, atol=1e-9)


def test_evidence_for_the_true_class_is_not_pulled_down():
    y = jnp.asarray([0.0, 1, 0])
    right, wrong = jnp.asarray([1.0, 8, 1]), jnp.asarray([8.0, 1, 1])
    np.testing.assert_allclose(risk(right, y, 1.0), risk(right, y, 0.0), rtol=1e-12)
    np.testing.assert_allclose(risk(wrong, y, 1.0) - risk(wrong, y, 0.0), kl_to_uniform(wrong), rtol=1e-12)


def test_perceptual_term_weighs_by_uncertainty_and_stops_there():
    log_p = jax.nn.log_softmax(STREAMS[:, 0])
    u = jnp.linspace(0, 1, N)
    plain = -jnp.take_along_axis(log_p, TARGET.labels[:, None], 1)[:, 0]
    np.testing.assert_allclose(perceptual(log_p, u, TARGET.labels), (1 + u) * plain, rtol=1e-12)
    assert not np.asarray(jax.grad(lambda u: perceptual(log_p, u, TARGET.labels).sum())(u)).any()


def test_without_a_fused_opinion_the_prediction_is_evidence():
    """Any fusion at `decision` can be trained with it: the prediction is one more row of logits."""
    plain = dataclasses.replace(output(STREAMS), prediction=STREAMS[:, 0], evidence=None)
    view = risk(jax.nn.softplus(STREAMS[:, 0]) + 1, jax.nn.one_hot(TARGET.labels, C, dtype=STREAMS.dtype), 1.0)
    none = dataclasses.replace(plain, present=jnp.zeros_like(MASK))
    expected = (view * WEIGHT).sum() / WEIGHT.sum()
    np.testing.assert_allclose(
        evidential(none, TARGET, WEIGHT, context=Context(step=99), upl=0.0), expected, rtol=1e-10
    )
    heads = dataclasses.replace(plain, streams=None, evidence=held(STREAMS))  # as of mefn_calibrated
    np.testing.assert_allclose(*(evidential(o, TARGET, WEIGHT, context=EVALUATION) for o in (heads, plain)), rtol=1e-12)


def test_refusals():
    out = output(STREAMS)
    with pytest.raises(ValueError, match="evidential.*values"):
        evidential(out, Target("values", values=STREAMS[:, 0], num_outputs=C), WEIGHT, context=EVALUATION)
    with pytest.raises(ValueError, match="decision"):
        evidential(dataclasses.replace(out, streams=None, evidence=None), TARGET, WEIGHT, context=EVALUATION)
    with pytest.raises(ValueError, match="classes"):
        evidential(
            dataclasses.replace(out, streams=None, evidence=held(STREAMS[..., :2])), TARGET, WEIGHT, context=EVALUATION
        )
