"""Lists of edges: ends, weights and times, what repeats, and what is left out."""

import numpy as np
import pandas as pd
import pytest

from fusion_jax.data.making.edges import ends_of, from_list
from fusion_jax.data.making.reading import read
from fusion_jax.data.making.report import Conversion

NAMES = ["a", "b", "c", "d"]


def made(rows, columns=("source", "target"), directed=False, names=NAMES):
    """{(sender, receiver, time): weight}, and the report."""
    report = Conversion("test")
    table = read(pd.DataFrame(rows, columns=list(columns)), "edges", text=True, by="none")
    g = from_list(table, names, 4, directed, report, "edges")
    held = g.edges or {}
    weight, time = held.get("weight", np.ones(len(g.senders))), held.get("time", np.zeros(len(g.senders)))
    keys = [(NAMES[s], NAMES[r], float(t)) for s, r, t in zip(g.senders, g.receivers, time, strict=True)]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, weight.tolist(), strict=True)), report


def test_both_directions_of_a_pair_are_made_whatever_stands_there():
    wanted = {(s, r, 0.0): 1 for s, r in ("ab", "ba", "bc", "cb")}
    for rows in (["ab", "bc"], ["ba", "bc"], ["ab", "ba", "bc", "cb"], ["ab", "ab", "cb", "bc"]):
        assert made([list(row) for row in rows])[0] == wanted
    directed, report = made([list(row) for row in ("ab", "ba", "bc")], directed=True)
    assert set(directed) == {("a", "b", 0), ("b", "a", 0), ("b", "c", 0)}
    assert (
        report.facts["edges"]["edges"] | dict(rows=3, both_directions=1, one_directional=1)
        == report.facts["edges"]["edges"]
    )


def test_loops_are_left_out_and_repeats_merged_and_counted():
    rows = [("a", "b", 1.0), ("b", "a", 3.0), ("a", "b", 2.0), ("c", "c", 9.0), ("c", "d", 0.5)]
    found, report = made(rows, ("source", "target", "weight"))
    assert found == {("a", "b", 0): 2.0, ("b", "a", 0): 2.0, ("c", "d", 0): 0.5, ("d", "c", 0): 0.5}
    facts = report.facts["edges"]["edges"]
    assert (facts["loops"], facts["duplicates"], facts["rows"], facts["pairs"]) == (1, 1, 5, 2)
    assert "1 row that repeat another merged; 1 loop left out" in report.text()


def test_edges_of_different_times_are_different():
    rows = [("a", "b", 1.0), ("a", "b", 2.0), ("a", "b", 2.0)]
    found, report = made(rows, ("source", "target", "time"), directed=True)
    assert set(found) == {("a", "b", 1.0), ("a", "b", 2.0)} and report.facts["edges"]["edges"]["duplicates"] == 1


def test_every_edge_so_many_times_is_doubted_but_not_both_directions():
    pairs = [list(p) for p in ("ab", "bc", "cd")]
    assert not made([*pairs, *[p[::-1] for p in pairs]])[1].warnings
    (warning,) = made(pairs * 3)[1].warnings
    assert "every edge stands there 3 times" in warning
    (warning,) = made(pairs * 2)[1].warnings
    assert "every edge stands there 2 times" in warning
    (warning,) = made(pairs + pairs[:2])[1].warnings
    assert "40% of its rows repeat another edge" in warning


def test_columns_are_found_by_name_or_by_place():
    for ends in (("from", "to"), ("Sender", "Receiver"), ("node1", "node2")):
        frame = pd.DataFrame([[7, "a", "b"]], columns=["n", *ends])
        assert ends_of(read(frame, "edges", by="none")) == ends
    assert ends_of(read(pd.DataFrame([["a", "b", 1]], columns=["x", "y", "z"]), "edges", by="none")) == ("x", "y")
    with pytest.raises(ValueError, match="edges: one column; expected two of ids"):
        ends_of(read(pd.DataFrame(dict(x=["a"])), "edges", by="none"))
    with pytest.raises(ValueError, match=r"edges: an array of shape \(2, 5\); expected a row an edge: transpose it"):
        ends_of(read(np.zeros((2, 5), int), "edges", by="none"))
    assert "columns not read: 'kind'" in made([("a", "b", "x")], ("source", "target", "kind"))[1].text()


def test_a_list_without_a_line_of_names_keeps_its_first_edge(tmp_path):
    (tmp_path / "edges.csv").write_text("a,b\nb,c\n")
    report = Conversion("test")
    table = read(tmp_path / "edges.csv", "edges", text=True, by="none")
    g = from_list(table, NAMES, 4, True, report, "edges")
    assert list(zip(g.senders, g.receivers, strict=True)) == [(0, 1), (1, 2)]
    assert "no line of names: the first line is an edge" in report.text()


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (
            [("a", "b", "x")],
            ("source", "target", "weight"),
            "edges, column 'weight', row 0: 'x'; expected a number >= 0",
        ),
        ([("a", "b", -1.0)], ("source", "target", "weight"), "column 'weight', row 0: '-1.0'; expected a number >= 0"),
        ([("a", "b", np.nan)], ("source", "target", "time"), "column 'time', row 0: 'nan'; expected a number"),
        ([("a", "")], ("source", "target"), "edges, column 'target', row 0: no id"),
        ([("x", "y")], ("source", "target"), "none of its 1 edge joins two known ids .there: 'x', 'y'; .* such as 'a'"),
    ],
)
def test_what_is_wrong_is_named(rows, columns, message):
    with pytest.raises(ValueError, match=message):
        made(rows, columns)


def test_loops_alone_weights_of_nothing_and_decimal_commas_are_said(tmp_path):
    (warning,) = made([("a", "a"), ("b", "b")])[1].warnings
    assert "all its edges are loops" in warning
    weighted = ("source", "target", "weight")
    (warning,) = made([("a", "b", 0.0), ("b", "c", 0.0)], weighted)[1].warnings
    assert "all weights are 0" in warning
    assert not made([("a", "b", 0.0), ("b", "c", 1.0)], weighted)[1].warnings
    (tmp_path / "edges.csv").write_text("source;target;weight\na;b;0,5\n")
    g = from_list(read(tmp_path / "edges.csv", "e", text=True, by="none"), NAMES, 4, True, Conversion("t"), "edges")
    assert g.edges["weight"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A", "'A' and 'a' differ in upper and lower case only"),
        ("a\u200b", "'a.u200b' and 'a' differ in spaces or inv"),
    ],
)
def test_an_id_that_only_looks_like_a_known_one_is_warned_of(text, said):
    (warning,) = made([("a", "b"), ("b", "c"), (text, "c")])[1].warnings
    assert "1 edge of 3 left out" in warning and said in warning.replace("\\", ".")


def test_times_and_pairs_are_told_apart_in_any_order():
    rows = [
        ("b", "c", 9.0, 5.0),
        ("a", "c", 1.0, 4.0),
        ("a", "b", 2.0, 3.0),
        ("a", "b", 1.0, 1.0),
        ("a", "b", 1.0, 2.0),
    ]
    found, _ = made(rows, ("source", "target", "time", "weight"), directed=True)
    wanted = {("b", "c", 9.0): 5.0, ("a", "c", 1.0): 4.0, ("a", "b", 2.0): 3.0, ("a", "b", 1.0): 1.5}
    assert found == wanted
