"""Options of another kind than they can be are named with what was expected, before any table is read."""

import inspect

import numpy as np
import pytest

from fusion_jax.data.making import options
from fusion_jax.data.making.tables import TABLES, from_tables

USUAL = {n: p.default for n, p in inspect.signature(from_tables).parameters.items() if n not in TABLES}


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("k", "many", "a whole number, at least 1"),
        ("k", 2.0, "a whole number, at least 1"),
        ("k", True, "a whole number, at least 1"),
        ("per_class", 0, "a whole number, at least 1"),
        ("train", "lots", r"a share in \(0, 1\)"),
        ("val", 1.0, r"a share in \(0, 1\)"),
        ("directed", "no", "true or false, without quotes"),
        ("mutual", 1, "true or false, without quotes"),
        ("target", 3, "the name of a column, or a list of names"),
        ("onehot", [1], "true, false, the name of a column, or a list of names"),
        ("id", 3, "the name of a column"),
        ("metric", "cosin", "'cosine' or 'correlation' or 'euclidean'"),
        ("setting", None, "'transductive' or 'inductive'"),
        ("task", ["classes"], "'' or 'classes'"),
    ],
)
def test_a_value_of_another_kind_is_named(option, value, expected):
    with pytest.raises(ValueError, match=f"{option}=.*; expected {expected}"):
        from_tables({}, **{option: value})


def test_every_option_has_a_kind_and_its_default_is_one():
    assert set(USUAL) == {*options.WORDS, *options.KINDS}
    options.check(USUAL)
    options.check(dict(k=np.int64(3), train=np.float32(0.5), target=("a", "b"), onehot={"c"}, directed=True))
