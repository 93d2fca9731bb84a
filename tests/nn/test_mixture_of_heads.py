"""From heads to one vector a node: the layout of queries, keys and values, the gates, the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.nn.head_router import HeadRouter
from fusion_jax.nn.init import LECUN_NORMAL
from fusion_jax.nn.mixture_of_heads import mix, routing, split_qkv
from tests.nn.reference import close, drawn, normal

N, M, H, D = 2, 3, 4, 8
X, MASK = normal(N, M, D), jnp.asarray([[True, True, False], [True, True, True]])


def test_three_blocks_of_the_width_are_queries_keys_and_values():
    qkv, p = drawn(nnx.Linear(D, 3 * D, rngs=nnx.Rngs(0)))
    whole = np.asarray(X) @ p["kernel"] + p["bias"]
    for i, part in enumerate(split_qkv(qkv, X, H)):
        close(part, whole[..., i * D : (i + 1) * D].reshape(N, M, H, 2))


@pytest.mark.parametrize(("routed", "training"), [(2, True), (2, False), (0, True)])
def test_heads_are_gated_projected_and_averaged(routed, training):
    shared = 2 if routed else H
    router, _ = drawn(HeadRouter(D, H, shared, routed, kernel_init=LECUN_NORMAL, rngs=nnx.Rngs(0)))
    proj, p = drawn(nnx.Linear(D, D, rngs=nnx.Rngs(1)))
    given, attention = normal(N, M, H, 2, seed=1), jnp.zeros((N, H, M, M))
    fused = mix(X, MASK, given, attention, router, proj, 0.01, training)
    gates, probabilities = router(X)
    tokens = (np.asarray(gates)[..., None] * given).reshape(N, M, D) @ p["kernel"] + p["bias"]
    close(fused.tokens, tokens)
    close(fused.out, np.stack([tokens[i, np.asarray(MASK)[i]].mean(0) for i in range(N)]))
    loss = {"load_balance": 0.01 * router.balance_loss(probabilities, MASK)} if routed and training else {}
    assert jax.tree.all(jax.tree.map(np.allclose, fused.losses, loss))
    shown = {a.name: a for a in fused.attention}
    assert list(shown) == ["attention", "gates", "router"] and shown["attention"].weights is attention
    close(shown["gates"].weights, gates)
    close(shown["router"].weights, probabilities)


def test_what_is_shown_names_its_axes_and_who_can_be_seen():
    attention, gates, p = jnp.zeros((N, H, M, M)), jnp.ones((N, M, H)), jnp.ones((N, M, 2))
    seen, gate, router = routing(attention, MASK, gates, p, scores=2 * p)
    assert seen.axes == ("node", "head", "modality", "modality") and (seen.queries, seen.keys) == ("modality",) * 2
    np.testing.assert_array_equal(np.broadcast_to(seen.valid, attention.shape)[:, 1, 2], MASK)
    assert gate.axes == ("node", "modality", "head") and (gate.queries, gate.keys) == ("modality", "head")
    assert router.axes == ("node", "modality", "candidate") and (router.queries, router.keys) == (
        "modality",
        "candidate",
    )
    assert [a.normalised for a in (seen, gate, router)] == [True, False, True]
    assert gate.scores is None and router.scores[0, 0, 0] == 2 and routing(attention, MASK, gates, p)[2].scores is None
