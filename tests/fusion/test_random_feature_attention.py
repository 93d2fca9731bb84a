"""Random-feature attention: what the golden cases cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.fusion.random_feature_attention import RandomFeatureAttention
from tests.helpers import built, filled, parameters, run, shown, state

N, M, D, C, H = 5, 3, 4, 2, 6
MASK = np.ones((N, M), bool)
MASK[1, 2] = MASK[2, 0] = MASK[4] = False
PATHS = ("V", "V_prediction")


def made(form="rfa", modalities=M):
    return RandomFeatureAttention(modalities, D, outputs=C, heads=H, form=form, rngs=nnx.Rngs(0))


def inputs(seed=0):
    return np.random.default_rng(seed).normal(size=(N, M, D))


def said(module, x, mask=MASK):
    fused = run(module, x, jnp.asarray(mask))
    return np.asarray(fused.out), np.asarray(fused.prediction)


def by_hand(module, x, mask):
    """The prediction of one node, head by head and modality by modality."""
    w, v = (np.asarray(parameters(module)[path][...]) for path in ("W", "V_prediction"))
    keys = [row / np.linalg.norm(row) for row in x[mask]]
    query = np.mean(keys, axis=0)
    query = np.append(query / np.linalg.norm(query), 1)
    keys = [np.append(key, 1) for key in keys]
    return sum(max(query @ w[h] @ key, 0) * key @ v[h] for h in range(H) for key in keys) / len(keys)


@pytest.mark.parametrize("form", ["rfa", "brfa"])
def test_it_is_the_formula_of_the_unit_vectors_that_are_there(form):
    module, x = built(lambda: made(form)), inputs()
    prediction = said(module, x)[1]
    for i in range(4):
        np.testing.assert_allclose(prediction[i], by_hand(module, x[i], MASK[i]), rtol=1e-10)
    assert not prediction[4].any()


def test_the_length_of_a_modality_counts_for_nothing():
    module, x = built(made), inputs()
    for a, b in zip(said(module, x), said(module, x * np.array([3.0, 0.1, 40.0])[:, None]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_the_biased_form_adds_the_identity_but_not_for_the_constant():
    plain, biased = (np.asarray(made(form).W[...]) for form in ("rfa", "brfa"))
    np.testing.assert_allclose(biased - plain, np.broadcast_to(np.diag([1.0] * D + [0.0]), plain.shape), atol=1e-6)


def test_entries_of_w_have_deviation_one_half():
    w = RandomFeatureAttention(2, 20, outputs=1, heads=100, rngs=nnx.Rngs(1)).W[...]
    np.testing.assert_allclose([w.mean(), w.std()], [0, 0.5], atol=0.01)


def test_a_masked_modality_changes_the_divisor_and_nothing_else():
    """With one query, what the keys add up to is the sum over them; each mean is over those that are there."""
    module, rng = built(made), np.random.default_rng(3)
    query, keys = rng.normal(size=D), rng.normal(size=(M, D))

    def phi(mask):
        return np.asarray(run(module, query, keys, jnp.asarray(mask), by=RandomFeatureAttention.features)[0])

    all_there, two, last = (phi(mask) for mask in ([True] * 3, [True, True, False], [False, False, True]))
    np.testing.assert_allclose(3 * all_there, 2 * two + last, rtol=1e-10, atol=1e-12)
    assert np.abs(two - all_there).max() > 1e-3
    x = inputs()
    fewer = said(module, x[:, :2], MASK[:, :2])
    np.testing.assert_allclose(said(module, np.where(MASK[..., None], x, np.nan))[1][1], fewer[1][1], rtol=1e-10)


def test_modalities_in_another_order():
    module, x, order = built(made), inputs(), [2, 0, 1]
    for a, b in zip(said(module, x), said(module, x[:, order], MASK[:, order]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_weights_are_no_softmax():
    """Those of a negative score are 0, and so may all of a head be; the others are the scores over their number."""
    module, x = built(made), inputs()
    module.W.set_value(module.W[...].at[0].set(0).at[0, -1, -1].set(-1))  # a head whose score is -1 everywhere
    weights = shown(run(module, x, MASK), "heads")
    assert not weights[:, 0].any()
    assert (weights >= 0).all() and 0.1 < (weights[:, 1:][MASK.any(1)] == 0).mean() < 0.9
    assert np.abs(weights.sum(-1) - 1).min() > 1e-4
    module.W.set_value(2 * module.W[...])
    np.testing.assert_allclose(shown(run(module, x, MASK), "heads"), 2 * weights, rtol=1e-12)


def test_the_constant_stands_in_keys_and_in_values():
    module, x = built(made), inputs()
    phi = state(run(module, x, MASK), "features")
    np.testing.assert_allclose(phi[..., -1], shown(run(module, x, MASK), "heads").sum(-1), rtol=1e-12)
    assert phi[:4, :, -1].any()


def test_outputs_are_linear_in_the_values():
    """Superposition, of both outputs."""
    rng, x, module = np.random.default_rng(5), inputs(), built(made)
    w = np.asarray(module.W[...])
    one, two = ({path: rng.normal(size=parameters(module)[path].shape) for path in PATHS} for _ in range(2))

    def of(values):
        return said(filled(made, lambda path, _: {**values, "W": w}[path]), x)

    both = of({path: 2 * one[path] - 3 * two[path] for path in PATHS})
    for a, b, c in zip(both, of(one), of(two), strict=True):
        np.testing.assert_allclose(a, 2 * b - 3 * c, rtol=1e-9, atol=1e-10)
        assert np.abs(b).max() > 0.1


def test_training_leaves_w_as_it_was():
    """Whatever the optimiser does to parameters, decay included."""
    module, x, y = made(), inputs().astype(np.float32), np.ones((N, C), np.float32)
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)
    assert {str(path[0]) for path, _ in nnx.to_flat_state(params)} == set(PATHS)
    tx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1))

    def loss(params, rest):
        fused = nnx.merge(graphdef, params, rest, copy=True)(x, MASK)
        return ((fused.prediction - y) ** 2).sum() + (fused.out**2).sum()

    @jax.jit
    def train(params, opt):
        for _ in range(2):
            updates, opt = tx.update(jax.grad(loss)(params, rest), opt, params)
            params = optax.apply_updates(params, updates)
        return params

    after = nnx.merge(graphdef, train(params, tx.init(params)), rest)
    assert all(np.any(np.asarray(parameters(after)[p][...] != parameters(module)[p][...])) for p in PATHS)
    np.testing.assert_array_equal(after.W[...], module.W[...])


def test_another_seed_has_another_w():
    first, second = (RandomFeatureAttention(M, D, outputs=C, heads=H, rngs=nnx.Rngs(seed)).W[...] for seed in (0, 1))
    assert np.abs(first - second).min() > 0


@pytest.mark.parametrize(
    ("options", "message"), [(dict(form="bfra"), "form='bfra'.*did you mean 'b?rfa'"), (dict(heads=0), "heads=0")]
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=f"fusion 'random_feature_attention': {message}"):
        nnx.eval_shape(lambda: RandomFeatureAttention(M, D, outputs=C, **options, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_other_dtypes(dtype):
    fused = run(made(), jnp.asarray(inputs(), dtype), MASK)
    assert fused.out.dtype == dtype
    exact = run(built(made), inputs(), MASK)
    tol = 5e-2 if dtype == jnp.bfloat16 else 1e-5
    np.testing.assert_allclose(np.asarray(fused.out, float), exact.out, atol=tol)


def test_what_is_not_said():
    assert zoo.options("fusion", "random_feature_attention") == dict(form="rfa", heads=256)


def test_values_start_so_that_the_sum_over_heads_is_of_size_one():
    module = RandomFeatureAttention(M, 20, outputs=30, heads=64, rngs=nnx.Rngs(0))
    for values in (module.V, module.V_prediction):
        np.testing.assert_allclose(values[...].std(), 1 / 8, rtol=0.05)


def test_what_is_shown_says_who_is_there():
    fused = run(built(made), inputs(), MASK)
    (attention,), (features,) = fused.attention, fused.states
    np.testing.assert_array_equal(np.asarray(attention.valid)[:, 0], MASK)
    np.testing.assert_array_equal(features.mask, np.repeat(MASK.any(1)[:, None], H, 1))
    assert not attention.normalised
