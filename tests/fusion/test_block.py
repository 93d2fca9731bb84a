"""BLOCK: its core tensor in full, its blocks, missing modalities, more than two, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.block import Block
from fusion_jax.fusion.mutan import Mutan
from tests.helpers import filled, parameters, run

N, D = 5, 6
RNG = np.random.default_rng(0)


def build(m, **options):
    return filled(lambda: Block(m, D, rngs=nnx.Rngs(0), **options), lambda _, shape: 0.5 * RNG.normal(size=shape))


def product(model, x, mask):
    return jax.vmap(model.net.product)(x, mask)


def normalised(z):
    root = np.sign(z) * np.sqrt(np.abs(z))
    return root / np.linalg.norm(root, axis=-1, keepdims=True)


def factors(model, x):
    """(W_mcr u_mc + w_mcr) of every group of blocks, [N, M, B, R, s]."""
    net = model.net
    kernel, bias = (np.asarray(value[...]) for value in (net.linears.kernel, net.linears.bias))
    u = np.einsum("nmi,mio->nmo", x, kernel) + bias
    start = 0
    for merge in net.merges:
        kernel, bias = np.asarray(merge.kernel[...]), np.asarray(merge.bias[...])
        blocks, size = kernel.shape[1:3]
        part = u[:, :, start : start + blocks * size].reshape(*u.shape[:2], blocks, size)
        yield np.einsum("nmbi,mbiro->nmbro", part, kernel) + bias
        start += blocks * size


@pytest.mark.parametrize("m, options", [(2, {}), (3, dict(mm_dim=7, chunks=3, rank=2)), (1, dict(chunks=2))])
@pytest.mark.parametrize("pos_norm", ["before_cat", "after_cat"])
def test_is_the_form_of_order_m_with_missing_factors_left_out(m, options, pos_norm):
    model = build(m, pos_norm=pos_norm, **options)
    x, mask = RNG.normal(size=(N, m, D)), RNG.random((N, m)) < 0.6
    mask[0], mask[1] = False, True
    nothing, blocks = ~mask.any(1), []
    for f in factors(model, np.where(mask[..., None], x, 0)):
        z = np.where(mask[:, :, None, None, None], f, 1).prod(1).sum(2)  # [N, B, s]
        z[nothing] = 1  # z is 0, compared below
        blocks.append((normalised(z) if pos_norm == "before_cat" else z).reshape(N, -1))
    z = np.concatenate(blocks, 1)
    z = z if pos_norm == "before_cat" else normalised(z)
    z[nothing] = 0
    out = z @ np.asarray(model.net.linear_out.kernel[...]) + np.asarray(model.net.linear_out.bias[...])
    np.testing.assert_allclose(run(model, x, mask).out, out, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    "width, chunks, expected",
    [(8, 2, [4, 4]), (7, 3, [3, 3, 1]), (7, 5, [2, 2, 1, 1, 1]), (6, 4, [2, 2, 1, 1]), (5, 5, [1] * 5), (9, 1, [9])],
)
def test_blocks_are_cut_as_the_code_does(width, chunks, expected):
    model = nnx.eval_shape(lambda: Block(2, D, mm_dim=width, chunks=chunks, rngs=nnx.Rngs(0)))
    found = [k for merge in model.net.merges for k in [merge.kernel.shape[2]] * merge.kernel.shape[1]]
    assert found == expected


@pytest.mark.parametrize("dim, blocks", [(4, 1), (32, 4), (128, 16), (320, 20)])
def test_number_of_blocks_by_itself(dim, blocks):
    model = nnx.eval_shape(lambda: Block(2, dim, rngs=nnx.Rngs(0)))
    assert sum(merge.kernel.shape[1] for merge in model.net.merges) == blocks


def test_a_block_sees_its_own_part_only():
    """The core is a diagonal of blocks: what the first block of u says never reaches the second of z."""
    model = build(2, chunks=2)
    x, mask = RNG.normal(size=(1, 2, D)), np.ones((1, 2), bool)
    before = np.asarray(run(model, x, mask, by=product))
    kernel = np.array(model.net.linears.kernel[...])
    kernel[:, :, : D // 2] *= -0.5  # u_1 of both modalities
    model.net.linears.kernel.set_value(jnp.asarray(kernel))
    after = np.asarray(run(model, x, mask, by=product))
    assert np.abs(after - before)[:, : D // 2].max() > 1e-3
    np.testing.assert_array_equal(after[:, D // 2 :], before[:, D // 2 :])


def test_one_block_is_mutan():
    x, mask = RNG.normal(size=(N, 3, D)).astype(np.float32), RNG.random((N, 3)) < 0.7

    @jax.jit
    def outs(x, mask):
        one = Block(3, D, chunks=1, rank=3, rngs=nnx.Rngs(1))
        other = Mutan(3, D, normalize=True, rank=3, rngs=nnx.Rngs(1))
        return one(x, mask).out, other(x, mask).out

    np.testing.assert_array_equal(*outs(x, mask))


@pytest.mark.parametrize("shared", [False, True])
def test_the_order_of_modalities_counts_by_their_weights_only(shared):
    model = build(3, shared=shared)
    x, mask, order = RNG.normal(size=(N, 3, D)), RNG.random((N, 3)) < 0.7, [2, 0, 1]
    one, other = (np.asarray(run(model, *given).out) for given in ((x[:, order], mask[:, order]), (x, mask)))
    moved = np.abs(one - other).max()
    assert moved < 1e-12 if shared else moved > 1e-2
    assert ("modalities" in model.symmetries) == shared
    assert parameters(model)["net.linears.kernel"].shape[0] == (1 if shared else 3)


def test_gradients_at_zero():
    """sqrt and length at z = 0, where PyTorch's are NaN: all factors 0, and one modality of zeros."""
    x = RNG.normal(size=(N, 2, D)).astype(np.float32)
    x[:, 1] = 0

    @jax.jit
    @jax.value_and_grad
    def square(x):
        model = Block(2, D, chunks=2, rngs=nnx.Rngs(0))
        for merge in model.net.merges:
            merge.bias.set_value(jnp.zeros_like(merge.bias[...]))
        return (model(x, jnp.ones((N, 2), bool)).out ** 2).sum()

    value, grad = square(x)
    assert value == 0 and np.isfinite(grad).all()


@pytest.mark.parametrize("m, d", [(1, 32), (2, 32), (6, 128)])
def test_scale_at_the_start(m, d):
    x, mask = RNG.normal(size=(64, m, d)).astype(np.float32), RNG.random((64, m)) < 0.7
    out = np.asarray(jax.jit(lambda x, mask: Block(m, d, rngs=nnx.Rngs(0))(x, mask).out)(x, mask))
    assert 0.05 < out.std() < 2


@pytest.mark.parametrize(
    "options", [dict(chunks=7), dict(chunks=0), dict(rank=0), dict(pos_norm="none"), dict(mm_dim=0)]
)
def test_refusals(options):
    with pytest.raises(ValueError, match="fusion 'block'"):
        nnx.eval_shape(lambda: Block(2, D, rngs=nnx.Rngs(0), **options))
