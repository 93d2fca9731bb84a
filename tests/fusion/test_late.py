"""The rules of late fusion against numpy and SciPy, and how they relate to each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import log_softmax, softmax

from fusion_jax import zoo

N, M, C = 20, 3, 4
RULES = ["late_logits", "late_probabilities", "late_product", "late_vote"]


def rule(name, modalities=M, classes=C, **options):
    return zoo.get("fusion", name)(modalities, classes, rngs=nnx.Rngs(0), **options)


@pytest.fixture
def streams():
    """Logits [N, M, C] in float64 and a mask with a full node, one with a single stream and an empty one."""
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.7
    mask[0], mask[1], mask[2] = True, [False, True, False], False
    return 3 * rng.normal(size=(N, M, C)), mask


def by_hand(name, x):
    """The probabilities [C] of one node from the logits of its present modalities [K, C]."""
    p = softmax(x, axis=-1)
    if name == "late_logits":
        return softmax(x.mean(0))
    if name == "late_probabilities":
        return p.mean(0)
    if name == "late_product":
        return p.prod(0) / p.prod(0).sum()
    votes = np.bincount(x.argmax(-1), minlength=x.shape[1])
    return (votes + 0.01 * p.mean(0)) / (len(x) + 0.01)


@pytest.mark.parametrize("name", RULES)
def test_rule_by_hand(name, streams):
    x, mask = streams
    out = rule(name)(x, mask).out
    assert out.dtype == jnp.float64
    want = [by_hand(name, a[m]) if m.any() else np.full(C, 1 / C) for a, m in zip(x, mask, strict=True)]
    np.testing.assert_allclose(softmax(out, axis=-1), want, rtol=1e-12)
    if name != "late_logits":  # the others return log-probabilities
        np.testing.assert_allclose(np.exp(out).sum(-1), 1, rtol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_node_without_modality_is_uniform(name, streams):
    x, mask = streams
    np.testing.assert_allclose(softmax(rule(name)(x, mask).out[2]), 1 / C, rtol=1e-12)


@pytest.mark.parametrize("name", RULES[:3])
def test_one_modality_is_its_own_answer(name, streams):
    x, mask = streams
    out = rule(name)(x, mask).out
    np.testing.assert_allclose(log_softmax(out[1]), log_softmax(x[1, 1]), rtol=1e-12)


def test_product_is_the_mean_of_logits_sharpened(streams):
    x, mask = streams
    product, logits = (np.asarray(rule(name)(x, mask).out) for name in ("late_product", "late_logits"))
    count = mask.sum(-1, keepdims=True)
    np.testing.assert_allclose(product, log_softmax(count * logits, axis=-1), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_streams_that_agree_keep_their_class(name, streams):
    x, mask = streams
    same = np.broadcast_to(x[:, :1], x.shape)
    seen = mask.any(-1)
    out = np.asarray(rule(name)(same, mask).out)
    np.testing.assert_array_equal(out[seen].argmax(-1), same[seen, 0].argmax(-1))


def test_two_weak_votes_beat_a_strong_one():
    """And the mean probability decides the other way: the rules differ where they should."""
    x = np.log(np.array([[[0.40, 0.30, 0.30], [0.40, 0.30, 0.30], [0.01, 0.98, 0.01]]]))
    mask = np.ones((1, 3), bool)
    assert rule("late_vote", classes=3)(x, mask).out[0].argmax() == 0
    assert rule("late_vote", classes=3, tie=0.99)(x, mask).out[0].argmax() == 0
    assert rule("late_probabilities", classes=3)(x, mask).out[0].argmax() == 1


def test_tie_goes_to_the_larger_mean_probability():
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])  # one vote each; means 0.30, 0.45
    for order in ([0, 1], [1, 0]):
        out = rule("late_vote", modalities=2, classes=3)(np.log(p[order])[None], np.ones((1, 2), bool)).out[0]
        assert out.argmax() == 1
        np.testing.assert_allclose(np.exp(out), [0.5, 0.5, 0], atol=0.01)


@pytest.mark.parametrize("tie", [0.0, 1.0, -0.5])
def test_tie_weight_must_not_overrule_votes(tie):
    with pytest.raises(ValueError, match="late_vote.*tie"):
        rule("late_vote", tie=tie)


@pytest.mark.parametrize("name", RULES)
def test_certain_streams_stay_finite(name):
    """Probabilities that underflow in float32, contradicting each other: value and gradient are finite."""
    x = np.array([[[500.0, -500.0], [-500.0, 500.0]], [[500.0, -500.0], [500.0, -500.0]]], np.float32)
    mask = np.ones((2, 2), bool)
    module = rule(name, modalities=2, classes=2)
    out, gradient = jax.value_and_grad(lambda x: (module(x, mask).out[:, 0]).sum())(x)
    assert np.isfinite(out) and np.isfinite(gradient).all()
    assert np.isfinite(module(x, mask).out).all()
    np.testing.assert_allclose(softmax(module(x, mask).out[0]), [0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_late_rules_stand_at_the_decision_only(name):
    """They read logits, are trained stream by stream and learn nothing."""
    cls = zoo.get("fusion", name)
    assert cls.placements == ("decision",) and cls.loss == "stream_cross_entropy"
    assert cls.loss in zoo.names("loss")
    assert not jax.tree.leaves(nnx.state(rule(name), nnx.Param))
