"""Identities of Wayformer that golden cases cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.wayformer import Wayformer
from fusion_jax.fusion.wayformer.scene_encoder import GridEncoder, SceneEncoder, layer_axes
from fusion_jax.graphs import Graph
from fusion_jax.nn.neighbours import neighbours
from tests.helpers import shown, small_graph, to_float64

N, M, K, D, H = 3, 3, 4, 8, 2
PLACES = {"late": (2, 0), "early": (0, 2), "hierarchical": (1, 1)}


def scene(place, modalities=M, **options):
    module = SceneEncoder(modalities, D, H, 12, PLACES[place], **options, rngs=nnx.Rngs(0))
    return to_float64(module)


# compiled as one program: much faster than the same operations one by one
run = jax.jit(lambda module, *args: module(*args))


def grid(modalities=M, neighbours=K, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(N, modalities, neighbours, D)))


def changed(f, x, at):
    """bool [N, T, S]: the tokens of f that differ when the tokens `at` of x do."""
    return np.abs(np.asarray(f(x.at[at].add(1.0)) - f(x))).max(-1) > 1e-9


@pytest.mark.parametrize("attention", ["multi_axis", "interleaved"])
def test_one_modality(attention):
    """With M = 1 late fusion is early fusion with the same weights."""
    late, early = scene("late", 1, attention=attention), scene("early", 1, attention=attention)
    weights = jax.tree.map(lambda a: a[0], nnx.state(late.modal))
    nnx.update(early.cross, weights)
    x, mask = grid(1), jnp.ones((N, 1, K), bool).at[0, 0, 2].set(False)
    np.testing.assert_allclose(run(late, x, mask)[0], run(early, x, mask)[0], rtol=1e-12)


def test_late_modalities_do_not_meet():
    """Late: a modality changes its own tokens only; early and hierarchical: all."""
    mask = jnp.ones((N, M, K), bool)
    for place in PLACES:
        module = scene(place)
        seen = changed(lambda x, module=module: run(module, x, mask)[0], grid(), np.s_[:, 1, 0])
        assert seen[:, 1].all()
        assert (not seen[:, [0, 2]].any()) if place == "late" else seen.all()


@pytest.mark.parametrize("axis", ["temporal", "spatial"])
def test_factorised_blocks(axis):
    """A temporal block joins the modalities of one neighbour, a spatial block the neighbours of one modality."""
    encoder = to_float64(GridEncoder(D, H, 12, 2, attention="sequential", rngs=nnx.Rngs(0)))
    assert encoder.axes == ("temporal", "spatial")
    encoder.axes = (axis,) * 2
    seen = changed(lambda x: run(encoder, x, jnp.ones((N, M, K), bool))[0], grid(), np.s_[:, 1, 2])
    expected = np.zeros((N, M, K), bool)
    expected[(np.s_[:, :, 2]) if axis == "temporal" else (np.s_[:, 1])] = True
    np.testing.assert_array_equal(seen, expected)


def test_order_of_blocks():
    """Half the layers along each axis; a spatial block with one neighbour is a map of each token."""
    assert layer_axes("sequential", 4) == ("temporal", "temporal", "spatial", "spatial")
    assert layer_axes("interleaved", 4) == ("temporal", "spatial", "temporal", "spatial")
    encoder = to_float64(GridEncoder(D, H, 12, 1, attention="sequential", rngs=nnx.Rngs(0)))
    encoder.axes = ("spatial",)
    x, layer = grid(neighbours=1), encoder.layers[0]
    attention = layer.multihead_attn
    each = layer.feed_forward(layer.norm2(x + attention.out(attention.value(x))))
    np.testing.assert_allclose(run(encoder, x, jnp.ones((N, M, 1), bool))[0], each, rtol=1e-12)


@pytest.mark.parametrize("attention", ["multi_axis", "sequential", "interleaved"])
@pytest.mark.parametrize("place", list(PLACES))
def test_latents(place, attention):
    """R latents (M R for late fusion) whatever the number of neighbours, whose order does not matter."""
    rows = 1 if attention == "multi_axis" else M
    module = scene(place, attention=attention, latents=((1, 6), (rows, 6 // rows)))
    x, mask = grid(), jnp.ones((N, M, K), bool).at[0, 1, 2].set(False)
    z, _ = run(module, x, mask)
    assert z.shape[1] * z.shape[2] == (6 * M if place == "late" else 6)
    assert run(module, grid(neighbours=7), jnp.ones((N, M, 7), bool))[0].shape == z.shape
    np.testing.assert_allclose(run(module, x[:, :, ::-1], mask[:, :, ::-1])[0], z, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("attention", ["multi_axis", "sequential", "interleaved"])
@pytest.mark.parametrize("place", list(PLACES))
def test_masks_and_order(place, attention):
    """Masked tokens reach no other token, a modality absent everywhere gives no NaN, permutation permutes."""
    module = scene(place, attention=attention)
    mask = jnp.ones((N, M, K), bool).at[:, 1].set(False).at[0, 0, 3].set(False)
    x, absent = grid(), ~np.asarray(mask)[..., None]
    z, z_mask = run(module, x, mask)
    np.testing.assert_array_equal(z_mask, mask)
    assert np.isfinite(z).all()
    other = run(module, jnp.where(absent, 7.0, x), mask)[0]
    np.testing.assert_array_equal(np.where(absent, 0, z), np.where(absent, 0, other))
    np.testing.assert_allclose(run(module, x[:, :, ::-1], mask[:, :, ::-1])[0], z[:, :, ::-1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("pos_on_kv", [False, True])
def test_own_token(pos_on_kv):
    """The node's place in its neighbourhood is known by its position: without it node and neighbour are alike."""
    graph = Graph.create(np.array([0, 1]), np.array([1, 0]), 2)  # both nodes see both
    x, mask = grid(seed=1)[0, :, :2].swapaxes(0, 1), jnp.ones((2, M), bool)
    options = dict(depth=2, heads=H, hidden=12, context=K, pos_on_kv=pos_on_kv)
    module = to_float64(Wayformer(M, D, **options, rngs=nnx.Rngs(0)))
    out = run(module, x, mask, graph).out
    assert np.abs(out[0] - out[1]).max() > 1e-6
    module.position.set_value(0 * module.position[...])
    out = run(module, x, mask, graph).out
    np.testing.assert_allclose(out[0], out[1], rtol=1e-9)


def test_pos_on_kv_differs():
    """Added once to the tokens, or to keys and values in every layer: not the same numbers."""
    x, mask, graph = jnp.asarray(np.random.default_rng(0).normal(size=(7, M, D))), jnp.ones((7, M), bool), small_graph()
    outs = [
        run(to_float64(Wayformer(M, D, depth=1, heads=H, hidden=12, pos_on_kv=kv, rngs=nnx.Rngs(0))), x, mask, graph)
        for kv in (False, True)
    ]
    assert np.abs(outs[0].out - outs[1].out).max() > 1e-6
    assert shown(outs[0], "scene").shape == (7, H, M * 16)
    np.testing.assert_allclose(shown(outs[0], "scene").sum(-1), 1, rtol=1e-12)


def test_refusals():
    for options in (
        {"place": "middle"},
        {"attention": "full"},
        {"place": "hierarchical", "depth": 3},
        {"heads": 3},
        {"attention": "sequential", "latents": 4},
        {"latents": 0},
        {"latent_reads_source": True},
        {"latents": 6, "latent_reads_source": True, "attention": "sequential"},
    ):
        with pytest.raises(ValueError, match="wayformer"):
            Wayformer(M, D, **options, rngs=nnx.Rngs(0))


def test_neighbour_table():
    """The node first, then its senders without loops; too many senders are thinned out evenly."""
    senders = np.array([0, 2, 3, 3, 0, 1, 2, 4, 5])
    receivers = np.array([1, 1, 1, 3, 5, 5, 5, 5, 5])
    graph = Graph.create(senders, receivers, 6)
    table = neighbours(graph, 4)
    ids = np.asarray(table.gather(jnp.arange(6), graph))
    rows = [list(row[valid]) for row, valid in zip(ids, np.asarray(table.valid), strict=True)]
    assert rows == [[0], [1, 0, 2, 3], [2], [3], [4], [5, 0, 1, 2]]
    assert np.asarray(neighbours(graph, 1).valid).tolist() == [[True]] * 6
    grads = jax.grad(lambda x: (table.gather(x, graph) * jnp.arange(1.0, 5.0)).sum())(jnp.zeros(6))
    np.testing.assert_allclose(grads, [1 + 2 + 2, 1 + 3, 1 + 3 + 4, 1 + 4, 1, 1])
