"""The stack that token mixers are studied on: its equations, who is seen, where it drops."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import erf, softmax

from fusion_jax import zoo
from fusion_jax.fusion.deconstructing_attention import DeconstructingAttention
from fusion_jax.records import Context
from tests.helpers import drawn, parameters, run, shown
from tests.nn.reference import dropped

N, M, D, H, L = 4, 3, 6, 2, 2
X = np.random.default_rng(0).normal(size=(N, M, D))
MASK = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]], bool)


def made(**options):
    own = dict(layers=L, heads=H, hidden=5, rate=0.0)
    return drawn(lambda: DeconstructingAttention(M, D, **{**own, **options}, rngs=nnx.Rngs(0)))


def by_hand(module, x):
    """Of what one node has, x [K, D] with embeddings: the output, the tokens, and the weights [L, H, K, K]."""
    p, weights = {name: np.asarray(v[...]) for name, v in parameters(module).items()}, []

    def linear(x, name):
        return x @ p[f"{name}.kernel"] + p[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * p[f"{name}.scale"] + p[f"{name}.bias"]

    for i in range(L):
        at, own = norm(x, f"layers.{i}.norm1"), f"layers.{i}.self_attn"
        q, k, v = (linear(at, f"{own}.{part}").reshape(len(x), H, -1) for part in ("query", "key", "value"))
        weights.append(softmax(np.einsum("thd,lhd->htl", q, k) / np.sqrt(D / H), -1))
        x = x + linear(np.einsum("htl,lhd->thd", weights[-1], v).reshape(len(x), D), f"{own}.out")
        inner = linear(norm(x, f"layers.{i}.norm2"), f"layers.{i}.linear1")
        x = x + linear(inner * (1 + erf(inner / np.sqrt(2))) / 2, f"layers.{i}.linear2")
    return norm(x, "norm").mean(0), x, np.stack(weights)


def test_it_is_its_equations_over_the_modalities_that_are_there():
    module = made()
    found, embedding = run(module, X, MASK), np.asarray(module.embedding[...])
    looked = shown(found, "layers")
    assert looked.shape == (N, L, H, M, M)
    for i in range(N - 1):
        there = np.flatnonzero(MASK[i])
        out, tokens, weights = by_hand(module, (X[i] + embedding)[there])
        np.testing.assert_allclose(found.out[i], out, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.asarray(found.tokens[i])[there], tokens, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(looked[i][:, :, there][..., there], weights, rtol=1e-9, atol=1e-12)
        assert not looked[i][..., ~MASK[i]].any()
    assert not np.asarray(found.out[-1]).any()
    (attention,) = found.attention
    np.testing.assert_array_equal(np.asarray(attention.valid).reshape(N, M), MASK)


def test_what_is_not_said():
    wanted = dict(layers=6, heads=4, hidden=None, rate=0.1)
    assert zoo.options("fusion", "deconstructing_attention") == wanted
    module = nnx.eval_shape(lambda: DeconstructingAttention(M, D, heads=H, rngs=nnx.Rngs(0)))
    assert module.layers[0].linear1.out_features == 4 * D and len(module.layers) == 6


def test_where_it_drops_and_how_much(monkeypatch):
    """In every layer weights, both steps, and behind the gelu."""
    module, x, mask = made(rate=0.2), jnp.asarray(X[0]), jnp.asarray(MASK[0])
    found = dropped(monkeypatch, lambda key: module.node(x, mask, Context(key=key)).out)
    assert found == [((H, M, M), 0.2), ((M, D), 0.2), ((M, 5), 0.2), ((M, D), 0.2)] * L


@pytest.mark.parametrize("options, said", [(dict(layers=0), "layers=0"), (dict(heads=4), "heads=4 does not divide")])
def test_refusals(options, said):
    with pytest.raises(ValueError, match=f"fusion 'deconstructing_attention': {said}"):
        made(**options)
