"""What each mixer weighs keys by, in one attention: the limits and identities of the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import MultiHeadAttention, attend
from fusion_jax.nn.mixing import Building, Mixing
from fusion_jax.nn.segment import edge_attend
from tests.helpers import drawn
from tests.mixers.stack import HEADS, D, M, N, mixer, qkv, weighed

MASK = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1]], bool)


def test_standard_is_attention_as_it_is():
    q, k, v = qkv()
    logits = np.einsum("nthd,nlhd->nhtl", q, k) / np.sqrt(D / HEADS)
    expected = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_allclose(weighed("standard", q, k, v)[1], expected, rtol=1e-12)


def test_the_taylor_series_is_softmax_up_to_third_order():
    """Scores smaller by 2 differ by 8 times less."""
    gaps = []
    for scale in (0.2, 0.1):
        q, k, v = qkv(scale=np.sqrt(scale))
        gaps.append(np.abs(weighed("approximate", q, k, v)[1] - weighed("standard", q, k, v)[1]).max())
    assert 7 < gaps[0] / gaps[1] < 9


def test_taylor_weights_are_positive_whatever_the_scores():
    q, k, v = qkv(scale=30.0)
    weights = np.asarray(weighed("approximate", q, k, v)[1])
    assert (weights > 0).all() and np.isfinite(weights).all()
    np.testing.assert_allclose(weights.sum(-1), 1)


def test_taylor_weights_are_masked_by_leaving_keys_out():
    """By -inf on the scores they would be infinite."""
    q, k, v = qkv()
    masked = np.asarray(weighed("approximate", q, k, v, jnp.asarray(MASK))[1])
    alone = weighed("approximate", q[1:2], k[1:2, [0, 2]], v[1:2, [0, 2]])[1]
    np.testing.assert_allclose(masked[1][..., [0, 2]], np.asarray(alone)[0], rtol=1e-12)
    assert (masked[1][..., 1] == 0).all()


def test_a_bias_of_the_logits_counts_in_the_series():
    q, k, v = qkv()
    s = np.einsum("nthd,nlhd->nhtl", q, k) / np.sqrt(D / HEADS) + 0.7
    u = 1 + s + s**2 / 2
    found = weighed("approximate", q, k, v, bias=jnp.full((M, M), 0.7))[1]
    np.testing.assert_allclose(found, u / u.sum(-1, keepdims=True), rtol=1e-12)


def test_a_key_whose_bias_is_minus_infinity_is_not_seen():
    q, k, v = qkv()
    bias = jnp.array([0.0, -jnp.inf, 0.0])

    def total(q):
        out, weights = weighed("approximate", q, k, v, bias=bias)
        return out.sum(), weights

    grad, weights = jax.grad(total, has_aux=True)(q)
    expected = weighed("approximate", q, k, v, jnp.broadcast_to(bias == 0, (N, M)))[1]
    np.testing.assert_array_equal(weights, expected)
    assert np.isfinite(np.asarray(grad)).all()


@pytest.mark.parametrize("form", ["printed", "printed_tensor"])
def test_the_printed_terms_sum_to_three_and_have_no_scale(form):
    q, k, v = (jnp.abs(a) for a in qkv())  # sums of the first order are away from 0
    weights = np.asarray(weighed("approximate", q, k, v, form=form)[1])
    np.testing.assert_allclose(weights.sum(-1), 3, rtol=1e-10)
    first = np.einsum("nthd,nlhd->nhtl", q, k)
    second = first**2 if form == "printed_tensor" else np.einsum("nthd,nlhd->nhtl", q**2, k**2)
    expected = 1 / M + first / first.sum(-1, keepdims=True) + second / second.sum(-1, keepdims=True)
    np.testing.assert_allclose(weights, expected, rtol=1e-10)


def test_an_unknown_form_is_refused_by_name():
    with pytest.raises(ValueError, match=r"mixer 'approximate': form='jont' \(did you mean 'joint'\?\)"):
        mixer("approximate", form="jont")


def test_a_key_is_weighed_by_its_own_query():
    q, k, v = qkv()
    own = (jax.nn.silu(q) * k).sum(-1) / np.sqrt(D / HEADS)  # [N, M, H]
    weights = np.asarray(weighed("nonapproximate", q, k, v)[1])
    np.testing.assert_allclose(weights, weights[:, :, :1].repeat(M, 2), rtol=1e-12)
    np.testing.assert_allclose(weights[:, :, 0], jax.nn.softmax(jnp.swapaxes(own, 1, 2)), rtol=1e-12)


def test_the_query_of_a_masked_key_has_no_influence_nan_included():
    q, k, v = qkv()
    spoiled = jnp.where(jnp.asarray(MASK)[..., None, None], q, jnp.nan)

    def total(q):
        return weighed("nonapproximate", q, k, v, jnp.asarray(MASK))[0].sum()

    np.testing.assert_array_equal(total(q), total(spoiled))
    assert np.isfinite(np.asarray(jax.grad(total)(spoiled))).all()


def test_logits_above_a_thousand_are_no_nan_in_halves():
    q, k, v = (a.astype(jnp.bfloat16) for a in qkv(scale=300.0))
    out, weights = weighed("nonapproximate", q, k, v)
    assert np.isfinite(np.asarray(out, np.float32)).all() and weights.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(weights, np.float32).sum(-1), 1, rtol=1e-2)


def test_queries_that_are_no_keys_are_refused():
    q, k, v = qkv()
    with pytest.raises(ValueError, match="a test: mixer 'nonapproximate' cannot stand in its attention 1: its queries"):
        weighed("nonapproximate", q[:, :2], k, v)


@pytest.mark.parametrize("name", ["standard", "approximate", "nonapproximate"])
def test_along_the_edges_of_a_whole_graph_it_is_what_it_is_over_tokens(name):
    q, k, v = (a[0] for a in qkv(length=N))
    s, r = (a.ravel() for a in np.meshgrid(np.arange(N), np.arange(N)))
    graph = Graph.create(s, r, N)
    seen = np.asarray(graph.senders) != 1
    with Mixing("a test", mixer(name), {1}).inside():
        out, weights = edge_attend(q, k, v, graph, jnp.asarray(seen))
    over, dense = weighed(name, q, k, v, jnp.asarray(np.arange(N) != 1))
    np.testing.assert_allclose(out, over, rtol=1e-10)
    found = np.asarray(dense)[:, graph.receivers, graph.senders].T
    np.testing.assert_allclose(weights, found, rtol=1e-10)
    assert (np.asarray(weights)[~seen] == 0).all()


def test_a_receiver_without_visible_senders_has_weights_0():
    q, k, v = (a[0] for a in qkv(length=N))
    graph = Graph.create(np.array([1, 2]), np.array([0, 3]), N)
    for name in ("approximate", "nonapproximate"):
        with Mixing("a test", mixer(name), {1}).inside():
            out, weights = edge_attend(q, k, v, graph, jnp.array([True, False]))
        assert np.asarray(weights).tolist() == [[1, 1], [0, 0]] and (np.asarray(out)[1:] == 0).all()


@pytest.mark.parametrize("std", [0.0, -1.0])
def test_a_spread_of_random_tokens_that_is_none_is_refused(std):
    with pytest.raises(ValueError, match=f"mixer 'rnd_emb_qk': std={std}"):
        mixer("rnd_emb_qk", std=std)


def test_random_tokens_have_the_spread_that_was_asked_for():
    assert np.array_equal(mixer("rnd_emb_qk", std=3.0).sequence(), 3 * mixer("rnd_emb_qk").sequence())


def test_what_is_not_said():
    found = {name: zoo.options("mixer", name) for name in zoo.names("mixer")}
    assert {name: options for name, options in found.items() if options} == {
        "approximate": dict(form="joint"),
        "rnd_emb_qk": dict(std=1.0),
    }


def test_a_bias_makes_rows_of_a_gated_pooling_differ():
    q, k, v = qkv()
    own = (jax.nn.silu(q) * k).sum(-1) / np.sqrt(D / HEADS)
    bias = np.random.default_rng(3).normal(size=(M, M))
    expected = jax.nn.softmax(jnp.swapaxes(own, 1, 2)[:, :, None] + bias)
    np.testing.assert_allclose(weighed("nonapproximate", q, k, v, bias=jnp.asarray(bias))[1], expected, rtol=1e-12)


def test_logits_of_halves_are_not_rounded_to_them():
    q, k, v = (a.astype(jnp.bfloat16) for a in qkv(scale=5.0))
    exact = weighed("nonapproximate", *(a.astype(jnp.float32) for a in (q, k, v)))[1]
    found = np.asarray(weighed("nonapproximate", q, k, v)[1], np.float32)
    np.testing.assert_allclose(found, exact, rtol=2**-8, atol=1e-6)  # the weights themselves are bfloat16


def attention():
    return drawn(lambda: MultiHeadAttention(D, HEADS, rngs=nnx.Rngs(0)))


def test_queries_of_other_tokens_are_no_keys_however_many_there_are():
    x, y = (jnp.asarray(np.random.default_rng(seed).normal(size=(M, D))) for seed in (0, 1))
    module = attention()
    with Mixing("a test", mixer("nonapproximate"), {1}).inside():
        module(x)
    with Mixing("a test", mixer("nonapproximate"), {1}).inside(), pytest.raises(ValueError, match="its queries are no"):
        module(x, y)


def test_what_follows_an_attention_with_projections_is_told_from_it():
    """One that is given queries and keys as they are has none of its own, whatever came before."""
    q, k, v = qkv()
    with Mixing("a test").inside() as now:
        attention()(jnp.ones((M, D)))
        attend(q, k, v)
    assert (now.count, now.loose) == (2, 1)
    with (
        Mixing("a test", mixer("static_emb_qk"), {2}).inside(),
        pytest.raises(ValueError, match="attention 2: it is g"),
    ):
        attention()(jnp.ones((M, D)))
        attend(q, k, v)


def test_embeddings_of_the_first_layer_are_of_no_use_to_other_tokens():
    x, module = jnp.ones((M, D)), attention()
    for given, what in (((x[:2], x), "queries"), ((x, x[:2]), "keys")):
        said = rf"attention 2: {what} of the shape \(2, {D}\), those of the first attention have \({M}, {D}\)"
        with Mixing("a test", mixer("static_emb_qk"), {2}).inside(), pytest.raises(ValueError, match=said):
            module(x)
            module(*given)


def test_a_gated_mlp_is_called_in_the_place_it_was_built_for():
    with Building({2}).inside():
        first, second = attention(), attention()
    assert (first.number, second.number) == (None, 2)
    x = jnp.ones((M, D))
    with Mixing("a test", mixer("mlp"), {2}).inside():
        first(x), second(x)
    with Mixing("a test", mixer("mlp"), {2}).inside(), pytest.raises(ValueError, match="1: it was built as number 2"):
        second(x)
