"""Columns as numbers: what is none is refused by file, column and row, or becomes a column a value."""

import numpy as np
import pandas as pd
import pytest

from fusion_jax.data.making.columns import features, to_numbers
from fusion_jax.data.making.reading import read


def table(**columns):
    n = len(next(iter(columns.values())))
    return read(pd.DataFrame({"id": [f"p{i}" for i in range(n)], **columns}), "clinical")


def test_numbers_truth_values_and_texts_of_numbers_are_numbers():
    x, names = features(
        table(
            a=[1, 2, 3], b=[True, False, True], c=["1.5", " 2 ", ""], d=["yes", "no", "yes"] and ["true", "False", "NA"]
        )
    )
    np.testing.assert_array_equal(x, np.array([[1, 1, 1.5, 1], [2, 0, 2, 0], [3, 1, np.nan, np.nan]], np.float32))
    assert names == ["a", "b", "c", "d"] and x.dtype == np.float32
    assert to_numbers(pd.Series(pd.to_datetime(["2024-01-01"]))) is None
    assert to_numbers(pd.Series(pd.array([1, None], dtype="Int64"))).tolist()[0] == 1


def test_a_text_becomes_a_column_a_value_where_that_is_told():
    made = table(stage=["II", "I", ""], age=[50, 60, 70])
    message = r"clinical, column 'stage', row 0 \(id 'p0'\): 'II' is no number; .*; onehot='stage' makes a column"
    with pytest.raises(ValueError, match=message):
        features(made)
    for told in (True, ("stage",)):
        x, names = features(made, told)
        assert names == ["stage=I", "stage=II", "age"]
        np.testing.assert_array_equal(x, [[0, 1, 50], [1, 0, 60], [0, 0, 70]])
    x, names = features(table(grade=[1, 2, 2]), ("grade",))
    assert names == ["grade=1", "grade=2"] and x.tolist() == [[1, 0], [0, 1], [0, 1]]
    with pytest.raises(ValueError, match="column 'name': 101 different values"):
        features(table(name=[f"n{i}" for i in range(101)]), True)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (dict(a=[1.0, np.inf]), r"clinical, column 'a', row 1 \(id 'p1'\): inf; expected a finite number"),
        (dict(a=[1.0, 1e39]), r"column 'a', row 1 .*: 1e\+39; expected a finite number \(in float32\)"),
        (dict(a=["1", "x1", "2"]), r"column 'a', row 1 \(id 'p1'\): 'x1' is no number"),
        (dict(a=["1", "1,5"]), r"column 'a', row 1 .*: '1,5' is no number"),
        (dict(t=1.7e9 + np.arange(3.0)), "column 't': it lies in .*, which float32 cannot tell apart"),
        (dict(d=pd.to_datetime(["2024-01-01"])), "column 'd', row 0 .*'2024-01-01 00:00:00' is no number"),
    ],
)
def test_what_is_no_finite_number_is_named(columns, message):
    with pytest.raises(ValueError, match=message):
        features(table(**columns))


def test_a_table_of_ids_alone_has_no_features():
    with pytest.raises(ValueError, match="clinical: no column besides the ids"):
        features(read(pd.DataFrame(dict(id=["a", "b"])), "clinical"))
