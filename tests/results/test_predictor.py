"""A finished cell predicts for what is new: as if it had arrived in the inductive setting, without its data set."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from fusion_jax import data
from fusion_jax.results.predictor import Predictor
from fusion_jax.results.store import Store, read_json, write_json
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run, command

SMALL = dict(model__fusion__name="mean", model__layer__name="gcn")
FILE = '''"""Sixty planted nodes; with `fewer` those of the test part but one are yet to come."""
import dataclasses
import numpy as np
from fusion_jax import data
from fusion_jax.data import splits
from fusion_jax.data.base import edge_set
from fusion_jax.data.graphs import neighbour_graphs, neighbour_recipes

def load(fewer=False, made=False, weighted=False, gaps=False):
    d = data.load("synthetic", nodes=60, modalities=2, classes=2, dim=6, missing=0.2, redundant=0.6, unique=0.6)
    keep = np.arange(41 if fewer else 60)  # test nodes are the last twenty
    features, mask = {m: x[keep] for m, x in d.features.items()}, d.mask[keep]
    for x in features.values() if gaps else ():
        x[(np.arange(len(x)) % 4 == 1), 2] = np.nan  # single values, in training rows and in those that arrive
    g = d.graphs[d.default_graph]
    inside = np.isin(g.senders, keep) & np.isin(g.receivers, keep)
    weight = {"weight": 0.5 + np.asarray(g.senders + g.receivers)[inside] % 7} if weighted else {}
    own = edge_set(g.senders[inside], g.receivers[inside], len(keep), weight)
    known = {m: np.nan_to_num(x) for m, x in features.items()}
    graphs = neighbour_graphs(known, mask, 3) if made else {"given": own}
    labels = d.target.labels[keep]
    return dataclasses.replace(
        d, features=features, mask=mask, graphs=graphs, default_graph="knn" if made else "given",
        target=dataclasses.replace(d.target, fields=dict(labels=labels)),
        made=neighbour_recipes(features, 3) if made else {},
        splits=splits.fixed(np.arange(25), np.arange(25, 40), np.arange(40, len(keep)), "planted"),
        impute="mean" if gaps else "",
        provenance=dataclasses.replace(d.provenance, checksum="", of_arrays=True), setting="inductive",
    )
'''


@pytest.fixture(scope="module", autouse=True)
def settings():
    with as_users_run():
        yield


def trained(folder, **changes):
    store, identities = train_cells(folder, [tiny_cell(**changes)])
    return store, identities[0]


@pytest.fixture(scope="module")
def tiny(settings, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("tiny"), model__layer__name="sage")


@pytest.mark.parametrize("options", [{}, dict(weighted=True), dict(made=True, gaps=True)])
def test_nodes_that_arrive_are_predicted_as_the_test_nodes_that_a_cell_had(tmp_path, options):
    """Training of the inductive setting does not see test nodes: a cell without them is asked for them."""
    (tmp_path / "mine.py").write_text(FILE)
    name, layer = str(tmp_path / "mine.py"), dict(model__layer__name="gcn", data__scale="column")
    store, whole = trained(tmp_path / "a", data__name=name, data__options=options, **layer)
    _, part = trained(tmp_path / "b", data__name=name, data__options={**options, "fewer": True}, **layer)
    full, new = data.load(name, **options), np.arange(41, 60)
    stored = Predictor.load(tmp_path / "a")().each[:, new]
    predictor = Predictor.load(tmp_path / "b")
    x = {m: np.where(full.mask[new, i, None], v[new], np.nan) for i, (m, v) in enumerate(full.features.items())}
    given, edges = full.graphs[full.default_graph], None
    if "made" not in options:
        arriving = (given.senders > 40) | (given.receivers > 40)
        edges = pd.DataFrame(dict(a=given.senders, b=given.receivers, **(given.edges or {})))[arriving]
    said = predictor(x, ids=new, edges=edges)
    assert said.ids.tolist() == [str(i) for i in new] and said.seeds == (0, 1)
    np.testing.assert_allclose(said.each, stored, rtol=0, atol=3e-6)
    if edges is not None:  # and they do read their edges
        alone = predictor(x, ids=new)
        assert np.abs(alone.each - stored).max() > 1e-3
        half = edges[edges.a < edges.b]
        np.testing.assert_allclose(predictor(x, ids=new, edges=half).each, stored, rtol=0, atol=3e-6)
        assert np.abs(predictor(x, ids=new, edges=half, directed=True).each - stored).max() > 1e-3


def test_without_new_nodes_the_stored_predictions_come_back_bit_for_bit_and_are_computed_again(tiny):
    store, identity = tiny
    predictor = Predictor.load(store.root, identity[:6])
    table = store.table(identity, "predictions")
    for i, seed in enumerate(predictor.seeds):
        stored = np.stack(table[table.seed == seed].prediction)
        np.testing.assert_array_equal(predictor().each[i], stored, strict=True)
        np.testing.assert_allclose(predictor.computed().each[i], stored, rtol=0, atol=1e-6)


def test_old_nodes_lack_what_was_taken_in_training_and_of_new_ones_nothing_is(tmp_path):
    asked = dict(data__missing__name="one_modality", data__missing__options=dict(rate=0.9, modality="m1"))
    store, identity = trained(tmp_path, data__setting="inductive", **asked)
    predictor = Predictor.load(store.root)
    table = store.table(identity, "predictions")
    stored = np.stack(table[table.seed == 0].prediction)
    np.testing.assert_allclose(predictor.computed().each[0], stored, rtol=0, atol=1e-6)
    x = {m: v[:20] for m, v in predictor.data.features.items()}
    moved = np.abs(predictor(x).each - predictor({**x, "m1": x["m1"] + 1}).each).max((0, 2))
    assert (moved > 1e-4).all()


def test_the_data_set_is_not_needed_and_the_stored_scalers_are_used(tiny, tmp_path):
    store, identity = tiny
    shutil.copytree(store.root, tmp_path / "copy")
    config = read_json(tmp_path / "copy" / "cells" / identity / "config.json")
    assert config["data"]["name"] == "synthetic"
    predictor = Predictor.load(tmp_path / "copy")
    x = {m: v[:4] for m, v in predictor.data.features.items()}
    before = predictor(x, edges=[("120", 0)]).each
    fitted = {s: {**f, "scale": {k: 2 * v for k, v in f["scale"].items()}} for s, f in predictor.fitted.items()}
    doubled = Predictor(predictor.store, predictor.cell, predictor.seeds, fitted)
    assert np.abs(doubled(x, edges=[("120", 0)]).each - before).max() > 1e-3


def test_a_single_missing_value_is_the_mean_of_the_training_rows(tiny):
    predictor = Predictor.load(tiny[0].root, seed=1)
    x = {m: v[:2].copy() for m, v in predictor.data.features.items()}
    rows = predictor.cell.prepared.splits[1].train
    rows = rows[predictor.data.mask[rows, 0]]
    gap, filled = ({**x, "m0": x["m0"].copy()} for _ in range(2))
    gap["m0"][1, 4] = np.nan
    filled["m0"][1, 4] = predictor.data.features["m0"][rows, 4].mean(dtype=np.float64)
    np.testing.assert_allclose(predictor(gap).each, predictor(filled).each, rtol=0, atol=1e-6)
    assert np.abs(predictor(gap).each - predictor(x).each).max() > 1e-4


@pytest.fixture(scope="module")
def of_tables(settings, tmp_path_factory):
    """A cell of a user's tables: ids, names of columns, texts, nodes without a label; and tables of new nodes."""
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    (folder / "old").mkdir()
    (folder / "new").mkdir()
    ids = [f"p{i:02}" for i in range(50)]
    genes = pd.DataFrame(rng.normal(size=(50, 3)), index=pd.Index(ids, name="id"), columns=["g1", "g2", "g3"])
    label = np.where(genes.g1 > 0, "ill", "well").astype(object)
    label[-4:] = None
    clinic = pd.DataFrame(dict(age=rng.normal(size=50), site=np.tile(["A", "B"], 25)), index=genes.index)
    pairs = pd.DataFrame(dict(source=ids, target=np.roll(ids, 1)))
    for name, table in dict(genes=genes, clinic=clinic).items():
        table.iloc[:46].to_csv(folder / "old" / f"{name}.csv")
    genes.iloc[46:][["g3", "g1", "g2"]].to_csv(folder / "new" / "genes.csv")
    clinic.iloc[[48, 46]].to_csv(folder / "new" / "clinic.csv")
    pd.Series(label, genes.index, name="state").iloc[:46].to_csv(folder / "old" / "labels.csv")
    pairs.iloc[1:46].to_csv(folder / "old" / "edges.csv", index=False)
    pairs.iloc[46:].to_csv(folder / "new" / "edges.csv", index=False)
    options = dict(folder=str(folder / "old"), onehot=True)
    store, (identity,) = train_cells(
        folder / "results", [tiny_cell(data__name="tables", data__options=options, **SMALL)]
    )
    return folder, genes, clinic, pairs


def test_new_tables_are_joined_by_ids_and_names_of_columns(of_tables):
    folder, genes, clinic, pairs = of_tables
    predictor = Predictor.load(folder / "results")
    assert predictor.ids[:2].tolist() == ["p00", "p01"] and predictor().ids[45] == "p45"
    new = genes.index[46:]
    x = dict(
        genes=genes.loc[new].to_numpy(),
        clinic=np.array([[clinic.age[i], clinic.site[i] == "A", clinic.site[i] == "B"] for i in new]),
    )
    mask = dict(clinic=[True, False, True, False])
    wanted = predictor(x, ids=new, edges=pairs.iloc[46:], mask=mask).frame()
    given = dict(genes=genes.loc[new][["g2", "g3", "g1"]], clinic=clinic.iloc[[48, 46]])
    found = predictor(given, edges=pairs.iloc[46:])
    pd.testing.assert_frame_equal(found.frame(), wanted)
    assert set(wanted["prediction"]) <= {"ill", "well"}
    status, printed = command(
        "experiments.predict",
        f"--workdir={folder / 'results'}",
        f"--folder={folder / 'new'}",
        f"--out={folder / 'p.csv'}",
    )
    assert status == 0 and printed.endswith("p.csv, 4 rows\n")
    pd.testing.assert_frame_equal(pd.read_csv(folder / "p.csv").sort_values("id", ignore_index=True), wanted)
    status, printed = command("experiments.predict", f"--workdir={folder / 'results'}")
    assert status == 0 and "id,prediction,p ill,p well\np00," in printed
    assert "46 rows predicted by 2 seeds: " in printed
    with pytest.raises(ValueError, match=r"x\['clinic'\]: column 'site', row 0 holds 'C'; expected one of A, B"):
        predictor(dict(clinic=clinic.iloc[[48]].assign(site="C")))
    with pytest.raises(ValueError, match="ids: row 0: 'p03' is an old node"):
        predictor(dict(genes=genes.iloc[[3]]))
    status, printed = command("experiments.predict", f"--workdir={folder / 'results'}", f"--folder={folder / 'x'}")
    assert status == 2 and "no such folder; expected one with tables of new nodes" in printed


def test_the_cells_to_choose_from_stand_in_a_line_each(tmp_path, monkeypatch):
    def several(*given):
        raise ValueError("'r' holds 2 finished cells, name one with --cell=ID\n  3f0c  mean;\n  77aa  gmu")

    monkeypatch.setattr(Predictor, "load", several)
    status, printed = command("experiments.predict", f"--workdir={tmp_path}")
    assert status == 2 and printed.splitlines()[-2:] == ["  3f0c  mean;", "  77aa  gmu"]


def test_one_seed_or_the_best_or_all(tiny):
    store, identity = tiny
    every, one = Predictor.load(store.root, seed="all"), Predictor.load(store.root, seed=1)
    np.testing.assert_array_equal(one().each[0], every().each[1])
    assert Predictor.load(store.root, seed="best").seeds[0] in (0, 1) and one.seeds == (1,)
    assert np.allclose(every().probabilities, every().each_probability.mean(0))
    with pytest.raises(ValueError, match="has no seed 7"):
        Predictor.load(store.root, seed=7)
    with pytest.raises(ValueError, match="cell: 3; expected the first characters of a cell's identity"):
        Predictor.load(tiny[0].root, 3)
    with pytest.raises(ValueError, match="seed: 'x'; expected a seed, 'best' or 'all'"):
        Predictor.load(store.root, seed="x")


def test_mistakes_are_told_in_one_line(tiny):
    predictor = Predictor.load(tiny[0].root)
    x = {m: v[:2] for m, v in predictor.data.features.items()}
    for message, call in {
        "edges of 'planted': row 0 names 'z'": lambda: predictor(x, ids=["a", "b"], edges=[("a", "z")]),
        "edges: edge set 'other'": lambda: predictor(x, edges={"other": [("120", 0)]}),
        "pairs: given; expected none, as this cell predicts nodes": lambda: predictor(x, pairs=[(0, 1)]),
        "graphs: given; expected none": lambda: predictor(x, graphs=[0, 0]),
        "6 columns, as in training|shape": lambda: predictor({m: v[:, :2] for m, v in x.items()}),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_a_cell_of_an_earlier_version_wants_its_data_set(tiny, tmp_path):
    store, identity = tiny
    shutil.copytree(store.root, tmp_path / "old")
    old = Store(tmp_path / "old")
    for part, _ in old.parts(identity):
        cost = read_json(part / "cost.json")
        del cost["inputs"]
        write_json(part / "cost.json", cost)
        record = read_json(old.cell(identity) / "record.json")
        for entry in [record, *record["parts"]]:
            del entry["sha256"]
        write_json(old.cell(identity) / "record.json", record)
    with pytest.raises(ValueError, match=r"an earlier version.*data=data.load\('synthetic', .*nodes=120"):
        Predictor.load(old.root)
    held = data.load("synthetic", **old.config(identity)["data"]["options"])
    predictor = Predictor.load(old.root, data=held)
    np.testing.assert_array_equal(predictor().each, Predictor.load(store.root)().each)


def test_a_data_file_that_is_lost_or_damaged_is_told(tiny, tmp_path):
    shutil.copytree(tiny[0].root, tmp_path / "x")
    (path,) = (tmp_path / "x" / "data").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
        Predictor.load(tmp_path / "x")
    path.unlink()
    with pytest.raises(ValueError, match=f"{path.name} is missing"):
        Predictor.load(tmp_path / "x")


def test_the_spectral_encoding_of_the_whole_graph_has_none_for_new_nodes(tmp_path):
    trained(tmp_path, data__modalities=("structure",), model__fusion__name="mean")
    predictor = Predictor.load(tmp_path)
    with pytest.raises(ValueError, match="modality 'structure' encodes the whole graph"):
        predictor({m: v[:2] for m, v in predictor.data.features.items()})
    assert len(predictor()) == 120


READS = '''"""The mean over a part, or the second eigenvector."""
import jax.numpy as jnp
from flax import nnx
from fusion_jax.layers.base import GraphLayer
from fusion_jax.records import Info
from fusion_jax.structures.base import Structure
PARTS, WAVES = Structure("partition", {"parts": 4}), Structure("eigenvectors", {"k": 2})

class Reads(GraphLayer):
    """As above."""
    info = Info("Nobody, A paper", 2001)
    def __init__(self, dim, out=None, *, waves=False, rngs):
        self.linear, self.structures = nnx.Linear(dim, out or dim, rngs=rngs), (WAVES if waves else PARTS,)
    def __call__(self, x, graph, present=None, context=None):
        if self.structures[0] is WAVES:
            return self.linear(x * graph.structure(WAVES).vectors[:, 1:].astype(x.dtype))
        parts = graph.structure(PARTS)
        x = jnp.append(x, jnp.zeros_like(x[:1]), axis=0)
        return self.linear(x[parts.members].sum(1)[parts.part])
'''


def test_parts_go_on_where_nodes_arrive_and_eigenvectors_have_none_for_them(tmp_path):
    pytest.importorskip("pymetis")
    (tmp_path / "reads.py").write_text(READS)
    layer = {"model__layer__name": str(tmp_path / "reads.py"), "model__fusion__name": "mean"}
    trained(tmp_path / "parts", **layer)
    predictor = Predictor.load(tmp_path / "parts")
    parts = np.asarray(next(iter(predictor.cell.prepared.evaluated[0].derived.values())).part)
    x = {m: np.repeat(v[:1], 3, axis=0) for m, v in predictor.data.features.items()}
    host = {p: int(np.flatnonzero(parts == p)[0]) for p in (0, 1)}
    here = predictor(x, ids=["a", "b", "c"], edges=[("a", host[0]), ("b", host[0]), ("c", host[1])])
    assert np.allclose(here.each[:, 0], here.each[:, 1]) and not np.allclose(here.each[:, 0], here.each[:, 2])
    trained(tmp_path / "waves", model__layer__options=dict(waves=True), **layer)
    predictor = Predictor.load(tmp_path / "waves")
    assert len(predictor.computed()) == 120
    with pytest.raises(ValueError, match=r"structure eigenvectors\(k=2\) encodes the whole graph"):
        predictor(x)


def test_values_come_in_their_own_units_with_their_spread(tmp_path):
    trained(tmp_path, data__name="synthetic_values", data__options=dict(nodes=80), **SMALL)
    predictor = Predictor.load(tmp_path)
    x = {m: v[:3] for m, v in predictor.data.features.items()}
    said = predictor(x)
    assert said.each.dtype == np.float64
    frame = said.frame()
    np.testing.assert_allclose(frame["prediction"], said.each[..., 0].mean(0))
    np.testing.assert_allclose(frame["spread"], np.abs(said.each[0, :, 0] - said.each[1, :, 0]) / np.sqrt(2))
    y = predictor.data.target.values
    assert abs(said.each.mean() - y.mean()) < 3 * y.std()
    with pytest.raises(ValueError, match="'values' has no probabilities"):
        _ = said.probabilities


def test_several_targets_are_told_each_in_its_own_columns(tmp_path):
    trained(tmp_path, data__name="synthetic_several", data__options=dict(nodes=80), **SMALL)
    predictor = Predictor.load(tmp_path)
    frame = predictor({m: v[:3] for m, v in predictor.data.features.items()}).frame()
    names = list(predictor.data.target.fields)
    assert all(any(c.startswith(f"{name}: prediction") for c in frame) for name in names)


def test_a_graph_that_is_an_old_one_again_is_predicted_as_it_was(tmp_path):
    trained(tmp_path, data__name="synthetic_graphs", data__options=dict(graphs=40), **SMALL)
    predictor = Predictor.load(tmp_path)
    d, g = predictor.data, next(iter(predictor.data.graphs.values()))
    ends = np.cumsum(g.n_node)
    nodes = np.concatenate([np.arange(ends[0]), np.arange(ends[4], ends[5])])[::-1]
    of = np.where(nodes < ends[0], "first", "sixth")
    inside = np.isin(g.receivers, nodes)
    x = {m: np.where(d.mask[nodes, i, None], v[nodes], np.nan) for i, (m, v) in enumerate(d.features.items())}
    arrays = {k: np.asarray(v)[inside] for k, v in (g.edges or {}).items()}
    pairs = [(f"n{a}", f"n{b}") for a, b in zip(g.senders[inside], g.receivers[inside], strict=True)]
    said = predictor(x, ids=[f"n{i}" for i in nodes], graphs=of, edges=dict(pairs=pairs, **arrays), directed=True)
    assert said.ids.tolist() == ["sixth", "first"]
    np.testing.assert_allclose(said.each, predictor().each[:, [5, 0]], rtol=0, atol=1e-5)


def test_pairs_that_are_rows_are_predicted_as_they_were_and_others_are_asked_without_their_edge(tmp_path):
    trained(tmp_path, data__name="synthetic_links", data__options=dict(nodes=80), **SMALL)
    predictor = Predictor.load(tmp_path)
    target = predictor.data.target
    rows = np.array([3, 0, len(target) - 1])
    said = predictor(pairs=target.pairs[rows])
    np.testing.assert_allclose(said.each, predictor().each[:, rows], rtol=0, atol=1e-5)
    assert said.ids[0] == f"{target.pairs[3][0]}, {target.pairs[3][1]}"
    assert said.probabilities.shape == (3, 1)
    x = {m: v[:2] for m, v in predictor.data.features.items()}
    with_edge = predictor(x, ids=["a", "b"], edges=[("a", 5), ("b", 6)], pairs=[("a", 5), ("a", "b")])
    without = predictor(x, ids=["a", "b"], edges=[("b", 6)], pairs=[("a", 5), ("a", "b")])
    np.testing.assert_allclose(with_edge.each, without.each, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="pairs: row 0 names 'zz', which is no node"):
        predictor(pairs=[("zz", 0)])


def test_a_single_seed_that_is_added_later_predicts_too(tmp_path):
    cells = [tiny_cell(seeds=1)]
    train_cells(tmp_path, cells)
    train_cells(tmp_path, [tiny_cell(seeds=2)])
    assert Predictor.load(tmp_path).seeds == (0, 1)
    assert dataclasses.is_dataclass(Predictor.load(tmp_path)())
