"""A data set that is inconsistent is refused, with the field, the row, the value and what was expected."""

import dataclasses

import jraph
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from fusion_jax import data
from fusion_jax.data import splits
from fusion_jax.data.base import Dataset, Neighbours, Provenance, Split, Splits, edge_set
from fusion_jax.records import Target

N = 6
LABELS = np.array([0, 1, 0, 1, 0, 1], np.int32)
TIMES = np.arange(1.0, N + 1)


def drawn(train, val, test) -> Splits:
    split = Split(*(np.asarray(part) for part in (train, val, test)))
    return Splits(lambda seed: split, fixed=True, rule="given")


def make(**changes) -> Dataset:
    fields = dict(
        name="toy",
        features={"a": np.ones((N, 3), np.float32), "b": sp.csr_matrix(np.eye(N, dtype=np.float32))},
        mask=np.ones((N, 2), bool),
        graphs={"ring": edge_set(np.arange(N), (np.arange(N) + 1) % N, N)},
        target=Target("classes", labels=LABELS, num_outputs=2),
        splits=splits.fixed([0, 1], [2, 3], [4, 5], "given"),
        provenance=Provenance("here", "none"),
        default_graph="ring",
    )
    return Dataset(**{**fields, **changes})


def dense(value, row=4) -> np.ndarray:
    x = np.ones((N, 3), np.float32)
    x[row, 1] = value
    return x


def raw(senders, receivers, n_node=N, edges=None) -> jraph.GraphsTuple:
    """A graph as given, past `edge_set`."""
    n_node = np.atleast_1d(n_node)
    return jraph.GraphsTuple(
        None, edges, np.asarray(receivers), np.asarray(senders), None, n_node, np.array([len(senders)])
    )


def test_a_consistent_one_is_accepted_and_gets_the_checksum_of_its_arrays():
    d = make()
    assert (d.num_nodes, d.modalities) == (N, ("a", "b"))
    assert len(d.provenance.checksum) == 64 and d.provenance.checksum == make().provenance.checksum
    for change in (
        dict(features={**d.features, "a": dense(2)}),
        dict(graphs={"ring": edge_set([0], [1], N)}),
        dict(target=Target("classes", labels=1 - LABELS, num_outputs=2)),
    ):
        assert make(**change).provenance.checksum != d.provenance.checksum
    assert make(provenance=Provenance("here", "none", "given")).provenance.checksum == "given"
    nudged = {**d.features, "a": d.features["a"].copy()}
    nudged["a"][0, 0] = np.nextafter(nudged["a"][0, 0], np.float32(9))
    copy = dataclasses.replace(d, features=nudged)
    assert copy.provenance.checksum != d.provenance.checksum and copy.fingerprint != d.fingerprint


def test_a_rule_for_an_edge_set_that_is_there():
    how = {"ring": Neighbours(1, (("a",), ("b", "a")))}
    assert make(made=how).made == how


def test_what_a_masked_slot_holds_is_not_looked_at():
    mask = np.ones((N, 2), bool)
    mask[4, 0] = False
    make(mask=mask, features={"a": dense(np.nan), "b": make().features["b"]})


def sparse(value) -> sp.csr_matrix:
    x = sp.csr_matrix(np.eye(N, dtype=np.float32))
    x.data[3] = value
    return x


INCONSISTENT = {
    "NaN feature": (
        dict(features={"a": dense(np.nan), "b": dense(1)}),
        r"'toy', field features\['a'\]: row 4 holds nan; expected finite values wherever mask is true",
    ),
    "infinite feature": (
        dict(features={"a": dense(1), "b": dense(-np.inf)}),
        r"features\['b'\]: row 4 holds -inf",
    ),
    "NaN in a sparse feature": (
        dict(features={"a": dense(1), "b": sparse(np.nan)}),
        r"features\['b'\]: row 3 holds nan",
    ),
    "rows not matching N": (
        dict(features={"a": np.ones((N + 1, 3), np.float32), "b": dense(1)}),
        r"features\['a'\]: shape \(7, 3\); expected \[6, d\], one row a node",
    ),
    "dtype": (dict(features={"a": np.ones((N, 3), complex), "b": dense(1)}), r"dtype complex128; expected numbers"),
    "modalities not matching the mask": (
        dict(features={"a": dense(1)}),
        r"field features: 1 modalities \(a\); expected 2",
    ),
    "features without columns": (
        dict(features={"a": np.ones((N, 0)), "b": dense(1)}),
        r"features\['a'\]: shape \(6, 0\); expected \[6, d\], one row a node .mask has 6 rows., d at least 1",
    ),
    "features in one dimension": (dict(features={"a": np.ones(N), "b": dense(1)}), r"features\['a'\]: shape \(6,\)"),
    "features of text": (
        dict(features={"a": [["x"]] * N, "b": dense(1)}),
        r"features\['a'\]: dtype <U1; expected numbers",
    ),
    "features of objects": (
        dict(features={"a": np.full((N, 1), None), "b": dense(1)}),
        r"features\['a'\]: dtype object; expected numbers",
    ),
    "features of dates": (
        dict(features={"a": np.zeros((N, 1), "datetime64[s]"), "b": dense(1)}),
        r"features\['a'\]: dtype datetime64",
    ),
    "ragged features": (
        dict(features={"a": [[1, 2]] * 5 + [[1]], "b": dense(1)}),
        r"features\['a'\]: list that is no array",
    ),
    "masked entries": (
        dict(features={"a": np.ma.masked_equal(np.eye(N), 1), "b": dense(1)}),
        r"features\['a'\]: a masked array",
    ),
    "features too large for float32": (
        dict(features={"a": dense(1), "b": np.full((N, 2), 1e39)}),
        r"features\['b'\]: row 0 holds 1e\+39; expected finite values",
    ),
    "features that float32 cannot tell apart": (
        dict(features={"a": 1.7e9 + np.arange(N)[:, None], "b": dense(1)}),
        r"features\['a'\]: column 0 lies in \[.*1700000000.0.*1700000005.0.*\], which float32 cannot tell apart",
    ),
    "complex numbers in a sparse feature": (
        dict(features={"a": sp.eye(N, dtype=complex), "b": dense(1)}),
        r"features\['a'\]: dtype complex128",
    ),
    "features in a list": (dict(features=[dense(1), dense(1)]), r"field features: list; expected a dictionary"),
    "modalities that are numbers": (
        dict(features={0: dense(1), 1: dense(1)}),
        r"field features: dict with names \[0, 1\]",
    ),
    "mask of numbers": (dict(mask=np.full((N, 2), 2)), r"field mask: int64 \(6, 2\), row 0 holds 2; expected bool"),
    "mask of one dimension": (dict(mask=np.ones(N, bool)), r"field mask: bool \(6,\); expected bool \[N, M\]"),
    "mask not bool": (dict(mask=np.ones((N, 2))), r"field mask: float64 \(6, 2\); expected bool \[N, M\]"),
    "no nodes": (dict(mask=np.ones((0, 2), bool)), r"field mask: shape \(0, 2\); expected at least one node"),
    "edge id out of range": (
        dict(graphs={"g": raw([0, 6], [1, 2])}),
        r"data set 'toy', graphs\['g'\]: senders\[1\] is 6, expected a node id in \[0, 6\)",
    ),
    "edge id negative": (
        dict(graphs={"g": raw([0, 1], [-1, 2])}),
        r"graphs\['g'\]: receivers\[0\] is -1, expected a node id in \[0, 6\)",
    ),
    "edge ids not integers": (dict(graphs={"g": raw([0.0], [1.0])}), r"senders must be integers, found float64"),
    "unsorted edges": (
        dict(graphs={"g": raw([0, 1, 2], [1, 3, 2])}),
        r"graphs\['g'\]: receivers not sorted at row 2; expected edges sorted by receiver",
    ),
    "graph of another size": (dict(graphs={"g": raw([0], [1], 5)}), r"graphs\['g'\]: 5 nodes; expected 6"),
    "edge across graphs of a batch": (
        dict(graphs={"g": raw([0, 3], [1, 2], [3, 3])}),
        r"graphs\['g'\]: row 1, edge 3 -> 2 joins two graphs of the batch \(1 and 0\)",
    ),
    "edge array too short": (
        dict(graphs={"g": raw([0, 1], [1, 2], edges={"weight": np.ones(1)})}),
        r"edges\['weight'\] has 1 rows, expected 2",
    ),
    "edge array not finite": (
        dict(graphs={"g": raw([0, 1], [1, 2], edges={"weight": np.array([1, np.inf])})}),
        r"graphs\['g'\].edges\['weight'\]: row 1 is not finite",
    ),
    "edge weight negative": (
        dict(graphs={"g": raw([0, 1], [1, 2], edges={"weight": np.array([1.0, -0.5])})}),
        r"graphs\['g'\].edges\['weight'\]: row 1 holds -0.5 \(1 negative\); expected weights >= 0",
    ),
    "edge weights of two columns": (
        dict(graphs={"g": raw([0, 1], [1, 2], edges={"weight": np.ones((2, 2))})}),
        r"graphs\['g'\].edges\['weight'\]: shape \(2, 2\); expected \[E\] with E = 2",
    ),
    "edge weights complex": (
        dict(graphs={"g": raw([0, 1], [1, 2], edges={"weight": np.ones(2, complex)})}),
        r"edges\['weight'\]: dtype complex128; expected numbers \[E\]",
    ),
    "edge weights of text": (
        dict(graphs={"g": raw([0, 1], [1, 2], edges={"weight": ["a", "b"]})}),
        r"edges\['weight'\]: dtype <U1",
    ),
    "edge times that float32 cannot tell apart": (
        dict(graphs={"g": raw([0, 1], [1, 2], edges={"time": np.array([1.7e9, 1.7e9 + 20])})}),
        r"edges\['time'\]: column 0 varies by less than float32 can tell",
    ),
    "edges that are an array": (
        dict(graphs={"g": raw([0, 1], [1, 2], edges=np.ones(2))}),
        r"graphs\['g'\].edges: ndarray; expected a dictionary",
    ),
    "a matrix for a graph": (dict(graphs={"g": sp.eye(N)}), r"graphs\['g'\]: \w+; expected a jraph.GraphsTuple"),
    "default graph that is not there": (
        dict(default_graph="rong"),
        r"default_graph: 'rong'; expected one of \['ring'\]",
    ),
    "a rule for an edge set that is not there": (
        dict(made={"rong": Neighbours(2, (("a",),))}),
        r"field made\['rong'\]: no such edge set; expected one of \['ring'\]",
    ),
    "no neighbours": (
        dict(made={"ring": Neighbours(0, (("a",),))}),
        r"field made\['ring'\].k: 0; expected at least 1",
    ),
    "neighbours in no group": (
        dict(made={"ring": Neighbours(2, ())}),
        r"made\['ring'\].groups: \(\); expected one or more groups",
    ),
    "neighbours in an empty group": (
        dict(made={"ring": Neighbours(2, (("a",), ()))}),
        r"made\['ring'\].groups: \(\('a',\), \(\)\); expected one or more groups of one or more modalities",
    ),
    "neighbours in another modality": (
        dict(made={"ring": Neighbours(2, (("a", "c"),))}),
        r"made\['ring'\].groups: modality 'c'; expected one of \['a', 'b'\]",
    ),
    "neighbours in a batch": (
        dict(graphs={"ring": raw([0], [1], [3, 3])}, made={"ring": Neighbours(2, (("a",),))}),
        r"made\['ring'\]: a batch of 2 graphs; expected a single graph",
    ),
    "setting": (dict(setting="semi"), r"setting: 'semi'; expected 'transductive' or 'inductive'"),
    "label out of range": (
        dict(target=Target("classes", labels=LABELS + 1, num_outputs=2)),
        r"target.labels: row 1 holds 2; expected a class in \[0, 2\)",
    ),
    "labels of another number": (
        dict(target=Target("classes", labels=LABELS[:5], num_outputs=2)),
        r"target: 5 rows; expected 6, one a node",
    ),
    "labels not integers": (
        dict(target=Target("classes", labels=LABELS / 2, num_outputs=2)),
        r"target.labels: dtype float64; expected integers",
    ),
    "one-hot labels": (
        dict(target=Target("classes", labels=np.eye(2, dtype=int)[LABELS], num_outputs=2)),
        r"target.labels: shape \(6, 2\); expected one class a row, \[N\] \(of one-hot rows: labels.argmax\(1\)\)",
    ),
    "labels of text": (
        dict(target=Target("classes", labels=list("ababab"), num_outputs=2)),
        r"target.labels: dtype <U1",
    ),
    "labels of another kind": (
        dict(target=Target("values", values=TIMES, labels=LABELS)),
        r"target.labels: an array; expected None \(the kind is 'values'\)",
    ),
    "number of outputs": (
        dict(target=Target("classes", labels=LABELS, num_outputs=2.0)),
        r"target.num_outputs: 2.0; expected an integer",
    ),
    "values of three dimensions": (
        dict(target=Target("values", values=np.ones((N, 1, 1)))),
        r"target.values: shape \(6, 1, 1\); expected \[N, K\]",
    ),
    "survival times of two columns": (
        dict(target=Target("survival", time=np.ones((N, 2)), event=np.ones(N, bool))),
        r"target.time: shape \(6, 2\); expected one time a row",
    ),
    "values too large for float32": (
        dict(target=Target("values", values=TIMES * 1e300)),
        r"target.values: row 0 holds 1e\+300; expected finite values \(in float32\)",
    ),
    "mask of other rows": (
        dict(mask=np.ones((N - 1, 2), bool)),
        r"features\['a'\]: shape \(6, 3\); expected \[5, d\], one row a node \(mask has 5 rows\)",
    ),
    "survival times too small for float32": (
        dict(target=Target("survival", time=np.where(TIMES == 1, 1e-50, TIMES), event=np.ones(N, bool))),
        r"target.time: row 0 holds 1e-50; expected finite times > 0 \(in float32\)",
    ),
    "survival times that float32 cannot tell apart": (
        dict(target=Target("survival", time=TIMES + 1.7e9, event=np.ones(N, bool))),
        r"target.time: times about 1.7e\+09 that float32 cannot tell apart",
    ),
    "no target": (dict(target=LABELS), r"field target: ndarray; expected a types.Target"),
    "a split for a rule": (dict(splits=Split([0], [1], [2])), r"field splits: Split; expected a data.base.Splits"),
    "a rule for other rows": (
        dict(splits=splits.fractions(np.arange(8) % 2, 0.5, 0.25)),
        r"field splits: made for 8 rows; expected 6, one a node",
    ),
    "labels missing": (dict(target=Target("classes", num_outputs=2)), r"target.labels: None; expected an array"),
    "class names": (dict(class_names=("x",)), r"class_names: 1 names; expected 2"),
    "kind": (dict(target=Target("ranks", labels=LABELS)), r"target.kind: 'ranks'; expected one of \['classes'"),
    "level": (
        dict(target=Target("classes", labels=LABELS, num_outputs=2, level="edge")),
        r"target.level: 'edge'; expected 'node' or 'graph'",
    ),
    "values not finite": (
        dict(target=Target("values", values=dense(np.nan, row=2), num_outputs=3)),
        r"target.values: row 2 holds nan; expected finite values",
    ),
    "values of another width": (
        dict(target=Target("values", values=np.ones((N, 2)), num_outputs=3)),
        r"target.values: shape \(6, 2\); expected \[6, 3\]",
    ),
    "survival time zero": (
        dict(target=Target("survival", time=TIMES - 1, event=np.ones(N, bool))),
        r"target.time: row 0 holds 0.0; expected finite times > 0",
    ),
    "survival time NaN": (
        dict(target=Target("survival", time=np.where(TIMES == 3, np.nan, TIMES), event=np.ones(N, bool))),
        r"target.time: row 2 holds nan",
    ),
    "no events": (
        dict(target=Target("survival", time=TIMES, event=np.zeros(N, bool))),
        r"target.event: no event at all; expected at least one event",
    ),
    "events not bool": (
        dict(target=Target("survival", time=TIMES, event=np.ones(N))),
        r"target.event: float64 \(6,\); expected bool \(6,\)",
    ),
}


@pytest.mark.parametrize("case", INCONSISTENT)
def test_what_is_inconsistent_is_refused(case):
    change, message = INCONSISTENT[case]
    with pytest.raises(ValueError, match=message):
        make(**{"default_graph": "", **change})


def same(a: Dataset, b: Dataset) -> bool:
    return a.provenance.checksum == b.provenance.checksum


def test_other_forms_of_the_same_fields_are_the_same_record():
    """Containers, dtypes and single columns whose meaning is plain: the checksum covers every array and dtype."""
    x, eye, plain = dense(2), np.eye(N, dtype=np.float32), make(features={"a": dense(2), "b": sp.eye(N, format="csr")})
    given = [pd.DataFrame(x), pd.DataFrame(x).astype(object), x.tolist(), x.astype(np.float64), x.astype(np.int16)]
    for other in given:
        assert same(make(features={"a": other, "b": plain.features["b"]}), plain)
    doubled = sp.coo_matrix((np.full(2 * N, 0.5), (np.tile(np.arange(N), 2),) * 2), shape=(N, N))
    for form in (sp.coo_matrix(eye), sp.csc_matrix(eye), sp.lil_matrix(eye), sp.csr_array(eye), doubled):
        assert same(make(features={"a": x, "b": form}), plain)
    for mask in (pd.DataFrame(np.ones((N, 2), bool)), [[True, True]] * N, np.ones((N, 2), int)):
        assert same(make(mask=mask), make())
    for labels in (LABELS[:, None], LABELS.tolist(), LABELS.astype(np.uint8), pd.Series(LABELS), LABELS == 1):
        assert same(make(target=Target("classes", labels=labels, num_outputs=2)), make())
    event = np.arange(N) % 2 == 0
    survival = make(target=Target("survival", time=TIMES, event=event))
    for time, seen in ((TIMES[:, None], event[:, None]), (TIMES.tolist(), event.astype(int).tolist())):
        assert same(make(target=Target("survival", time=time, event=seen)), survival)
    assert make(target=Target("values", values=TIMES.astype(int))).target.values.shape == (N, 1)
    weight = np.arange(N)
    forms = (weight.astype(np.float32), weight, weight[:, None], weight.astype(float), pd.Series(weight))
    first, *others = (
        make(graphs={"ring": edge_set(np.arange(N), (np.arange(N) + 1) % N, N, {"weight": w})}) for w in forms
    )
    assert first.graphs["ring"].edges["weight"].dtype == np.float32
    assert all(same(other, first) for other in others)


def test_a_split_of_masks_is_that_of_their_rows():
    masks = [np.isin(np.arange(N), rows) for rows in ([0, 1], [2, 3], [4, 5])]
    for given in (splits.fixed(*masks, "masks"), drawn(*masks), splits.fixed(*(m.tolist() for m in masks), "lists")):
        split = make(splits=given).split(0)
        assert [part.tolist() for part in (split.train, split.val, split.test)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match=r"field splits: made for 5 rows; expected 6"):
        make(splits=splits.fixed(*(m[:5] for m in masks), "short"))
    with pytest.raises(ValueError, match=r"split of seed 0: train: a mask of 5 rows; expected 6"):
        make(splits=drawn(*(m[:5] for m in masks))).split(0)
    with pytest.raises(ValueError, match=r"train, val, test: only 0 and 1; expected row numbers, or masks of bool"):
        make(splits=drawn(*(m.astype(int) for m in masks))).split(0)
    with pytest.raises(ValueError, match=r"split of seed 0: train: float64; expected row numbers"):
        make(splits=drawn([0.0, 1.0], [2], [3])).split(0)
    with pytest.raises(ValueError, match=r"split of seed 0: tuple; expected a data.base.Split"):
        make(splits=Splits(lambda seed: ([0, 1], [2], [3]), fixed=True, rule="")).split(0)


def test_an_edge_set_is_sorted_with_its_arrays_and_checked():
    g = edge_set([0, 5, 2], [3, 1, 1], N, {"weight": np.array([1.0, 2.0, 3.0])})
    assert g.receivers.tolist() == [1, 1, 3] and g.senders.tolist() == [2, 5, 0]
    assert g.edges["weight"].tolist() == [3, 2, 1] and g.n_edge.tolist() == [3]
    with pytest.raises(ValueError, match=r"edge_set: senders\[0\] is 6"):
        edge_set([6], [0], N)
    with pytest.raises(ValueError, match=r"edge_set: receivers\[0\] is -1"):
        edge_set([0], [-1], N)
    with pytest.raises(ValueError, match=r"two vectors of one length"):
        edge_set([0, 1], [0], N)
    with pytest.raises(ValueError, match=r"edge 1 -> 2 joins two graphs of the batch \(0 and 1\)"):
        edge_set([0, 1], [1, 2], [2, 4])


def test_a_batch_of_graphs_has_one_label_a_graph():
    pairs = edge_set([0, 2, 4, 3], [1, 3, 5, 2], [2, 2, 2])
    assert pairs.n_edge.tolist() == [1, 2, 1]
    target = Target("classes", labels=np.array([0, 1, 0]), num_outputs=2, level="graph")
    d = make(graphs={"ring": pairs}, target=target, splits=drawn([0, 1], [2], [2]))
    assert d.graph().num_graphs == 3
    with pytest.raises(ValueError, match=r"row 2 is in val and in test"):
        d.split(0)
    with pytest.raises(ValueError, match=r"target: 3 rows; expected 1, one a graph"):
        make(target=target)
    with pytest.raises(ValueError, match=r"split the nodes into graphs in one common way"):
        make(graphs={"ring": pairs, "other": edge_set([0], [1], [3, 2, 1])}, target=target)


SPLITS = {
    "overlap": (([0, 1], [1, 2], [4]), r"'toy', split of seed 3: row 1 is in train and in val; expected disjoint"),
    "empty training": (([], [2], [4]), r"the train part is empty; expected at least one row"),
    "empty test": (([0, 1], [2], []), r"the test part is empty"),
    "class absent from training": (([0, 2], [1], [4]), r"class 1 has no training row"),
    "row out of range": (([0, 1], [2], [6]), r"test holds row 6; expected rows in \[0, 6\)"),
    "row negative": (([-1, 1], [2], [4]), r"train holds row -1"),
    "a mask for rows": (([True, False] * 3, [2], [4]), r"train holds bool; expected row numbers"),
    "row twice": (([0, 1, 1], [2], [4]), r"train\[2\] is 1 after 1; expected rising rows"),
}


@pytest.mark.parametrize("case", SPLITS)
def test_a_bad_split_is_refused(case):
    parts, message = SPLITS[case]
    with pytest.raises(ValueError, match=message):
        make(splits=drawn(*parts)).split(3)


def test_training_must_see_an_event():
    event = np.arange(N) > 2
    d = make(target=Target("survival", time=TIMES, event=event), splits=drawn([0, 1], [3], [4]))
    with pytest.raises(ValueError, match=r"the train part has no event"):
        d.split(0)


def test_an_unknown_edge_set_names_the_nearest():
    d = make()
    with pytest.raises(ValueError, match=r"has no edge set 'rings' \(did you mean 'ring'\?\); it has: ring"):
        d.graph("rings")
    with pytest.raises(ValueError, match=r"no edge set 'knn'; it has: ring"):
        d.graph("ring", views=("ring", "knn"))
    assert d.graph().num_edges == N
    assert len(d.graph("ring", views=("ring", "ring")).views) == 2
    assert dataclasses.replace(d, default_graph="").graph() is None


def test_unknown_names_and_options_name_the_nearest():
    with pytest.raises(ValueError, match=r"no data set named 'digit' \(did you mean 'digits'\?\)"):
        data.load("digit")
    with pytest.raises(ValueError, match=r"'digits' has no option 'neighbors' \(did you mean 'neighbours'\?\)"):
        data.load("digits", neighbors=3)
    with pytest.raises(ValueError, match=r"no data set named 'files'"):
        data.load("files")


def test_the_named_columns_of_a_mask_are_the_modalities():
    mask = np.stack([np.arange(N) > 0, np.ones(N, bool)], 1)
    table = pd.DataFrame({"b": mask[:, 1], "a": mask[:, 0]})
    assert same(make(mask=table), make(mask=mask)) and not same(make(mask=mask[:, ::-1]), make(mask=mask))
    with pytest.raises(ValueError, match=r"mask: a table with the columns \['c', 'a'\]; expected one column"):
        make(mask=table.rename(columns={"b": "c"}))


@pytest.mark.parametrize(
    ("labels", "hint"),
    [
        (LABELS.astype(float), r"labels.astype\(int\)"),
        (np.where(LABELS, np.nan, 0), "row 1 holds nan"),
        (np.where(LABELS, "yes", "no"), r"np.unique\(names, return_inverse=True\)"),
    ],
)
def test_labels_in_another_form_come_with_the_way_to_the_right_one(labels, hint):
    with pytest.raises(ValueError, match=f"target.labels.*{hint}"):
        make(target=Target("classes", labels=labels, num_outputs=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(ids=["a"] * N), "field ids: rows 0 and 1 hold 'a'; expected each id once"),
        (dict(ids=["a", "b"]), rf"field ids: shape \(2,\); expected \({N},\), one a node"),
        (dict(ids=np.ones((N, 2))), "field ids: float64 .*; expected strings"),
        (dict(labelled=[True]), rf"field labelled: shape \(1,\); expected \({N},\)"),
        (dict(impute="mode"), "field impute: 'mode'; expected '' or 'mean' or 'median'"),
        (
            dict(made={"ring": Neighbours(2, (("a",),), "hamming")}),
            r"made\['ring'\].metric: 'hamming'; expected 'cosine'",
        ),
    ],
)
def test_ids_labels_and_imputation_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_split_holds_labelled_rows_only_and_missing_values_are_allowed_where_they_are_filled():
    d = make(labelled=np.arange(N) != 4, ids=np.arange(N))
    assert d.ids.tolist() == [str(i) for i in range(N)]
    with pytest.raises(ValueError, match="split of seed 0: test holds row 4, whose target is not known"):
        d.split(0)
    features = {**make().features, "a": dense(np.nan)}
    with pytest.raises(ValueError, match="row 4 holds nan; expected finite values"):
        make(features=features)
    assert np.isnan(make(features=features, impute="mean").features["a"][4, 1])
