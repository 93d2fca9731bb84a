"""Tables joined by id: what becomes of rows, and the mistakes that used to pass without a word."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from fusion_jax.data.base import Dataset
from fusion_jax.data.graphs import neighbour_graphs
from tests import folders

NAMES = np.array([f"p{i:03d}" for i in range(120)])


def made(tables=None, **options) -> Dataset:
    """The data set of the tables by name; those of `planted` if none are given."""
    given = dict(folders.planted() if tables is None else tables)
    rest = {name: given.pop(name, None) for name in ("labels", "edges", "split")}
    return Dataset.from_tables(given, rest["labels"], rest["edges"], rest["split"], **options)


def said(data: Dataset) -> str:
    return "\n".join(data.conversion.lines)


def renamed(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    return table.assign(id=table["id"].map(names))


def test_a_row_is_found_by_its_id_in_every_table():
    tables = folders.planted(missing=0.2)
    data = made(tables)
    assert data.ids.tolist() == NAMES.tolist() and data.modalities == ("genes", "clinical")
    for m, name in enumerate(data.modalities):
        table = tables[name].set_index("id")
        there = np.isin(data.ids, table.index)
        np.testing.assert_array_equal(data.mask[:, m], there)
        wanted = table.loc[data.ids[there]].to_numpy(np.float32)
        np.testing.assert_array_equal(data.features[name][there], wanted)
    labels = tables["labels"].set_index("id").label
    assert [data.class_names[i] for i in data.target.labels] == labels[data.ids].tolist()
    pairs = {frozenset(p) for p in tables["edges"].itertuples(index=False)}
    g = data.graphs["edges"]
    assert {frozenset(p) for p in zip(data.ids[g.senders], data.ids[g.receivers], strict=True)} == pairs
    assert len(g.senders) == 2 * len(pairs), "both directions"


def test_the_order_of_rows_changes_nothing_and_is_said():
    tables = folders.planted(missing=0.1)
    mixed = {name: table.sample(frac=1, random_state=i) for i, (name, table) in enumerate(tables.items())}
    one, other = made(tables), made(mixed)
    assert one.fingerprint == other.fingerprint
    assert "clinical: 107 rows, 107 joined by column 'id'; 13 nodes without it" in said(one)
    assert said(other).count("its rows stand in another order than those of genes") == 2  # clinical, labels
    assert "another order" not in said(one)
    assert not other.conversion.warnings


def test_each_undirected_edge_once_or_twice_is_one_graph():
    tables = folders.planted()
    other = tables["edges"].set_axis(["target", "source"], axis=1)
    both = made({**tables, "edges": pd.concat([tables["edges"], other])})
    once = made(tables)
    assert once.fingerprint == both.fingerprint
    assert "360 stand there in one direction only, both are made" in said(once)
    assert "all stand there in both directions" in said(both)
    assert once.conversion.facts["edges"]["edges"]["one_directional"] == 360
    assert not once.conversion.warnings and not both.conversion.warnings


def test_every_edge_three_times_is_one_edge_and_is_doubted():
    tables = folders.planted()
    data = made({**tables, "edges": pd.concat([tables["edges"]] * 3)})
    assert data.fingerprint == made(tables).fingerprint
    assert "720 rows that repeat another merged" in said(data)
    (warning,) = data.conversion.warnings
    assert "every edge stands there 3 times" in warning


def test_edges_numbered_by_another_file_are_doubted():
    tables = folders.planted()
    names = dict(zip(NAMES, np.random.default_rng(3).permutation(NAMES), strict=True))
    data = made({**tables, "edges": tables["edges"].map(names.get)})
    (warning,) = data.conversion.warnings
    assert "neither labels nor features know of it (homophily at chance)" in warning
    assert "as chance has it" in said(data)
    facts = data.conversion.facts["homophily"]["edges"]
    assert abs(facts["value"] - 1 / 3) < 0.15 and abs(facts["adjusted"]) < 0.2 and facts["p"] > 0.05


def test_ids_nobody_knows_are_counted_and_doubted_where_they_are_many():
    tables = folders.planted()
    few = pd.DataFrame(dict(source=["x1", NAMES[0]], target=[NAMES[1], "x2"]))
    data = made({**tables, "edges": pd.concat([tables["edges"], few])})
    assert "edges: 2 edges of 362 left out, whose ids no node has (2 ids: 'x1', 'x2')" in said(data)
    assert data.fingerprint == made(tables).fingerprint and not data.conversion.warnings
    data = made({**tables, "edges": pd.concat([tables["edges"], *[few] * 40])})
    assert any("left out, whose ids no node has" in warning for warning in data.conversion.warnings)
    strange = tables["edges"].map(lambda name: "x" + name)
    with pytest.raises(ValueError, match="edges: none of its 360 edges joins two known ids .*'xp"):
        made({**tables, "edges": strange})
    with pytest.raises(ValueError, match="they look like row numbers"):
        made({**tables, "edges": tables["edges"].map(lambda name: str(int(name[1:])))})


@pytest.mark.parametrize("change", [lambda name: str(int(name)), lambda name: f"{float(name)}"])
def test_ids_that_are_equal_as_numbers_only_are_pointed_out(change):
    tables = folders.planted(prefix="")
    with pytest.raises(ValueError, match="labels: none of its ids .*equal as numbers and not as texts"):
        made({**tables, "labels": tables["labels"].assign(id=[f"{int(n)}.0" for n in tables["labels"].id])})
    data = made({**tables, "clinical": tables["clinical"].assign(id=tables["clinical"].id.map(change))})
    assert any("equal as numbers and not as texts" in warning for warning in data.conversion.warnings)


def test_a_modality_or_labels_of_other_nodes_are_doubted():
    tables = folders.planted()
    names = dict(zip(NAMES, np.random.default_rng(3).permutation(NAMES), strict=True))
    (warning,) = made({**tables, "clinical": renamed(tables["clinical"], names)}).conversion.warnings
    assert warning.startswith("modality clinical: nodes joined by graph 'edges' are no more alike in it")
    (warning,) = made({**tables, "labels": renamed(tables["labels"], names)}).conversion.warnings
    assert "the labels with neither graph nor features" in warning


@pytest.mark.parametrize("seed", range(3))
def test_a_heterophilous_or_random_graph_is_accused_of_nothing(seed):
    data = made(folders.planted(homophily=0.05, seed=seed))
    assert not data.conversion.warnings and "unlike nodes are joined" in said(data)
    tables, rng = folders.planted(seed=seed), np.random.default_rng(seed)
    edges = pd.DataFrame(dict(source=rng.choice(NAMES, 360), target=rng.choice(NAMES, 360)))
    assert not made({**tables, "edges": edges}).conversion.warnings


def test_union_and_intersection():
    tables = folders.planted()
    tables["genes"], tables["clinical"] = tables["genes"][:100], tables["clinical"][10:]
    tables["labels"] = tables["labels"][5:]
    data = made(tables)
    assert data.num_nodes == 120 and data.mask.sum(0).tolist() == [100, 110]
    assert data.labelled.sum() == 115 and "5 nodes without a label: in the graph, in no split" in said(data)
    for seed in range(3):
        parts = np.concatenate([*vars(data.split(seed)).values()])
        assert data.labelled[parts].all() and len(parts) == 115
    both = made(tables, join="intersection")
    assert both.ids.tolist() == NAMES[10:100].tolist() and both.mask.all() and both.labelled is None
    assert "dropped ('p000', 'p001', 'p002', ...)" in said(both)
    with pytest.raises(ValueError, match="no id is in all tables"):
        made({**tables, "clinical": tables["clinical"][100:], "genes": tables["genes"][:20]}, join="intersection")


def test_rows_by_position_only_where_that_is_said():
    tables = folders.planted()
    plain = {name: table.drop(columns="id", errors="ignore") for name, table in tables.items()}
    plain["edges"] = tables["edges"].map(lambda name: int(name[1:]))
    data = made(plain, by="position")
    assert data.ids is None and data.fingerprint == made(tables).fingerprint
    with pytest.raises(ValueError, match="genes: no column of ids: the first, 'g0', holds"):
        made(plain)
    with pytest.raises(ValueError, match="as many rows in all"):
        made({**plain, "labels": plain["labels"][:-1]}, by="position")
    with pytest.raises(ValueError, match=r"edges, column 'target', row 0: '120'; expected a position in \[0, 120\)"):
        made({**plain, "edges": pd.DataFrame(dict(source=[0], target=[120]))}, by="position")


def test_a_table_may_hold_its_ids_in_its_index_and_a_matrix_none():
    tables = folders.planted()
    indexed = {name: table.set_index("id") if "id" in table else table for name, table in tables.items()}
    assert made(indexed).fingerprint == made(tables).fingerprint
    matrix = sp.csr_matrix(tables["genes"].drop(columns="id").to_numpy())
    with pytest.raises(ValueError, match="genes: a sparse matrix has no ids"):
        made({**tables, "genes": matrix})
    data = made({"genes": matrix, "labels": tables["labels"]}, by="position", graph="none")
    assert sp.issparse(data.features["genes"]) and data.default_graph == "none"


def test_without_edges_neighbours_are_joined_as_in_the_sets_of_the_package():
    tables = folders.planted(missing=0.2)
    del tables["edges"]
    data = made(tables)
    wanted = neighbour_graphs(data.features, data.mask, 10)
    assert set(data.graphs) == set(wanted) == set(data.made) and data.default_graph == "knn"
    for name, g in wanted.items():
        np.testing.assert_array_equal(g.senders, data.graphs[name].senders)
        np.testing.assert_array_equal(g.edges["weight"], data.graphs[name].edges["weight"])
    few = made(tables, k=3, metric="euclidean", mutual=True, graph="knn_genes")
    assert few.default_graph == "knn_genes" and few.made["knn"].k == 3 and few.made["knn"].mutual
    assert "3 nearest neighbours by euclidean" in said(few)
    with pytest.raises(ValueError, match="graph='knm' .did you mean 'knn'..; expected one of knn, knn_genes"):
        made(tables, graph="knm")
    both = made({**tables, "edges": folders.planted()["edges"]}, k=4)
    assert set(both.graphs) == {"edges", *wanted} and both.default_graph == "edges"


def test_several_edge_sets():
    tables = folders.planted()
    edges = {"far": tables["edges"][:200], "near": tables["edges"][200:].assign(weight=0.5)}
    data = made({**tables, "edges": edges})
    assert list(data.graphs) == ["far", "near"] and data.default_graph == "far"
    assert set(data.graphs["near"].edges["weight"]) == {0.5}
    assert made({**tables, "edges": edges}, graph="near").default_graph == "near"


def test_missing_values_are_kept_for_training_or_refused():
    tables = folders.planted()
    tables["genes"].loc[3, "g1"] = np.nan
    tables["genes"].loc[5, [f"g{i}" for i in range(6)]] = np.nan
    data = made(tables, impute="median")
    assert data.impute == "median" and np.isnan(data.features["genes"]).sum() == 1 and not data.mask[5, 0]
    assert "1 single value missing in 1 column, filled per seed by the median" in said(data)
    assert "genes: 1 row without any value: modality genes is missing there" in said(data)
    nobody = made({**tables, "genes": tables["genes"].set_index("id").mul(np.nan).reset_index()})
    assert not nobody.mask[:, 0].any()
    assert any("and no node has it: it tells nothing" in warning for warning in nobody.conversion.warnings)
    with pytest.raises(ValueError, match=r"genes, column 'g1', row 3 \(id 'p003'\): no value; expected one"):
        made(tables, impute="none")
    with pytest.raises(ValueError, match="impute='mode' .*; expected 'mean' or 'median' or 'none'"):
        made(tables, impute="mode")


def test_texts_among_the_features_become_columns_where_told():
    tables = folders.planted()
    tables["clinical"]["stage"] = np.array(["I", "II", "III"])[np.arange(120) % 3]
    with pytest.raises(ValueError, match="clinical, column 'stage', row 0 .*: 'I' is no number"):
        made(tables)
    data = made(tables, onehot="stage")
    assert data.features["clinical"].shape[1] == 7 and data.features["clinical"][:, 4:].sum() == 120
    with pytest.raises(ValueError, match="onehot='stag' .did you mean 'stage'"):
        made(tables, onehot=("stag",))


def test_what_is_told_wrongly_names_what_there_is():
    with pytest.raises(ValueError, match="join='onion' .did you mean 'union'..; expected 'union' or 'intersection'"):
        made(join="onion")
    with pytest.raises(ValueError, match="labels: no column 'lable' .did you mean 'label'"):
        made(target="lable")
    with pytest.raises(ValueError, match="features: list; expected"):
        Dataset.from_tables([1], None)
    with pytest.raises(ValueError, match="labels: none; expected a table"):
        Dataset.from_tables({"genes": folders.planted()["genes"]})
    with pytest.raises(ValueError, match="genes: no column 'nme'; it has: id, g0"):
        made(id="nme")


def test_the_identity_counts_contents_and_no_ids():
    tables = folders.planted()
    data = made(tables)
    other = {name: table.copy() for name, table in tables.items()}
    other["genes"].loc[7, "g2"] += 1e-4
    assert made(other).fingerprint != data.fingerprint, "one digit"
    called = {name: name.replace("p", "q") for name in NAMES}
    named = {k: renamed(t, called) if "id" in t else t.map(called.get) for k, t in tables.items()}
    assert made(named).fingerprint == data.fingerprint and made(named).ids[0] == "q000"
    assert dataclasses.replace(data, ids=None).fingerprint == data.fingerprint


def test_an_edge_set_without_edges_may_be_there():
    data = made(graph="none")
    assert len(data.graphs["none"].senders) == 0 and set(data.graphs) == {"none", "edges"}
    with pytest.raises(ValueError, match=r"edges: no rows; expected a row an edge \(leave the list out"):
        made({**folders.planted(), "edges": pd.DataFrame({"source": [], "target": []})})


def test_a_column_of_one_value_and_gaps_is_warned_of():
    tables = folders.planted(missing=0.2)
    clinical = tables["clinical"]
    clinical["c0"] = np.where(np.arange(len(clinical)) % 3, 1.0, np.nan)
    clinical.loc[clinical.index[:5], "c1"] = np.nan
    clinical["c2"] = 1.0
    clinical.loc[clinical.index[7], ["c0", "c1", "c2", "c3"]] = np.nan  # a row of nothing
    (warning,) = made(tables).conversion.warnings
    assert warning.startswith("clinical: 'c0': one value, and missing elsewhere")
