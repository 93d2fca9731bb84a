"""MISA: its three losses by hand and at their limits, missing modalities, what is shared, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.misa import MISA, difference, similarity
from tests.helpers import filled, run, shown, state

N, M, D = 7, 3, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, M, D))
MASK = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 1, 1]], bool)
FULL = np.ones((N, M), bool)


def build(m=M, **options):
    rng = np.random.default_rng(1)
    return filled(lambda: MISA(m, D, rngs=nnx.Rngs(0), **options), lambda _, shape: 0.5 * rng.normal(size=shape))


def call_and_parts(model, x, mask):
    return model(x, mask), model.parts(jnp.where(mask[..., None], x, 0))


def cmd(a, b, moments):
    """By hand, of two samples."""
    first, second = a.mean(0), b.mean(0)
    total = np.linalg.norm(first - second)
    for k in range(2, moments + 1):
        total += np.linalg.norm(((a - first) ** k).mean(0) - ((b - second) ** k).mean(0))
    return total


def unlike(a, b, batch):
    """By hand, of two parts of the same nodes."""
    a, b = (x - x.mean(0) for x in (a, b))
    a, b = (x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-6) for x in (a, b))
    return ((a.T @ b * batch / len(a)) ** 2).mean()


@pytest.mark.parametrize("moments", [1, 3, 5])
def test_losses_are_those_of_the_nodes_that_have_what_is_compared(moments):
    weights = dict(similarity=0.5, difference=2.0, reconstruction=3.0)
    model = build(moments=moments, batch=10, **weights)
    fused, parts = run(model, np.where(MASK[..., None], X, np.nan), MASK, by=call_and_parts)
    u, p, s = (np.asarray(part) for part in parts)
    pairs = list(itertools.combinations(range(M), 2))
    mean = np.mean([cmd(s[MASK[:, i], i], s[MASK[:, j], j], moments) for i, j in pairs])
    np.testing.assert_allclose(fused.losses["similarity"], 0.5 * mean, rtol=1e-11)
    total = sum(unlike(p[MASK[:, m], m], s[MASK[:, m], m], 10) for m in range(M))
    for i, j in pairs:
        both = MASK[:, i] & MASK[:, j]
        total += unlike(p[both, i], p[both, j], 10)
    np.testing.assert_allclose(fused.losses["difference"], 2 * total, rtol=1e-11)
    kernel, bias = np.asarray(model.recon.kernel[...]), np.asarray(model.recon.bias[...])
    error = (u - np.einsum("nmi,mio->nmo", p + s, kernel) - bias) ** 2
    expected = 3 * np.mean([error[MASK[:, m], m].mean() for m in range(M)])
    np.testing.assert_allclose(fused.losses["reconstruction"], expected, rtol=1e-11)


def test_alike_is_no_similarity_loss_and_has_a_gradient():
    same, pairs = np.repeat(X[:, :1], M, axis=1), [(0, 1), (0, 2), (1, 2)]
    slope = jax.jit(jax.value_and_grad(lambda s: similarity(s, FULL, 5, pairs)))
    value, grad = slope(same)
    assert value == 0 and not np.asarray(grad).any()
    moved = same.copy()
    moved[:, 1] = same[RNG.permutation(N), 1]  # the same distribution, of other nodes
    np.testing.assert_allclose(slope(moved)[0], 0, atol=1e-14)


def test_unlike_is_no_difference_loss():
    """Parts that live in other dimensions and vary by themselves; the loss does not grow with the number of nodes."""
    a, b = np.zeros((4, D)), np.zeros((4, D))
    a[:, 0], b[:, 1] = [1, -1, 1, -1], [1, 1, -1, -1]
    rows, loss = np.ones(4, bool), jax.jit(difference, static_argnums=3)
    np.testing.assert_allclose(loss(a, b, rows, 4), 0, atol=1e-24)
    assert loss(a, a, rows, 4) > 0.9
    twice = loss(np.tile(X[:, 0], (2, 1)), np.tile(X[:, 1], (2, 1)), np.ones(2 * N, bool), 64)
    np.testing.assert_allclose(twice, loss(X[:, 0], X[:, 1], np.ones(N, bool), 64), rtol=1e-12)


def test_a_modality_that_is_nowhere():
    """It counts in no mean over modalities: what remains is the loss of the other two."""
    model, two = build(), build(2)
    mask = FULL & (np.arange(M) < 2)
    parts = [np.asarray(part) for part in run(model, X, by=MISA.parts)]
    found = run(model, *parts, mask, by=MISA.losses)
    for part in ("kernel", "bias"):
        getattr(two.recon, part).set_value(getattr(model.recon, part)[...][:2])
    expected = run(two, *(part[:, :2] for part in parts), mask[:, :2], by=MISA.losses)
    for name in ("similarity", "difference", "reconstruction"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)


def test_missing_parts_are_no_keys():
    fused = run(build(), X, MASK)
    weights = shown(fused, "fusion")  # [N, H, 2M, 2M]
    assert weights.shape == (N, 2, 2 * M, 2 * M)
    there = np.concatenate([MASK, MASK], axis=1)
    assert not weights.swapaxes(1, 3)[~there].any()
    np.testing.assert_allclose(weights.sum(-1)[MASK.any(1)], 1, rtol=1e-12)
    for name in ("private", "shared"):
        assert not state(fused, name)[~MASK].any()


def test_the_shared_encoder_is_one():
    """Modalities of equal u have equal shared parts and unequal private ones."""
    model = build()
    for part in (model.project.kernel, model.project.bias, model.norm.scale, model.norm.bias):
        part.set_value(jnp.asarray(np.repeat(part[...][:1], M, axis=0)))
    fused = run(model, np.repeat(X[:, :1], M, axis=1), FULL)
    shared, private = state(fused, "shared"), state(fused, "private")
    np.testing.assert_array_equal(shared[:, 1], shared[:, 0])
    assert np.abs(private[:, 1] - private[:, 0]).max() > 0.01
    assert fused.losses["similarity"] == 0


def test_no_weight_no_loss_and_one_modality():
    def losses(m, **weights):
        x, mask = jnp.ones((N, m, D), jnp.float32), jnp.ones((N, m), bool)
        return jax.eval_shape(lambda: MISA(m, D, rngs=nnx.Rngs(0), **weights)(x, mask).losses)

    assert not losses(M, similarity=0.0, difference=0.0, reconstruction=0.0)
    assert set(losses(1)) == {"difference", "reconstruction"}


@pytest.mark.parametrize("m, d", [(2, 32), (6, 128)])
def test_scale_at_the_start(m, d):
    x, mask = RNG.normal(size=(64, m, d)).astype(np.float32), RNG.random((64, m)) < 0.7
    fused = jax.jit(lambda x, mask: MISA(m, d, rngs=nnx.Rngs(0))(x, mask))(x, mask)
    assert 0.1 < np.asarray(fused.out).std() < 3
    assert all(0 < value < 10 for value in fused.losses.values())


@pytest.mark.parametrize(
    "options", [dict(heads=3), dict(width=5), dict(moments=0), dict(batch=0), dict(similarity=-1.0)]
)
def test_refusals(options):
    with pytest.raises(ValueError, match=f"fusion 'misa': .*{next(iter(options))}=|divide"):
        nnx.eval_shape(lambda: MISA(M, D, rngs=nnx.Rngs(0), **options))
