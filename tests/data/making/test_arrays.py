"""Arrays by row number: what becomes of edges, masks, labels and splits."""

import numpy as np
import pytest
import scipy.sparse as sp

from fusion_jax.data.base import Dataset

RNG = np.random.default_rng(0)
N = 40
X = {"b": RNG.normal(size=(N, 4)).astype(np.float32), "a": RNG.normal(size=(N, 3))}
Y = np.arange(N) % 2
RING = np.stack([np.arange(N), (np.arange(N) + 1) % N])


def test_features_edges_and_labels_are_what_was_given():
    data = Dataset.from_arrays(X, RING, Y, edge_weight=np.linspace(1, 2, N), class_names=("no", "yes"))
    assert data.modalities == ("b", "a") and data.ids is None and data.class_names == ("no", "yes")
    for name, x in X.items():
        np.testing.assert_array_equal(data.features[name], x.astype(np.float32))
    np.testing.assert_array_equal(data.target.labels, Y)
    g = data.graphs["edges"]
    assert {tuple(p) for p in zip(g.senders, g.receivers, strict=True)} == {
        tuple(p) for p in np.concatenate([RING, RING[::-1]], 1).T
    }
    weights = {(s, r): w for s, r, w in zip(g.senders, g.receivers, g.edges["weight"], strict=True)}
    assert weights[3, 4] == weights[4, 3] == np.float32(np.linspace(1, 2, N)[3])
    one_way = Dataset.from_arrays(X, RING, Y, directed=True).graphs["edges"]
    assert sorted(zip(one_way.senders, one_way.receivers, strict=True)) == sorted(map(tuple, RING.T))
    both = np.concatenate([RING, RING[::-1]], 1)
    assert Dataset.from_arrays(X, both, Y).fingerprint == Dataset.from_arrays(X, RING, Y).fingerprint


def test_masks_missing_values_ids_and_unlabelled_nodes():
    mask = np.ones((N, 2), bool)
    mask[3, 0] = False
    gaps = X["a"].copy()
    gaps[5], gaps[6, 1] = np.nan, np.nan
    y = Y.copy()
    y[7] = -1
    data = Dataset.from_arrays({"b": X["b"], "a": gaps}, RING, y, mask=mask, ids=[f"n{i}" for i in range(N)])
    assert not data.mask[3, 0] and not data.mask[5, 1] and data.mask.sum() == 2 * N - 2
    assert np.isnan(data.features["a"][6, 1]) and np.isnan(data.features["a"]).sum() == 1 and data.impute == "mean"
    assert data.ids[3] == "n3" and data.labelled.sum() == N - 1 and not data.labelled[7]


@pytest.mark.parametrize(
    ("y", "kind", "outputs"),
    [
        (np.array(["x", "y"])[Y], "classes", 2),
        (Y.astype(bool), "classes", 2),
        (RNG.normal(size=N), "values", 1),
        (RNG.normal(size=(N, 3)), "values", 3),
        (RNG.integers(0, 2, size=(N, 3)), "labels", 3),
    ],
)
def test_the_dtype_of_the_labels_says_the_task(y, kind, outputs):
    target = Dataset.from_arrays(X, RING, y).target
    assert (target.kind, target.num_outputs, len(target)) == (kind, outputs, N)


def test_a_split_of_masks_or_row_numbers_is_kept():
    rows = dict(train=np.arange(20), val=np.arange(20, 30), test=np.arange(30, 40))
    masks = {part: np.isin(np.arange(N), r) for part, r in rows.items()}
    for given in (rows, masks):
        split = Dataset.from_arrays(X, RING, Y, split=given).split(3)
        for part, wanted in rows.items():
            np.testing.assert_array_equal(getattr(split, part), wanted)
    drawn = Dataset.from_arrays(X, RING, Y, split=dict(train=np.arange(30), test=np.arange(30, 40)))
    assert len(drawn.split(0).val) == 6 and not np.array_equal(drawn.split(0).val, drawn.split(1).val)


def test_a_single_array_and_a_sparse_one_are_modalities():
    data = Dataset.from_arrays(sp.csr_matrix(np.abs(X["b"])), RING, Y)
    assert data.modalities == ("x",) and sp.issparse(data.features["x"])
    assert Dataset.from_arrays(X["b"], RING, Y).modalities == ("x",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(edge_index=RING.T), r"edge_index: int64 \(40, 2\) \(transpose it\); expected row numbers"),
        (dict(edge_index=RING + 1), r"edges, column 'source', row 39: '40'; expected a position in \[0, 40\)"),
        (dict(y=Y[:-1]), r"x\['b'\]: 40 rows; expected 39, one a row of y"),
        (dict(y=None), "y: none; expected labels"),
        (dict(mask=np.ones((N, 3), bool)), r"mask: shape \(40, 3\); expected \(40, 2\)"),
        (dict(edge_weight=np.ones(3)), r"edge_weight: shape \(3,\); expected \(40,\), one an edge"),
        (dict(split=dict(train=[0], test=[0])), "split: test: 1 rows that are in train too"),
        (dict(split=dict(train=[0])), r"split: \['train'\]; expected a dictionary with train, test"),
        (dict(class_names=("a", "b", "c")), r"y: the classes \[0, 1\]; expected all 3 that class_names has"),
        (dict(x={"a": np.ones(N)}), r"x\['a'\]: shape \(40,\); expected numbers \[N, d\]"),
    ],
)
def test_what_does_not_fit_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        Dataset.from_arrays(**{**dict(x=X, edge_index=RING, y=Y), **given})
