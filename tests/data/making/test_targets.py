"""Which task columns of labels are, and who has none."""

import numpy as np
import pandas as pd
import pytest

from fusion_jax.data.making.reading import read
from fusion_jax.data.making.report import Conversion
from fusion_jax.data.making.targets import target_of


def told(task="", rows=None, **columns):
    n = len(next(iter(columns.values())))
    table = read(pd.DataFrame({"id": [f"p{i}" for i in range(n)], **columns}), "labels", text=True)
    report = Conversion("test")
    rows = np.arange(n) if rows is None else np.array(rows)
    return target_of(table, list(columns), task, rows, report), report


def test_texts_and_whole_numbers_are_classes_in_order():
    made, report = told(label=["b", "a", "b", "", "NA", "None"])
    assert made.class_names == ("None", "a", "b") and made.labelled.tolist() == [True, True, True, False, False, True]
    assert made.target.labels[made.labelled].tolist() == [2, 1, 2, 0]
    assert "2 nodes without a label" in report.text() and "'label' is 3 classes: None 1, a 1, b 2" in report.text()
    made, _ = told(label=[10, 9, 2, np.nan])
    assert made.class_names == ("2", "9", "10") and made.target.labels[:3].tolist() == [2, 1, 0]
    assert told(label=["01", "1", "1"])[0].class_names == ("01", "1"), "two texts"
    assert told(label=[True, False, True])[0].class_names == ("False", "True")


def test_fractions_are_values_and_whole_numbers_where_told():
    made, _ = told(label=[0.5, 2.0, np.nan])
    assert made.target.kind == "values" and made.target.values[:2, 0].tolist() == [0.5, 2]
    assert made.labelled.tolist() == [True, True, False]
    assert told("values", label=[1, 2, 3])[0].target.values[:, 0].tolist() == [1, 2, 3]
    many, report = told(label=list(range(120)))
    assert many.target.kind == "classes" and "task='values' takes them for values" in report.warnings[0]


def test_several_columns_are_the_task_that_fits_them():
    made, _ = told(red=[1, 0, 1], blue=[0, 0, 1])
    assert made.target.kind == "labels" and made.class_names == ("red", "blue")
    assert made.target.labels.tolist() == [[True, False], [False, False], [True, True]]
    made, _ = told(time=[5.0, 2.5, 7], event=[1, 0, 1])
    assert made.target.kind == "survival" and made.groups.tolist() == [1, 0, 1]
    made, _ = told(x=[0.5, 1, 2], y=[1, 2, 3])
    assert made.target.kind == "values" and made.target.values.shape == (3, 2)
    made, _ = told(kind=["a", "b", "a"], size=[0.5, 1, 2])
    assert made.target.kind == "several" and made.target.num_outputs == 3
    assert made.target.fields["kind"].kind == "classes" and made.target.fields["size"].kind == "values"
    assert made.groups.tolist() == [0, 1, 0]


def test_rows_are_those_of_the_nodes():
    made, _ = told(rows=[2, -1, 0], label=["a", "b", "c"])
    assert made.class_names == ("a", "c"), "what no node has is no class"
    assert made.labelled.tolist() == [True, False, True] and made.target.labels[[0, 2]].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(task="values", label=["1", "x"]), r"labels, column 'label', row 1 \(id 'p1'\): 'x' is no number"),
        (dict(task="labels", label=[0, 2]), r"labels, column 'label', row 1 .*: 2; expected 0 or 1"),
        (dict(task="classes", a=[0, 1], b=[0, 1]), "task='classes' with the columns 'a', 'b'; expected one"),
        (
            dict(task="survival", a=[0, 1], b=[0, 1]),
            "task='survival' with the columns 'a', 'b'; expected time and event",
        ),
        (dict(time=[0, 2], event=[0, 1]), "column 'time', row 0 .*: 0; expected a time > 0"),
        (dict(task="clases", a=[0, 1]), "task='clases' .did you mean 'classes'"),
        (dict(label=["", "NA"]), "labels: no node has a label in 'label'"),
        (dict(task="values", label=[1.0, np.inf]), "column 'label', row 1 .*: not finite"),
    ],
)
def test_what_a_task_cannot_have_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        told(**given)
