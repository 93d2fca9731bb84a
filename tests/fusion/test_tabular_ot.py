"""The encoder whose branches are normalised: what is added has no scale of its own, the sum keeps that of the input."""

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.tabular_ot import EPSILON, EncoderBlock, TabularOT
from fusion_jax.records import Context
from tests.helpers import assign, drawn, parameters, run

N, M, D = 5, 3, 4
OPTIONS = dict(blocks=2, heads=2, size=3, hidden=6)


def block(**options):
    return drawn(lambda: EncoderBlock(D, 2, 3, 6, rngs=nnx.Rngs(0), **options))


def fusion(**options):
    return drawn(lambda: TabularOT(M, D, **OPTIONS | options, rngs=nnx.Rngs(0)))


@pytest.fixture
def nodes():
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.7
    mask[0], mask[1], mask[2] = True, [True, False, False], False
    return rng.normal(size=(N, M, D)), mask


def normed(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON)


def test_the_branch_is_normalised_and_the_sum_is_not(nodes):
    """With gamma 1 and beta 0 what is added to every token has mean 0 and deviation 1; a constant stays in the sum."""
    x, _ = nodes
    plain = {f"norm_{i}.{part}": np.full(D, float(part == "scale")) for i in (1, 2) for part in ("scale", "bias")}
    one = assign(block(), plain, partial=True)
    h, _ = one.attend(x)
    np.testing.assert_allclose((h - x).mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose((h - x).std(-1), 1, atol=1e-4)  # the norm adds its epsilon to the variance
    out, _ = one(x)
    inner = np.maximum(h @ one.conv.fc1.kernel[...] + one.conv.fc1.bias[...], 0)
    f = np.asarray(inner @ one.conv.fc2.kernel[...] + one.conv.fc2.bias[...])
    np.testing.assert_allclose(out, h + normed(f), rtol=1e-10, atol=1e-12)


def test_norms_of_scale_0_make_the_identity(nodes):
    x, mask = nodes
    values = {k: np.zeros(v.shape) for k, v in parameters(fusion()).items() if "norm" in k}
    fused = run(assign(fusion(), values, partial=True), x, mask)
    np.testing.assert_allclose(fused.tokens, np.where(mask[..., None], x, 0), atol=1e-12)
    mean = np.where(mask[..., None], x, 0).sum(1) / np.maximum(mask.sum(1), 1)[:, None]
    np.testing.assert_allclose(fused.out, mean, atol=1e-12)


def test_blocks_run_one_after_another(nodes):
    x, _ = nodes
    two = fusion()
    fused = run(two, x, np.ones((N, M), bool))
    z = x
    for i in range(2):
        values = {k: v[...][i] for k, v in parameters(two.blocks).items()}
        z, weights = assign(block(), values)(z)
        np.testing.assert_allclose(fused.attention[0].weights[:, i], weights, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fused.tokens, z, rtol=1e-9, atol=1e-12)


def test_a_rate_drops_attention_only_with_a_key(nodes):
    x, _ = nodes
    one, everything = fusion(rate=0.5), np.ones((N, M), bool)
    calm = run(one, x, everything).out
    np.testing.assert_allclose(calm, run(fusion(rate=0.0), x, everything).out, rtol=1e-12)
    assert abs(run(one, x, everything, context=Context(key=jax.random.key(0))).out - calm).max() > 1e-3


def test_the_defaults_are_the_papers():
    module = TabularOT(2, 4, rngs=nnx.Rngs(0))
    assert module.depth == 2 and module.blocks.attention.query.kernel.shape == (2, 4, 160)
    assert module.blocks.attention.heads == 10 and module.blocks.conv.fc1.kernel.shape == (2, 4, 32)
    assert module.blocks.norm_1.epsilon == 1e-6 and module.blocks.attention.rate == 0.1


@pytest.mark.parametrize("name", ["blocks", "heads", "size", "hidden"])
def test_options_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match=f"fusion 'tabular_ot': {name}=0"):
        TabularOT(2, 4, **{name: 0}, rngs=nnx.Rngs(0))
