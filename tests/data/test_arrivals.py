"""What a user holds of new nodes, in order; and one line for each thing that does not fit."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from fusion_jax.data.arrivals import arrivals, edges
from fusion_jax.data.base import edge_set
from fusion_jax.data.making.edges import from_list
from fusion_jax.data.making.reading import read
from fusion_jax.data.making.report import Conversion

WIDTHS = {"rna": 3, "image": 2}
RNA = np.arange(6.0).reshape(2, 3)


def refused(message, x=None, **more):
    with pytest.raises(ValueError, match=message):
        arrivals({"rna": RNA} if x is None else x, WIDTHS, **more)


def test_a_modality_that_is_absent_is_missing_and_ids_go_on_from_the_old_ones():
    new = arrivals({"rna": RNA}, WIDTHS, known=["0", "1", "2"])
    assert new.ids.tolist() == ["3", "4"] and len(new) == 2
    assert new.mask.tolist() == [[True, False]] * 2
    assert new.features["rna"].dtype == np.float32 and new.features["image"].shape == (2, 2)
    np.testing.assert_array_equal(new.features["rna"], RNA)


def test_tables_are_joined_by_their_index_and_columns_by_their_names():
    rna = pd.DataFrame(RNA, index=["b", "a"], columns=["g1", "g2", "g3"])[["g3", "g1", "g2"]]
    image = pd.DataFrame([[1.0, 2.0]], index=["c"])
    new = arrivals({"rna": rna, "image": image}, WIDTHS, columns={"rna": ("g1", "g2", "g3")})
    assert new.ids.tolist() == ["b", "a", "c"]
    assert new.mask.tolist() == [[True, False], [True, False], [False, True]]
    np.testing.assert_array_equal(new.features["rna"][:2], RNA)
    again = arrivals({"rna": rna}, WIDTHS, ids=["a", "b"], columns={"rna": ("g1", "g2", "g3")})
    np.testing.assert_array_equal(again.features["rna"], RNA[::-1])


def test_a_row_of_nan_is_missing_a_single_nan_is_not():
    x = np.array([[np.nan, 1, 2], [np.nan] * 3], float)
    new = arrivals({"rna": x, "image": sp.csr_matrix(np.ones((2, 2)))}, WIDTHS)
    assert new.mask.tolist() == [[True, True], [False, True]] and np.isnan(new.features["rna"][0, 0])


def test_the_mask_takes_away_by_array_or_by_name():
    both = dict(rna=RNA, image=np.ones((2, 2)))
    assert arrivals(both, WIDTHS, mask=[[1, 0], [1, 1]]).mask.tolist() == [[True, False], [True, True]]
    assert arrivals(both, WIDTHS, mask=dict(image=[False, True])).mask.tolist() == [[True, False], [True, True]]


def test_what_does_not_fit_is_named():
    refused(r"x: no modality 'rnb' \(did you mean 'rna'\?\); there are: rna, image", {"rnb": RNA})
    refused(r"x\['rna'\]: shape \(2, 2\); expected \[2, 3\]: 3 columns, as in training", {"rna": RNA[:, :2]})
    refused(r"x\['image'\]: 1 rows; expected 2", {"rna": RNA, "image": np.ones((1, 2))})
    refused("ids: row 1: 'a' is the id of another row", ids=["a", "a"])
    refused("ids: row 0: '7' is an old node", ids=[7, 8], known=["7"])
    refused("ids: row 1: None; expected an id in every row", ids=["a", None])
    refused(r"x\['rna'\]: row 1 \(b\), column 2 is infinite", {"rna": [[0, 1, 2], [0, 1, np.inf]]}, ids=["a", "b"])
    refused(r"mask: shape \(2, 1\); expected \[2, 2\]", mask=[[True], [True]])
    refused("mask: no modality 'x'", mask=dict(x=[True, True]))
    refused("x: list; expected a dictionary", [RNA])
    table = pd.DataFrame(RNA, columns=["g1", "g2", "other"])
    named = dict(columns={"rna": ("g1", "g2", "g3")})
    refused(r"x\['rna'\]: no column 'g3' .*\(1 lack\)", {"rna": table}, **named)
    refused(r"column 'other', which training had not", {"rna": table.assign(g3=1)}, **named)
    twice = pd.DataFrame(RNA, index=["a", "a"])
    refused(r"x\['rna'\]: the id 'a' twice", {"rna": twice})
    refused(r"x\['rna'\]: the id 'c'; expected only ids", {"rna": pd.DataFrame(RNA, index=["a", "c"])}, ids=["a", "b"])


PLACES = {"old": 0, "o2": 1, "n1": 2, "n2": 3}


def found(given, names=(), both=False):
    made = edges(given, PLACES, 2, names, "edges of 'g'", both)
    return list(zip(made.senders.tolist(), made.receivers.tolist(), strict=True)), made.arrays


def test_edges_are_named_by_the_ids_of_their_ends_each_once_and_without_loops():
    pairs = [("n1", "old"), ("n2", "n1"), ("n1", "old"), ("n1", "n1")]
    assert found(pairs)[0] == [(2, 0), (3, 2)]
    assert set(found(pairs, both=True)[0]) == {(2, 0), (3, 2), (0, 2), (2, 3)}


def test_edge_arrays_follow_their_edges():
    table = pd.DataFrame(dict(a=["n1", "old", "n2"], b=["old", "n1", "n1"], weight=[1.0, 2.0, 3.0]))
    for given in (table, dict(pairs=table[["a", "b"]].to_numpy(), weight=table.weight)):
        pairs, arrays = found(given, ["weight"])
        assert dict(zip(pairs, arrays["weight"].tolist(), strict=True)) == {(2, 0): 1, (0, 2): 2, (3, 2): 3}


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("columns", [("weight",), ("time",), ("weight", "time")])
def test_repeated_and_reversed_edges_become_what_a_data_set_makes_of_them(directed, columns):
    rng = np.random.default_rng(0)
    names = np.array(["old", "n1", "n2", "n3"])
    rows = rng.integers(0, 4, size=(60, 2))
    rows[(rows == 0).all(1)] = 1  # no edge of old nodes alone
    table = pd.DataFrame(names[rows], columns=["a", "b"])
    table = table.assign(**{c: rng.integers(0, 3, 60).astype(float) for c in columns})
    places = {name: i for i, name in enumerate(names)}
    arrived = edges(table, places, 1, columns, "edges of 'g'", both=not directed)
    made = from_list(read(table, "edges", text=True, by="none"), list(names), 4, directed, Conversion("test"), "g")
    found = edge_set(arrived.senders, arrived.receivers, 4, arrived.arrays)

    def keyed(g):
        return sorted(zip(g.senders, g.receivers, *(g.edges[c] for c in columns), strict=True))

    np.testing.assert_allclose(keyed(found), keyed(made), rtol=1e-6)
    assert len(made.senders) < 60


def test_edges_that_do_not_fit_are_named_with_their_row():
    for given, names, message in (
        ([("n1", "o2"), ("n1", "ol")], (), r"'g': row 1 names 'ol' \(did you mean 'old'\?\), which is no node"),
        ([("old", "o2")], (), "row 0 joins 'old' and 'o2', which are old; expected edges of nodes that arrive"),
        ([("n1", "old")], ("weight",), "no edge array 'weight'"),
        (pd.DataFrame(dict(a=["n1"], b=["old"], wait=[1.0])), ("weight",), "unknown edge array 'wait'"),
        ([("n1", "old", "n2")], (), r"row 0 is \('n1', 'old', 'n2'\); expected two ids, .sender, receiver.$"),
        (
            np.array([["n1", "n1", "n2"], ["old", "o2", "n1"]]),
            (),
            r"an array \[2, 3\] is to be transposed",
        ),
        (dict(pairs=[("n1", "old")], weight=[1.0, 2.0]), ("weight",), "2 values of 'weight'; expected 1"),
    ):
        with pytest.raises(ValueError, match=message):
            found(given, names)
