"""ISTA-Net: what the golden cases cannot show."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.ista_net import IstaNet, hop_means, patch_width
from fusion_jax.fusion.ista_net.token_network import TokenBlock, sinusoid, tokenize
from fusion_jax.graphs import Graph
from fusion_jax.records import Context
from tests import helpers

N, M, D = 6, 3, 8
GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "ista-net" / "model" / "two_blocks.npz"


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(N, M, D))), jnp.asarray(rng.random((N, M)) < 0.7)


def net(**options):
    return helpers.to_float64(IstaNet(M, D, rngs=nnx.Rngs(0), **options))


def run(fusion, x, mask, graph, key=None):
    graphdef, state = nnx.split(fusion)
    return jax.jit(lambda state, *args: nnx.merge(graphdef, state)(*args, context=Context(key=key)).out)(
        state, x, mask, graph
    )


def test_windows_are_strided():
    """Token b of an axis holds the entries a n + b; the end is padded by repeating the last entry."""
    x = np.arange(5.0)[None, :, None, None, None]
    np.testing.assert_array_equal(tokenize(x, (2, 1, 1))[0, :, 0, :, 0], [[0, 1, 2], [3, 4, 4]])


@pytest.mark.parametrize("window, sees_order", [(M, False), (1, True)])
def test_entity_order(window, sees_order):
    """A token of all modalities does not see their order; tokens of one modality do."""
    fusion, (x, mask), graph = net(entity_window=window), inputs(), helpers.small_graph(N)
    plain, reverse = run(fusion, x, mask, graph), run(fusion, x[:, ::-1], mask[:, ::-1], graph)
    assert (np.abs(plain - reverse).max() > 1e-6) == sees_order
    if not sees_order:
        np.testing.assert_allclose(plain, reverse, rtol=1e-12, atol=1e-14)


def test_rearrange():
    """Random order of modalities changes training where tokens see the order, and nothing else."""
    (x, mask), graph, key = inputs(), helpers.small_graph(N), jax.random.key(0)
    for window, acts in ((M, False), (1, True)):
        options = dict(entity_window=window, norm="layer")
        shuffled, plain = net(rearrange=True, **options), net(**options)
        difference = np.abs(run(shuffled, x, mask, graph, key) - run(plain, x, mask, graph, key)).max()
        assert (difference > 1e-6) == acts
        np.testing.assert_array_equal(run(shuffled, x, mask, graph), run(plain, x, mask, graph))


def test_scores():
    """alpha = 0 leaves M, at the start the mean of the tokens; |S - M| <= |alpha|; rows are no softmax."""
    tokens, c = 4, 6
    block = helpers.to_float64(
        TokenBlock(c, c, 3, 2, tokens, (3, 3), positions=False, norm="layer", rate=0.0, rngs=nnx.Rngs(0))
    )
    z = jnp.asarray(np.random.default_rng(0).normal(size=(N, 2, 3, tokens, c)))
    present = jnp.ones(z.shape[:-1], bool)
    block.alpha.set_value(jnp.asarray([0.3, -2.0]))
    s = block.scores(z, present)
    assert (jnp.abs(s - 1 / tokens) <= jnp.abs(block.alpha[...])[:, None, None]).all()
    assert np.abs(s.sum(-1) - 1).max() > 1e-3 and s.min() < 0
    block.alpha.set_value(jnp.zeros(2))
    mean = jnp.einsum("napuc,nhuv->napvhc", z, block.scores(z, present))
    expected = jnp.broadcast_to(z.mean(3)[:, :, :, None, None], mean.shape)
    np.testing.assert_allclose(mean, expected, rtol=1e-12, atol=1e-14)


def test_token_sum_is_over_the_first_index():
    """With alpha = 0 and M = e_1 e_2^T only token 2 receives, and it receives token 1."""
    tokens, c = 3, 2
    block = helpers.to_float64(
        TokenBlock(c, c, 2, 1, tokens, (1, 1), positions=False, norm="layer", rate=0.0, rngs=nnx.Rngs(0))
    )
    block.alpha.set_value(jnp.zeros(1))
    block.static.set_value(jnp.zeros((1, tokens, tokens)).at[0, 1, 2].set(1.0))
    z = jnp.asarray(np.random.default_rng(0).normal(size=(1, 1, 1, tokens, c)))
    moved = z.at[0, 0, 0, 1].add(1.0)  # token 1 changes: besides itself only token 2 may
    present = jnp.ones(z.shape[:-1], bool)
    change = np.abs(block(z, present)[0] - block(moved, present)[0])[0, 0, 0].max(-1)
    assert change[0] == 0 and change[1] > 0 and change[2] > 0


def test_positions():
    """The code is the reference's stored table up to float32, the same at every place of a token."""
    with np.load(GOLDEN) as case:
        table = case["param/blocks.0.pes.pe"][0]  # [C, A, P, U]
    assert np.ptp(table, axis=(1, 2)).max() == 0
    np.testing.assert_allclose(sinusoid(table.shape[-1], table.shape[0]), table[:, 0, 0].T, atol=1e-6)


def test_hop_means():
    """On the path 0 -> 1 -> 2 hops move down; a sender without the modality is not counted in the mean."""
    graph = Graph.create(np.array([0, 1, 0]), np.array([1, 2, 2]), 3)
    x = jnp.asarray([[[1.0]], [[10.0]], [[100.0]]])
    means, there = hop_means(x, jnp.ones((3, 1), bool), graph, 2)
    np.testing.assert_array_equal(means[..., 0, 0], [[1, 0, 0], [10, 1, 0], [100, 5.5, 1]])
    np.testing.assert_array_equal(there[..., 0], [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
    mask = jnp.asarray([[True], [False], [True]])
    means, there = hop_means(jnp.where(mask[..., None], x, 0), mask, graph, 1)
    np.testing.assert_array_equal(means[:, 1, 0, 0], [0, 1, 1])
    np.testing.assert_array_equal(there[:, 1, 0], [False, True, True])


def test_missing_modality_is_left_out():
    """With layer norm and one modality of three present everywhere, the others might not exist."""
    (x, _), graph = inputs(), helpers.small_graph(N)
    three = net(norm="layer")
    mask = jnp.zeros((N, M), bool).at[:, 1].set(True)
    one = helpers.to_float64(IstaNet(1, D, norm="layer", rngs=nnx.Rngs(0)))
    np.testing.assert_allclose(
        run(three, x, mask, graph), run(one, x[:, 1:2], mask[:, 1:2], graph), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("options", [{"channels": 3}, {"entity_window": 4}, {"kernels": (2, 3)}, {"norm": "group"}])
def test_refusals(options):
    with pytest.raises(ValueError, match="ista_net"):
        net(**options)


def test_patch_width():
    assert [patch_width(d) for d in (1, 2, 7, 16, 64)] == [1, 1, 1, 4, 8]
