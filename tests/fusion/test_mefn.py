"""MEFN: Dempster's rule and its identities, extremes in float32, missing modalities, neighbours, calibration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.mefn import MEFN
from fusion_jax.fusion.mefn_calibrated import MEFNCalibrated
from fusion_jax.nn.calibration import Calibration
from fusion_jax.nn.evidence import discounted_gain, evidence, from_gain, gain, opinion
from tests.helpers import assign, small_graph, to_float64

N, M, C, D = 7, 4, 3, 16
RNG = np.random.default_rng(0)
X = 2 * RNG.normal(size=(N, M, C))
FULL = np.ones((N, M), bool)
MASK = RNG.random((N, M)) < 0.6
MASK[0], MASK[1] = False, True


def fuse(x, mask=None, graph=None, **options):
    x = jnp.asarray(x)
    module = to_float64(MEFN(x.shape[1], x.shape[2], rngs=nnx.Rngs(0), **options))
    return module(x, np.ones(x.shape[:2], bool) if mask is None else mask, graph)


def fused_belief(fused):
    """b of p = b + u / C."""
    return np.exp(fused.out) - fused.uncertainty[:, None] / C


def dempster(first, second):
    """The reduced rule as it is published: conflict, then division by 1 - C."""
    (b, u), (c, w) = first, second
    conflict = b.sum(-1) * c.sum(-1) - (b * c).sum(-1)
    belief = b * c + b * w[..., None] + c * u[..., None]
    return belief / (1 - conflict)[..., None], u * w / (1 - conflict)


def test_is_the_left_fold_of_the_published_rule():
    fused = fuse(X)
    belief, uncertainty = opinion(evidence(jnp.asarray(X)))
    state = belief[:, 0], uncertainty[:, 0]
    for m in range(1, M):
        state = dempster(state, (belief[:, m], uncertainty[:, m]))
    np.testing.assert_allclose(fused_belief(fused), state[0], rtol=1e-11)
    np.testing.assert_allclose(fused.uncertainty, state[1], rtol=1e-11)
    np.testing.assert_allclose(np.exp(fused.out), state[0] + state[1][:, None] / C, rtol=1e-11)
    np.testing.assert_allclose(jax.nn.softmax(fused.out), np.exp(fused.out), rtol=1e-11)


def test_masses_sum_to_one_and_order_does_not_count():
    fused = fuse(X, MASK)
    np.testing.assert_allclose(fused.uncertainty, C / (fused.evidence.fused.sum(-1) + C), rtol=1e-12)
    np.testing.assert_allclose(fused_belief(fused).sum(-1) + fused.uncertainty, 1, rtol=1e-12)
    assert (np.asarray(fused.evidence.fused) >= 0).all()
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(fuse(X[:, order], MASK[:, order]).out, fuse(X, MASK).out, rtol=1e-12)


def test_agreeing_views_lower_the_uncertainty():
    same = fuse(np.repeat(X[:, :1], M, axis=1))
    assert (same.uncertainty < same.evidence.uncertainty.min(1)).all()
    agree = np.where(np.arange(C) == 1, 3.0, -4.0) + 0.1 * X
    fused = fuse(agree)
    assert (fused.uncertainty <= fused.evidence.uncertainty.min(1)).all()


def test_missing_modality_is_the_vacuous_opinion():
    """Masked = not there at all, exactly; nothing there = uniform. Logits of 0 would be evidence."""
    fused = fuse(X, MASK)
    for n in range(N):
        alone = fuse(X[n : n + 1, MASK[n]]) if MASK[n].any() else None
        expected = np.full(C, -np.log(C)) if alone is None else alone.out[0]
        np.testing.assert_allclose(fused.out[n], expected, rtol=1e-12)
    assert fused.uncertainty[0] == 1 and not np.asarray(fused.evidence.fused[0]).any()
    assert (np.asarray(fused.evidence.uncertainty)[~MASK] == 1).all()
    assert np.abs(fuse(np.where(MASK[..., None], X, 0)).out - fused.out).max() > 0.1


def test_extremes_in_float32():
    """Sure contradictions, many sure views and hopeless logits: finite, with finite gradients."""
    sure = 1e6 * np.eye(C, dtype=np.float32)[[0, 1]]
    many = np.repeat(1e6 * np.eye(C, dtype=np.float32)[:1], 40, axis=0)
    none = np.full((3, C), -1e6, np.float32)
    for x in (sure, many, none):
        module = MEFN(len(x), C, rngs=nnx.Rngs(0))

        def total(x, module=module):
            fused = module(x, jnp.ones(x.shape[:2], bool))
            return fused.out[:, 0].sum() + fused.evidence.fused.sum(), fused

        grad, fused = jax.grad(total, has_aux=True)(jnp.asarray(x)[None])
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((grad, fused)))
        np.testing.assert_allclose(np.exp(fused.out).sum(-1), 1, rtol=1e-5)
    p = np.exp(fuse(sure[None].astype(np.float64)).out)[0]
    np.testing.assert_allclose(p[:2], 0.5, rtol=1e-3)
    np.testing.assert_allclose(fuse(none[None].astype(np.float64)).out, -np.log(C), rtol=1e-12)


def test_discount():
    """Full trust leaves the opinion, none makes it vacuous, half is b / 2 and 1/2 + u / 2."""
    e = evidence(jnp.asarray(X[:, 0]))
    belief, uncertainty = opinion(e)
    trust = np.ones(N)
    np.testing.assert_allclose(discounted_gain(belief, uncertainty, trust), gain(e), rtol=1e-12)
    assert not np.asarray(discounted_gain(belief, uncertainty, 0 * trust)).any()
    half, left, *_ = from_gain(discounted_gain(belief, uncertainty, trust / 2))
    np.testing.assert_allclose(half, belief / 2, rtol=1e-12)
    np.testing.assert_allclose(left, (1 + uncertainty) / 2, rtol=1e-12)


def test_neighbours():
    """Opinions of senders join: a node without any edge keeps its own, others get more certain if all agree."""
    graph = small_graph(N, 12)
    agree = np.where(np.arange(C) == 1, 3.0, -4.0) + 0.1 * X
    alone, joined = fuse(agree), fuse(agree, graph=graph, neighbours=True)
    received = np.bincount(np.asarray(graph.receivers)[np.asarray(graph.senders != graph.receivers)], minlength=N) > 0
    assert received.any() and not received.all()
    less = np.asarray(joined.uncertainty) < np.asarray(alone.uncertainty)
    np.testing.assert_array_equal(less, received)
    loops = fuse(agree, graph=graph.looped, neighbours=True)
    np.testing.assert_allclose(loops.evidence.fused, joined.evidence.fused, rtol=1e-12)
    with pytest.raises(ValueError, match="mefn.*graph"):
        fuse(X, neighbours=True)


def test_calibrated_opinion_joins_the_fold():
    """With a head that gives no evidence it changes nothing, with one that does it lowers the uncertainty."""
    module = to_float64(MEFN(M, C, calibrate=True, rngs=nnx.Rngs(0)))
    values = {"head.kernel": np.zeros((C, C)), "head.bias": np.full(C, -1e3)}
    silent = assign(module, values, partial=True)(X, MASK)
    np.testing.assert_allclose(silent.out, fuse(X, MASK).out, rtol=1e-12)
    loud = assign(module, {"head.bias": np.asarray([9.0, -9, -9])}, partial=True)(X, MASK)
    u, v = loud.uncertainty, silent.uncertainty
    assert u[0] == v[0] == 1, "no modality, no calibrated opinion either"
    assert (np.exp(loud.out[1:, 0]) > np.exp(silent.out[1:, 0])).all()
    with pytest.raises(ValueError, match="learned_calibrator"):
        MEFN(M, C, learned_calibrator=True, rngs=nnx.Rngs(0))


def test_calibration_shares():
    """1 - u over the present modalities; the learned form starts there and leaves as its vector grows."""
    f, u = RNG.normal(size=(N, M, D)), RNG.random((N, M))
    plain = to_float64(Calibration(D, mutual=False, rngs=nnx.Rngs(0)))
    learned = to_float64(Calibration(D, mutual=False, learned=True, rngs=nnx.Rngs(0)))
    out, tokens, share = plain(f, u, MASK)
    expected = np.where(MASK, 1 - u, 0)[1:] / np.where(MASK, 1 - u, 0).sum(1, keepdims=True)[1:]
    np.testing.assert_allclose(share[1:], expected, rtol=1e-12)
    assert not np.asarray(share[0]).any() and not np.asarray(out[0]).any()
    np.testing.assert_array_equal(tokens, np.where(MASK[..., None], f, 0))
    np.testing.assert_allclose(learned(f, u, MASK)[2], share, rtol=1e-12)
    assign(learned, {"score": RNG.normal(size=D)})
    moved = np.asarray(learned(f, u, MASK)[2])
    assert np.abs(moved - share).max() > 0.05 and not moved[~MASK].any()


def test_mutual_attention_sees_the_others_only():
    """One modality alone stays as it is; with others its own value does not stand among its keys."""
    module = to_float64(MEFNCalibrated(M, D, rngs=nnx.Rngs(0)))
    x = RNG.normal(size=(2, M, D))
    mask = np.zeros((2, M), bool)
    mask[:, 1], mask[1, 3] = True, True
    fused = module(x, mask)
    np.testing.assert_allclose(fused.tokens[0, 1], x[0, 1], rtol=1e-12)
    np.testing.assert_allclose(fused.out[0], x[0, 1], rtol=1e-12)
    attention = module.calibration.attention
    other = attention.out(attention.value(jnp.asarray(x[1, 3])))  # the only key: weight 1
    np.testing.assert_allclose(fused.tokens[1, 1], x[1, 1] + other, rtol=1e-11)
    assert (np.asarray(fused.evidence.uncertainty)[~mask] == 1).all()
