"""GATv2: its formula, a ranking that depends on the receiver, dropout, alignment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.layers.gat import GAT
from fusion_jax.layers.gatv2 import Gatv2
from fusion_jax.records import EVALUATION, Context
from tests.helpers import drawn, parameters, run, small_graph
from tests.layers.aligned import check_undone, reorder, told

N, D, OUT, H = 7, 5, 6, 2
GRAPH = small_graph(N, 20)
X = np.random.default_rng(0).normal(size=(N, D))
EVERYBODY = Graph.create(*np.nonzero(~np.eye(N, dtype=bool)), N)


def made(**options):
    return drawn(lambda: Gatv2(D, OUT, heads=H, rngs=nnx.Rngs(0), **options))


@pytest.mark.parametrize("merge", ["concat", "mean"])
@pytest.mark.parametrize("share", [False, True])
def test_it_is_the_formula(share, merge):
    layer = made(share_weights=share, merge=merge)
    p = {name: np.asarray(v[...]) for name, v in parameters(layer).items()}
    assert ("lin_r.kernel" in p) != share
    left = (X @ p["lin_l.kernel"] + p["lin_l.bias"]).reshape(N, H, -1)
    right = left if share else (X @ p["lin_r.kernel"] + p["lin_r.bias"]).reshape(N, H, -1)
    z = right[:, None] + left[None]  # [receiver, sender, H, d]
    score = (np.where(z > 0, z, 0.2 * z) * p["att"]).sum(-1)
    edges = np.zeros((N, N))  # parallel ones count each
    np.add.at(edges, (np.asarray(GRAPH.looped.receivers), np.asarray(GRAPH.looped.senders)), 1)
    weights = edges[..., None] * np.exp(score)
    weights /= weights.sum(1, keepdims=True)
    y = np.einsum("ijh,jhd->ihd", weights, left)
    y = y.mean(1) if merge == "mean" else y.reshape(N, -1)
    np.testing.assert_allclose(run(layer, X, GRAPH), y + p["bias"], rtol=1e-10, atol=1e-12)
    (shown,) = layer.attention(X, GRAPH, None, EVALUATION)
    ends = np.asarray(shown.receivers), np.asarray(shown.senders)
    np.testing.assert_allclose(shown.weights, (weights / np.maximum(edges, 1)[..., None])[ends], rtol=1e-10)
    np.testing.assert_allclose(shown.scores, score[ends], rtol=1e-10, atol=1e-12)


def favourites(layer):
    """The sender that each receiver weighs most, of a graph in which everybody sees everybody; [N, H]."""
    (shown,) = layer.attention(X, EVERYBODY, None, EVALUATION)
    dense = np.zeros((N, N, shown.weights.shape[1]))
    dense[np.asarray(shown.receivers), np.asarray(shown.senders)] = shown.weights
    return dense.argmax(1)


def test_who_is_weighed_most_depends_on_who_asks():
    """The paper's point: in GAT one sender is everybody's favourite, whatever the weights."""
    static = drawn(lambda: GAT(D, OUT, heads=H, rngs=nnx.Rngs(0)))
    assert (favourites(static) == favourites(static)[0]).all()
    assert (favourites(made()) != favourites(made())[0]).any()


def test_dropout_leaves_or_doubles_each_weight():
    layer = made(rate=0.5, merge="mean")
    layer.lin_l.kernel[...], layer.lin_l.bias[...] = jnp.zeros((D, H * OUT)), jnp.ones(H * OUT)
    layer.att[...], layer.bias[...] = jnp.zeros((H, OUT)), jnp.zeros(OUT)  # all weights of a node are alike
    count = np.asarray(jnp.diff(GRAPH.looped.row_ptr))[:, None]
    kept = np.stack([run(layer, X, GRAPH, context=Context(key=jax.random.key(k))) for k in range(60)]) * H * count / 2
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-9)
    assert abs((kept / count / H).mean() - 0.5) < 0.05 and np.ptp(kept[:, 0]) >= 2


@pytest.mark.parametrize("share", [False, True])
def test_alignment_undoes_a_permutation_of_heads_and_within_them(share):
    anchor, rng = made(share_weights=share), np.random.default_rng(3)
    x, graph = rng.normal(size=(40, D)), small_graph(40, 90)
    q = np.array([4, 3, 5, 2, 0, 1])  # the heads change places
    orders = {"att": [(np.array([1, 0]), 0)], "bias": [(q, 0)]}
    for name in ("lin_l",) if share else ("lin_l", "lin_r"):
        orders |= {f"{name}__kernel": [(q, 1)], f"{name}__bias": [(q, 0)]}
    permuted = reorder(anchor, **orders)
    permuted.att[...] = anchor.att[...].reshape(-1)[q].reshape(H, -1)
    check_undone(anchor, permuted, x, graph)


@pytest.mark.parametrize(
    "options, match",
    [
        (dict(heads=4), "heads=4 does not divide the width D=6"),
        (dict(heads=0), "heads=0"),
        (dict(heads=0, merge="mean"), "heads=0"),
        (dict(merge="avg"), "merge='avg'"),
    ],
)
def test_refusals(options, match):
    with pytest.raises(ValueError, match=f"gatv2.*{match}"):
        Gatv2(D, OUT, rngs=nnx.Rngs(0), **options)


def test_what_is_not_said():
    assert zoo.options("layer", "gatv2") == dict(heads=4, merge="concat", share_weights=False, rate=0.0)
    assert not Gatv2(D, OUT, heads=H, rngs=nnx.Rngs(0)).bias[...].any()


def test_who_is_absent_is_weighed_by_nobody():
    """The others get what they get among themselves."""
    layer, present = made(), np.arange(N) % 3 != 1
    senders, receivers = np.asarray(GRAPH.senders), np.asarray(GRAPH.receivers)
    kept, rank = present[senders] & present[receivers], np.cumsum(present) - 1
    assert (present[receivers] & ~present[senders]).any()
    less = Graph.create(rank[senders[kept]], rank[receivers[kept]], int(present.sum()))
    spoiled, there = np.where(present[:, None], X, np.nan), jnp.asarray(present)
    found = run(layer, spoiled, GRAPH, there)
    np.testing.assert_allclose(found[present], run(layer, X[present], less), rtol=1e-10)
    (shown,) = layer.attention(spoiled, GRAPH, there, EVALUATION)
    np.testing.assert_array_equal(np.asarray(shown.valid)[:, 0], present[np.asarray(shown.senders)])
    assert not np.asarray(shown.weights)[~np.asarray(shown.valid)[:, 0]].any()


def test_neurons_are_compared_head_by_head():
    ((y, heads),) = told(made(), X, GRAPH)
    assert heads == H and y.shape == (N, OUT)
