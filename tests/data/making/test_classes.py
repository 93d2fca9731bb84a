"""What a column of classes is doubted for, and that usual classes are not."""

import numpy as np
import pytest

from fusion_jax.data.making.classes import doubt
from fusion_jax.data.making.report import Conversion


def warned(sizes: dict[str, int]) -> list[str]:
    report = Conversion("test")
    doubt("labels.csv: 'y'", list(sizes), np.array(list(sizes.values())), report)
    return report.warnings


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"a": 9}, "all labelled nodes are of one class, 'a'"),
        ({"a": 9, "b": 1, "c": 1}, "2 classes of one labelled node ('b', 'c')"),
        ({"-1": 4, "0": 5, "1": 6}, "'-1' is a class like the others, of 4 nodes; if it stands for no label"),
        ({"Unknown": 4, "b": 5}, "'Unknown' is a class like the others"),
        ({"1": 4, "1.0": 5}, "1 class look like others; '1.0' and '1' are equal as numbers and not as texts"),
        ({"Mild": 4, "mild": 5}, "'mild' and 'Mild' differ in upper and lower case only"),
        ({"0,5": 4, "1,5": 5, "2": 3}, "'0,5', '1,5' look like numbers with a decimal comma"),
        ({"0.5": 4, "1.5": 5, "none given": 3}, "'none given' is none: taken for classes"),
        ({str(i): 2 for i in range(60)}, "60 different whole numbers, taken for classes; task='values'"),
    ],
)
def test_a_doubtful_column_is_said_once(sizes, said):
    (warning,) = warned(sizes)
    assert warning.startswith("labels.csv: 'y'") and said in warning


@pytest.mark.parametrize(
    "sizes",
    [{"-1": 4, "1": 5}, {"a": 4, "b": 5}, {"0": 2, "1": 2, "2": 9}, {"v1.5": 3, "1.5": 2, "b": 9}, {"b": 4, "é": 2}],
)
def test_usual_classes_are_not_doubted(sizes):
    assert not warned(sizes)
