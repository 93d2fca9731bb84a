"""What is doubted of alignment, and that right data are accused of nothing."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fusion_jax import data
from fusion_jax.data import files
from fusion_jax.data.base import Dataset, edge_set
from tests import folders


def as_tables(d: Dataset, split_of: int | None) -> Dataset:
    """A data set of the package as if its user had tables of it."""
    ids = np.array([f"n{i:05d}" for i in range(d.num_nodes)])
    features = {}
    for m, (name, x) in enumerate(d.features.items()):
        features[name] = pd.DataFrame(x, index=pd.Index(ids, name="id"))[d.mask[:, m]]
    g = d.graphs[d.default_graph]
    edges = pd.DataFrame(dict(source=ids[g.senders], target=ids[g.receivers]))
    labels = pd.DataFrame(dict(id=ids, label=np.array(d.class_names)[d.target.labels]))
    split = None
    if split_of is not None:
        words = np.full(d.num_nodes, "", dtype=object)
        for part, rows in vars(d.split(split_of)).items():
            words[rows] = part
        split = pd.DataFrame(dict(id=ids, split=words))
    return Dataset.from_tables(features, labels, edges, split)


@pytest.mark.parametrize("split_of", [None, 0])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits", {}),
        ("watch", dict(missing=0.5)),
        ("synthetic", {}),
        ("synthetic", dict(redundant=0.0, unique=0.0, synergy=0.9)),  # no modality knows of label or graph
        ("rosmap", {}),
    ],
)
def test_the_sets_of_the_package_are_accused_of_nothing(name, options, split_of):
    source = data.module(name).FILES
    if source and any(source.find(file) is None for file in source.sha256):
        pytest.skip(f"{name}: its files are not in {', '.join(map(str, files.roots()))}")
    given = data.load(name, **options)
    made = as_tables(given, split_of)
    assert not made.conversion.warnings
    np.testing.assert_array_equal(made.mask, given.mask)
    for modality, x in given.features.items():
        there = made.mask[:, made.modalities.index(modality)]
        np.testing.assert_array_equal(made.features[modality][there], x[there])
    (edges,) = made.graphs.values()
    np.testing.assert_array_equal(edges.senders, given.graphs[given.default_graph].senders)


def planted(**changes) -> Dataset:
    tables = {**folders.planted(), **changes}
    features = {name: tables[name] for name in ("genes", "clinical")}
    return Dataset.from_tables(features, tables["labels"], tables["edges"])


def test_few_training_labels_are_said_to_tell_too_little():
    tables = folders.planted()
    made = Dataset.from_tables({"genes": tables["genes"]}, tables["labels"], tables["edges"], per_class=2)
    assert "too few to judge homophily" in made.conversion.text() and not made.conversion.warnings


def test_constant_columns_and_those_of_another_size_are_named():
    genes = folders.planted()["genes"]
    genes["g0"], genes["g3"] = 1.0, 1e6 * genes["g3"]
    genes.loc[5, "g4"] = 1e9
    text = planted(genes=genes).conversion.text()
    assert "genes: 1 column of 6 constant ('g0')" in text
    assert "genes: column 'g4' owes its spread to one value alone, and reaches 1e+09: is it right?" in text
    facts = planted(genes=genes).conversion.facts
    assert facts["constant"] == {"genes": ["g0"]} and set(facts["exploding"]["genes"]) == {"g3", "g4"}


def test_values_are_judged_by_their_likeness_across_edges():
    tables = folders.planted()
    rng = np.random.default_rng(0)
    number = tables["labels"].label.map(dict(alpha=0.0, beta=3.0, gamma=6.0)) + rng.normal(size=120)
    made = planted(labels=tables["labels"].assign(label=number))
    assert made.target.kind == "values" and "Moran's I of the targets of training nodes is 0." in made.conversion.text()
    assert not made.conversion.warnings and made.conversion.facts["homophily"]["edges"]["p"] <= 0.01


def test_test_labels_have_no_say_in_the_report():
    tables = folders.planted()
    one = planted()
    labels = tables["labels"].copy()
    test = one.split(0).test
    words = np.full(120, "train", dtype=object)
    words[test], words[one.split(0).val] = "test", "val"
    split = pd.DataFrame(dict(id=labels.id, split=words))
    labels.loc[test, "label"] = np.roll(labels.label[test], 1)

    def said(of):
        features = {name: tables[name] for name in ("genes", "clinical")}
        report = Dataset.from_tables(features, of, tables["edges"], split).conversion
        return [line for line in report.lines if line.startswith("graph")] + report.warnings

    assert said(labels) == said(tables["labels"])


def test_edges_of_other_nodes_are_doubted_where_only_communities_tell():
    """The planted set closes hardly more triangles than a random graph; its parts tell that it is none."""
    given = data.load("synthetic")
    g = given.graphs["planted"]
    order = np.random.default_rng(0).permutation(given.num_nodes)
    graphs = {"planted": edge_set(order[g.senders], order[g.receivers], given.num_nodes)}
    (warning,) = as_tables(dataclasses.replace(given, graphs=graphs), None).conversion.warnings
    assert "it falls into parts, second eigenvalue" in warning and "neither labels nor features know of it" in warning


def with_other_ids(seed: int, *, informative: bool = True) -> list[str]:
    """The warnings where both modalities stand at the ids of other nodes, alike; labels and edges at their own."""
    tables = folders.planted(seed=seed)
    names = tables["genes"].id.to_numpy()
    rng = np.random.default_rng(seed)
    moved = dict(zip(names, rng.permutation(names), strict=True))
    for name in ("genes", "clinical"):
        tables[name] = tables[name].assign(id=tables[name].id.map(moved))
        if not informative:
            tables[name].iloc[:, 1:] = rng.normal(size=(120, tables[name].shape[1] - 1))
    return planted(**tables).conversion.warnings


def test_modalities_that_agree_with_each_other_alone_are_doubted():
    found = [with_other_ids(seed) for seed in range(8)]
    said = "graph edges agrees with the labels, and the modalities 'clinical', 'genes' with each other, but no modality"
    assert sum(len(w) == 1 and w[0].startswith(said) for w in found) >= 6


def test_features_that_know_of_nothing_are_not_doubted():
    assert not any(with_other_ids(seed, informative=False) for seed in range(8))
