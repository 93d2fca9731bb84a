"""The walk through a model: a network whose neurons were permuted by hand comes back to the anchor exactly."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.single import Single
from fusion_jax.fusion.sum import Sum
from fusion_jax.merging.base import leaves
from fusion_jax.merging.ot_fusion.rules import Rules
from fusion_jax.merging.ot_fusion.walk import Walk, align
from fusion_jax.model import Model
from fusion_jax.nn.alignment import States
from fusion_jax.plan import LayerPlan
from fusion_jax.readouts.histograph import HistoGraph
from fusion_jax.records import Batch, Target
from tests.helpers import small_graph

N, D, DIMS = 24, 6, {"a": 5, "b": 4}


def spec(name, **options):
    return LayerPlan(name, options)


def build(fusion, placement, layer, encoder="linear", missing="mask", **forms):
    model = Model(
        DIMS,
        Target("classes", num_outputs=3),
        dim=D,
        placement=placement,
        encoder=spec(encoder),
        fusion=fusion,
        layer=layer,
        readout=spec("last"),
        layers=2,
        missing=missing,
        rngs=nnx.Rngs(0),
        **forms,
    )
    graphdef, state = nnx.split(model)
    rng = np.random.default_rng(1)

    def noise(a):
        return jnp.asarray(rng.normal(size=a.shape), a.dtype)

    return nnx.merge(graphdef, jax.tree.map(noise, state))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(2)
    mask = rng.random((N, 2)) < 0.8
    mask[~mask.any(1), 0] = True
    features = {k: jnp.asarray(rng.normal(size=(N, d)), jnp.float32) for k, d in DIMS.items()}
    return Batch(features, jnp.asarray(mask), small_graph(N, 60))


class Permuter:
    """Permutes the neurons of a model by hand; `new` gives a permutation of n neurons."""

    def __init__(self):
        self.rng = np.random.default_rng(3)

    def new(self, n):
        return self.rng.permutation(n)

    def dense(self, layer, p_in, p_out):
        kernel = layer.kernel[...]
        kernel = kernel if p_in is None else kernel[p_in]
        layer.kernel[...] = kernel[:, p_out]
        if layer.bias is not None:
            layer.bias[...] = layer.bias[...][p_out]

    def vector(self, variable, p):
        variable[...] = variable[...].reshape(-1)[p].reshape(variable.shape)

    def graph(self, layer, p_in):
        p = self.new(D)
        if hasattr(layer, "neighbour"):
            self.dense(layer.own, p_in, p)
            self.dense(layer.neighbour, p_in, p)
        elif hasattr(layer, "att_sender"):
            p = np.concatenate([3 * h + self.new(3) for h in (1, 0)])  # two heads change places
            self.dense(layer.linear, p_in, p)
            for v in (layer.att_sender, layer.att_receiver, layer.bias):
                self.vector(v, p)
        else:
            self.dense(layer.linear, p_in, p)
        return p

    def fusion(self, fusion, p):
        """Every modality's features are permuted by p, so that their mean map is exact."""
        name = type(fusion).__name__
        both, q, h = np.concatenate([p, p + D]), self.new(D), self.new(D)
        if name == "ConcatLinear":
            self.dense(fusion.linear, both, q)
            return q
        if name == "ConcatMlp":
            h = self.new(2 * D)
            self.dense(fusion.mlp.fc1, both, h)
            self.dense(fusion.mlp.fc2, h, q)
            return q
        if name in ("SelfAttention", "NodeQuery", "FreeQuery"):
            if name == "FreeQuery":
                self.vector(fusion.query, h)
            else:
                self.dense(fusion.query, p, h)
            self.dense(fusion.key, p, h)
            self.dense(fusion.value, p, q)
            return q
        if name == "NodeToken":
            self.node_token(fusion, p)
        return p

    def node_token(self, fusion, p):
        self.vector(fusion.token, p)
        fusion.embedding[...] = fusion.embedding[...][:, p]
        for block in fusion.blocks:
            for n in (block.ln1, block.ln2):
                self.vector(n.scale, p)
                self.vector(n.bias, p)
            h, v, f = self.new(D), self.new(D), self.new(4 * D)
            for layer, i, o in (("query", p, h), ("key", p, h), ("value", p, v), ("out", v, p)):
                self.dense(getattr(block.attention, layer), i, o)
            self.dense(block.mlp.fc1, p, f)
            self.dense(block.mlp.fc2, f, p)
        self.vector(fusion.norm.scale, p)
        self.vector(fusion.norm.bias, p)

    def model(self, model):
        model = nnx.clone(model)
        p = self.new(D)
        for encoder in model.encoders:
            if hasattr(encoder, "mlp"):
                h = self.new(D)
                self.dense(encoder.mlp.fc1, None, h)
                self.dense(encoder.mlp.fc2, h, p)
            else:
                self.dense(encoder.linear, None, p)
        if model.missing_token is not None:
            model.missing_token[...] = model.missing_token[...][:, p]
        for streams in model.streams:
            slices = [jax.tree.map(lambda a, m=m: a[m], streams.layers) for m in range(2)]
            state = self.rng.bit_generator.state
            for s in slices:  # the same permutation for both modalities
                self.rng.bit_generator.state = state
                out = self.graph(s, p)
            p, streams.layers = out, jax.tree.map(lambda *a: jnp.stack(a), *slices)
        p = self.fusion(model.fusions[0], p)
        for layer in model.layers:
            p = self.graph(layer, p)
        model.head.kernel[...] = model.head.kernel[...][p]
        return model


CASES = {
    "concat_mlp before gcn": dict(fusion=spec("concat_mlp"), placement="before", layer=spec("gcn"), encoder="mlp"),
    "concat_linear after sage": dict(fusion=spec("concat_linear"), placement="after", layer=spec("sage")),
    "self_attention before gat": dict(fusion=spec("self_attention"), placement="before", layer=spec("gat", heads=2)),
    "free_query after none": dict(fusion=spec("free_query"), placement="after", layer=spec("none"), missing="learned"),
    "node_query before gcn": dict(fusion=spec("node_query"), placement="before", layer=spec("gcn")),
    "node_token before none": dict(fusion=spec("node_token", heads=1), placement="before", layer=spec("none")),
    "elu behind gat": dict(fusion=spec("sum"), placement="before", layer=spec("gat", heads=2), activation="elu"),
    "mean after gat": dict(fusion=spec("mean"), placement="after", layer=spec("gat", heads=2)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_permuted_network_comes_back_to_the_anchor(batch, case):
    anchor = build(**CASES[case])
    permuted = Permuter().model(anchor)
    np.testing.assert_allclose(permuted(batch).prediction, anchor(batch).prediction, rtol=2e-3, atol=2e-3)
    walk = Walk(Rules(solver="emd", heads="blocks"), batch, np.ones(N, bool), 200, 0)
    aligned = leaves(align(permuted, anchor, walk))
    moved = leaves(permuted)
    changed = 0
    for name, value in leaves(anchor).items():
        np.testing.assert_allclose(aligned[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
        changed += not np.allclose(moved[name], value)
    assert changed > 5


def test_a_network_aligned_to_itself_by_weights_is_itself(batch):
    anchor = build(spec("concat_mlp"), "before", spec("sage"))
    walk = Walk(Rules(cost="wts", solver="emd"), batch, np.ones(N, bool), 200, 0)
    aligned = leaves(align(anchor, anchor, walk))
    for name, value in leaves(anchor).items():
        np.testing.assert_allclose(aligned[name], value, rtol=1e-6, atol=1e-6, err_msg=name)


def test_layers_are_compared_behind_the_models_own_activation(batch):
    """What the second layer of two unlike networks returns depends on it, and so do the maps."""
    form = dict(fusion=spec("mean"), placement="before", layer=spec("gcn"), activation="elu")
    anchor = build(**form)
    graphdef, state = nnx.split(anchor)
    other = nnx.merge(graphdef, jax.tree.map(lambda a: jnp.flip(a), state))
    maps = []
    for activation in ("elu", "relu"):
        anchor.activation = other.activation = activation
        found = leaves(align(other, anchor, Walk(Rules(), batch, np.ones(N, bool), 200, 0)))
        maps.append([np.asarray(found[f"layers/{i}/linear/kernel"]) for i in range(2)])
    np.testing.assert_array_equal(maps[0][0], maps[1][0])
    assert not np.allclose(maps[0][1], maps[1][1])


@pytest.mark.parametrize(
    "change,match",
    [
        (dict(fusion=spec("gmu")), "no rule for the fusion 'gmu'; it knows: concat_linear"),
        (dict(placement="decision", fusion=spec("late_logits")), "placements .*'decision'"),
        (dict(head="none"), "no rule for a model whose last graph layer predicts"),
        (dict(layer=spec("gat", heads=2, merge="mean")), "no rule for the graph layer 'gat' with averaged heads"),
        (dict(layer=spec("neighborhood_attention", heads=2)), "no rule for the layer 'neighborhood_attention'"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(batch, change, match):
    model = build(**{**dict(fusion=spec("mean"), placement="before", layer=spec("gcn")), **change})
    with pytest.raises(ValueError, match=match):
        align(model, model, Walk(Rules(), batch, np.ones(N, bool), 200, 0))


def test_it_is_refused_before_anything_is_computed():
    """What could be computed may need what a merging has not, such as labels."""
    model = build(spec("gmu"), "before", spec("gcn"))
    with pytest.raises(ValueError, match="no rule for the fusion 'gmu'"):
        align(model, model, Walk(Rules(), None, np.ones(N, bool), 200, 0))


def test_too_few_training_nodes_to_compare_are_an_error(batch):
    model = build(spec("mean"), "before", spec("gcn"))
    with pytest.raises(ValueError, match="1 is too few"):
        align(model, model, Walk(Rules(), batch, np.arange(N) == 0, 200, 0))


def test_soft_maps_of_attention_keep_to_whole_heads_where_blocks_are_asked_for(batch):
    """Two unlike networks: with one head the layer has one block, and the rule changes nothing."""
    for heads, same in ((2, False), (1, True)):
        anchor = build(spec("mean"), "before", spec("gat", heads=heads))
        graphdef, state = nnx.split(anchor)
        other = nnx.merge(graphdef, jax.tree.map(lambda a: jnp.flip(a), state))
        found = []
        for rule in ("reference", "blocks"):
            walk = Walk(Rules(heads=rule), batch, np.ones(N, bool), 200, 0)
            found.append(leaves(align(other, anchor, walk))["layers/0/linear/kernel"])
        assert np.array_equal(*found) == same


def test_a_join_weighs_what_the_anchor_computes(batch):
    """The published rule: the stream and the attention's output are the anchor's."""
    form = dict(fusion=spec("node_token", heads=1), placement="before", layer=spec("none"))
    asked = []

    class Asked(Rules):
        def encoder(self, block0, block1, t_in, acts, before, heads=1):
            asked.append((acts, before))
            return super().encoder(block0, block1, t_in, acts, before, heads)

    anchor = build(**form)
    graphdef, state = nnx.split(anchor)
    other = nnx.merge(graphdef, jax.tree.map(lambda a: jnp.flip(a), state))
    align(other, anchor, Walk(Asked(), batch, np.ones(N, bool), 200, 0))
    for acts, _ in asked:
        np.testing.assert_array_equal(acts["attended"], acts["o"][1])
        assert not np.array_equal(*acts["o"])
    ours = [asked[0][1]]
    align(anchor, anchor, Walk(Asked(), batch, np.ones(N, bool), 200, 0))
    np.testing.assert_array_equal(ours[0], asked[2][1])


def test_a_query_of_the_node_itself_is_not_compared_with_keys_row_by_row(batch):
    model = build(spec("node_query"), "before", spec("gcn"))
    walk = Walk(Rules(qk="joint"), batch, np.ones(N, bool), 10, 0)
    with pytest.raises(ValueError, match="qk='joint' compares Q and K row by row; node_query has one query a node"):
        align(model, model, walk)


def test_the_queries_of_node_query_are_the_means_of_what_is_there(batch):
    fusion = build(spec("node_query"), "before", spec("gcn")).fusions[0]
    given = []

    class Told(Walk):
        def attention(self, parts, t_in, x, rows, queries=None, asking=None):
            given.append((queries, asking))
            return t_in

    x = jnp.asarray(np.random.default_rng(5).normal(size=(N, 2, D)), jnp.float32)
    mask = jnp.asarray(np.arange(2 * N).reshape(N, 2) % 3 > 0)
    t = fusion.align(fusion, Told(Rules(), batch, np.ones(N, bool), 10, 0), [np.eye(D), 3 * np.eye(D)], both(x, mask))
    np.testing.assert_array_equal(t, 2 * np.eye(D))
    (queries, asking) = given[0]
    np.testing.assert_allclose(queries[1], np.nanmean(np.where(mask[..., None], x, np.nan), 1), rtol=1e-6)
    np.testing.assert_array_equal(asking, mask.any(1))


def test_a_fusion_without_parameters_hands_a_map_on():
    maps = [np.eye(2), 3 * np.eye(2)]
    for fusion, expected in ((Single(2, 2, index=1, rngs=nnx.Rngs(0)), 3), (Sum(2, 2, rngs=nnx.Rngs(0)), 2)):
        np.testing.assert_array_equal(fusion.align(fusion, None, maps, None), expected * np.eye(2))


def both(x, mask):
    """The states of two equal networks around a fusion."""
    return States((x, x), (None, None), mask, np.asarray(mask), None)


def test_a_mechanism_is_told_what_goes_in_what_comes_out_and_where_to_look(batch):
    """Training nodes that have something: of the modality, of each modality, of any, and behind a layer."""
    told = {}

    def telling(base, kind):
        def align(self, anchor, walk, *given):
            *maps, told[kind] = given
            told[kind, "maps"] = maps[0] if maps else None
            return np.eye(D)

        return type(base.__name__, (base,), dict(align=align))

    def first_alone(self, mask, graph):  # a fusion says who has something behind it
        return mask[:, 0]

    model = build(spec("mean"), "before", spec("gcn"))
    graph, mask = batch.graph, np.asarray(batch.mask)
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    late = receivers[senders != receivers][0]
    alone = mask & (np.arange(N) != late)[:, None]  # has nothing until it receives
    batch = dataclasses.replace(batch, mask=jnp.asarray(alone))
    for module, kind in ((model.encoders[0], "encoder"), (model.fusions[0], "fusion"), (model.layers[0], "layer")):
        module.__class__ = telling(type(module), kind)
    type(model.fusions[0]).reached = first_alone
    model.readout = telling(HistoGraph, "readout")(D, 3, heads=2, rngs=nnx.Rngs(0))
    nodes = (np.arange(N) % 3 < 2) | (np.arange(N) == late)
    align(model, model, Walk(Rules(), batch, nodes, 200, 0))
    x, y = told["encoder"].x, told["encoder"].y
    np.testing.assert_array_equal(x[0], np.where(alone[:, :1], batch.features["a"], 0))
    np.testing.assert_array_equal(y[1], model.encoders[0](x[1]))
    np.testing.assert_array_equal(told["encoder"].rows, nodes & alone[:, 0])
    np.testing.assert_array_equal(told["fusion"].rows, nodes[:, None] & alone)
    np.testing.assert_array_equal(told["fusion"].mask, alone)
    assert len(told["fusion", "maps"]) == 2
    state = model.fusions[0](told["fusion"].x[0], told["fusion"].mask, graph).out
    np.testing.assert_array_equal(told["fusion"].y[0], state)
    np.testing.assert_array_equal(told["layer"].x[0], state)
    behind = np.asarray(model.layers[0].reached(jnp.asarray(alone[:, 0]), graph))
    np.testing.assert_array_equal(told["layer"].mask, alone[:, 0])
    assert not told["layer"].mask[late] and behind[late]
    np.testing.assert_array_equal(told["layer"].rows, nodes & behind)
    readout = told["readout"]
    assert len(told["readout", "maps"]) == 3 and readout.x[0].shape == (N, 3, D) and readout.y[0].shape == (1, D)
    np.testing.assert_array_equal(readout.x[0][:, 0], state)
    assert readout.graph.present[late]
