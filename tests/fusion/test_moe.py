"""Mixture of modality experts: limits of the gate, missing modalities, the balancing loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from fusion_jax.fusion.moe import MoE, chance_in_top_k, cv_squared
from fusion_jax.records import Context
from tests.helpers import shown, to_float64

N, M, D, E = 8, 3, 4, 2


def build(random_gate=True, **options):
    module = to_float64(MoE(M, D, experts=E, rngs=nnx.Rngs(0), **options))
    if random_gate:
        rng = np.random.default_rng(4)
        for part in (module.w_gate, module.w_noise):
            part.kernel.set_value(jnp.asarray(rng.normal(size=(M * D, M * E))))
    return module


def inputs():
    return np.random.default_rng(1).normal(size=(N, M, D)), np.ones((N, M), bool)


def expert_outputs(module, x):
    """[N, M E, D], one expert after another."""
    rows = []
    for i in range(M * E):
        w1, b1, w2, b2 = (
            np.asarray(v[i]) for fc in (module.experts.fc1, module.experts.fc2) for v in (fc.kernel[...], fc.bias[...])
        )
        rows.append(np.maximum(x[:, i // E] @ w1 + b1, 0) @ w2 + b2)
    return np.stack(rows, 1)


def test_untrained_gate_over_all_experts_is_their_mean():
    module = build(random_gate=False, k=M * E)
    x, mask = inputs()
    fused = module(x, mask)
    np.testing.assert_allclose(fused.out, expert_outputs(module, x).mean(1), rtol=1e-12)
    np.testing.assert_allclose(fused.losses["balance"], 0, atol=1e-20)


def test_one_expert_a_node_is_the_expert_of_the_largest_logit():
    module = build(k=1)
    x, mask = inputs()
    mask[0, 0] = mask[1, 1:] = False
    flat = np.where(mask[..., None], x, 0).reshape(N, -1)
    logits = np.where(np.repeat(mask, E, 1), flat @ np.asarray(module.w_gate.kernel[...]), -np.inf)
    best = logits.argmax(1)
    fused = module(x, mask)
    np.testing.assert_allclose(fused.out, expert_outputs(module, x)[np.arange(N), best], rtol=1e-12)
    np.testing.assert_array_equal(shown(fused, "gates").argmax(1), best)
    np.testing.assert_array_equal(shown(fused, "gates").max(1), 1.0)


@pytest.mark.parametrize("training", [False, True])
def test_experts_of_missing_modalities_are_never_chosen(training):
    module = build(k=3)
    x, mask = inputs()
    mask[0, 1:] = False  # two experts left for k = 3
    mask[1, 0] = False
    mask[2] = False
    fused = module(x, mask, context=Context(key=jax.random.key(0) if training else None))
    weights = shown(fused, "gates").reshape(*mask.shape, E)
    assert (weights[~mask] == 0).all()
    np.testing.assert_allclose(weights.sum((1, 2)), [1, 1, 0, 1, 1, 1, 1, 1], rtol=1e-12)
    np.testing.assert_array_equal((weights > 0).sum((1, 2)), [2, 3, 0, 3, 3, 3, 3, 3])


def test_nodes_without_modalities_do_not_touch_the_loss():
    module = build()
    x, mask = inputs()
    noise = np.random.default_rng(2).normal(size=(N, M * E))
    mask[5:] = False
    for extra in (None, noise):
        part = None if extra is None else extra[:5]
        loss = module.gate(x, mask, extra)[1]
        np.testing.assert_allclose(loss, module.gate(x[:5], mask[:5], part)[1], rtol=1e-12)
        assert loss > 0.01


def test_chance_in_top_k_against_the_definition():
    """P(own value > the k-th largest of the other present ones), expert by expert."""
    rng = np.random.default_rng(0)
    clean, noisy = rng.normal(size=(2, 6, 5))
    std = rng.random((6, 5)) + 0.1
    present = rng.random((6, 5)) < 0.7
    present[0], present[1] = True, [True, True, False, False, False]
    k = 2
    expected = np.zeros((6, 5))
    for n, i in zip(*np.nonzero(present), strict=True):
        others = np.sort(np.delete(noisy[n], i)[np.delete(present[n], i)])[::-1]
        expected[n, i] = 1 if len(others) < k else scipy.stats.norm.cdf((clean[n, i] - others[k - 1]) / std[n, i])
    ours = chance_in_top_k(*(jnp.asarray(a) for a in (clean, noisy, std, present)), k)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_balancing_moves_the_gate():
    """The loss has a gradient in training, also where fewer than k + 1 experts are present."""
    module = build(k=2)
    x, mask = inputs()
    mask[:3, 1:] = False
    noise = np.random.default_rng(2).normal(size=(N, M * E))
    graphdef, state = nnx.split(module)
    grads = jax.grad(lambda s: nnx.merge(graphdef, s).gate(x, mask, noise)[1])(state)
    for part in (grads["w_gate"], grads["w_noise"]):
        g = np.asarray(part["kernel"][...])
        assert np.isfinite(g).all() and np.abs(g).max() > 1e-4


def test_options():
    np.testing.assert_allclose(cv_squared(jnp.asarray([1.0, 2.0, 3.0])), 1 / 4)
    x, mask = inputs()
    assert build(balance=0.0)(x, mask).losses == {}
    one, two = (build(balance=b)(x, mask).losses["balance"] for b in (1.0, 2.0))
    np.testing.assert_allclose(two, 2 * one)
    with pytest.raises(ValueError, match="moe.*k=7"):
        MoE(M, D, experts=E, k=7, rngs=nnx.Rngs(0))
