"""The inductive setting: nothing of a node that is yet to come reaches training, whatever its graph is made from."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import base
from fusion_jax import study
from fusion_jax.controls.label_propagation import LabelPropagation
from fusion_jax.data import __main__ as listing
from fusion_jax.data import graphs, splits
from fusion_jax.data import load as load_data
from fusion_jax.data.base import Dataset, Neighbours, Provenance, Split, Splits, edge_set
from fusion_jax.graphs import Graph
from fusion_jax.records import Batch, Target
from fusion_jax.run.control import fit_control
from fusion_jax.run.model import train_model
from fusion_jax.training.inductive import padded
from fusion_jax.training.trial import scaled, whole
from tests import tiny

# Small, so that all sets which need no download train within seconds; the other options are the usual ones.
OPTIONS = {
    "digits": dict(missing=0.3),
    "synthetic": dict(nodes=90, missing=0.2),
    "synthetic_graphs": dict(graphs=24),
    "synthetic_temporal": dict(nodes=60),
    "synthetic_values": dict(nodes=60, missing=0.2),
}
SEEDS = (0, 1)


def built_in() -> list[str]:
    """The data sets that can be loaded without a download."""
    return [row["name"] for row in listing.rows() if row["present"]]


@functools.cache
def load(name: str) -> Dataset:
    return load_data(name, **OPTIONS.get(name, {}))


def cell(name: str, **changes):
    config = base.get_config()
    small = {
        "data.name": name,
        "data.setting": "inductive",
        "seeds": 2,
        "model.dim": 4,
        "model.layers": 1,
        "model.fusion.name": "mean",
        "training.epochs": 2,
        "training.chunk": 2,
    }
    for key, value in {**small, **{k.replace("__", "."): v for k, v in changes.items()}}.items():
        study.set_key(config, key, value)
    return study.resolve(config)


def modalities(data: Dataset) -> tuple[str, ...]:
    """Those that can be inductive: the encoding of the whole graph can't."""
    return tuple(m for m in data.features if m != "structure")


def seen_rows(data: Dataset, seed: int) -> np.ndarray:
    split, here = data.split(seed), np.zeros(len(data.target), bool)
    here[split.train] = here[split.val] = True
    return here


def of_nodes(data: Dataset, rows: np.ndarray) -> np.ndarray:
    if data.target.level == "node":
        return rows
    n_node = next(iter(data.graphs.values())).n_node
    return np.repeat(rows, n_node)


def remade(data: Dataset, features) -> dict:
    """The edge sets of the whole that follow from features, as a loader makes them."""
    out = {}
    for name, how in data.made.items():
        views, parts = graphs.standardised(features, data.mask), []
        for group in how.groups:
            there = data.mask[:, [list(features).index(m) for m in group]].any(1)
            parts.append(graphs.knn(np.concatenate([views[m] for m in group], 1), how.k, present=there))
        out[name] = parts[0] if len(parts) == 1 else graphs.union(parts)
    return out


def other_test_rows(data: Dataset) -> Dataset:
    """The data set with other features, edges and labels of what seed 0 tests on, and its split for every seed."""
    here = seen_rows(data, 0)
    nodes, rng = of_nodes(data, here), np.random.default_rng(0)
    gone = np.flatnonzero(~nodes)
    features = {}
    for m, (name, x) in enumerate(data.features.items()):
        x = (x if isinstance(x, np.ndarray) else x.toarray()).copy()
        x[gone] = np.where(data.mask[gone, m, None], 3 * x.std() * rng.normal(size=x[gone].shape) + 1, 0)
        features[name] = x
    edges = {}
    for name, g in data.graphs.items():
        # within each graph of a batch: the other node of an edge that touches a node to come is that node itself
        touched = ~nodes[g.senders] | ~nodes[g.receivers]
        end = np.where(nodes[g.receivers], g.senders, g.receivers)
        s, r = np.where(touched, end, g.senders), np.where(touched, end, g.receivers)
        edges[name] = edge_set(s, r, g.n_node, g.edges or {})

    def turned(value):
        return np.where(here.reshape(-1, *[1] * (value.ndim - 1)), value, value[::-1])

    return dataclasses.replace(
        data,
        features=features,
        graphs=edges | remade(data, features),
        target=jax.tree.map(turned, data.target),
        splits=data.splits,
    )


def one_split(data: Dataset) -> Dataset:
    split = data.split(0)
    return dataclasses.replace(data, splits=splits.fixed(split.train, split.val, split.test, "that of seed 0"))


def arrays(tree) -> list[np.ndarray]:
    leaves = jax.tree.leaves(tree)
    keys = [jnp.issubdtype(a.dtype, jax.dtypes.prng_key) for a in leaves]
    return [np.asarray(jax.random.key_data(a) if k else a) for a, k in zip(leaves, keys, strict=True)]


def same(a, b) -> bool:
    a, b = arrays(a), arrays(b)
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def seen_in_training(ready, data: Dataset, i: int):
    """What the i-th seed's model reads in training: features where they are there, mask, edges between such nodes."""
    nodes = of_nodes(data, seen_rows(data, ready.seeds[i]))
    trial = jax.tree.map(lambda a: a[i], ready.trials)
    batch = scaled(ready.batch, trial)

    def edges(g: Graph):
        s, r = np.asarray(g.senders), np.asarray(g.receivers)
        inside = nodes[s] & nodes[r]
        assert not (nodes[s] ^ nodes[r]).any(), "an edge joins a node that is there and one that is yet to come"
        return [s[inside], r[inside], {k: np.asarray(v)[inside] for k, v in g.edges.items()}]

    every = [v for g in ((batch.graph, *batch.graph.views)) for v in (g, g.looped)]
    return dict(batch.features), batch.mask, trial.shift, trial.scale, [edges(g) for g in every]


@pytest.mark.parametrize("name", built_in())
def test_training_is_blind_to_test_rows_whatever_the_edge_set(name):
    data = load(name)
    if data.target.level == "link":
        pytest.skip("rows are pairs of nodes that are all there; tests/tasks/test_links.py has what training sees")
    data = one_split(data)
    changed = other_test_rows(data)
    names = modalities(data)
    for edges in data.graphs:
        if not len(data.graphs[edges].senders):
            continue
        plan = cell(name, data__graph=edges, data__modalities=names).plan
        before, after = tiny.prepared(plan, data, SEEDS), tiny.prepared(plan, changed, SEEDS)
        for i in range(len(SEEDS)):
            assert same(seen_in_training(before, data, i), seen_in_training(after, data, i)), edges
        assert same(before.trials.train_weight, after.trials.train_weight) and same(before.target, after.target)
        if edges != data.default_graph:
            continue
        with tiny.as_users_run():
            a, b = (train_model(plan, d, r, None) for d, r in ((data, before), (changed, after)))
        assert same((a.params, a.rest), (b.params, b.rest))
        assert all(np.array_equal(v, b.history[k], equal_nan=True) for k, v in a.history.items())
        test = data.split(0).test
        assert not np.array_equal(a.prediction[:, test], b.prediction[:, test])


def test_every_edge_set_that_follows_from_features_says_how():
    """Those of the built-in sets are made again; but for MOGONET's, whose edges depend on two training patients."""
    made = {name: set(load(name).made) for name in built_in()}
    assert made["digits"] == {"knn"} | {f"knn_{view}" for view in load("digits").features}
    assert made["breast_cancer"] == {"knn", "knn_genes", "knn_clinical"}
    for name in made:
        data = load(name)
        marked = {k for k, g in data.graphs.items() if isinstance(g, graphs.FromFeatures)}
        assert marked == made[name], name


def blobs(n=60, k=3, missing=True, sizes=(10, 10), **fields) -> Dataset:
    """Two modalities in two clusters; graphs: `near` of both, `near_a` of one, `either` of each, `ring` given."""
    rng = np.random.default_rng(0)
    y = (np.arange(n) % 2).astype(np.int32)
    x = {m: (rng.normal(size=(n, d)) + 2 * y[:, None]).astype(np.float32) for m, d in (("b", 4), ("a", 3))}
    mask = np.ones((n, 2), bool)
    if missing:
        mask[::7, 0] = mask[1::7, 1] = False
        x = {name: np.where(mask[:, [m]], v, 0).astype(np.float32) for m, (name, v) in enumerate(x.items())}
    ring = edge_set(np.arange(n), (np.arange(n) + 2) % n, n)
    made = {
        "near": Neighbours(k, (("b", "a"),)),
        "near_a": Neighbours(k, (("a",),)),
        "either": Neighbours(k, (("a",), ("b",))),
    }

    def draw(seed: int) -> Split:
        order = np.random.default_rng(seed).permutation(n)
        train, val = sizes[0] + seed, sizes[1]  # seeds that see different numbers of nodes
        return Split(*(np.sort(p) for p in np.split(order, [train, train + val])))

    usual = dict(
        name="blobs",
        features=x,
        mask=mask,
        graphs={"ring": ring, **dict.fromkeys(made, ring)},
        made=made,
        target=Target("classes", labels=y, num_outputs=2),
        splits=Splits(draw, False, "drawn"),
        provenance=Provenance("made here", "none"),
        default_graph="near",
    )
    return Dataset(**{**usual, **fields})


def pairs(senders, receivers) -> set:
    return set(zip(np.asarray(senders).tolist(), np.asarray(receivers).tolist(), strict=True))


def test_the_graph_of_training_is_that_of_a_data_set_of_the_seen_nodes_alone():
    data = blobs()
    ready = tiny.prepared(cell("digits", data__graph="near").plan, data, SEEDS)
    for i, seed in enumerate(SEEDS):
        here = seen_rows(data, seed)
        ids = np.flatnonzero(here)
        alone = graphs.standardised({m: x[ids] for m, x in data.features.items()}, data.mask[ids])
        expected = graphs.knn(np.concatenate(list(alone.values()), 1), 3)
        s, r = np.asarray(ready.trials.graph.senders[i]), np.asarray(ready.trials.graph.receivers[i])
        real = s != r
        assert pairs(s[real], r[real]) == pairs(ids[expected.senders], ids[expected.receivers])
        np.testing.assert_array_equal(ready.trials.graph.edges["weight"][i][real], expected.edges["weight"])
        assert (~here[s[~real]]).all() and not np.asarray(ready.trials.graph.present[i])[s[~real]].any()
        # in evaluation its edges are the same; the others receive from k of its nodes and send to nobody
        g = ready.evaluated[i]
        s, r = np.asarray(g.senders), np.asarray(g.receivers)
        assert pairs(s[here[r]], r[here[r]]) == pairs(ids[expected.senders], ids[expected.receivers])
        assert here[s].all() and (np.bincount(r, minlength=60)[~here] == 3).all()


def test_seeds_that_see_different_numbers_of_nodes_train_together_as_alone():
    data = blobs(missing=True)
    changes = dict(data__graph="either", data__views=("near_a", "ring"), model__placement="after")
    plan = cell("digits", **changes).plan
    with tiny.as_users_run():
        together = tiny.trained(plan, data, SEEDS)
        alone = [tiny.trained(plan, data, (s,)) for s in SEEDS]
    for i in range(len(SEEDS)):
        assert same(jax.tree.map(lambda a, i=i: a[i], together.params), jax.tree.map(lambda a: a[0], alone[i].params))
        np.testing.assert_allclose(together.prediction[i], alone[i].prediction[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layer", ["gcn", "gat", "sage", "neighborhood_attention"])
def test_the_row_that_makes_edges_equal_in_number_changes_no_prediction(layer):
    data = blobs()
    views = dict(data__graph="either", data__views=("near_a", "near"), model__placement="after")
    plan = cell("digits", model__layer__name=layer, **views).plan
    ready = tiny.prepared(plan, data, SEEDS)
    model = tiny.model(plan, data, ready)
    graphdef, state = nnx.split(model)
    run = jax.jit(lambda batch: nnx.merge(graphdef, state)(batch).prediction)
    for i in range(len(SEEDS)):
        trial = jax.tree.map(lambda a, i=i: a[i], ready.trials)
        long = run(whole(ready.batch, trial))
        plain = dataclasses.replace(trial, graph=None, mask=None, evaluated=None)
        short = run(dataclasses.replace(scaled(ready.batch, plain), graph=ready.evaluated[i]))
        assert len(long) == 61 and np.isfinite(long).all()
        np.testing.assert_allclose(long[:60], short, rtol=1e-5, atol=1e-6)


def test_what_a_test_node_is_told_does_not_depend_on_the_other_test_nodes():
    data = one_split(blobs(missing=False))
    test = data.split(0).test
    features = {m: x.copy() for m, x in data.features.items()}
    for x in features.values():
        x[test[1:]] += 50
    plan = cell("digits", data__modalities=("b", "a")).plan
    with tiny.as_users_run():
        a, b = (tiny.trained(plan, d, (0,)) for d in (data, dataclasses.replace(data, features=features)))
    others = np.setdiff1d(np.arange(60), test[1:])
    np.testing.assert_array_equal(a.prediction[:, others], b.prediction[:, others])
    assert not np.array_equal(a.prediction[:, test[1:]], b.prediction[:, test[1:]])


def test_protocol_paper_selects_on_test_rows_that_training_has_not_met():
    data = one_split(blobs())
    plan = cell("digits", protocol="paper", training__epochs=5, training__chunk=5).plan
    ready = tiny.prepared(plan, data, SEEDS)
    with tiny.as_users_run():
        trained = train_model(plan, data, ready, None)
    test = data.split(0).test
    for i in range(len(SEEDS)):
        right = (trained.prediction[i].argmax(-1) == data.target.labels)[test].sum()
        best = trained.history["val_score"][i, trained.best_epoch[i]]
        assert right < best < right + 1
    there = np.asarray(ready.trials.mask[0]).any(1)
    assert not there[test].any() and there[data.split(0).val].any()


def test_controls_are_given_the_graph_of_evaluation_of_their_seed():
    data = blobs(missing=False)
    plan = cell("digits", control__name="label_propagation").plan
    ready = tiny.prepared(plan, data, SEEDS)
    scores, _ = fit_control(plan, data, ready)
    assert not np.array_equal(ready.evaluated[0].senders, ready.evaluated[1].senders)
    for i, split in enumerate(ready.splits):
        labels = np.full(60, -1)
        labels[split.train] = data.target.labels[split.train]
        own = LabelPropagation().predict(None, labels, split, ready.evaluated[i], 2, 0)
        np.testing.assert_array_equal(scores[i], own.astype(np.float32))


def test_an_edge_set_that_cannot_be_made_again_is_refused_by_name():
    data = blobs(missing=False)
    x = np.concatenate(list(data.features.values()), 1)
    undeclared = dataclasses.replace(
        data, graphs={"ring": data.graphs["ring"], "mine": graphs.knn(x, 3)}, made={}, default_graph="ring"
    )
    for changes in (
        dict(data__graph="mine"),
        dict(data__views=("ring", "mine")),
        dict(data__views=("ring", "ring"), data__test_views=("ring", "mine")),
    ):
        with pytest.raises(ValueError, match="data set 'blobs', edge set 'mine': it was made from.*'inductive'"):
            tiny.prepared(cell("digits", **changes).plan, undeclared, SEEDS)
    assert tiny.prepared(cell("digits").plan, undeclared, SEEDS).batch.graph is not None
    assert tiny.prepared(cell("digits", data__graph="mine", data__setting="transductive").plan, undeclared, SEEDS)
    joined = dataclasses.replace(
        undeclared, graphs={"mine": graphs.union([data.graphs["ring"], graphs.knn(x, 3)])}, default_graph="mine"
    )
    with pytest.raises(ValueError, match="edge set 'mine': it was made from"):
        tiny.prepared(cell("digits").plan, joined, SEEDS)


def test_too_few_seen_nodes_for_their_neighbours_are_named():
    with pytest.raises(ValueError, match="data set 'blobs', edge set 'near', setting 'inductive', seed 0.*k=20"):
        tiny.prepared(cell("digits").plan, blobs(k=20, missing=False), SEEDS)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"far": Neighbours(3, (("a",),))}, r"made\['far'\]: no such edge set"),
        ({"near": Neighbours(0, (("a",),))}, r"made\['near'\].k: 0; expected at least 1"),
        ({"near": Neighbours(3, ())}, r"made\['near'\].groups: \(\)"),
        ({"near": Neighbours(3, (("a",), ()))}, r"made\['near'\].groups: .*one or more groups"),
        ({"near": Neighbours(3, (("a", "c"),))}, r"made\['near'\].groups: modality 'c'; expected one of \['a', 'b'\]"),
    ],
)
def test_what_a_record_says_of_how_its_edges_are_made_is_checked(made, message):
    with pytest.raises(ValueError, match=message):
        blobs(made=made)


def test_neighbours_do_not_cross_the_graphs_of_a_batch():
    two = edge_set(np.arange(4), np.arange(4), [30, 30])
    with pytest.raises(ValueError, match=r"made\['near'\]: a batch of 2 graphs; expected a single graph"):
        blobs(graphs={"near": two}, made={"near": Neighbours(3, (("a",),))})


def test_a_modality_that_no_seen_node_has_tells_no_distance():
    data = one_split(blobs(missing=False))
    mask = data.mask.copy()
    mask[seen_rows(data, 0), 1] = False
    first, second = graphs.grow(data.made["near"], data.features, mask, seen_rows(data, 0))
    without = {"b": data.features["b"], "a": np.zeros_like(data.features["a"])}
    other = graphs.grow(data.made["near"], without, mask, seen_rows(data, 0))
    for a, b in ((first, other[0]), (second, other[1])):
        assert pairs(a.senders, a.receivers) == pairs(b.senders, b.receivers)
        assert np.isfinite(a.edges["weight"]).all()


def test_padded_has_its_loops_where_nobody_is():
    graph = Graph.create(np.array([0, 1]), np.array([1, 0]), 4, {"weight": np.array([0.5, 0.25], np.float32)})
    there = np.array([True, True, False, True])
    larger = padded(graph, 5, there)
    assert (larger.num_edges, larger.looped.num_edges) == (5, graph.looped.num_edges + 3)
    s, r = np.asarray(larger.senders), np.asarray(larger.receivers)
    assert pairs(s[s != r], r[s != r]) == {(0, 1), (1, 0)} and (s[s == r] == 2).all()
    np.testing.assert_array_equal(larger.present, there)
    batch = Batch({"x": jnp.ones((4, 2))}, jnp.ones((4, 1), bool), larger)
    assert batch.graph.looped.num_edges == 9
