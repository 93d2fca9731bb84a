"""A data set as one file: what comes back is what went in, and a damaged file is told."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from fusion_jax import data
from fusion_jax.data import stored
from fusion_jax.data.graphs import FromFeatures, neighbour_graphs, neighbour_recipes
from tests import folders, tiny


def same(a, b):
    assert type(a) is type(b)
    if sp.issparse(a):
        assert (a != b).nnz == 0 and a.shape == b.shape
    else:
        np.testing.assert_array_equal(a, b, strict=True)


KINDS = ["synthetic", "synthetic_several", "synthetic_links", "synthetic_graphs", "synthetic_temporal"]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_target_and_edge_comes_back_with_its_fingerprint(name):
    before = data.load(name)
    after = stored.unpack(stored.pack(before))
    assert after.fingerprint == before.fingerprint and stored.key(after) == stored.key(before)
    assert list(after.features) == list(before.features) and after.class_names == before.class_names
    assert (after.default_graph, after.setting, after.made) == (before.default_graph, before.setting, before.made)
    assert after.splits.exchangeable == before.splits.exchangeable
    for m, (modality, x) in enumerate(before.features.items()):
        same(np.where(before.mask[:, [m]], x, 0), after.features[modality])
    for each, g in before.graphs.items():
        same(g.senders, after.graphs[each].senders)
        same(np.asarray(g.n_edge), np.asarray(after.graphs[each].n_edge))
        for key, value in (g.edges or {}).items():
            same(value, after.graphs[each].edges[key])
    for (field, a), (other, b) in zip(stored.arrays_of(before.target), stored.arrays_of(after.target), strict=True):
        assert field == other
        same(a, b)


def test_sparse_features_recipes_and_what_was_made_from_features_come_back():
    before = tiny.dataset()
    words = sp.random(60, 9, 0.2, "csr", np.float32, rng=np.random.default_rng(0))
    dense = {m: np.asarray(x) for m, x in before.features.items()}
    made = neighbour_graphs(dense, before.mask, 3)
    mask = np.concatenate([before.mask, np.ones((60, 1), bool)], axis=1)
    before = dataclasses.replace(
        before, features={**dense, "words": words}, mask=mask, graphs=made, default_graph="knn",
        made=neighbour_recipes(dense, 3),
    )  # fmt: skip
    after = stored.unpack(stored.pack(before))
    same(before.features["words"], after.features["words"])
    assert after.made == before.made and isinstance(after.graphs["knn"], FromFeatures)
    assert after.fingerprint == before.fingerprint


def test_ids_names_of_columns_unlabelled_nodes_and_single_missing_values_come_back():
    before = tiny.dataset()
    (name, x), *_ = before.features.items()
    x = x.copy()
    x[np.flatnonzero(before.mask[:, 0])[3], 2] = np.nan
    labelled = np.ones(60, bool)
    labelled[np.setdiff1d(np.arange(60), np.concatenate(list(vars(before.split(0)).values())))[:2]] = False
    before = dataclasses.replace(
        before, features={**before.features, name: x}, ids=[f"n{i}" for i in range(60)], labelled=labelled,
        columns={name: tuple("abcdef")}, impute="median",
    )  # fmt: skip
    after = stored.unpack(stored.pack(before))
    same(after.ids, before.ids)
    same(after.labelled, before.labelled)
    same(after.features[name], np.where(before.mask[:, [0]], x, 0))
    assert (after.columns, after.impute, after.fingerprint) == (before.columns, "median", before.fingerprint)
    others = [dataclasses.replace(before, ids=None), dataclasses.replace(before, columns={})]
    assert len({stored.key(d) for d in (before, after, *others)}) == 3


def test_what_stands_in_masked_slots_is_not_kept():
    before = tiny.dataset()
    (name, x), *_ = before.features.items()
    hidden = ~before.mask[:, 0]
    assert hidden.any()
    x = np.where(hidden[:, None], 7, x)
    after = stored.unpack(stored.pack(dataclasses.replace(before, features={**before.features, name: x})))
    assert not after.features[name][hidden].any() and after.features[name][~hidden].any()


def test_only_the_split_of_seed_0_is_known():
    after = stored.unpack(stored.pack(tiny.dataset()))
    same(after.split(0).train, tiny.dataset().split(0).train)
    with pytest.raises(ValueError, match="seed 3: its split is not kept, only 0"):
        after.split(3)


def test_other_names_and_defaults_are_other_files():
    before = tiny.dataset()
    others = [dict(name="b"), dict(setting="inductive"), dict(class_names=("x", "y"))]
    keys = {stored.key(dataclasses.replace(before, **other)) for other in others} | {stored.key(before)}
    assert len(keys) == 4


def test_a_file_that_is_none_is_told():
    for content in (b"", b"PK", stored.pack(tiny.dataset())[:-200]):
        with pytest.raises(ValueError, match="no data set as fusion_jax stores it"):
            stored.unpack(content)


def test_ids_unlabelled_nodes_and_missing_values_come_back():
    tables = folders.planted(nodes=60, missing=0.2)
    tables["genes"].loc[::7, "g1"] = np.nan
    tables["labels"] = tables["labels"][:50]
    features = {name: tables[name] for name in ("genes", "clinical")}
    before = data.Dataset.from_tables(features, tables["labels"], tables["edges"], impute="median")
    after = stored.unpack(stored.pack(before))
    assert after.fingerprint == before.fingerprint and after.impute == "median"
    same(after.ids, before.ids)
    same(after.labelled, before.labelled)
    same(after.features["genes"], before.features["genes"])
