"""The card's checks of BioFusionNet that golden numbers cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.biofusionnet import BioFusionNet, attend
from fusion_jax.graphs import Graph
from tests.helpers import parameters, shown, small_graph

N, D = 7, 8
NO_EDGES = Graph.create(np.zeros(0, int), np.zeros(0, int), N)
EDGE_ATTENTIONS = (
    "dual_cross_attention.attention1",
    "dual_cross_attention.attention2",
    "dual_cross_attention2.attention1",
    "dual_cross_attention2.attention2",
)


def inputs(m: int):
    return jnp.asarray(np.random.default_rng(0).normal(size=(N, m, D)), jnp.float32), jnp.ones((N, m), bool)


def build(m: int = 2, **options):
    return BioFusionNet(m, D, **options, rngs=nnx.Rngs(0))


def query_and_key_gradients(module, x, mask, graph) -> list[np.ndarray]:
    """Gradients of everything that makes queries and keys between nodes."""
    graphdef, params = nnx.split(module)
    grads = jax.grad(lambda p: (nnx.merge(graphdef, p)(x, mask, graph).out ** 2).sum())(params)
    named = parameters(nnx.merge(graphdef, grads))
    ends = [f"comodel.{a}.{part}.{p}" for a in EDGE_ATTENTIONS for part in ("query", "key") for p in ("kernel", "bias")]
    ends += [f"comodel.co_attention.{s}_{part}.kernel" for s in ("img", "gene") for part in ("query", "key")]
    return [np.asarray(named[name][...]) for name in ends]


def test_alone_all_weights_are_one_and_no_query_or_key_learns():
    module, (x, mask) = build(), inputs(2)
    fused = module(x, mask, NO_EDGES)
    for attention in fused.attention:
        np.testing.assert_array_equal(attention.weights, np.ones(N), err_msg=attention.name)
    assert not any(g.any() for g in query_and_key_gradients(module, x, mask, NO_EDGES))
    kernels = [g for g in query_and_key_gradients(module, x, mask, small_graph(N)) if g.ndim == 2]
    assert all(g.any() for g in kernels)


def test_co_attention_is_not_scaled():
    module, (x, mask) = build(), inputs(2)
    co = module.comodel.co_attention
    weights = shown(module(x, mask, small_graph(N)), "co_img")
    graph = small_graph(N).looped
    logits = (co.img_query(x[:, 0])[graph.receivers] * co.gene_key(x[:, 1])[graph.senders]).sum(-1)
    for node in range(N):
        own = np.asarray(graph.receivers) == node
        np.testing.assert_allclose(weights[own], jax.nn.softmax(logits[own]), rtol=1e-5)


def test_a_sender_without_a_modality_is_no_key_and_no_key_gives_zero():
    module, (x, mask) = build(), inputs(2)
    graph = small_graph(N).looped
    gone = mask.at[2, 1].set(False)
    weights = {a.name: np.asarray(a.weights) for a in module(x, gone, small_graph(N)).attention}
    from_gone = np.asarray(graph.senders) == 2
    assert from_gone.sum() > 1
    for name in ("co_img", "cross_img", "refine_gene"):
        assert not weights[name][from_gone].any() and weights[name][~from_gone].all(), name
    for name in ("co_gene", "cross_gene", "refine_img"):
        assert weights[name].all(), name
    nobody = mask.at[:, 1].set(False)
    keys = [(graph, nobody[:, m]) for m in range(2)]
    steps = module.comodel.steps(x[:, 0], jnp.zeros_like(x[:, 1]), *keys)
    for name in ("coattended_img", "attended_img_to_gene", "refined_gene"):
        np.testing.assert_array_equal(getattr(steps, name), 0, err_msg=name)
    assert np.isfinite(module(x, nobody, small_graph(N)).out).all()


def test_the_second_round_reads_the_raw_features():
    module, (x, mask) = build(), inputs(2)
    graph = small_graph(N).looped
    keys = (graph, mask[:, 0])
    steps = module.comodel.steps(x[:, 0], x[:, 1], keys, keys)
    attention = module.comodel.dual_cross_attention2.attention1
    raw, _ = attention(steps.attended_img_to_gene, x[:, 0], *keys)
    other, _ = attention(steps.attended_img_to_gene, steps.coattended_img, *keys)
    np.testing.assert_array_equal(steps.refined_img, raw)
    assert np.abs(steps.refined_img - other).max() > 1e-3


def test_further_modalities_join_late():
    module, (x, mask) = build(4), inputs(4)
    graph = small_graph(N)
    one, other = (module(x.at[3, 2].add(step), mask, graph) for step in (0.0, 1.0))
    changed = np.abs(one.out - other.out).max(1) > 0
    assert changed.tolist() == [i == 3 for i in range(N)]  # no edge carries it
    np.testing.assert_array_equal(one.tokens[:, :2], other.tokens[:, :2])
    np.testing.assert_array_equal(one.tokens[:, 2:], x[:, 2:])


def test_each_modality_has_its_own_edges():
    module, (x, mask) = build(), inputs(2)
    edges = np.asarray(small_graph(N).senders), np.asarray(small_graph(N).receivers)
    graph = Graph.create(*edges, N, views=(small_graph(N), NO_EDGES))
    weights = {a.name: np.asarray(a.weights) for a in module(x, mask, graph).attention}
    assert {len(weights[name]) for name in ("co_img", "cross_img", "refine_gene")} == {N}
    assert {len(weights[name]) for name in ("co_gene", "cross_gene", "refine_img")} == {small_graph(N).looped.num_edges}


def test_heads_must_divide():
    with pytest.raises(ValueError, match="biofusionnet.*heads=3"):
        build(heads=3)


def test_halves_keep_the_logits_in_float32():
    """In bfloat16 logits of size 100 would be rounded to multiples of 1/2."""
    graph = small_graph(N).looped
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.normal(size=(N, 64)) * 3, jnp.bfloat16) for _ in range(2))
    out, weights = attend(q, k, k, graph, jnp.ones(N, bool), 1.0)
    assert out.dtype == jnp.bfloat16 and weights.dtype == jnp.float32
    wide = [a.astype(jnp.float32) for a in (q, k)]
    np.testing.assert_array_equal(weights, attend(*wide, wide[1], graph, jnp.ones(N, bool), 1.0)[1])
