"""MBT: when the streams meet, what a missing one leaves, and the depth limits."""

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.mbt import MBT
from fusion_jax.records import Context
from tests.helpers import to_float64

N, M, D = 3, 3, 8
SMALL = dict(tokens=2, bottlenecks=2, heads=2, hidden=6)


def build(m=M, *, layers, fusion_layer, **options):
    return to_float64(MBT(m, D, layers=layers, fusion_layer=fusion_layer, rngs=nnx.Rngs(0), **SMALL, **options))


def inputs(m=M):
    return np.random.default_rng(1).normal(size=(N, m, D)), np.ones((N, m), bool)


@pytest.mark.parametrize(("fusion_layer", "meet"), [(3, False), (2, False), (1, True), (0, True)])
def test_streams_meet_one_layer_after_the_bottlenecks(fusion_layer, meet):
    module = build(layers=3, fusion_layer=fusion_layer)
    x, mask = inputs()
    other = x.copy()
    other[:, 1] += 1
    gap = np.abs(module(x, mask).tokens - module(other, mask).tokens).max((0, 2))
    assert gap[1] > 1e-3
    assert (gap[[0, 2]] > 1e-9).all() if meet else (gap[[0, 2]] == 0).all()


def test_missing_stream_is_one_stream_less():
    """M = 3 with the last missing equals M = 2 with the same parameters."""
    three, two = build(layers=3, fusion_layer=1), build(2, layers=3, fusion_layer=1)
    state = nnx.state(two)

    def cut(a, b):
        return a if a.shape == b.shape else a[:2]

    nnx.update(two, jax.tree.map(cut, nnx.state(three), state))
    x, mask = inputs()
    mask[:, 2] = False
    ours, expected = three(x, mask), two(x[:, :2], mask[:, :2])
    np.testing.assert_allclose(ours.out, expected.out, rtol=1e-12)
    np.testing.assert_allclose(ours.tokens[:, :2], expected.tokens, rtol=1e-12)
    np.testing.assert_array_equal(ours.tokens[:, 2], 0)


def test_bottlenecks_of_one_modality_are_a_plain_transformer():
    """With M = 1 the blocks run over the stream and b as one sequence."""
    module = build(1, layers=2, fusion_layer=0)
    x, mask = inputs(1)

    def one(stacked):
        return jax.tree.map(lambda a: a[0], stacked)

    embed = one(module.embedding)
    z = np.concatenate([module.cls[0], embed(x[0, 0].reshape(2, -1))]) + module.pos_embedding[0]
    z = np.concatenate([z, module.bottleneck[...]])
    for blocks in module.encoderblocks:
        z = one(blocks)(z, 0.0)
    np.testing.assert_allclose(module(x, mask).out[0], module.encoder_norm(z)[0], rtol=1e-10)


def test_dropped_last_layer_is_one_layer_less():
    deep, flat = (build(layers=n, fusion_layer=1, drop_layer=1.0) for n in (2, 1))
    flat.encoderblocks = nnx.List([deep.encoderblocks[0]])
    for name in ("embedding", "cls", "pos_embedding", "bottleneck", "encoder_norm"):
        setattr(flat, name, getattr(deep, name))
    x, mask = inputs()
    expected = flat(x, mask).out
    np.testing.assert_allclose(deep(x, mask, context=Context(key=jax.random.key(0))).out, expected, rtol=1e-12)
    assert np.abs(deep(x, mask).out - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(heads=3), "heads=3"),
        (dict(tokens=3), "tokens=3"),
        (dict(bottlenecks=0), "bottlenecks=0"),
        (dict(fusion_layer=5), "fusion_layer=5"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=f"mbt.*{message}"):
        MBT(M, D, rngs=nnx.Rngs(0), **options)
