"""The model is the composition its placement says, of the mechanisms its config names."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.checking import inputs
from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.model import MISSING, Model, Streams, check_placement
from fusion_jax.model.said import Said
from fusion_jax.nn.feature_propagation import propagated
from fusion_jax.plan import LayerPlan, Named
from fusion_jax.records import EVALUATION, Batch, Context, Fused, Head, Target
from tests.helpers import parameters, small_graph, to_float64

N, DIMS, DIM, CLASSES = 7, {"a": 3, "b": 2}, 4, 3
TARGET = Target("classes", labels=np.zeros(N, np.int32), num_outputs=CLASSES)
RNG = np.random.default_rng(0)
MASK = np.array([[1, 1], [1, 0], [0, 1], [1, 1], [0, 0], [1, 1], [0, 1]], bool)
FEATURES = {name: RNG.normal(size=(N, d)) for name, d in DIMS.items()}
GRAPH = small_graph(N)


def batch(features=FEATURES, mask=MASK, graph=GRAPH) -> Batch:
    return Batch({k: jnp.asarray(x) for k, x in features.items()}, jnp.asarray(mask), graph)


def build(placement="before", fusion="mean", layer="gcn", layers=2, *, dims=DIMS, target=TARGET, **kwargs) -> Model:
    given = dict(readout="last", encoder="linear") | {k: v for k, v in kwargs.items() if k in ("readout", "encoder")}
    rest = {k: v for k, v in kwargs.items() if k not in (*given, "last")}

    model = Model(
        dims,
        target,
        dim=DIM,
        placement=placement,
        fusion=Named(fusion),
        layers=layers,
        layer=LayerPlan(layer, last=kwargs.get("last", {})),
        encoder=Named(given["encoder"]),
        readout=Named(given["readout"]),
        rngs=nnx.Rngs(0),
        **rest,
    )
    return to_float64(model)


def encoded(model) -> jnp.ndarray:
    """The present modalities through their encoders, 0 elsewhere, [N, M, D]."""
    x = [encoder(batch().features[name]) for name, encoder in zip(DIMS, model.encoders, strict=True)]
    return jnp.where(MASK[..., None], jnp.stack(x, 1), 0)


def one_stream(streams, m):
    return jax.tree.map(lambda a: a[m], streams.layers)


def gcn(layer, x, present, graph=GRAPH):
    """relu of a dense GCN over the columns of present nodes, 0 where nothing was received; and who has something."""
    looped = np.zeros((N, N))
    np.add.at(looped, (np.asarray(graph.looped.receivers), np.asarray(graph.looped.senders)), 1.0)
    looped = looped * present[None]
    present = present | looped.any(1)
    scale = 1 / np.sqrt(np.where(looped.sum(1) > 0, looped.sum(1), 1))
    mixed = scale[:, None] * looped * scale @ np.asarray(x) @ np.asarray(layer.linear.kernel[...])
    return np.where(present[:, None], np.maximum(mixed + np.asarray(layer.linear.bias[...]), 0), 0), present


def gcn_streams(streams, h, present, graphs=(GRAPH, GRAPH)):
    """`gcn` on every stream with its own weights: h [N, M, D], present [N, M]."""
    each = [gcn(one_stream(streams, m), h[:, m], present[:, m], graphs[m]) for m in range(2)]
    return tuple(np.stack(a, 1) for a in zip(*each, strict=True))


def test_before_fuses_then_convolves():
    model = build("before")
    h = model.fusions[0](encoded(model), jnp.asarray(MASK)).out
    np.testing.assert_allclose(h[0], encoded(model)[0].mean(0), rtol=1e-12)
    present = MASK.any(1)
    assert not present.all()
    for layer in model.layers:
        h, present = gcn(layer, h, present)
    out = model(batch())
    assert len(model.layers) == 2 and len(model.streams) == 0 and len(model.fusions) == 1
    np.testing.assert_allclose(out.hidden, h, rtol=1e-12)
    np.testing.assert_allclose(out.prediction, model.head(h), rtol=1e-12)
    assert out.streams is None and out.prediction.shape == (N, CLASSES)


def test_after_convolves_each_stream_with_weights_of_its_own_then_fuses():
    model = build("after")
    h, present = encoded(model), MASK
    for streams in model.streams:
        h, present = gcn_streams(streams, h, present)
    expected = model.head(model.fusions[0](jnp.asarray(h), jnp.asarray(present)).out)
    assert len(model.streams) == 2 and len(model.layers) == 0
    kernel = parameters(model)["streams.0.layers.linear.kernel"][...]
    assert kernel.shape == (2, DIM, DIM) and not np.allclose(kernel[0], kernel[1])
    np.testing.assert_allclose(model(batch()).prediction, expected, rtol=1e-12)


def test_interleaved_fuses_to_tokens_before_every_layer_and_once_more():
    model = build("interleaved", "self_attention")
    h, present = encoded(model), MASK
    assert len(model.fusions) == 3
    for fusion, streams in zip(model.fusions[:2], model.streams, strict=True):
        h, present = gcn_streams(streams, fusion(jnp.asarray(h), jnp.asarray(present), GRAPH).tokens, present)
    expected = model.head(model.fusions[2](jnp.asarray(h), jnp.asarray(present), GRAPH).out)
    np.testing.assert_allclose(model(batch()).prediction, expected, rtol=1e-12)


def test_decision_fuses_the_predictions_of_the_streams():
    model = build("decision", presence="own")
    h, present = encoded(model), MASK
    for streams in model.streams:
        h, present = gcn_streams(streams, h, present)
    heads = [jax.tree.map(lambda a, m=m: a[m], model.head) for m in range(2)]
    streams = jnp.stack([head(jnp.asarray(h[:, m])) for m, head in enumerate(heads)], 1)
    out = model(batch())
    np.testing.assert_allclose(out.streams, streams, rtol=1e-12)
    np.testing.assert_allclose(out.prediction[0], streams[0].mean(0), rtol=1e-12)
    np.testing.assert_allclose(out.prediction[1], streams[1, 0], rtol=1e-12)  # the one modality that is there
    assert out.hidden is None


@pytest.mark.parametrize("placement", ["after", "interleaved", "decision"])
def test_what_neighbours_say_of_a_missing_modality_is_used_or_by_choice_not(placement):
    """Presence "received" and "own" differ at nodes that lack a modality and hear of it, and say so in `present`."""
    fusion = "self_attention" if placement == "interleaved" else "mean"
    received, own = (build(placement, fusion, layers=1, presence=p)(batch()) for p in ("received", "own"))
    _, heard = gcn_streams(build("after", layers=1).streams[0], np.zeros((N, 2, DIM)), MASK)
    assert (heard & ~MASK).any()
    np.testing.assert_array_equal(received.present, heard)
    np.testing.assert_array_equal(own.present, MASK)
    np.testing.assert_array_equal(received.mask, MASK)
    same = np.isclose(received.prediction, own.prediction).all(1)
    np.testing.assert_array_equal(same, (heard == MASK).all(1))


def test_who_has_received_something_passes_it_on_whether_the_fusion_sees_it_or_not():
    received, own = (build("after", "mean", presence=p)(batch()) for p in ("received", "own"))
    both = MASK.all(1)
    assert both.any() and not np.array_equal(received.present, own.present)
    np.testing.assert_allclose(received.prediction[both], own.prediction[both], rtol=1e-12)
    assert build("after", "mean", "sgc", layers=1)(batch()).present.sum() >= received.present.sum()


@pytest.mark.parametrize("layer", ["gcn", "sage", "gat", "neighborhood_attention"])
def test_an_absent_node_is_no_zero_in_its_neighbours_averages(layer):
    """Dropping an edge from a node without the modality changes nothing at the receiver of that stream."""
    model = build("after", "mean", layer, layers=1)
    lacks = ~MASK[np.asarray(GRAPH.senders), 0]
    kept = Graph.create(np.asarray(GRAPH.senders)[~lacks], np.asarray(GRAPH.receivers)[~lacks], N)
    assert lacks.any()
    both, cut = (model.streams[0](encoded(model), g, jnp.asarray(MASK))[:, 0] for g in (GRAPH, kept))
    np.testing.assert_allclose(both, cut, rtol=1e-12, atol=1e-15)


def test_a_batch_of_other_modalities_or_another_order_is_refused():
    turned = {name: FEATURES[name] for name in reversed(DIMS)}
    with pytest.raises(ValueError, match=r"model is of the modalities \['a', 'b'\], the batch of \['b', 'a'\]"):
        build()(batch(turned))


def test_without_layers_before_and_after_are_the_same_model():
    before, after = build("before", layers=0), build("after", layers=0)
    np.testing.assert_array_equal(before(batch()).prediction, after(batch()).prediction)


@pytest.mark.parametrize("fusion", ["concat_mlp", "gmu", "self_attention", "late_logits"])
@pytest.mark.parametrize("placement", ["before", "after", "interleaved", "decision"])
def test_every_placement_a_fusion_has_can_be_trained_and_every_other_is_refused(fusion, placement):
    if placement not in check_placement(fusion, "decision").placements:
        with pytest.raises(ValueError, match=f"fusion '{fusion}' cannot stand '{placement}'"):
            build(placement, fusion)
        return
    graphdef, params, rest = nnx.split(build(placement, fusion, layers=1, rate=0.5), nnx.Param, ...)

    @jax.jit
    def gradient(params, key):
        def model(p):
            return nnx.merge(graphdef, p, rest, copy=True)

        return jax.grad(lambda p: (model(p)(batch(), context=Context(key=key)).prediction ** 2).sum())(params)

    moved = [np.abs(g).max() for g in jax.tree.leaves(gradient(params, jax.random.key(0)))]
    assert np.isfinite(moved).all() and sum(m > 0 for m in moved) >= 4


def test_interleaving_a_fusion_without_tokens_is_refused_by_name_at_construction():
    with pytest.raises(ValueError, match=r"'concat_mlp' cannot stand 'interleaved' \(it returns no tokens\)"):
        build("interleaved", "concat_mlp")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(placement="befor"), "did you mean 'before'"),
        (dict(fusion="self_atention"), "no fusion named 'self_atention' .did you mean 'self_attention'"),
        (dict(layer="gcnn"), "no layer named 'gcnn' .did you mean 'gcn'"),
        (dict(encoder="liner"), "no encoder named 'liner' .did you mean 'linear'"),
        (dict(readout="lst"), "no readout named 'lst' .did you mean 'last'"),
        (dict(missing="masked"), "did you mean 'mask'"),
        (dict(presence="receive"), "did you mean 'received'"),
        (dict(head="non"), "did you mean 'none'"),
        (dict(activation="rely"), "did you mean 'relu'"),
        (dict(last={"norms": 1}), "layer 'gcn' has no option 'norms'"),
        (dict(head="none", placement="after"), "'none'.*not 'after'"),
        (dict(head="none", placement="interleaved", fusion="self_attention"), "'none'.*not 'interleaved'"),
        (dict(head="none", layers=0), "'none'.*there must be one, found model.layers=0"),
        (dict(head="none", readout="histograph_node"), "'none'.*the readout 'histograph_node'"),
        (dict(encoder="identity"), "encoder 'identity' leaves the modalities at the widths {'a': 3, 'b': 2}"),
        (
            dict(encoder="identity", dims={"a": 3, "b": 3}, readout="histograph_node"),
            r"'histograph_node' reads the states of all depths, whose widths \[3, 4, 4\] differ",
        ),
        (dict(readout="mean"), "readout 'mean' is for graph tasks, this data set labels nodes"),
        (
            dict(placement="decision", readout="mean", target=dataclasses.replace(TARGET, level="graph")),
            "'decision' is defined for node tasks",
        ),
    ],
)
def test_what_does_not_exist_is_refused_by_name(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


@pytest.mark.parametrize("key", [None, 3])
def test_one_edge_set_a_modality(key):
    other = small_graph(N, seed=1)
    views = dataclasses.replace(GRAPH, views=(GRAPH, other))
    model = build("after", layers=1)
    expected, present = map(jnp.asarray, gcn_streams(model.streams[0], encoded(model), MASK, (GRAPH, other)))
    key = None if key is None else jax.random.key(key)
    out = model(batch(graph=views), context=Context(key=key)).prediction
    np.testing.assert_allclose(out, model.head(model.fusions[0](expected, present).out), rtol=1e-12)
    assert not np.allclose(out, model(batch(), context=Context(key=key)).prediction)
    shared = dataclasses.replace(GRAPH, views=(GRAPH, GRAPH))
    together = model(batch(), context=Context(key=key)).prediction
    np.testing.assert_allclose(model(batch(graph=shared), context=Context(key=key)).prediction, together, rtol=1e-12)


@pytest.mark.parametrize("missing", MISSING)
def test_what_stands_for_a_missing_modality(missing):
    model = build("after", missing=missing)
    out = model(batch())
    lacks = (~MASK).astype(float)
    reads = {name: np.asarray(x) for name, x in batch().features.items()}
    blank = {name: np.zeros_like(x) for name, x in reads.items()}
    if missing == "indicator":
        reads, blank = ({k: np.c_[x, lacks[:, m]] for m, (k, x) in enumerate(held.items())} for held in (reads, blank))

    def encoded_as(held):
        return np.stack([encoder(jnp.asarray(held[n])) for n, encoder in zip(DIMS, model.encoders, strict=True)], 1)

    full = encoded_as(reads)
    np.testing.assert_allclose(np.asarray(out.embeddings)[MASK], full[MASK], rtol=1e-12)
    stand_in = dict(mask=0 * full, zeros=0 * full, mean=encoded_as(blank), indicator=encoded_as(blank))
    if missing == "propagate":
        spread = {
            k: propagated(jnp.asarray(x), jnp.asarray(MASK[:, m]), GRAPH) for m, (k, x) in enumerate(reads.items())
        }
        stand_in["propagate"] = encoded_as(spread)
        assert not np.allclose(stand_in["propagate"][~MASK], encoded_as(blank)[~MASK])
    if missing == "learned":
        stand_in["learned"] = np.broadcast_to(parameters(model)["missing_token"][...], full.shape)
        assert np.abs(stand_in["learned"]).min() > 0
    np.testing.assert_allclose(np.asarray(out.embeddings)[~MASK], stand_in[missing][~MASK], rtol=1e-12)
    np.testing.assert_array_equal(out.mask, MASK if missing == "mask" else np.ones_like(MASK))


@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_slot_reaches_neither_prediction_nor_gradient(missing):
    graphdef, params = nnx.split(build("after", "gmu", layers=1, missing=missing))

    @jax.jit
    def value_and_gradient(params, features):
        def loss(params, features):
            return (nnx.merge(graphdef, params)(Batch(features, jnp.asarray(MASK), GRAPH)).prediction ** 2).sum()

        return jax.value_and_grad(loss, argnums=(0, 1))(params, features)

    value, (grads, to_features) = value_and_gradient(params, batch().features)
    broken = {k: jnp.where(MASK[:, [m]], x, jnp.nan) for m, (k, x) in enumerate(batch().features.items())}
    again, (broken_grads, _) = value_and_gradient(params, broken)
    assert value == again and np.isfinite(value)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(broken_grads), strict=True):
        np.testing.assert_array_equal(a, b)
    for m, g in enumerate(to_features.values()):
        assert not np.any(np.asarray(g)[~MASK[:, m]]) and np.any(np.asarray(g)[MASK[:, m]])


def test_dropout_needs_a_key_and_evaluation_has_none():
    model = build("before", rate=0.5)
    np.testing.assert_array_equal(model(batch()).prediction, model(batch()).prediction)
    first, again, other = (model(batch(), context=Context(key=jax.random.key(k))).prediction for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other) and not np.allclose(first, model(batch()).prediction)


WIDE = {"a": 5, "b": 5}
WIDE_FEATURES = {name: RNG.normal(size=(N, d)) for name, d in WIDE.items()}


def test_identity_hands_the_features_over_as_they_are():
    model = build("before", encoder="identity", dims=WIDE)
    out = model(batch(WIDE_FEATURES))
    shown = np.where(MASK[..., None], np.stack(list(WIDE_FEATURES.values()), 1), 0)
    np.testing.assert_array_equal(out.embeddings, shown)
    assert not any(name.startswith("encoders") for name in parameters(model))
    kernels = [layer.linear.kernel.shape for layer in model.layers]
    assert kernels == [(5, DIM), (DIM, DIM)] and model.head.kernel.shape == (DIM, CLASSES)
    h, present = shown.sum(1) / np.maximum(MASK.sum(1), 1)[:, None], MASK.any(1)
    for layer in model.layers:
        h, present = gcn(layer, h, present)
    np.testing.assert_allclose(out.prediction, model.head(jnp.asarray(h)), rtol=1e-12)


@pytest.mark.parametrize(("placement", "widths"), [("after", [4]), ("interleaved", [5, 4, 4])])
def test_fusions_stand_at_the_width_of_their_place(placement, widths):
    model = build(placement, "self_attention", encoder="identity", dims=WIDE, missing="learned")
    assert [fusion.query.kernel.shape[0] for fusion in model.fusions] == widths
    assert [streams.layers.linear.kernel.shape for streams in model.streams] == [(2, 5, DIM), (2, DIM, DIM)]
    assert model.missing_token.shape == (2, 5)
    assert np.isfinite(model(batch(WIDE_FEATURES)).prediction).all()


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_without_a_head_the_last_layer_predicts(rate):
    """No activation and no dropout behind it: predictions below 0, and with dropout none that a mask made 0."""
    model = build("before", head="none", rate=rate)
    h, present = np.asarray(model.fusions[0](encoded(model), jnp.asarray(MASK)).out), MASK.any(1)
    h, present = gcn(model.layers[0], h, present)
    looped = np.zeros((N, N))
    np.add.at(looped, (np.asarray(GRAPH.looped.receivers), np.asarray(GRAPH.looped.senders)), 1.0)
    looped *= present[None]
    scale = 1 / np.sqrt(np.maximum(looped.sum(1), 1))
    expected = scale[:, None] * looped * scale @ h @ np.asarray(model.layers[1].linear.kernel[...])
    out = model(batch())
    assert model.head is None and model.readout is None
    np.testing.assert_allclose(out.prediction, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(out.hidden, h, rtol=1e-12)
    assert (out.prediction < 0).any() and out.prediction.shape == (N, CLASSES)
    in_training = model(batch(), context=Context(key=jax.random.key(0))).prediction
    assert np.isclose(in_training, out.prediction).all() == (rate == 0)
    kept = np.asarray(in_training) != 0
    np.testing.assert_array_equal(kept.any(1), kept.all(1))


def test_without_a_head_every_stream_predicts_and_the_predictions_are_fused():
    model = build("decision", head="none")
    h, present = gcn_streams(model.streams[0], encoded(model), MASK)
    out = model(batch())
    logits = model.streams[1](jnp.asarray(h), GRAPH, jnp.asarray(present))
    _, present = gcn_streams(model.streams[1], h, present)
    np.testing.assert_allclose(out.streams, np.where(present[..., None], logits, 0), rtol=1e-12)
    expected = np.asarray(out.streams).sum(1) / np.maximum(present.sum(1), 1)[:, None]
    np.testing.assert_allclose(out.prediction, expected, rtol=1e-12)
    assert model.head is None and out.streams.shape == (N, 2, CLASSES)


@pytest.mark.parametrize("head", ["linear", "none"])
@pytest.mark.parametrize("placement", ["before", "decision"])
def test_only_the_last_layer_has_options_of_its_own(placement, head):
    model = build(placement, layer="gat", last={"heads": 1, "merge": "mean"}, layers=3, head=head)
    layers = model.layers if placement == "before" else [streams.layers for streams in model.streams]
    assert [(layer.heads, layer.merge) for layer in layers] == [(4, "concat"), (4, "concat"), (1, "mean")]


def test_the_activation_is_the_one_that_is_named():
    first, second = build("before", activation="elu"), build("before")
    h, present = second.fusions[0](encoded(second), jnp.asarray(MASK)).out, jnp.asarray(MASK.any(1))
    for layer in second.layers:
        after = layer.reached(present, GRAPH)
        h = jnp.where(after[:, None], jax.nn.elu(layer(h, GRAPH, present)), 0)
        present = after
    assert (h < 0).any()
    np.testing.assert_allclose(first(batch()).prediction, second.head(h), rtol=1e-12)


@pytest.mark.parametrize("placement", ["before", "after"])
def test_a_node_without_anything_that_hears_nothing_has_nothing(placement):
    """Not the biases of the layers either: its state is 0 at every depth."""
    alone = Graph.create(np.zeros(0, int), np.zeros(0, int), N)
    model = build(placement, "concat_linear")
    for path, value in parameters(model).items():
        if "bias" in path and path.startswith(("streams", "layers")):
            value.set_value(jnp.ones_like(value[...]))
    states = {}
    model(batch(graph=alone), tap=lambda name, state: states.setdefault(name, state))
    name = "stream" if placement == "after" else "layer"
    for depth in (1, 2):
        state = np.asarray(states[f"{name} {depth}"])
        there = MASK if placement == "after" else MASK.any(1)
        assert not there.all() and not state[~there].any() and state[there].any()


def test_nodes_that_have_nothing_do_not_count_in_their_graph():
    def predict(keep, sizes, senders, receivers):
        graph = Graph.create(np.array(senders), np.array(receivers), np.array(sizes))
        features = {name: x[keep] for name, x in FEATURES.items()}
        return model(batch(features, mask[keep], graph)).prediction

    target = Target("classes", labels=np.array([0, 1]), num_outputs=CLASSES, level="graph")
    model, mask = build(readout="mean", target=target), np.ones((N, len(DIMS)), bool)
    mask[2] = False
    whole = predict(np.arange(N), [3, 4], [0, 1, 3, 4], [1, 0, 4, 3])
    without = predict(np.delete(np.arange(N), 2), [2, 4], [0, 1, 2, 3], [1, 0, 3, 2])
    np.testing.assert_allclose(whole, without, rtol=1e-9)


class Noise(GraphLayer):
    def __init__(self, rngs):
        self.factor = nnx.Param(jnp.ones(()))

    def __call__(self, x, graph, present=None, context=EVALUATION):
        return x + self.factor[...] * jax.random.normal(context.key, x.shape, x.dtype)


@pytest.mark.parametrize("graph", [GRAPH, inputs.graphs(len(DIMS))], ids=["shared", "own"])
def test_every_stream_draws_for_itself(graph):
    streams = Streams(Noise, len(DIMS), rngs=nnx.Rngs(0))
    y = streams(jnp.zeros((N, len(DIMS), 3)), graph, None, Context(key=jax.random.key(0)))
    assert not np.isclose(y[:, 0], y[:, 1]).any()


def test_what_is_said_of_nodes_is_said_of_their_graphs():
    """Their mean over who is there; where nobody is, nothing is known."""
    rng = np.random.default_rng(0)
    there = np.array([1, 1, 0, 1, 0, 0, 1], bool)
    graph = Graph.create(np.array([0]), np.array([1]), np.array([3, 1, 2, 1]))
    graph = dataclasses.replace(graph, present=jnp.asarray(there))
    values, unsure, said = rng.normal(size=(N, 2)), rng.uniform(0.1, 0.9, N), Said()
    said.fused("fusion 1", Fused(values, heads=(Head("h", values),), uncertainty=jnp.asarray(unsure)))
    said.of_rows(graph)
    np.testing.assert_allclose(said.uncertainty, [unsure[:2].mean(), unsure[3], 1, unsure[6]])
    np.testing.assert_allclose(said.heads[0].values, [values[:2].mean(0), values[3], [0, 0], values[6]])
    said.fused("fusion 2", Fused(values, heads=(Head("h", values),), uncertainty=jnp.asarray(unsure)))
    said.heads = said.heads[1:]
    said.of_rows(dataclasses.replace(graph, pairs=jnp.array([[0, 3], [6, 6]])))
    np.testing.assert_allclose(said.uncertainty, [(unsure[0] + unsure[3]) / 2, unsure[6]])
    np.testing.assert_allclose(said.heads[0].values, [(values[0] + values[3]) / 2, values[6]])
