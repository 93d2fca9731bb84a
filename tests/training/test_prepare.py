"""What leaves the host: splits, scalers, weights, hidden labels, the graph of the inductive setting."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.data import splits
from fusion_jax.data.base import Split
from fusion_jax.data.missing import without
from fusion_jax.graphs import Graph
from fusion_jax.records import Batch
from fusion_jax.training.prepare import select_split, without_nodes
from tests import tiny


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


def test_labels_outside_training_and_selection_do_not_reach_the_device(data):
    ready = tiny.prepared(tiny.cell().plan, data, (0, 1))
    for i, split in enumerate(ready.splits):
        seen = np.isin(np.arange(60), np.concatenate([split.train, split.val]))
        assert data.target.labels[split.test].any(), "some test label must differ from what stands for hidden"
        np.testing.assert_array_equal(ready.target.labels[i], np.where(seen, data.target.labels, 0))
        np.testing.assert_array_equal(np.flatnonzero(ready.trials.train_weight[i]), split.train)
        np.testing.assert_array_equal(np.flatnonzero(ready.trials.val_weight[i]), split.val)


def test_class_weights_are_1_over_C_times_share(data):
    labels = data.target.labels
    train = np.sort(np.concatenate([np.flatnonzero(labels == 0)[:8], np.flatnonzero(labels == 1)[:2]]))
    rest = np.setdiff1d(np.arange(60), train)
    uneven = dataclasses.replace(data, splits=splits.fixed(train, rest[:10], rest[10:], "8 and 2 labels"))
    weight = np.asarray(tiny.prepared(tiny.cell(loss__class_weights=True).plan, uneven, (0,)).trials.train_weight[0])
    expected = np.zeros(60)
    expected[train] = np.where(labels[train] == 0, 10 / (2 * 8), 10 / (2 * 2))
    np.testing.assert_allclose(weight, expected, rtol=1e-6)
    plain = np.asarray(tiny.prepared(tiny.cell().plan, uneven, (0,)).trials.train_weight[0])
    np.testing.assert_array_equal(plain, np.isin(np.arange(60), train))


def test_protocol_paper_trains_on_validation_rows_and_selects_on_test_rows(data):
    honest = data.split(0)
    ready = tiny.prepared(tiny.cell(protocol="paper").plan, data, (0,))
    np.testing.assert_array_equal(
        np.flatnonzero(ready.trials.train_weight[0]), np.sort(np.concatenate([honest.train, honest.val]))
    )
    np.testing.assert_array_equal(np.flatnonzero(ready.trials.val_weight[0]), honest.test)
    np.testing.assert_array_equal(ready.target.labels[0], data.target.labels)
    split = select_split(Split(np.array([4]), np.array([1]), np.array([2])), "paper")
    np.testing.assert_array_equal(split.train, [1, 4])


@pytest.mark.parametrize("setting", ["transductive", "inductive"])
def test_what_is_taken_away_is_gone_from_training_and_evaluation(data, setting):
    """Whichever modalities a cell uses, the same nodes lack the same."""
    asked = dict(data__missing__name="uniform", data__missing__options=dict(rate=0.5), data__setting=setting)
    expected = without(data, "uniform", dict(rate=0.5)).mask
    ready = tiny.prepared(tiny.cell(**asked).plan, data, (0, 1))
    np.testing.assert_array_equal(ready.batch.mask, expected)
    loud = dataclasses.replace(
        data, features={k: x + 1e3 * ~expected[:, [m]] for m, (k, x) in enumerate(data.features.items())}
    )
    other = tiny.prepared(tiny.cell(**asked).plan, loud, (0, 1))
    for a, b in zip(jax.tree.leaves(ready.trials.shift), jax.tree.leaves(other.trials.shift), strict=True):
        np.testing.assert_array_equal(a, b)
    one = tiny.prepared(tiny.cell(**asked, data__modalities=("m1",)).plan, data, (0,))
    np.testing.assert_array_equal(one.batch.mask, expected[:, 1:])


@pytest.mark.parametrize("per_seed", [(), ("init",), ("dropout",), ("split",), ("init", "dropout", "split")])
def test_seeds_differ_in_what_per_seed_names_and_in_nothing_else(data, per_seed):
    ready = tiny.prepared(tiny.cell(per_seed=per_seed).plan, data, (3, 4))
    same = dict(
        init=bool((jax.random.key_data(ready.init_keys[0]) == jax.random.key_data(ready.init_keys[1])).all()),
        dropout=bool((jax.random.key_data(ready.trials.key[0]) == jax.random.key_data(ready.trials.key[1])).all()),
        split=np.array_equal(ready.splits[0].train, ready.splits[1].train),
    )
    assert same == {what: what not in per_seed for what in same}


def test_what_a_seed_gets_does_not_depend_on_the_other_seeds(data):
    plan = tiny.cell(data__setting="inductive").plan
    alone, among = tiny.prepared(plan, data, (2,)), tiny.prepared(plan, data, (0, 1, 2))
    for a, b in zip(jax.tree.leaves(alone.trials), jax.tree.leaves(among.trials), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a[0], b[2])


def test_the_graph_without_nodes_is_the_induced_subgraph(data):
    graph = data.graph()
    keep = np.random.default_rng(0).random(60) < 0.7
    cut = without_nodes(graph, keep)
    own = Graph.create(*induced(graph, keep), int(keep.sum()))
    for mine, expected in ((cut, own), (cut.looped, own.looped)):
        s, r = np.asarray(mine.senders), np.asarray(mine.receivers)
        new = np.cumsum(keep) - 1
        kept = keep[r] & keep[s]
        pairs = set(zip(new[s[kept]].tolist(), new[r[kept]].tolist(), strict=True))
        assert pairs == set(zip(*np.asarray([expected.senders, expected.receivers]).tolist(), strict=True))
        assert (s[~kept] == r[~kept]).all(), "an edge of a node that is gone must join nothing"
    assert cut.num_edges == graph.num_edges
    np.testing.assert_array_equal(cut.present, keep)
    assert without_nodes(graph, np.ones(60, bool)) is graph


def induced(graph, keep):
    s, r = np.asarray(graph.senders), np.asarray(graph.receivers)
    inside = keep[s] & keep[r]
    new = np.cumsum(keep) - 1
    return new[s[inside]], new[r[inside]]


@pytest.mark.parametrize("layer", ["gcn", "gat", "sage"])
def test_a_model_on_the_graph_without_nodes_is_the_model_on_the_induced_subgraph(data, layer):
    plan = tiny.cell(model__layer__name=layer, model__placement="after", model__fusion__name="mean").plan
    model = tiny.model(plan, data, tiny.prepared(plan, data, (0,)))
    keep = np.random.default_rng(1).random(60) < 0.7
    graph = data.graph()
    features = {k: jnp.asarray(x) for k, x in data.features.items()}
    cut = Batch(features, jnp.asarray(data.mask & keep[:, None]), without_nodes(graph, keep))
    small = Batch(
        {k: x[keep] for k, x in features.items()},
        jnp.asarray(data.mask[keep]),
        Graph.create(*induced(graph, keep), int(keep.sum())),
    )
    graphdef, state = nnx.split(model)
    run = jax.jit(lambda batch: nnx.merge(graphdef, state)(batch).prediction)
    np.testing.assert_allclose(run(cut)[keep], run(small), rtol=1e-4, atol=1e-5)


def test_inductive_training_sees_training_and_validation_nodes_only(data):
    ready = tiny.prepared(tiny.cell(data__setting="inductive").plan, data, (0,))
    split = ready.splits[0]
    there = np.isin(np.arange(60), np.concatenate([split.train, split.val]))
    np.testing.assert_array_equal(ready.trials.mask[0], data.mask & there[:, None])
    s, r = np.asarray(ready.trials.graph.senders[0]), np.asarray(ready.trials.graph.receivers[0])
    assert there[s[s != r]].all() and there[r[s != r]].all()
    np.testing.assert_array_equal(ready.batch.mask, data.mask)
    assert ready.batch.graph.num_edges == data.graph().num_edges
    assert tiny.prepared(tiny.cell().plan, data, (0,)).trials.graph is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(data__modalities=("m0", "m7")), "no modality 'm7' (did you mean 'm"),
        (dict(data__modalities=("m0", "m0")), "named twice"),
        (dict(data__graph="plantde"), "no edge set 'plantde' (did you mean 'planted'?)"),
        (dict(data__views=("planted",)), "names 1 edge sets for 2 modalities"),
        (dict(data__views=("planted", "knn")), "no edge set 'knn'"),
        (dict(data__modalities=("structure",), data__setting="inductive"), "not for setting 'inductive'"),
    ],
)
def test_what_the_data_set_does_not_have_is_refused_by_name(data, changes, message):
    with pytest.raises(ValueError) as error:
        tiny.prepared(tiny.cell(**changes).plan, data, (0,))
    assert message in str(error.value)


def test_structure_is_a_modality_like_any_other(data):
    ready = tiny.prepared(tiny.cell(data__modalities=("m1", "structure")).plan, data, (0,))
    assert list(ready.batch.features) == ["m1", "structure"]
    assert ready.batch.features["structure"].shape == (60, 59)
    np.testing.assert_array_equal(ready.batch.mask[:, 0], data.mask[:, 1])
    assert np.asarray(ready.batch.mask[:, 1]).all()
    with pytest.raises(ValueError, match="no modality 'structure'"):
        tiny.prepared(tiny.cell(data__modalities=("structure",)).plan, tiny.dataset(degree=0), (0,))


def test_one_edge_set_a_modality(data):
    two = dataclasses.replace(data, graphs={**data.graphs, "other": tiny.dataset(seed=5).graphs["planted"]})
    ready = tiny.prepared(tiny.cell(data__views=("planted", "other")).plan, two, (0,))
    for m, name in enumerate(("planted", "other")):
        np.testing.assert_array_equal(ready.batch.graph.view(m).senders, two.graphs[name].senders)
