"""The survival data: what stands in the columns, the splits, and what is refused."""

import sys

import numpy as np
import pytest

from fusion_jax import data
from fusion_jax.data import __main__ as listing
from fusion_jax.data import breast_cancer


@pytest.fixture(scope="module")
def dataset():
    return data.load("breast_cancer")


def test_columns(dataset):
    genes, clinical = dataset.features["genes"], dataset.features["clinical"]
    assert genes.shape == (198, 76) and clinical.shape == (198, 4) and dataset.mask.all()
    age, er, grade, size = clinical.T
    assert (age.min(), age.max()) == (24, 60) and size.min() == pytest.approx(0.6)
    assert er.tolist().count(1) == 134 and er.tolist().count(0) == 64
    assert [grade.tolist().count(g) for g in (1, 2, 3)] == [30, 85, 83]  # 2 unknown count as 2
    assert dataset.target.event.sum() == 51 and (dataset.target.time.min(), dataset.target.time.max()) == (125, 9108)
    assert dataset.target.time[:2].tolist() == [723, 6591] and dataset.target.event[:2].tolist() == [True, False]


def test_splits_share_the_events(dataset):
    for seed in range(3):
        split = dataset.split(seed)
        parts = [getattr(split, part) for part in ("train", "val", "test")]
        assert [len(p) for p in parts] == [119, 40, 39]
        assert [int(dataset.target.event[p].sum()) for p in parts] == [31, 10, 10]


@pytest.mark.parametrize(("part", "train", "val"), [("train", 0.005, 0.5), ("val", 0.5, 0.01)])
def test_a_part_without_an_event_is_refused(part, train, val):
    d = data.load("breast_cancer", train=train, val=val)  # one row in that part, censored
    with pytest.raises(ValueError, match=f"'breast_cancer', split of seed 0: the {part} part has no event"):
        d.split(0)


def test_graphs(dataset):
    assert set(dataset.graphs) == {"knn", "knn_genes", "knn_clinical", "alone"}
    assert len(dataset.graphs["alone"].senders) == 0 and dataset.graph("alone").looped.num_edges == 198
    assert len(np.unique(dataset.graphs["knn"].receivers)) == 198


def test_without_scikit_survival_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sksurv.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'fusion_jax\[survival\]'"):
        data.load("breast_cancer")
    monkeypatch.setattr(listing.importlib.util, "find_spec", lambda name: None)
    row = next(row for row in listing.rows() if row["name"] == "breast_cancer")
    assert not row["present"] and row["get"] == "pip install 'fusion_jax[survival]'"


def test_other_contents_are_refused(monkeypatch):
    monkeypatch.setattr(breast_cancer, "CHECKSUM", "0" * 64)
    with pytest.raises(ValueError, match="sha256 807e9bb7.*expected 0000"):
        data.load("breast_cancer")


def test_its_numbers_stay():
    """Finished results are of these: another fingerprint makes it another data set."""
    assert data.load("breast_cancer").fingerprint.startswith("44db0122cecc")
