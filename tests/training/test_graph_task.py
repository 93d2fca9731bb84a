"""Classification of graphs from data to metrics: rows are graphs throughout, and test graphs stay unseen."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import base
from fusion_jax import study
from fusion_jax.data import load
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from tests import tiny

pytestmark = pytest.mark.xdist_group("graph-task")
DATA = dict(graphs=120, dim=4)
HISTOGRAPH = {"model.readout.name": "histograph", "model.readout.options": {"guard": 1e-6}}
SHORT = {"training.epochs": 3, "training.chunk": 3, "model.dim": 8, "model.layers": 1}


@pytest.fixture(scope="module")
def data():
    return load("synthetic_graphs", **DATA)


def cell(changes=()):
    config = base.get_config()
    first = {
        "data.name": "synthetic_graphs",
        "data.options": DATA,
        "seeds": 2,
        "model.dim": 16,
        "model.rate": 0.0,
        "training.epochs": 60,
        "training.chunk": 60,
        "training.patience": 60,
    }
    for key, value in {**first, **dict(changes)}.items():
        study.set_key(config, key, value)
    return study.resolve(config)


def train(data, changes=()):
    plan = cell(changes).plan
    return tiny.trained(plan, data, (0, 1))


def same(a, b) -> bool:
    leaves = [jax.tree.leaves(t.params) for t in (a, b)]
    return all(np.array_equal(x, y) for x, y in zip(*leaves, strict=True))


def with_features(data, rows, value):
    features = {k: np.where(rows[:, None], np.float32(value), x) for k, x in data.features.items()}
    return dataclasses.replace(data, features=features)


@pytest.mark.parametrize("readout", [{}, HISTOGRAPH], ids=["mean", "histograph"])
def test_it_beats_chance(data, tmp_path, readout):
    """Chance is 0.25, and 96 test graphs have a standard error of 0.044 there; one of the two bits gives 0.5."""
    store, made = Store(tmp_path / "store", create=True), cell(readout)
    identity = run_cell(made, store, data)["identity"]
    metrics, predictions = store.table(identity, "metrics"), store.table(identity, "predictions")
    test = metrics[(metrics.part == "test") & (metrics.metric == "accuracy")]
    assert len(test) == 2 and test.value.mean() > 0.42
    assert len(predictions) == 2 * 120 and {len(p) for p in predictions.prediction} == {4}
    assert set(predictions[predictions.seed == 0].part.value_counts().to_dict().items()) == {
        ("train", 48),
        ("val", 24),
        ("test", 48),
    }


@pytest.mark.parametrize("setting", ["transductive", "inductive"])
def test_test_labels_change_no_parameter(data, setting):
    changes = {**SHORT, **HISTOGRAPH, "data.setting": setting}
    labels = data.target.labels.copy()
    test = [data.split(seed).test for seed in (0, 1)]
    both = np.intersect1d(*test)
    labels[both] = np.roll(labels[both], 1)
    assert (labels != data.target.labels).any()
    other = dataclasses.replace(data, target=dataclasses.replace(data.target, labels=labels))
    a, b = train(data, changes), train(other, changes)
    assert same(a, b)
    np.testing.assert_array_equal(a.prediction, b.prediction)
    assert a.prediction.shape == (2, 120, 4)


def test_inductive_training_does_not_see_test_graphs(data):
    """Whatever stands in them, training is the same, and it is the transductive one: graphs know nothing of others."""
    # plain descent: Adam would blow up the rounding of gradients that are 0, and the two are different programs,
    # which is what the tolerances below are for
    descent = {"optimizer.name": "sgd", "optimizer.options": {}, "optimizer.learning_rate": 0.05}
    changes = {**SHORT, **HISTOGRAPH, **descent, "data.setting": "inductive"}
    inductive, transductive = train(data, changes), train(data, {**changes, "data.setting": "transductive"})
    for a, b in zip(jax.tree.leaves(inductive.params), jax.tree.leaves(transductive.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(inductive.prediction, transductive.prediction, rtol=1e-4, atol=1e-5)
    both = np.intersect1d(*(data.split(seed).test for seed in (0, 1)))
    nodes = np.isin(np.repeat(np.arange(120), data.graphs["trees"].n_node), both)
    other = train(with_features(data, nodes, 7), changes)
    assert same(inductive, other)
    changed = (other.prediction != inductive.prediction).any(-1)
    assert changed[:, both].all() and not np.delete(changed, both, 1).any()


def test_what_a_seed_is_given(data):
    """Weights and targets of graphs, masks and edges of nodes; the scaler knows the training graphs only."""
    ready = tiny.prepared(cell({"data.setting": "inductive"}).plan, data, (0, 1))
    n_node = data.graphs["trees"].n_node
    assert ready.trials.train_weight.shape == ready.trials.val_weight.shape == (2, 120)
    assert ready.target.labels.shape == (2, 120)
    for i, split in enumerate(ready.splits):
        seen = np.isin(np.repeat(np.arange(120), n_node), np.concatenate([split.train, split.val]))
        own = jax.tree.map(lambda a, i=i: np.asarray(a[i]), ready.trials.graph)
        np.testing.assert_array_equal(ready.trials.mask[i], data.mask & seen[:, None])
        np.testing.assert_array_equal(own.jraph.n_node, n_node)
        for graph in (own, own.looped):
            np.testing.assert_array_equal(graph.present, seen)
            gone = ~seen[graph.senders] | ~seen[graph.receivers]
            np.testing.assert_array_equal(graph.senders[gone], graph.receivers[gone])
        kept = np.concatenate([split.train, split.val])
        assert (own.senders != own.receivers).sum() == 2 * (n_node[kept] - 1).sum()
        assert not np.asarray(ready.target.labels[i])[split.test].any()
    train_nodes = np.isin(np.repeat(np.arange(120), n_node), ready.splits[0].train)
    np.testing.assert_allclose(ready.trials.shift["m0"][0], data.features["m0"][train_nodes].mean(0), atol=1e-5)


def test_what_does_not_fit_is_refused(data):
    with pytest.raises(ValueError, match="readout 'last' is for node tasks, this data set labels graphs"):
        train(data, {**SHORT, "model.readout.name": "last"})
    with pytest.raises(ValueError, match="'decision' is defined for node tasks"):
        train(data, {**SHORT, "model.placement": "decision", "model.fusion.name": "late_logits"})
    with pytest.raises(ValueError, match="field default_graph: none; expected one"):
        dataclasses.replace(data, default_graph="")
    short = dataclasses.replace(data.target, labels=data.target.labels[:-1])
    with pytest.raises(ValueError, match="119 rows; expected 120, one a graph"):
        dataclasses.replace(data, target=short)
