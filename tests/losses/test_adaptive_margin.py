"""Adaptive-margin loss: what the golden cases cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.losses import adaptive_margin as loss
from fusion_jax.records import EVALUATION, Context, Output, Target

N, M, D, C = 9, 2, 4, 3
LABELS = np.array([0, 1, 2, 0, 1, 0, 1, 0, 2])


def model(seed=0, **changes):
    rng = np.random.default_rng(seed)
    fields = dict(
        prediction=jnp.asarray(rng.normal(size=(N, C))),
        streams=None,
        embeddings=jnp.asarray(rng.normal(size=(N, M, D))),
        hidden=None,
        mask=jnp.ones((N, M), bool),
    )
    return Output(**fields | changes)


def target(labels=LABELS, **changes):
    return Target(**dict(kind="classes", labels=jnp.asarray(labels), num_outputs=C) | changes)


def three(seed=0, shape=(7, D)):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(size=shape)) for _ in range(3))


def test_margin_at_zero():
    zero = jnp.zeros(())
    np.testing.assert_allclose(loss.margin(zero, zero), 3 + 1 + 2 * np.exp(-4), rtol=1e-6)


def test_margin_gradient_signs():
    """The literal derivatives change sign at ln 8 / 4 and 1 - ln 16 / 4, those without the margin do not."""

    def slopes(d_ap, d_an, option):
        # points on a line; d_pn is kept by a second axis, and only d_ap or d_an moves
        def at(ap, an):
            a, p, n = jnp.zeros((1, 2)), jnp.array([[ap, 0.0]]), jnp.array([[0.0, an]])
            d_pn = loss.distance(p, n)[0]
            return loss.triplet_term(a, p, n, margin_grad=option) + d_pn / 2

        return jax.grad(at, argnums=(0, 1))(d_ap, d_an)

    low, high = np.log(8) / 4, 1 - np.log(16) / 4
    for side in (-1, 1):
        point = low + side * 1e-3, high + side * 1e-3
        near, far = slopes(*point, "literal")
        assert np.sign(near) == side and np.sign(far) == side
        np.testing.assert_allclose(slopes(*point, "stop"), (1, -0.5), rtol=1e-9)


def test_invariances():
    """The triplet term does not see a rotation and shift of all three, the whole loss does not see a shift."""
    a = three()
    rotation = jnp.linalg.qr(jnp.asarray(np.random.default_rng(1).normal(size=(D, D))))[0]
    moved = tuple(z @ rotation + 2.5 for z in a)
    np.testing.assert_allclose(loss.triplet_term(*moved), loss.triplet_term(*a), rtol=1e-10)
    shifted = tuple(z + 2.5 for z in a)
    np.testing.assert_allclose(loss.embedding_loss(*shifted), loss.embedding_loss(*a), rtol=1e-10)


def test_positive_on_the_unit_sphere():
    """m > 2 >= (d_an + d_pn) / 2: a hinge at 0 would never act, not even with antipodal negatives."""
    for seed in range(20):
        a, p, n = (z / jnp.linalg.norm(z, axis=-1, keepdims=True) for z in three(seed, (1, 2)))
        assert loss.triplet_term(a, p, n) > 0
    assert loss.triplet_term(a, a, -a) > 0


def test_triplets():
    """Anchor, same class, other class; over the steps every partner has its turn."""
    valid = jnp.ones(N, bool).at[jnp.array([2, 4])].set(False)  # class 2 keeps a single node
    partners = {}
    for step in range(12):
        chosen = loss.triplets(jnp.asarray(LABELS), valid, C, step)
        positive, negative, found = (np.asarray(v) for v in chosen)
        np.testing.assert_array_equal(found, np.asarray(valid) & (LABELS != 2))
        for i in np.flatnonzero(found):
            assert positive[i] != i and LABELS[positive[i]] == LABELS[i] != LABELS[negative[i]]
            assert valid[positive[i]] and valid[negative[i]]
            partners.setdefault(i, (set(), set()))
            partners[i][0].add(positive[i])
            partners[i][1].add(negative[i])
    for i, (positives, negatives) in partners.items():
        same = {j for j in np.flatnonzero(valid) if LABELS[j] == LABELS[i] and j != i}
        assert positives == same and negatives == {j for j in np.flatnonzero(valid) if LABELS[j] != LABELS[i]}


def test_hidden_labels_and_missing_modalities():
    """Nodes of weight 0 and masked slots, NaN in them, have exactly no influence; gradients are finite."""
    weight = jnp.ones(N).at[jnp.array([1, 8])].set(0.0)
    mask = jnp.ones((N, M), bool).at[0, 1].set(False).at[5, 0].set(False)
    plain = model(mask=mask)

    def value(embeddings, labels=LABELS):
        out = model(mask=mask, embeddings=embeddings)
        return loss.adaptive_margin(out, target(labels), weight, context=Context(step=3))

    run = jax.jit(jax.value_and_grad(value))
    expected, grad = run(plain.embeddings)
    nan, nan_grad = run(jnp.where(mask[..., None], plain.embeddings, jnp.nan))
    assert expected == nan and np.isfinite(nan_grad).all() and not nan_grad[~mask].any()
    np.testing.assert_array_equal(grad, nan_grad)
    assert not np.asarray(grad)[[1, 8]].any() and np.asarray(grad)[0, 0].any()
    hidden = LABELS.copy()
    hidden[[1, 8]] = 0
    assert value(plain.embeddings, hidden) == value(plain.embeddings)
    moved = plain.embeddings.at[jnp.array([1, 8])].add(1.0)
    assert value(moved) == value(plain.embeddings)


def test_padding_and_traced_step():
    """Nodes of weight 0 at the end change nothing; the step may be traced."""
    out, weight = model(), jnp.ones(N)

    def pad(a):
        return jnp.concatenate([a, jnp.zeros((2, *a.shape[1:]), a.dtype)])

    longer = model(prediction=pad(out.prediction), embeddings=pad(out.embeddings), mask=pad(out.mask))
    run = jax.jit(loss.adaptive_margin)
    plain = run(out, target(), weight, context=Context(step=jnp.asarray(5)))
    padded = run(longer, target(np.concatenate([LABELS, [0, 0]])), pad(weight), context=Context(step=jnp.asarray(5)))
    np.testing.assert_allclose(plain, padded, rtol=1e-12)
    assert plain != run(out, target(), weight, context=Context(step=jnp.asarray(6)))


def test_mean_over_modalities():
    """Each modality counts once; one without any triplet, by its mask or by the labels, not at all."""
    out, weight = model(), jnp.ones(N)
    alone = [
        loss.adaptive_margin(model(mask=out.mask.at[:, 1 - m].set(False)), target(), weight, context=EVALUATION)
        for m in range(M)
    ]
    assert alone[0] != alone[1]
    np.testing.assert_allclose(
        loss.adaptive_margin(out, target(), weight, context=EVALUATION), sum(alone) / 2, rtol=1e-12
    )
    positive, negative, found = loss.triplets(jnp.asarray(LABELS), jnp.ones(N, bool), C, 0)
    z = out.embeddings[:, 0] / jnp.linalg.norm(out.embeddings[:, 0], axis=-1, keepdims=True)
    np.testing.assert_allclose(loss.embedding_loss(z, z[positive], z[negative], found), alone[0], rtol=1e-12)
    assert loss.adaptive_margin(out, target(np.zeros(N, int)), weight, context=EVALUATION) == 0


def test_scale_of_the_embeddings_does_not_matter():
    """They are normalised, so e^(4 d) cannot overflow."""
    out, weight = model(), jnp.ones(N)
    large = model(embeddings=out.embeddings * 1e6)
    a, b = (loss.adaptive_margin(o, target(), weight, context=EVALUATION) for o in (out, large))
    np.testing.assert_allclose(a, b, rtol=1e-9)


def test_refusals():
    out, weight = model(), jnp.ones(N)
    with pytest.raises(ValueError, match="adaptive_margin"):
        loss.adaptive_margin(out, target(), weight, margin_grad="none", context=EVALUATION)
    with pytest.raises(ValueError, match="adaptive_margin"):
        loss.adaptive_margin(out, target(level="graph"), weight, context=EVALUATION)
