"""The late-fusion transformer: written out in NumPy, its positions, what an empty node gives, dropout, refusals."""

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.late_transformer import LateTransformer, positions
from fusion_jax.records import Context
from tests.helpers import parameters, shown, to_float64
from tests.nn.reference import attention, drawn, layer_norm, linear

N, M, D, H = 5, 3, 8, 2
SMALL = dict(layers=3, heads=H)


@pytest.fixture
def nodes():
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.7
    mask[0], mask[1], mask[2] = False, True, [True, False, True]
    return rng.normal(size=(N, M, D)), mask


@pytest.fixture
def module():
    return drawn(LateTransformer(M, D, **SMALL, rngs=nnx.Rngs(0)))[0]


def sinusoids(length: int, dim: int) -> np.ndarray:
    """As the paper "Attention Is All You Need" writes them, entry by entry."""
    table = np.zeros((length, dim))
    for t in range(length):
        for i in range(dim):
            angle = t / 10000 ** (2 * (i // 2) / dim)
            table[t, i] = np.cos(angle) if i % 2 else np.sin(angle)
    return table


def by_hand(p: dict, x: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One node, x [M, D] of which only the present rows are there at all: z [1 + P, D], weights [layers, H, 1 + P]."""
    at = np.concatenate([[0], 1 + np.flatnonzero(present)])
    z = np.concatenate([p["cls_token"][None], x[present]]) + sinusoids(1 + len(x), x.shape[1])[at]
    rows = []
    for l in range(SMALL["layers"]):
        own = {name.removeprefix("layers."): a[l] for name, a in p.items() if name.startswith("layers.")}
        out, weights = attention(own, "self_attn.", H, z, z)
        s = layer_norm(own, "norm1", z + out)
        z = layer_norm(own, "norm2", s + linear(own, "linear2", np.maximum(linear(own, "linear1", s), 0)))
        rows.append(weights[:, 0])
    return z, np.stack(rows)


def test_by_hand_over_the_present_modalities(nodes, module):
    """Post-norm layers over the class token and the modalities that are there; a missing one is as if never there."""
    x, mask = nodes
    fused, p = module(x, mask), {name: np.asarray(v[...]) for name, v in parameters(module).items()}
    for n in range(N):
        z, weights = by_hand(p, x[n], mask[n])
        np.testing.assert_allclose(fused.out[n], z[0], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(fused.tokens[n][mask[n]], z[1:], rtol=1e-11, atol=1e-13)
        seen = np.concatenate([[True], mask[n]])
        np.testing.assert_allclose(shown(fused, "class")[n][..., seen], weights, rtol=1e-11)
        np.testing.assert_array_equal(shown(fused, "class")[n][..., ~seen], 0)


@pytest.mark.parametrize("dim", [1, 5, 8])
def test_positions_are_the_published_sinusoids(dim):
    np.testing.assert_allclose(positions(4, dim), sinusoids(4, dim), rtol=1e-12, atol=1e-15)


def test_positions_tell_the_modalities_apart(nodes, module):
    x, mask = nodes
    order = np.array([2, 0, 1])
    assert not np.allclose(module(x, mask).out[1], module(x[:, order], mask[:, order]).out[1])


def test_empty_nodes_are_the_class_token_alone(nodes, module):
    x, mask = nodes
    fused, other = module(x, mask), module(x[::-1], np.zeros_like(mask))
    np.testing.assert_array_equal(shown(fused, "class")[0], np.broadcast_to(np.eye(1 + M)[0], (3, H, 1 + M)))
    np.testing.assert_allclose(other.out, np.broadcast_to(fused.out[0], (N, D)), rtol=1e-12)


def test_any_number_of_modalities_has_the_same_parameters():
    sizes = [{n: v.shape for n, v in parameters(LateTransformer(m, 16, rngs=nnx.Rngs(0))).items()} for m in (1, 7)]
    assert sizes[0] == sizes[1] and sizes[0]["layers.linear1.kernel"] == (4, 16, 8)


def test_dropout_is_for_training_only(nodes):
    x, mask = nodes
    module = to_float64(LateTransformer(M, D, **SMALL, rngs=nnx.Rngs(0)))
    calm, one, again = module(x, mask), *(module(x, mask, context=Context(key=jax.random.key(1))) for _ in range(2))
    np.testing.assert_array_equal(one.out, again.out)
    assert not np.allclose(calm.out, one.out)
    off = to_float64(LateTransformer(M, D, **SMALL, rate=0.0, rngs=nnx.Rngs(0)))
    np.testing.assert_array_equal(off(x, mask).out, off(x, mask, context=Context(key=jax.random.key(1))).out)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="late_transformer.*heads=3"):
        LateTransformer(M, D, heads=3, rngs=nnx.Rngs(0))
    assert "decision" not in LateTransformer.placements  # the width there is the number of classes
