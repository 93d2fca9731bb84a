"""Channel exchange: who gives what to whom, the penalty, statistics of present nodes, the mixture, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.cen import CEN, exchange
from fusion_jax.records import Context
from tests.helpers import drawn, parameters, run, shown

N, M, D = 6, 3, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, M, D))
MASK = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1], [1, 1, 1]], bool)
TRAINING = Context(key=jax.random.key(0))


def build(m=M, **options):
    return drawn(lambda: CEN(m, D, rngs=nnx.Rngs(0), **options))


def slopes(fusion, loss):
    """The gradients of loss(fusion), by path."""
    graphdef, params, rest = nnx.split(fusion, nnx.Param, ...)
    found = jax.jit(jax.grad(lambda params: loss(nnx.merge(graphdef, params, rest, copy=True))))(params)
    return {".".join(map(str, path)): np.asarray(value[...]) for path, value in nnx.to_flat_state(found)}


def scales(fusion, block, values):
    for norm, row in zip(fusion.blocks[block].bn2.each, values, strict=True):
        norm.scale.set_value(jnp.asarray(row))


def test_two_modalities_give_each_other_theirs():
    z, mask = RNG.normal(size=(N, 2, 4)), np.ones((N, 2), bool)
    small = np.array([[0.01, 1, -0.01, 1], [1, -0.01, 0.01, -1]])
    out = exchange(z, small, mask, 0.02)
    np.testing.assert_array_equal(out[:, 0], np.stack([z[:, 1, 0], z[:, 0, 1], z[:, 1, 2], z[:, 0, 3]], 1))
    np.testing.assert_array_equal(out[:, 1], np.stack([z[:, 1, 0], z[:, 0, 1], z[:, 0, 2], z[:, 1, 3]], 1))
    np.testing.assert_array_equal(exchange(z, np.full((2, 4), 0.02), mask, 0.02), z)  # as small as the threshold


def test_more_modalities_give_their_mean_and_one_alone_keeps_its_own():
    small = np.zeros((M, D))
    small[1:] = 1
    out = np.asarray(exchange(np.where(MASK[..., None], X, np.nan), small, MASK, 0.02))
    np.testing.assert_array_equal(out[:, 1:][MASK[:, 1:]], X[:, 1:][MASK[:, 1:]])
    for n in np.flatnonzero(MASK[:, 0]):
        others = X[n, 1:][MASK[n, 1:]]
        np.testing.assert_allclose(out[n, 0], others.mean(0), rtol=1e-14)
    alone = np.tile(np.arange(M) == 0, (N, 1))
    np.testing.assert_array_equal(exchange(X, small, alone, 0.02)[:, 0], X[:, 0])


@pytest.mark.parametrize("m, width", [(2, 4), (2, 5), (3, 8), (6, 4)])
def test_every_channel_is_penalised_in_one_modality(m, width):
    fusion = build(m, width=width, blocks=2, sparsity=0.5)
    values = [RNG.normal(size=(m, width)) for _ in range(2)]
    for block in range(2):
        scales(fusion, block, values[block])
    gradients = slopes(fusion, lambda f: f(X[:, :1].repeat(m, 1), np.ones((N, m), bool)).losses["sparsity"])
    for block in range(2):
        signs = np.stack([gradients[f"blocks.{block}.bn2.each.{i}.scale"] for i in range(m)])
        np.testing.assert_array_equal((signs != 0).sum(0), 1)
        np.testing.assert_array_equal(signs[signs != 0], 0.5 * np.sign(values[block])[signs != 0])
    if m == 2:  # the code's halves
        np.testing.assert_array_equal(signs[0] != 0, np.arange(width) < width // 2)


def test_what_is_given_away_is_learned_by_the_penalty_alone():
    fusion = build(2, blocks=1, sparsity=0.0)
    fusion.blocks[0].bn2.each[0].scale.set_value(jnp.asarray([0.01, 1.0]))
    fusion.blocks[0].bn2.each[1].scale.set_value(jnp.asarray([1.0, 1.0]))
    gradients = slopes(fusion, lambda f: (f(X[:, :2], np.ones((N, 2), bool), None, TRAINING).tokens ** 2).sum())
    first, second = (gradients[f"blocks.0.bn2.each.{m}.scale"] for m in range(2))
    assert first[0] == 0 and first[1] != 0 and (second != 0).all()


def test_start_and_one_modality():
    def made(m, **options):
        return CEN(m, D, rngs=nnx.Rngs(0), **options)

    def losses(m, **options):
        x, mask = jnp.ones((N, m, D), jnp.float32), jnp.ones((N, m), bool)
        return jax.eval_shape(lambda: made(m, **options)(x, mask).losses)

    for found in jax.jit(lambda: [block.bn2.scales for block in made(2, start=0.25, width=4).blocks])():
        np.testing.assert_array_equal(found, [[0.25, 0.25, 1, 1], [1, 1, 0.25, 0.25]])
    assert (np.asarray(jax.jit(lambda: made(1, start=0.25).blocks[0].bn2.scales)()) == 1).all()
    assert not losses(1, start=0.25)
    assert not losses(M, sparsity=0.0) and losses(M)


def test_statistics_are_those_of_present_nodes():
    """Training with nodes that lack a modality is training without them, for its statistics and for other nodes."""
    fusion, other = build(2, blocks=1, threshold=0.0), build(2, blocks=1, threshold=0.0)
    mask = np.ones((N, 2), bool)
    mask[[1, 4], 1] = False
    fused = run(fusion, np.where(mask[..., None], X[:, :2], np.nan), mask, None, TRAINING)
    few = run(other, X[mask[:, 1], :2], mask[mask[:, 1]], None, TRAINING)  # no exchange: modalities are by themselves
    tokens = np.asarray(fused.tokens)
    np.testing.assert_allclose(tokens[mask[:, 1], 1], np.asarray(few.tokens)[:, 1], rtol=1e-12, atol=1e-14)
    for name, value in parameters(fusion).items():
        if ".each.1." in name and name.split(".")[-1] in ("mean", "var"):
            np.testing.assert_allclose(value[...], parameters(other)[name][...], rtol=1e-12, atol=1e-14)
    assert not tokens[~mask].any()


def test_evaluation_leaves_the_statistics():
    fusion = build()
    before = {name: np.asarray(v[...]) for name, v in parameters(fusion).items()}
    run(fusion, X, MASK)
    for name, v in parameters(fusion).items():
        np.testing.assert_array_equal(v[...], before[name])


def test_a_linear_head_behind_the_mixture_mixes_logits():
    fusion = build()
    fusion.alpha.set_value(jnp.asarray([0.3, -1.0, 2.0]))
    fused = run(fusion, X, MASK)
    weights = shown(fused, "ensemble")
    powers = np.where(MASK, np.exp([0.3, -1.0, 2.0]), 0)
    total = powers.sum(1, keepdims=True)
    np.testing.assert_allclose(weights, powers / np.where(total > 0, total, 1), rtol=1e-12)
    kernel, bias = RNG.normal(size=(D, 2)), RNG.normal(size=2)
    logits = np.asarray(fused.tokens) @ kernel + bias
    there = MASK.any(1)
    mixed = np.einsum("nm,nmc->nc", weights, logits)
    np.testing.assert_allclose((np.asarray(fused.out) @ kernel + bias)[there], mixed[there], rtol=1e-12)
    assert not np.asarray(fused.out)[~there].any()


def test_exchange_happens_within_a_bottleneck():
    """With all channels of modality 0 given away its token moves with modality 1; alone at a node it keeps its own."""
    fusion = build(2, blocks=1, width=4)
    scales(fusion, 0, [np.zeros(4), np.ones(4)])
    mask = np.ones((N, 2), bool)
    changed = X[:, :2].copy()
    changed[:, 1] += 1
    alone = np.tile([True, False], (N, 1))
    x, moved, kept, still = (
        np.asarray(run(fusion, given, where).tokens) for where in (mask, alone) for given in (X[:, :2], changed)
    )
    assert np.abs(x[:, 0] - moved[:, 0]).max() > 1e-2
    np.testing.assert_array_equal(kept, still)
    assert np.abs(kept[:, 0] - x[:, 0]).max() > 1e-2


@pytest.mark.parametrize("options", [dict(blocks=0), dict(width=0), dict(threshold=-0.1), dict(sparsity=-1.0)])
def test_refusals(options):
    with pytest.raises(ValueError, match="fusion 'cen'"):
        nnx.eval_shape(lambda: CEN(2, D, rngs=nnx.Rngs(0), **options))
