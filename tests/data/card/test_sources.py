"""Which rows a card looks at, neighbours' means by hand, directions, refusals."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from fusion_jax import data
from fusion_jax.data.base import Dataset, Provenance, Split, Splits, edge_set
from fusion_jax.data.card.sources import reduced, sources
from fusion_jax.records import Target


@pytest.fixture
def made():
    return data.load("synthetic", nodes=150, modalities=2, missing=0.2)


def same(one, other):
    pairs = [(getattr(one, f)[m], getattr(other, f)[m]) for f in ("own", "near") for m in one.own]
    return np.array_equal(one.labels, other.labels) and all(np.array_equal(a, b) for a, b in pairs)


def changed(made, rows, part):
    """The data with other targets, or other features, in these rows."""
    if part == "labels":
        labels = made.target.labels.copy()
        labels[rows] = (labels[rows] + 1) % 3
        split = made.split(0)
        fixed = Splits(lambda seed: split, fixed=True, rule="kept")
        target = Target("classes", labels=labels, num_outputs=3)
        return dataclasses.replace(made, target=target, splits=fixed)
    features = {m: x.copy() for m, x in made.features.items()}
    for x in features.values():
        x[rows] += 1
    return dataclasses.replace(made, features=features)


def test_no_target_but_those_of_training_rows_is_looked_at(made):
    split, before = made.split(0), sources(made)
    others = np.concatenate([split.val, split.test])
    assert np.array_equal(before.rows, split.train)
    assert same(before, sources(changed(made, others, "labels")))
    assert not same(before, sources(changed(made, split.train[:1], "labels")))


def test_own_features_are_those_of_training_rows_and_inductive_neighbours_no_test_rows(made):
    split, before = made.split(0), sources(made)
    after = sources(changed(made, split.test, "features"))
    assert all(np.array_equal(before.own[m], after.own[m]) for m in before.own) and not same(before, after)
    arriving = dataclasses.replace(made, setting="inductive")
    assert same(sources(arriving), sources(changed(arriving, split.test, "features")))


def test_means_of_neighbours_by_hand():
    a, b = np.array([[1.0], [2.0], [4.0], [8.0], [9.0], [7.0]]), np.ones((6, 1))
    mask = np.array([[1, 1], [1, 1], [1, 1], [0, 1], [1, 1], [1, 1]], bool)
    graph = edge_set([1, 2, 3, 0, 0, 1, 2], [0, 0, 0, 0, 1, 2, 3], 6)  # 3 lacks a; 0 -> 0 is a loop; 5 hears nobody
    split = Split(np.array([0, 1, 2, 5]), np.array([3]), np.array([4]))
    made = Dataset(
        name="by_hand",
        features={"a": a, "b": b},
        mask=mask,
        graphs={"g": graph},
        target=Target("classes", labels=np.array([0, 1, 0, 1, 0, 1]), num_outputs=2),
        splits=Splits(lambda seed: split, fixed=True, rule="by hand"),
        provenance=Provenance("here", "none"),
        default_graph="g",
    )
    near = sources(made).near["a"]
    means, heard = np.array([3.0, 1.0, 2.0, np.nan]), np.array([True, True, True, False])
    expected = reduced(means[:, None], heard, 2)[0]
    np.testing.assert_allclose(near, expected, atol=1e-12)


def test_directions_have_deviation_1_and_the_share_that_is_kept():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5)) * np.array([5, 3, 0.1, 0.1, 0.1])
    found, kept = reduced(x, np.ones(400, bool), 2)
    np.testing.assert_allclose(found.T @ found / 400, np.eye(2), atol=1e-12)
    assert kept == pytest.approx(34 / 34.03, abs=1e-3)
    x[7, 0] = np.nan
    present = np.arange(400) > 0
    found, _ = reduced(x, present, 2)
    assert found.shape == (400, 3) and np.isfinite(found).all()  # the last column: who lacks it
    assert len(set(found[1:, 2])) == 1 != len(set(found[:, 2]))
    assert reduced(np.ones((9, 2)), np.ones(9, bool), 2)[0].tolist() == [[0.0]] * 9


def test_bags_of_words_are_read_like_dense_ones(made):
    bags = {m: sp.csr_matrix(x) for m, x in made.features.items()}
    assert same(sources(made), sources(dataclasses.replace(made, features=bags)))


def test_values_are_cut_into_quarters():
    found = sources(data.load("synthetic_values", nodes=200))
    assert np.bincount(found.labels).tolist() == [len(found.rows) // 4] * 4


def test_what_has_no_card_is_refused():
    with pytest.raises(ValueError, match="card is for classes or values of nodes; data set 'synthetic_graphs' has"):
        sources(data.load("synthetic_graphs"))
    with pytest.raises(ValueError, match="has one modality, expected two or more"):
        sources(data.load("synthetic", nodes=60, modalities=1))
