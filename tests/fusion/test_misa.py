"""MISA: its three losses by hand and at their limits, missing modalities, what is shared, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.misa import MISA, difference, similarity
from tests.helpers import shown, state, to_float64

N, M, D = 7, 3, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, M, D))
MASK = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 1, 1]], bool)
FULL = np.ones((N, M), bool)


def build(m=M, **options):
    return to_float64(MISA(m, D, rngs=nnx.Rngs(0), **options))


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
    fused = model(np.where(MASK[..., None], X, np.nan), MASK)
    u, p, s = (np.asarray(part) for part in model.parts(X))
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
    same = jnp.repeat(jnp.asarray(X[:, :1]), M, axis=1)
    pairs = [(0, 1), (0, 2), (1, 2)]
    value, grad = jax.value_and_grad(lambda s: similarity(s, FULL, 5, pairs))(same)
    assert value == 0 and not np.asarray(grad).any()
    order = RNG.permutation(N)  # the same distribution, of other nodes
    moved = same.at[:, 1].set(same[order, 1])
    np.testing.assert_allclose(similarity(moved, FULL, 5, pairs), 0, atol=1e-14)


def test_unlike_is_no_difference_loss():
    """Parts that live in other dimensions and vary by themselves; the loss does not grow with the number of nodes."""
    a, b = np.zeros((4, D)), np.zeros((4, D))
    a[:, 0], b[:, 1] = [1, -1, 1, -1], [1, 1, -1, -1]
    rows = np.ones(4, bool)
    np.testing.assert_allclose(difference(a, b, rows, 4), 0, atol=1e-24)
    assert difference(a, a, rows, 4) > 0.9
    twice = difference(np.tile(X[:, 0], (2, 1)), np.tile(X[:, 1], (2, 1)), np.ones(2 * N, bool), 64)
    np.testing.assert_allclose(twice, difference(X[:, 0], X[:, 1], np.ones(N, bool), 64), rtol=1e-12)


def test_a_modality_that_is_nowhere():
    """It counts in no mean over modalities: what remains is the loss of the other two."""
    model, two = build(), build(2)
    mask = FULL & (np.arange(M) < 2)
    u, p, s = model.parts(X)
    found = model.losses(u, p, s, mask)
    two.recon.kernel.set_value(model.recon.kernel[...][:2])
    expected = two.losses(u[:, :2], p[:, :2], s[:, :2], mask[:, :2])
    for name in ("similarity", "difference", "reconstruction"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)


def test_missing_parts_are_no_keys():
    fused = build()(X, MASK)
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
    for part in (model.project.kernel, model.project.bias):
        part.set_value(jnp.repeat(part[...][:1], M, axis=0))
    fused = model(np.repeat(X[:, :1], M, axis=1), FULL)
    shared, private = state(fused, "shared"), state(fused, "private")
    np.testing.assert_array_equal(shared[:, 1], shared[:, 0])
    assert np.abs(private[:, 1] - private[:, 0]).max() > 0.01
    assert fused.losses["similarity"] == 0


def test_no_weight_no_loss_and_one_modality():
    assert not build(similarity=0.0, difference=0.0, reconstruction=0.0)(X, FULL).losses
    assert set(build(1)(X[:, :1], FULL[:, :1]).losses) == {"difference", "reconstruction"}


@pytest.mark.parametrize("m, d", [(2, 32), (6, 128)])
def test_scale_at_the_start(m, d):
    x, mask = RNG.normal(size=(64, m, d)).astype(np.float32), RNG.random((64, m)) < 0.7
    fused = MISA(m, d, rngs=nnx.Rngs(0))(x, mask)
    assert 0.1 < np.asarray(fused.out).std() < 3
    assert all(0 < value < 10 for value in fused.losses.values())


@pytest.mark.parametrize(
    "options", [dict(heads=3), dict(width=5), dict(moments=0), dict(batch=0), dict(similarity=-1.0)]
)
def test_refusals(options):
    with pytest.raises(ValueError, match=f"fusion 'misa': .*{next(iter(options))}=|divide"):
        MISA(M, D, rngs=nnx.Rngs(0), **options)
