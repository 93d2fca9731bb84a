"""The forum thread's attention: rows, limits and invariances, for all three ways to a vector."""

import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.free_query import FreeQuery
from fusion_jax.fusion.node_query import NodeQuery
from fusion_jax.fusion.self_attention import SelfAttention
from tests.helpers import assign, shown, to_float64

N, M, D = 6, 4, 5
REDUCTIONS = ["sum", "mean", "max"]
MECHANISMS = [pytest.param(SelfAttention, dict(reduction=r), id=r) for r in REDUCTIONS]
MECHANISMS += [pytest.param(FreeQuery, {}, id="free_query"), pytest.param(NodeQuery, {}, id="node_query")]


def build(cls, modalities=M, **options):
    return to_float64(cls(modalities, D, rngs=nnx.Rngs(0), **options))


@pytest.fixture
def nodes():
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.6
    mask[0], mask[1], mask[2] = False, True, [True, False, True, False]
    return 2 * rng.normal(size=(N, M, D)), mask


def test_rows_sum_to_one_over_the_keys(nodes):
    """The batch axis in front moves the thread's "axis 1": columns must not sum to 1."""
    x, mask = nodes
    weights = shown(build(SelfAttention)(x, mask), "attention")
    seen = mask.any(-1)
    np.testing.assert_allclose(weights[seen].sum(-1), 1, rtol=1e-12)
    assert abs(weights[1].sum(-2) - 1).max() > 1e-3
    np.testing.assert_array_equal(np.swapaxes(weights, 1, 2)[~mask], 0)
    np.testing.assert_array_equal(weights[0], 0)


@pytest.mark.parametrize("zero", ["query", "key"])
def test_without_scores_attention_is_the_mean(zero, nodes):
    x, mask = nodes
    module = assign(build(SelfAttention), {f"{zero}.kernel": np.zeros((D, D))}, partial=True)
    fused = module(x, mask)
    uniform = mask[:, None] / np.maximum(mask.sum(-1), 1)[:, None, None]
    np.testing.assert_allclose(shown(fused, "attention"), np.broadcast_to(uniform, (N, M, M)), rtol=1e-12)
    v = x @ np.asarray(module.value.kernel[...])
    mean = np.where(mask[..., None], v, 0).sum(1) / np.maximum(mask.sum(-1), 1)[:, None]
    np.testing.assert_allclose(fused.out, mean, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cls, options", MECHANISMS)
def test_one_modality_passes_through(cls, options, nodes):
    x, _ = nodes
    module = build(cls, modalities=1, **options)
    out = module(x[:, :1], np.ones((N, 1), bool)).out
    np.testing.assert_allclose(out, x[:, 0] @ np.asarray(module.value.kernel[...]), rtol=1e-12)


@pytest.mark.parametrize("cls, options", MECHANISMS)
def test_order_of_modalities_is_nothing(cls, options, nodes):
    x, mask = nodes
    order = [2, 0, 3, 1]
    module = build(cls, **options)
    one, other = module(x, mask), module(x[:, order], mask[:, order])
    np.testing.assert_allclose(one.out, other.out, rtol=1e-12, atol=1e-14)
    if one.tokens is not None:
        np.testing.assert_allclose(one.tokens[:, np.array(order)], other.tokens, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cls, options", MECHANISMS)
def test_missing_is_as_if_never_there(cls, options, nodes):
    """Neither as a key nor, pooled, as a query: two of four modalities are two modalities. None gives 0."""
    x, mask = nodes
    present = np.flatnonzero(mask[2])
    whole = build(cls, **options)(x, mask).out
    part = build(cls, modalities=2, **options)(x[2:3, present], np.ones((1, 2), bool)).out
    np.testing.assert_allclose(whole[2], part[0], rtol=1e-12)
    np.testing.assert_array_equal(whole[0], 0)


def test_sum_is_the_mean_times_the_present(nodes):
    x, mask = nodes
    total, mean = (build(SelfAttention, reduction=r)(x, mask).out for r in ("sum", "mean"))
    np.testing.assert_allclose(total, np.asarray(mean) * mask.sum(-1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("cls, options", MECHANISMS)
def test_scales_agree_only_where_p_is_d(cls, options, nodes):
    x, mask = nodes
    for width, same in ((D, True), (2 * D, False)):
        weights = []
        for scale in ("sqrt_p", "sqrt_D"):
            module = build(cls, width=width, scale=scale, **options)
            if cls is FreeQuery:  # its start, std 0.02, is too small to tell the scales apart
                assign(module, {"query": np.linspace(-1, 1, width)}, partial=True)
            weights.append(module(x, mask).attention[0].weights)
        assert np.allclose(*weights, rtol=1e-12, atol=0) is same
        assert module(x, mask).out.shape == (N, width)


def test_free_query_is_a_node_query_of_a_constant(nodes):
    x, mask = nodes
    node, free = build(NodeQuery), build(FreeQuery)
    state = np.random.default_rng(1).normal(size=D)
    shared = {f"{n}.kernel": getattr(node, n).kernel[...] for n in ("key", "value")}
    assign(free, {"query": state @ np.asarray(node.query.kernel[...]), **shared})
    whole = free(x, mask)
    for n in range(N):
        one = node.attend(state, x[n], mask[n])
        np.testing.assert_allclose(whole.out[n], one.out, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(shown(whole, "query")[n], shown(one, "query"), rtol=1e-12)


def test_node_query_reads_its_own_node_only(nodes):
    """The state is the mean of the present modalities, and the weights are not those of the other nodes."""
    x, mask = nodes
    module = build(NodeQuery)
    fused = module(x, mask)
    changed = np.where(np.arange(N)[:, None, None] == 1, x, -3 * x)
    np.testing.assert_array_equal(shown(module(changed, mask), "query")[1], shown(fused, "query")[1])
    assert not np.allclose(shown(module(changed, mask), "query")[2], shown(fused, "query")[2])
    by_hand = module.attend(x[2, mask[2]].mean(0), x[2], mask[2])
    np.testing.assert_allclose(shown(fused, "query")[2], shown(by_hand, "query"), rtol=1e-12)


@pytest.mark.parametrize("cls", [SelfAttention, FreeQuery, NodeQuery])
def test_unknown_choice_is_refused(cls):
    with pytest.raises(ValueError, match="scale='sqrt_d'"):
        cls(M, D, scale="sqrt_d", rngs=nnx.Rngs(0))
    if cls is SelfAttention:
        with pytest.raises(ValueError, match="self_attention.*reduction='min'"):
            cls(M, D, reduction="min", rngs=nnx.Rngs(0))
