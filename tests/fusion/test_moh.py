"""MoH: gate sums, the dense limit, load balance over present tokens, what each attention ignores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.moh import MoH
from fusion_jax.fusion.moh_llama import MoHLlama
from fusion_jax.fusion.moh_vit import MoHViT
from fusion_jax.nn.attention import attend
from fusion_jax.nn.head_router import HeadRouter, load_balance, top_k_mask
from fusion_jax.records import Context
from tests.helpers import assign, parameters, shown, to_float64

N, M, D, H = 6, 3, 16, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, M, D))
FULL = np.ones((N, M), bool)
MASK = FULL.copy()
MASK[0, 1] = MASK[3, 2] = False
MASK[5] = False


def build(cls, modalities=M, **options):
    module = to_float64(cls(modalities, D, rngs=nnx.Rngs(1), **options))
    values = {k: RNG.normal(size=v.shape) for k, v in parameters(module).items() if "router" in k}
    return assign(module, values, partial=True)


def zero_routers(module):
    values = {k: np.zeros(v.shape) for k, v in parameters(module).items() if "router" in k}
    return assign(module, values, partial=True)


@pytest.mark.parametrize("shared, routed", [(2, 6), (0, 8), (1, 7), (8, 0)])
def test_uniform_router_is_multi_head_attention(shared, routed):
    """All router weights 0 and k = E: every gate is 1."""
    module = zero_routers(build(MoH, shared=shared, routed=routed))
    fused = module(X, MASK)
    q, k, v = np.split(np.asarray(module.qkv(X)).reshape(N, M, 3, H, -1), 3, axis=2)
    heads, _ = attend(jnp.asarray(q[:, :, 0]), jnp.asarray(k[:, :, 0]), jnp.asarray(v[:, :, 0]), MASK)
    tokens = np.where(MASK[..., None], module.proj(heads.reshape(N, M, D)), 0)
    np.testing.assert_allclose(shown(fused, "gates"), 1, rtol=1e-12)
    np.testing.assert_allclose(fused.tokens, tokens, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shared, routed", [(2, 3), (2, 2), (1, 4)])
def test_gate_sums(shared, routed):
    """The gates of a token sum to 2 (s w_0 + k w_1), and s + k of them are on."""
    router = build(MoH, shared=shared, routed=routed).router
    gates, p = router(jnp.asarray(X))
    w = jax.nn.softmax(router.wg_0(X))
    np.testing.assert_allclose(gates.sum(-1), 2 * (shared * w[..., 0] + routed * w[..., 1]), rtol=1e-12)
    assert ((gates > 0).sum(-1) == shared + routed).all()
    assert p.shape[-1] == H - shared
    if shared == routed:
        np.testing.assert_allclose(gates.sum(-1), 2 * shared, rtol=1e-12)


def test_one_candidate_has_gate_one():
    init = nnx.initializers.normal(1.0)
    gates, _ = HeadRouter(D, 1, 0, 1, kernel_init=init, rngs=nnx.Rngs(0))(jnp.asarray(X, jnp.float32))
    np.testing.assert_allclose(gates, 1, rtol=1e-6)


def test_ties_take_the_lowest_heads():
    np.testing.assert_array_equal(top_k_mask(jnp.zeros(5), 2), [True, True, False, False, False])
    scores = jnp.asarray([1.0, 3, 2, 3, 0])
    np.testing.assert_array_equal(top_k_mask(scores, 3), [False, True, True, True, False])


def test_load_balance_uniform_and_collapsed():
    p = jnp.full((4, 3, 6), 1 / 6)
    chosen = np.arange(6) % 3 == (np.arange(12) % 3).reshape(4, 3, 1)  # each head by a third of the tokens
    np.testing.assert_allclose(load_balance(p, jnp.asarray(chosen), FULL[:4]), 2, rtol=1e-6)
    one = jnp.zeros((4, 3, 6)).at[..., 0].set(1)
    np.testing.assert_allclose(load_balance(one, one > 0, FULL[:4]), 6, rtol=1e-6)
    assert load_balance(one, one > 0, ~FULL[:4]) == 0


def test_load_balance_of_the_module():
    """k where the router is uniform, times the option; nothing in evaluation; absent tokens do not count."""
    module = zero_routers(build(MoH, shared=2, routed=3, balance=0.5))
    key = jax.random.key(0)
    np.testing.assert_allclose(module(X, MASK, context=Context(key=key)).losses["load_balance"], 0.5 * 3, rtol=1e-12)
    assert module(X, MASK).losses == {}
    module = build(MoH, balance=1.0)
    other = np.where(MASK[..., None], X, 9.0)
    losses = [module(x, MASK, context=Context(key=key)).losses["load_balance"] for x in (X, other)]
    assert losses[0] == losses[1]
    p = np.asarray(module.router(jnp.asarray(X))[1])[MASK]
    f = np.asarray(module.router(jnp.asarray(X))[0][..., 2:] > 0)[MASK]
    np.testing.assert_allclose(losses[0], 6 * (p.mean(0) * f.mean(0)).sum(), rtol=1e-12)
    assert losses[0] != module(X, FULL, context=Context(key=key)).losses["load_balance"]


@pytest.mark.parametrize("cls", [MoH, MoHViT, MoHLlama])
def test_masked_modality_has_no_attention(cls):
    fused = build(cls)(X, MASK)
    attention = shown(fused, "attention")  # [N, H, M, M]
    assert not np.moveaxis(attention, -1, 1)[~MASK].any()
    np.testing.assert_allclose(attention[:5].sum(-1), 1, rtol=1e-12)
    assert not np.asarray(fused.out[5]).any()


def test_vit_missing_modality_is_a_shorter_sequence():
    """The last modality missing everywhere: the module of M - 1 modalities, log of the key count included."""
    module = build(MoHViT, hidden=8)
    assign(module, {"cpb.fc2.kernel": RNG.normal(size=(8, H))}, partial=True)
    inner = [row[:2] for row in module.coordinates[:2]]
    short = assign(
        to_float64(MoHViT(2, D, hidden=8, coordinates=inner, rngs=nnx.Rngs(0))),
        {k: np.asarray(v[...]) for k, v in parameters(module).items()},
    )
    mask = FULL.copy()
    mask[:, 2] = False
    np.testing.assert_allclose(module(X, mask).out, short(X[:, :2], FULL[:, :2]).out, rtol=1e-10, atol=1e-12)
    assert np.abs(np.asarray(module(X, FULL).out - module(X, mask).out)).max() > 1e-4


def test_vit_temperature_starts_at_its_constant():
    module = MoHViT(M, D, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(jax.nn.softplus(module.temperature[...]), 1 / 0.24, rtol=1e-6)


def test_vit_attention_ignores_the_length_of_queries_and_keys():
    module = build(MoHViT)
    attention = shown(module(X, FULL), "attention")
    assign(module, {"qkv.kernel": np.asarray(module.qkv.kernel[...]) * 3}, partial=True)
    np.testing.assert_allclose(shown(module(X, FULL), "attention"), attention, rtol=1e-10)


def test_llama_ranks_whatever_the_scale_of_the_queries():
    """Scaling the query projection of all routed heads changes neither scores nor the heads that are on."""
    module = build(MoHLlama)
    before = module(X, FULL)
    kernel = np.array(module.q_proj.kernel[...])
    kernel[:, D // 2 :] *= 5
    assign(module, {"q_proj.kernel": kernel}, partial=True)
    after = module(X, FULL)
    np.testing.assert_allclose(shown(after, "router"), shown(before, "router"), rtol=1e-10)
    np.testing.assert_array_equal(shown(after, "gates"), shown(before, "gates"))
    kernel[:, D // 2 : D // 2 + 2] *= 100  # one head alone: now it is on everywhere
    assign(module, {"q_proj.kernel": kernel}, partial=True)
    assert (shown(module(X, FULL), "gates")[..., H // 2] == 1).all()
    assert not (shown(before, "gates")[..., H // 2] == 1).all()


def test_llama_rotation_is_relative():
    """Moving all positions by the same step changes nothing; permuting them does."""
    outs = []
    for positions in ((0, 1, 2), (7, 8, 9), (0, 2, 1)):
        module = build(MoHLlama, positions=positions, theta=100.0)
        outs.append(np.asarray(module(X * 5, FULL).out))
    np.testing.assert_allclose(outs[0], outs[1], rtol=1e-9, atol=1e-12)
    assert np.abs(outs[0] - outs[2]).max() > 1e-3


@pytest.mark.parametrize(
    "cls, options, match",
    [
        (MoH, {"heads": 5}, "moh.*heads=5"),
        (MoH, {"shared": 8, "routed": 2}, "moh.*shared=8"),
        (MoH, {"shared": 2, "routed": 0}, "moh.*routed=0"),
        (MoHViT, {"coordinates": [[0.0, 1.0]]}, "moh_vit.*coordinates"),
        (MoHLlama, {"heads": 16, "shared": 8, "routed": 2}, "moh_llama"),
        (MoHLlama, {"kv_heads": 3}, "moh_llama.*kv_heads=3"),
        (MoHLlama, {"positions": (0, 1)}, "moh_llama.*2 positions"),
    ],
)
def test_refusals(cls, options, match):
    with pytest.raises(ValueError, match=match):
        cls(M, D, rngs=nnx.Rngs(0), **options)
