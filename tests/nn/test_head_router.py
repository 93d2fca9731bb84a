"""Gates of heads against NumPy, in each of their four forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import softmax

from fusion_jax.nn.head_router import HeadRouter, check_split, load_balance, top_k_mask
from fusion_jax.nn.init import LECUN_NORMAL
from tests.nn.reference import close, derivatives, drawn, normal

X = normal(2, 3, 5)


def test_the_largest_are_chosen_and_of_equal_ones_the_first():
    scores = jnp.asarray([[0.1, 0.5, 0.5, 0.4], [0.2, 0.2, 0.2, 0.2]])
    assert top_k_mask(scores, 1).tolist() == [[False, True, False, False], [True, False, False, False]]
    assert top_k_mask(scores, 2).tolist() == [[False, True, True, False], [True, True, False, False]]
    assert top_k_mask(scores, 4).all()
    assert not jax.grad(lambda s: jnp.where(top_k_mask(s, 2), 1.0, 0.0).sum())(scores).any()


def test_load_balance_is_k_where_routing_is_uniform_and_more_where_it_is_not():
    mask = jnp.asarray([[True, True], [True, False]])
    p = jnp.asarray(softmax(np.random.default_rng(0).normal(size=(2, 2, 4)), axis=-1))
    chosen = top_k_mask(p, 2)
    keep = np.asarray(mask)
    expected = 4 * (np.asarray(p)[keep].mean(0) * np.asarray(chosen)[keep].mean(0)).sum()
    close(load_balance(p, chosen, mask), expected)
    close(load_balance(jnp.where(mask[..., None], p, jnp.nan), chosen, mask), expected)
    assert load_balance(p, chosen, jnp.zeros((2, 2), bool)) == 0
    close(load_balance(jnp.full((2, 2, 4), 0.25), chosen, mask), 2.0)
    one = jnp.zeros((2, 2, 4)).at[..., 1].set(1.0)
    close(load_balance(one, one > 0, mask), 4.0)
    derivatives(lambda p: load_balance(p, chosen, mask), p)


@pytest.mark.parametrize(("shared", "routed"), [(0, 2), (1, 2), (2, 1), (4, 0), (3, 1), (0, 4)])
def test_gates_by_hand(shared, routed):
    module, p = drawn(HeadRouter(5, 4, shared, routed, kernel_init=LECUN_NORMAL, rngs=nnx.Rngs(0)))
    gates, probabilities = module(X)
    x = np.asarray(X)
    own = shared * softmax(x @ p["wg_1.kernel"], axis=-1) if shared > 1 else np.ones((2, 3, shared))
    if routed == 0:
        close(gates, own)
        assert probabilities.shape == (2, 3, 0) and set(p) == {"wg_1.kernel"}
        return
    q = softmax(x @ p["wg.kernel"], axis=-1)
    rank = np.argsort(np.argsort(-q, axis=-1), axis=-1)
    kept = np.where(rank < routed, q, 0)
    others = routed * kept / kept.sum(-1, keepdims=True)
    close(probabilities, q)
    if shared == 0:
        close(gates, others)
    else:
        w = 2 * softmax(x @ p["wg_0.kernel"], axis=-1)
        close(gates, np.concatenate([w[..., :1] * own, w[..., 1:] * others], -1))
    mask = jnp.asarray([[True, True, False], [True, False, True]])
    close(module.balance_loss(probabilities, mask), load_balance(probabilities, rank < routed, mask))
    derivatives(lambda x: module(x)[0], X)


@pytest.mark.parametrize(
    ("heads", "shared", "routed"), [(4, 5, 0), (4, -1, 2), (4, 2, 3), (4, 2, 0), (4, 4, 1), (4, 1, -1)]
)
def test_heads_that_cannot_be_split_are_refused(heads, shared, routed):
    with pytest.raises(
        ValueError, match=f"fusion 'moh': shared={shared} and routed={routed} do not split heads={heads}"
    ):
        check_split("moh", heads, shared, routed)


def test_heads_that_can():
    for shared, routed in ((0, 1), (0, 4), (2, 2), (3, 1), (4, 0)):
        check_split("moh", 4, shared, routed)
