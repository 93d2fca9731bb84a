"""MuData and AnnData, in memory and from files."""

import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from fusion_jax.data.base import Dataset

anndata = pytest.importorskip("anndata", reason="anndata is in the extras omics and test")
RNG = np.random.default_rng(0)
CELLS = [f"cell{i:02d}" for i in range(60)]
KIND = pd.Categorical(np.array(["T", "B", "NK"])[np.arange(60) % 3])


def rna():
    obs = pd.DataFrame(dict(kind=KIND), index=CELLS)
    counts = sp.csr_matrix(RNG.poisson(2.0 + np.arange(60)[:, None] % 3, size=(60, 5)).astype(np.float32))
    assay = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(5)]))
    assay.obsm["X_pca"] = RNG.normal(size=(60, 3))
    ring = sp.coo_matrix((np.ones(60), (np.arange(60), (np.arange(60) + 3) % 60)), (60, 60))
    assay.obsp["connectivities"] = sp.csr_matrix(ring + ring.T)
    return assay


def protein():
    """Of fifty of the cells, in another order."""
    return anndata.AnnData(RNG.normal(size=(50, 4)), obs=pd.DataFrame(index=CELLS[59:9:-1]))


def test_assays_are_modalities_and_cells_are_joined_by_name(tmp_path):
    mudata = pytest.importorskip("mudata", reason="mudata is in the extras omics and test")
    held = mudata.MuData({"rna": rna(), "protein": protein()})
    data = Dataset.from_mudata(held, "kind", edges="connectivities")
    assert data.ids.tolist() == CELLS and data.modalities == ("rna", "protein")
    np.testing.assert_array_equal(data.features["rna"].toarray(), held["rna"].X.toarray())
    np.testing.assert_array_equal(data.mask[:, 1], np.arange(60) >= 10)
    np.testing.assert_array_equal(data.features["protein"][10:], held["protein"].X[::-1].astype(np.float32))
    assert [data.class_names[i] for i in data.target.labels] == list(KIND)
    assert len(data.graphs["edges"].senders) == 120 and set(data.graphs["edges"].edges["weight"]) == {1.0}
    held.write_h5mu(tmp_path / "mine.h5mu")
    again = Dataset.from_mudata(tmp_path / "mine.h5mu", "kind", edges="connectivities")
    assert again.fingerprint == data.fingerprint and again.name == "mine"


def test_of_an_anndata_any_key_is_a_modality(tmp_path):
    assay = rna()
    assay.obs["part"] = np.array(["train"] * 30 + ["val"] * 15 + ["test"] * 15)
    data = Dataset.from_mudata(assay, "kind", use={"rna": "X", "pca": "X_pca"}, split="part", graph="none")
    assert data.modalities == ("rna", "pca") and data.split(4).train.tolist() == list(range(30))
    np.testing.assert_array_equal(data.features["pca"], assay.obsm["X_pca"].astype(np.float32))
    assay.write_h5ad(tmp_path / "mine.h5ad")
    assert Dataset.from_mudata(tmp_path / "mine.h5ad", "kind", graph="none").modalities == ("x",)


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="label='kinds' .did you mean 'kind'"):
        Dataset.from_mudata(rna(), "kinds")
    with pytest.raises(ValueError, match="modality 'pca': no 'X_pcs' .did you mean 'X_pca'"):
        Dataset.from_mudata(rna(), "kind", use={"pca": "X_pcs"})
    with pytest.raises(ValueError, match="edges='connectivity' .did you mean 'connectivities'"):
        Dataset.from_mudata(rna(), "kind", edges="connectivity")
    with pytest.raises(FileNotFoundError, match="no such file"):
        Dataset.from_mudata(tmp_path / "mine.h5mu", "kind")
    (tmp_path / "mine.h5ad").write_text("no such thing")
    with pytest.raises(ValueError, match="mine.h5ad: it cannot be read"):
        Dataset.from_mudata(tmp_path / "mine.h5ad", "kind")
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(ImportError, match=r"mine.h5ad is read by anndata, .* pip install 'fusion_jax\[omics\]'"):
        Dataset.from_mudata(tmp_path / "mine.h5ad", "kind")
