"""Mixers in whole mechanisms: which attentions they reach, what they leave alone, and where they are refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.model import skipped
from fusion_jax.nn import mixing
from fusion_jax.plan import LayerPlan, Named
from fusion_jax.records import Context, Target
from tests.helpers import small_graph
from tests.mixers.stack import HEADS, D, M, N, batch, made, model, shown

MASK = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1]], bool)
OTHERS = [name for name in zoo.names("mixer") if name != "standard"]


def changed(given, node=0, modality=2):
    """The batch with one token of one node changed."""
    x = given.features[f"m{modality}"]
    return dataclasses.replace(given, features={**given.features, f"m{modality}": x.at[node].set(x[node, ::-1])})


def parameters(found):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(found, nnx.Param)))


def test_uniform_and_hybrid_reach_the_attentions_they_name():
    """Layers of odd number are simple: their rows are alike, and those of the others are not."""
    for layers, alike in (("uniform", [True] * 4), ("hybrid", [True, False, True, False])):
        found = model("nonapproximate", layers, options=dict(layers=4, heads=HEADS, rate=0.0))
        weights = shown(found, batch())
        same = [np.allclose(weights[:, i], weights[:, i, :, :1], rtol=1e-9) for i in range(4)]
        assert same == alike, layers


def test_with_the_standard_mixer_nothing_is_there_to_tell_it_from_no_mixer():
    plain = model()
    assert not plain.mixed and not len(plain.mixers)
    assert parameters(plain) == parameters(model("approximate")) == parameters(model("rnd_emb_qk"))


def test_all_else_starts_from_the_numbers_it_has_without_a_mixer():
    """One that draws numbers of its own, too."""

    @jax.jit
    def start():
        found = [nnx.state(made("deconstructing_attention", name), nnx.Param) for name in ("standard", "rnd_emb_qk")]
        return [jax.tree.leaves(one) for one in found]

    plain, other = start()
    assert len(plain) == len(other) and all(map(np.array_equal, plain, other))


@pytest.mark.parametrize("dim", [12, 48, 64])
@pytest.mark.parametrize("layers", ["uniform", "hybrid"])
def test_a_gated_mlp_has_as_many_parameters_as_attention_to_half_a_row(dim, layers):
    options = dict(options=dict(layers=2, heads=2, rate=0.0), dim=dim)
    plain = model(**options, encoder=Named("linear"))
    other = model("mlp", layers, **options, encoder=Named("linear"))
    replaced = 2 if layers == "uniform" else 1
    assert abs(parameters(plain) - parameters(other)) <= replaced * 1.5 * dim


def test_an_mlp_lets_no_token_see_another():
    """The tokens of a stack without mixing are functions of their own modality."""
    found, given = model("mlp"), batch()
    before, after = (np.asarray(found(b).tokens[0]) for b in (given, changed(given)))
    assert np.array_equal(before[:, :2], after[:, :2]) and not np.allclose(before[0, 2], after[0, 2])
    standard = model()
    before, after = (np.asarray(standard(b).tokens[0]) for b in (given, changed(given)))
    assert not np.allclose(before[0, :2], after[0, :2])
    weights = shown(found, batch(mask=MASK))
    assert np.array_equal(weights[1, 0, 0], np.diag([1.0, 0.0, 1.0])), "each looks at itself, if it is there"


@pytest.mark.parametrize("name", ["rnd_emb_qk", "fixed_seq_qk"])
def test_fixed_scores_know_nothing_of_the_input_but_its_mask(name):
    found = model(name)
    begun(found)
    first = shown(found, batch())
    other = shown(found, batch(np.random.default_rng(9).normal(size=(N, M, D))))
    np.testing.assert_array_equal(first, other)
    np.testing.assert_array_equal(first, np.broadcast_to(first[:1], first.shape))
    assert first.std(-1).min() > 1e-6, "and are not uniform"
    masked = shown(found, batch(mask=MASK))
    kept = np.where(MASK[:, None, None, None], first, 0)
    np.testing.assert_allclose(masked, kept / kept.sum(-1, keepdims=True), rtol=1e-9)
    values = [np.asarray(found(b).prediction) for b in (batch(), changed(batch()))]
    assert not np.allclose(values[0][0], values[1][0]), "values are the input's"


def begun(found, given=None, train=None):
    """Lets a model begin as a run does: at once, outside of a program."""
    train = jnp.ones(N, bool) if train is None else train
    target = Target("classes", labels=jnp.zeros(N, jnp.int32), num_outputs=2)
    found.begin(batch() if given is None else given, Context(target=target, train=train))


def test_the_second_stream_goes_through_all_layers():
    """Scores of layer 2 are those of the random tokens behind layer 1, not of the random tokens."""
    found = model("rnd_emb_qk")
    fusion, tokens = found.fusions[0], found.mixers[0].sequence()
    z = tokens + fusion.embedding[...]
    for i, layer in enumerate(fusion.layers):
        normed, attention = layer.norm1(z), layer.self_attn
        q, k = (attention.split(f(normed)) for f in (attention.query, attention.key))
        logits = jnp.einsum("thd,lhd->htl", q, k) / np.sqrt(D / HEADS)
        np.testing.assert_allclose(shown(found, batch())[0, i], jax.nn.softmax(logits), rtol=1e-9)
        z = layer(z)


def test_the_second_stream_is_the_same_with_dropout():
    found = model("rnd_emb_qk", options=dict(layers=2, heads=HEADS, rate=0.5))
    keyed = found(batch(), context=Context(key=jax.random.key(3)))
    np.testing.assert_array_equal(keyed.attention[0].weights, shown(found, batch()))


def test_gradients_reach_what_projects_the_fixed_tokens_and_not_the_tokens():
    found = model("rnd_emb_qk")
    graphdef, params, rest = nnx.split(found, nnx.Param, ...)

    def loss(params):
        return nnx.merge(graphdef, params, rest)(batch()).prediction[0, 0]

    grads = jax.grad(loss)(params)
    assert np.abs(grads["fusions"][0]["layers"][1]["self_attn"]["query"]["kernel"].get_value()).max() > 0
    assert "mixers" not in grads or not jax.tree.leaves(grads["mixers"])


def test_the_fixed_node_is_the_first_trained_one_with_the_most_modalities():
    found = model("fixed_seq_qk")
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1], [1, 1, 1]], bool)
    given = batch(mask=mask)
    begun(found, given, jnp.array([False, True, True, True]))
    x = np.stack(list(given.features.values()), axis=1)
    np.testing.assert_allclose(found.mixers[0].sequence(), x[2], rtol=1e-6)
    begun(found, given, jnp.array([False, True, False, False]))
    np.testing.assert_allclose(found.mixers[0].sequence(), np.where(mask[1][:, None], x[1], 0), rtol=1e-6)


def test_static_scores_are_those_of_the_first_layer_there_and_its_embeddings_later():
    plain, found = model(), model("static_emb_qk")
    given = batch()
    first, second = shown(plain, given), shown(found, given)
    np.testing.assert_array_equal(first[:, 0], second[:, 0])
    assert not np.allclose(first[:, 1], second[:, 1])
    fusion = found.fusions[0]
    x = jnp.stack(list(given.features.values()), axis=1)
    e, attention = fusion.layers[0].norm1(x + fusion.embedding[...]), fusion.layers[1].self_attn
    q, k = (attention.split(f(e)) for f in (attention.query, attention.key))
    logits = jnp.einsum("nthd,nlhd->nhtl", q, k) / np.sqrt(D / HEADS)
    np.testing.assert_allclose(second[:, 1], jax.nn.softmax(logits), rtol=1e-9)


@pytest.mark.parametrize("name", OTHERS)
def test_a_skipped_attention_adds_nothing_and_the_others_stay(name):
    """Where all are simple and skipped no token sees another; where some are, those that are not still mix."""
    given = batch()
    uniform = model(name)
    with skipped():
        before, after = (np.asarray(uniform(b).tokens[0]) for b in (given, changed(given)))
        weights = shown(uniform, given)
        tokens = uniform(given).tokens[0]
    z = jnp.stack(list(given.features.values()), axis=1) + uniform.fusions[0].embedding[...]
    for layer in uniform.fusions[0].layers:  # nothing of the attention is left, its output bias neither
        z = z + layer._feed_forward(layer.norm2(z), None)
    np.testing.assert_allclose(tokens, z, rtol=1e-10)
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert (weights == 0).all() and shown(uniform, given).any(), "outside nothing is left out"
    hybrid = model(name, "hybrid", options=dict(layers=3, heads=HEADS, rate=0.0))
    with skipped():
        seen = shown(hybrid, given)
    assert not seen[:, [0, 2]].any()
    np.testing.assert_allclose(seen[:, 1].sum(-1), 1)


@pytest.mark.parametrize("name", OTHERS)
def test_one_modality_alone_has_all_weight(name):
    weights = shown(model(name), batch(mask=MASK))[3]  # node 3 has the last alone
    seen = weights[..., -1, :] if name == "mlp" else weights
    np.testing.assert_allclose(seen[..., -1], 1, rtol=1e-12)
    assert (weights[..., :-1] == 0).all()


REFUSED = {
    ("mlp", "self_attention"): "replaces whole MultiHeadAttentions, and 1 of the 1 attentions here are none",
    ("mlp", "conditional_cross_attention"): "replaces whole MultiHeadAttentions",
    ("static_emb_qk", "self_attention"): "there are no projections",
    ("rnd_emb_qk", "late_transformer"): "in a loop over layers",
    ("static_emb_qk", "late_transformer"): "in a loop over layers",
    ("nonapproximate", "free_query"): "its queries are not its keys",
    ("approximate", "mean"): "has no attention to stand in: none here is by products of queries and keys",
}


@pytest.mark.parametrize(("name", "fusion"), REFUSED)
def test_where_it_cannot_stand_it_is_refused_at_construction_by_name(name, fusion):
    with pytest.raises(ValueError, match=f"fusion '{fusion}': .*{REFUSED[name, fusion]}") as told:
        model(name, fusion=fusion)
    assert repr(name) in str(told.value)
    assert mixing.current() is None and mixing.building() is None


def test_a_loop_over_layers_is_no_place_for_a_choice_among_them():
    assert model("approximate", fusion="late_transformer").mixed == ((1,),)
    with pytest.raises(ValueError, match="'late_transformer': its attention 1 stands for several .* layers='hybrid'"):
        model("approximate", "hybrid", fusion="late_transformer")


def test_a_choice_that_chooses_none_is_refused():
    with pytest.raises(ValueError, match="'self_attention': layers='even' chooses none of its 1 attentions"):
        model("approximate", "even", fusion="self_attention")
    with pytest.raises(ValueError, match="'static_emb_qk' changes nothing in the first attention"):
        model("static_emb_qk", "hybrid")


def test_what_is_unknown_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no mixer named 'aproximate' \(did you mean 'approximate'\?\)"):
        model("aproximate")
    with pytest.raises(ValueError, match="mixer.part='layers'"):
        model("approximate", part="layers")


def test_interleaved_fusions_are_counted_on():
    found = model(
        "nonapproximate", "even", placement="interleaved", layers=1, options=dict(layers=1, heads=2, rate=0.0)
    )
    assert found.mixed == ((), (1,))
    first, second = (np.asarray(a.weights) for a in found(batch()).attention)
    assert not np.allclose(first, first[:, :, :, :1]) and np.allclose(second, second[:, :, :, :1])


LAYERS = dict(part="layer", fusion="mean", layer=LayerPlan("neighborhood_attention", dict(form="edges", heads=2)))


@pytest.mark.parametrize(("layers", "uniform"), [("uniform", [True, True]), ("hybrid", [True, False])])
def test_graph_layers_can_be_mixed_instead(layers, uniform):
    """Fixed tokens are the same at every node, so that a layer takes means over whom a node hears."""
    graph = small_graph(N, 12)
    found = model("rnd_emb_qk", layers, **{**LAYERS, "layers": 2})
    said = found(batch(graph=graph)).attention
    assert [a.name for a in said] == ["fusion 1: mean", "layer 1: attention", "layer 2: attention"][-len(said) :]
    for attention, alike in zip(said[-2:], uniform, strict=True):
        weights, valid = np.asarray(attention.weights), np.asarray(attention.valid)[:, 0]
        heard = np.bincount(np.asarray(attention.receivers), weights=valid, minlength=N)
        means = np.where(valid, 1 / np.maximum(heard, 1)[np.asarray(attention.receivers)], 0)
        assert np.allclose(weights, means[:, None], rtol=1e-9) == alike


def test_graph_layers_are_mixed_behind_the_fusion_only_and_where_they_attend():
    with pytest.raises(ValueError, match="mixer.part='layer' is for the placement 'before', not 'after'"):
        model("approximate", placement="after", **{**LAYERS, "layers": 1})
    with pytest.raises(ValueError, match="layer 'neighborhood_attention': mixer 'approximate' has no attention"):
        table = LayerPlan("neighborhood_attention", dict(form="table", heads=2))
        model("approximate", **{**LAYERS, "layers": 1, "layer": table})
    with pytest.raises(ValueError, match="a model without a layer: mixer 'approximate'"):
        model("approximate", **LAYERS)


def test_an_error_inside_leaves_nothing_behind():
    found = model("approximate")
    with pytest.raises(ValueError, match="modalities"):
        found(dataclasses.replace(batch(), names=("m1", "m0", "m2")))
    assert mixing.current() is None


def test_of_many_seeds_each_is_what_it_is_alone():
    found = model("rnd_emb_qk")
    graphdef, state = nnx.split(found)
    both = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), state)
    together = jax.vmap(lambda s: nnx.merge(graphdef, s)(batch()).prediction)(both)
    for i in range(2):
        alone = nnx.merge(graphdef, jax.tree.map(lambda a, i=i: a[i], both))(batch()).prediction
        np.testing.assert_allclose(together[i], alone, rtol=1e-10)


def test_a_loop_of_one_layer_is_none():
    found = model("approximate", "hybrid", fusion="late_transformer", options=dict(layers=1, heads=HEADS))
    assert found.mixed == ((1,),)
