"""No model sees a link that is held out: in no edge set, in no direction, in training and in evaluation."""

import dataclasses

import jax
import numpy as np
import pytest

from fusion_jax.data.base import edge_set
from fusion_jax.data.links import as_links
from fusion_jax.graphs import Graph
from fusion_jax.results.measured import scored
from fusion_jax.results.restore import restore
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.training.links import without_links
from tests import tiny

SPY = '''
"""A readout without parameters that tells of every pair how many edges of any graph it is given join the two."""

import jax.numpy as jnp

from fusion_jax.readouts.base import Readout
from fusion_jax.records import EVALUATION, Info, Read


class Spy(Readout):
    info = Info("Nobody", needs=("graph",))
    level = "link"
    last_only = True

    def __init__(self, dim, layers, *, rngs):
        del dim, layers, rngs

    @classmethod
    def width(cls, dim):
        return 1

    def __call__(self, history, graph, context=EVALUATION):
        u, v = graph.pairs.T[..., None]
        seen = [g for view in (graph, *graph.views) for g in (view, view.looped)]
        both = [((g.senders == a) & (g.receivers == b)).sum(-1) for g in seen for a, b in ((u, v), (v, u))]
        return Read(jnp.minimum(sum(both), 1)[:, None].astype(history.dtype))
'''


def linked():
    """Links of a small data set that has its edges in three sets: as they are, in one direction, and with more."""
    plain = tiny.dataset()
    g, ids = plain.graphs["planted"], np.arange(60)
    keep = g.senders < g.receivers
    sets = {
        "planted": g,
        "one way": edge_set(g.senders[keep], g.receivers[keep], 60, {"weight": np.linspace(1, 2, keep.sum())}),
        "more": edge_set(np.r_[g.senders, ids], np.r_[g.receivers, ids[::-1]], 60),
    }
    return as_links(dataclasses.replace(plain, graphs=sets))


VIEWS = {"model__placement": "after", "data__views": ("one way", "more")}
CELLS = {
    "shared": {},
    "views": VIEWS,
    "views of evaluation": {**VIEWS, "data__test_views": ("more", "planted")},
    "paper": {**VIEWS, "protocol": "paper"},
    "one split": {**VIEWS, "per_seed": ("init",)},
}


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def joined(graph: Graph) -> set[tuple[int, int]]:
    """Pairs that some edge of the graph, of its looped form or of a view joins."""
    found = set()
    for view in (graph, *graph.views):
        for g in (view, view.looped):
            ends = np.sort(np.stack([np.asarray(g.senders), np.asarray(g.receivers)], 1), axis=1)
            found |= {(int(a), int(b)) for a, b in ends if a != b}
    return found


@pytest.mark.parametrize("name", CELLS)
def test_pairs_that_are_no_training_rows_are_joined_nowhere(name):
    data = linked()
    ready = tiny.prepared(tiny.cell(**CELLS[name]).plan, data, (0, 1))
    pairs = {kind: np.sort(data.target.pairs, axis=1)[data.target.labels == kind] for kind in (True, False)}
    for i, split in enumerate(ready.splits):
        graphs = [ready.evaluated[i]]
        for held in (ready.trials.graph, ready.trials.evaluated):
            graphs += [] if held is None else [jax.tree.map(lambda a, i=i: a[i], held)]
        trained = {tuple(p) for p in np.sort(data.target.pairs[split.train], axis=1).tolist()}
        for graph in graphs:
            edges = joined(graph)
            for kind in pairs.values():
                assert not edges & {tuple(p) for p in kind.tolist()} - trained
            links = {tuple(p) for p in pairs[True].tolist()} & trained
            assert links <= edges or "views" in name and graph is graphs[0]
            np.testing.assert_array_equal(graph.pairs, data.target.pairs)
            assert graph.num_nodes == 61 and not graph.present[-1] and graph.present[:-1].all()
    assert ready.batch.graph is None and len(ready.batch.mask) == 61 and not ready.batch.mask[-1].any()


@pytest.mark.parametrize("name", ["shared", "views", "views of evaluation"])
def test_a_spy_that_reads_nothing_but_edges_tells_no_link_from_another_pair(name, tmp_path):
    """On training rows it knows everything, on validation and test rows nothing at all."""
    (tmp_path / "spy.py").write_text(SPY)
    options = {"model__readout__name": str(tmp_path / "spy.py"), **CELLS[name]}
    cell, store = tiny.cell(**options, optimizer__learning_rate=0.3), Store(tmp_path / "study", create=True)
    identity = run_cell(cell, store, linked())["identity"]
    for part in ("val", "test"):
        for _, rows in scored(store, identity, part).values():
            assert np.ptp(rows.prediction) == 0, part
    if name != "views of evaluation":
        for _, rows in scored(store, identity, "train").values():
            told = rows.prediction[:, 0]
            links, others = told[rows.target.labels], told[~rows.target.labels]
            assert np.ptp(links) == 0 and np.median(others) != links[0], "what it would say of a link it saw"


def test_what_is_gone_becomes_a_loop_at_a_last_node_that_is_not_there():
    senders, receivers = np.array([0, 1, 1, 2, 0, 3]), np.array([1, 0, 2, 1, 3, 3])
    graph = Graph.create(senders, receivers, 4, {"weight": np.arange(1.0, 7), "time": np.arange(6.0)})
    cut = without_links(graph, np.array([[1, 0], [3, 2], [3, 0]]))

    def edges(g):
        arrays = (g.senders, g.receivers, g.edges["weight"], g.edges["time"])
        return sorted(zip(*(np.asarray(a).tolist() for a in arrays), strict=True))

    assert edges(cut) == [(1, 2, 3, 2), (2, 1, 4, 3), (3, 3, 6, 5), (4, 4, 1, 0), (4, 4, 2, 1), (4, 4, 5, 4)]
    looped = edges(cut.looped)
    assert [e for e in looped if e[0] != e[1]] == [(1, 2, 3, 2), (2, 1, 4, 3)]
    assert [e for e in looped if e[0] == e[1] < 4] == [(i, i, 1, 0) for i in range(4)]
    assert [e for e in looped if e[0] == 4] == [(4, 4, 1, 0), (4, 4, 1, 0), (4, 4, 2, 1), (4, 4, 5, 4)]
    np.testing.assert_array_equal(cut.present, [True] * 4 + [False])
    np.testing.assert_array_equal(cut.jraph.n_node, [5])


def test_evaluation_has_its_own_views():
    data = linked()
    ready = tiny.prepared(tiny.cell(**CELLS["views of evaluation"]).plan, data, (0, 1))
    for held, names in ((ready.trials.graph, ("one way", "more")), (ready.trials.evaluated, ("more", "planted"))):
        assert [v.senders.shape[1] for v in held.views] == [len(data.graphs[name].senders) for name in names]


def test_seeds_of_different_splits_have_graphs_of_one_shape():
    data = linked()
    ready = tiny.prepared(tiny.cell(**VIEWS).plan, data, (0, 1, 2))
    counts = [len({tuple(p) for p in joined(g)}) for g in ready.evaluated]
    assert len(set(counts)) > 1 and len({g.views[1].num_edges for g in ready.evaluated}) == 1


@pytest.mark.parametrize("name", ["shared", "views", "views of evaluation"])
def test_a_seed_alone_is_that_seed_among_others_and_comes_back(name, tmp_path):
    data, cell = linked(), tiny.cell(seeds=2, **CELLS[name])
    alone = tiny.trained(cell.plan, data, (1,)).prediction[0]
    store = Store(tmp_path, create=True)
    identity = run_cell(cell, store, data)["identity"]
    store.write_study([(identity, cell)], "test")
    kept = store.table(identity, "predictions")
    stored = np.stack(kept[kept.seed == 1].prediction)
    assert stored.shape == (len(data.target), 1)
    np.testing.assert_allclose(alone, stored, rtol=1e-5, atol=1e-6)
    restored = restore(store, identity, data=data)
    np.testing.assert_allclose(restored.prediction(1), stored, rtol=1e-6, atol=1e-6)  # the rounding of another program


def test_a_scaler_is_fitted_on_the_nodes_of_training_pairs():
    data = as_links(tiny.dataset(), train=0.05, val=0.05)
    nodes = np.unique(data.target.pairs[data.split(0).train])
    rows = nodes[data.mask[nodes, 0]]
    assert len(nodes) < 40
    ready = tiny.prepared(tiny.cell().plan, data, (0,))
    np.testing.assert_allclose(ready.trials.shift["m0"][0], data.features["m0"][rows].mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__modalities": ("m0", "structure")}, "encodes the whole graph and the links held out: not for links"),
        ({"data__setting": "inductive"}, "links are held out among nodes that are all there; set data.setting to"),
        (
            {"model__placement": "decision", "model__fusion__name": "late_logits"},
            "placement 'decision' is defined for node tasks",
        ),
        ({"model__readout__name": "last"}, "readout 'last' is for node tasks, this data set labels links"),
        ({"control__name": "logistic_regression"}, "control 'logistic_regression' is for node classification"),
        ({"loss__class_weights": True}, "needs a classification target, this one is 'links'"),
    ],
)
def test_what_links_do_not_have_is_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_cell(tiny.cell(**changes), Store(tmp_path, create=True), linked())
