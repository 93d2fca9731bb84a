"""Tables whose ids only look alike, or have nothing in common: said, and never joined silently."""

import unicodedata

import numpy as np
import pandas as pd
import pytest

from fusion_jax.data.base import Dataset
from fusion_jax.data.making.ids import look
from tests import folders

NFD = unicodedata.normalize("NFD", "é")


def made(ids=None, *, of="genes", **options) -> Dataset:
    """The planted tables with another way to write the ids of one of them."""
    tables = folders.planted()
    if ids is not None:
        tables[of] = tables[of].assign(id=list(map(ids, tables[of].id)))
    features = {name: tables[name] for name in ("genes", "clinical")}
    return Dataset.from_tables(features, tables["labels"], tables["edges"], **options)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (str.upper, "'P001' (genes) and 'p001' (clinical)"),
        (lambda i: i.replace("p", "p\u200b"), "'p001' (clinical) and 'p\\u200b001' (genes)"),
    ],
)
def test_nodes_of_two_tables_whose_ids_look_alike_are_said_with_both_files(other, said):
    data = made(lambda i: other(i) if int(i[1:]) % 3 == 1 else i)
    assert data.num_nodes == 160
    (warning,) = [w for w in data.conversion.warnings if "look alike" in w]
    assert warning.startswith("40 pairs of ids look alike and are two nodes each") and said in warning


def test_unicode_forms_are_told_apart_in_words_and_characters():
    names = [f"{c}{i}" for i in range(30) for c in "éa"]
    x = np.random.default_rng(0).normal(size=60)
    one = pd.DataFrame(dict(id=names, x=x))
    other = pd.DataFrame(dict(id=[n.replace("é", NFD) for n in names], y=x))
    labels = pd.DataFrame(dict(id=names, label=["ab"[i % 2] for i in range(60)]))
    (warning,) = [
        w for w in Dataset.from_tables({"one": one, "two": other}, labels).conversion.warnings if "alike" in w
    ]
    assert "30 pairs of ids" in warning and "'\\xe90' (one)" in warning and "'e\\u03010' (two)" in warning
    assert "They differ in Unicode form (NFC and NFD) only" in warning


def test_one_table_that_tells_two_ids_apart_is_believed():
    tables = folders.planted()
    genes = tables["genes"].assign(id=[f"{'pP'[i % 2]}{i // 2}" for i in range(120)])
    labels = tables["labels"].assign(id=genes.id)
    data = Dataset.from_tables({"genes": genes}, labels)
    assert data.num_nodes == 120 and not any("alike" in w for w in data.conversion.warnings)


def test_labels_of_ids_that_look_alike_are_said():
    data = made(lambda i: i.upper() if i == "p007" else i, of="labels")
    (warning,) = data.conversion.warnings
    assert "1 dropped, whose ids no node has ('P007'); 'P007' and 'p007' differ in upper and lower case" in warning
    assert not data.labelled[7]


def test_feature_tables_without_a_common_id_are_warned_of():
    (warning,) = made(lambda i: i.replace("p", "q")).conversion.warnings
    assert "genes" in warning and "have 0 of 120 ids in common (there: 'p000', 'p001', 'p002'" in warning


def test_a_label_of_an_unknown_node_is_dropped_and_an_intersection_keeps_labelled_nodes_only():
    data = made(lambda i: "zzz" if i == "p003" else i, of="labels")
    assert "labels: 120 rows, 119 joined by column 'id', 1 dropped, whose ids no node has ('zzz')" in str(
        data.conversion.lines
    )
    assert data.num_nodes == 120 and not data.labelled[3] and not data.conversion.warnings
    both = made(lambda i: "zzz" if i == "p003" else i, of="labels", join="intersection")
    assert both.num_nodes == 119 and "p003" not in both.ids and both.labelled is None


def test_what_looks_alike():
    assert look("Caf\u00e9 1") == look(f"CAF{NFD.upper()}\u00a0 1\ufeff") != look("Cafe 1")
