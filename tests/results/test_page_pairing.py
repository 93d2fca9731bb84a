"""What the page is given to compare rows, against `differences` of every pair."""

import base64
import itertools

import numpy as np
import pytest

from fusion_jax.results import differences, page_pairing, sequential, tables
from tests import pages


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    rows = tables.rows(pages.make(tmp_path_factory.mktemp("pairing") / "study").store)
    return {data: [row for row in rows if row.data == data and row.values] for data in ("digits", "breast_cancer")}


def numbers(text, kind="<f8"):
    return np.frombuffer(base64.b64decode(text), kind)


def test_influences_of_two_values_are_bits_and_others_numbers(groups):
    by_row, by_group = page_pairing.of_rows([groups["digits"]], "concat_mlp")
    assert by_group == [dict(by_row={}, tests=[])], "there is room for all of them"
    for row in groups["digits"]:
        held = by_row[id(row)]["influence"]
        bits = np.unpackbits(numbers(held["accuracy"]["data"], np.uint8))[: row.influence["accuracy"].size]
        upper = bits.reshape(row.influence["accuracy"].shape).astype(bool)
        low, high = (np.array(held["accuracy"][k])[:, None] for k in ("low", "high"))
        np.testing.assert_array_equal(np.where(upper, high, low), row.influence["accuracy"])
        np.testing.assert_array_equal(numbers(held["auc"]["data"]), row.influence["auc"].ravel())
    assert len({by_row[id(row)]["shared"] for row in groups["digits"]}) == 1


@pytest.mark.parametrize("data", ["digits", "breast_cancer"])
def test_variances_of_pairs_are_those_of_their_differences(groups, data, monkeypatch):
    monkeypatch.setattr(page_pairing, "BUDGET", 0)
    group = groups[data]
    _, (given,) = page_pairing.of_rows([group], "concat_mlp")
    held = given["by_row"]
    assert {"accuracy", "auc"} <= held.keys()
    for metric, of_metric in held.items():
        covered = zip(itertools.combinations(of_metric["covered"], 2), _triangle(of_metric), strict=True)
        found = {pair: (value, of_metric["rows"]) for pair, value in covered}
        found |= {(i, j): (value, rows) for i, j, value, rows in of_metric["pairs"]}
        for (i, j), (value, rows) in found.items():
            wanted = differences.variance_of(group[i], group[j], metric, _common(group[i], group[j]))
            assert value == pytest.approx(wanted.by_row, rel=1e-9, abs=1e-18) and rows == wanted.rows
    assert len(found) >= len(group) - 1, "every row has a baseline that it can be compared with"


def _common(a, b):
    return tuple(sorted({*a.seeds} & {*b.seeds}))


def test_of_drawn_splits_it_is_told_which_rows_each_seed_tests(groups):
    group = groups["breast_cancer"]
    by_row, (given,) = page_pairing.of_rows([group], "concat_mlp")
    assert given["by_row"] == {} and len(given["tests"]) == 2, "one row lacks a seed"
    every = np.unique(np.concatenate([row.met for row in group]))
    for row in group:
        held, shape = by_row[id(row)], (len(row.seeds), len(every))
        assert held["met"] == len(every)
        bits = np.unpackbits(numbers(given["tests"][held["tests"]], np.uint8))[: np.prod(shape)].reshape(shape)
        psi = numbers(held["influence"]["auc"]["data"]).reshape(shape)
        np.testing.assert_array_equal(~np.isnan(psi), bits)
        at = np.isin(every, row.met)
        np.testing.assert_array_equal(psi[:, at], row.met_influence["auc"])
        right, accuracy = held["influence"]["accuracy"], row.met_influence["accuracy"]
        upper = np.unpackbits(numbers(right["data"], np.uint8))[: np.prod(shape)].reshape(shape)
        made = np.where(upper, np.array(right["high"])[:, None], np.array(right["low"])[:, None])
        np.testing.assert_array_equal(np.where(bits, made, np.nan)[:, at], accuracy)


def _triangle(held):
    """The lower triangle without its diagonal in the order of `combinations`."""
    size = len(held["covered"])
    table = np.zeros((size, size))
    table[np.tril_indices(size, -1)] = numbers(held["data"])
    return [table[j, i] for i, j in itertools.combinations(range(size), 2)]


def test_nominal_levels_are_those_of_the_looks():
    assert page_pairing.of_looks(()) == {}
    found = page_pairing.of_looks((4, 8))
    assert found["levels"].shape == (2, len(sequential.ALPHAS))
    at = list(sequential.ALPHAS).index(0.1)
    np.testing.assert_allclose(found["levels"][:, at], sequential.levels((4, 8), 8, 0.1))
    np.testing.assert_allclose(found["nominal"][:1], sequential.levels((4,), 8), rtol=1e-12)
