"""What holds for every control: finite scores whatever is asked, the labels it may see, and how a row says so."""

import dataclasses
import types

import numpy as np
import pytest
from scipy.special import softmax

import fusion_jax.controls
from fusion_jax import metrics, study, zoo
from fusion_jax.controls.base import in_one_unit, spread
from fusion_jax.data.base import Split
from fusion_jax.graphs import Graph
from fusion_jax.records import Info
from fusion_jax.results import report, tables
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from tests import tiny
from tests.metrics import made

CONTROLS = zoo.names("control")
FEATURES = [name for name in CONTROLS if "graph" not in zoo.get("control", name).info.needs]


def blobs(n=81, classes=3, d=5, seed=0):
    """x [N, d] in clusters, labels, a split of 1 : 1 : 2, and a ring of edges within each class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(classes, d))[y] * 2 + rng.normal(size=(n, d))
    s = np.arange(n)
    r = (s + classes) % n
    split = Split(np.arange(n // 4), np.arange(n // 4, n // 2), np.arange(n // 2, n))
    return x, y, split, Graph.create(np.r_[s, r], np.r_[r, s], n)


def hidden(y, split):
    labels = np.full(len(y), -1)
    labels[split.train] = y[split.train]
    return labels


def predict(name, x, y, split, graph, classes=3, **options):
    return zoo.make("control", name, options=options).predict(x, hidden(y, split), split, graph, classes, 0)


@pytest.mark.parametrize("name", CONTROLS)
def test_scores_are_finite_right_and_the_same_again(name):
    x, y, split, graph = blobs()
    scores = predict(name, x, y, split, graph)
    assert scores.shape == (81, 3) and np.isfinite(scores).all()
    assert (scores.argmax(1) == y)[split.test].mean() > 0.8
    assert np.array_equal(scores, predict(name, x, y, split, graph))


@pytest.mark.parametrize("name", CONTROLS)
def test_a_class_absent_in_training_is_the_least_likely(name):
    x, y, split, graph = blobs()
    split = Split(split.train[y[split.train] != 1], split.val, split.test)
    scores = predict(name, x, y, split, graph)
    assert np.isfinite(scores).all() and not (scores.argmax(1) == 1).any()
    reached = (y != 1) if name == "label_propagation" else np.ones(81, bool)  # the ring of class 1 holds no label
    assert (softmax(scores, 1)[reached, 1] < 1e-2).all()


@pytest.mark.parametrize("name", CONTROLS)
def test_one_class_in_training_is_all_there_is(name):
    x, y, split, graph = blobs()
    split = Split(split.train[y[split.train] == 2], split.val, split.test)
    scores = predict(name, x, y, split, graph)
    reached = (y == 2) if name == "label_propagation" else np.ones(81, bool)  # its ring holds class 2 alone
    assert np.isfinite(scores).all() and (scores.argmax(1) == 2)[reached].all()


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize(("unit", "origin"), [(1e-9, 0.0), (1e6, 0.0), (1.0, 1e4), (1e-3, -50.0)])
def test_unit_and_origin_of_the_features_change_nothing(name, unit, origin):
    x, y, split, graph = blobs()
    plain, other = (predict(name, z, y, split, graph) for z in (x, unit * x + origin))
    assert (plain.argmax(1) == other.argmax(1))[split.test].mean() > 0.97


@pytest.mark.parametrize("name", CONTROLS)
def test_features_without_spread_are_no_error(name):
    x, y, split, graph = blobs()
    assert np.isfinite(predict(name, np.full_like(x, 3), y, split, graph)).all()


def test_in_one_unit():
    x, rows = np.random.default_rng(0).normal(3, [1, 5], (50, 2)), np.arange(0, 50, 2)
    z = in_one_unit(x, rows)
    np.testing.assert_allclose(z[rows].mean(0), 0, atol=1e-12)
    assert z[rows].var(0).mean() == pytest.approx(1)
    np.testing.assert_allclose(z[:, 0] / z[:, 1], (x - x[rows].mean(0))[:, 0] / (x - x[rows].mean(0))[:, 1])


def test_a_class_not_seen_lies_below_all_that_were():
    found = spread(np.array([[-900.0, 3.0], [0.0, 1.0]]), np.array([0, 2]), 3)
    np.testing.assert_allclose(found[:, 1], [-900 + np.log(1e-12), np.log(1e-12)])
    assert np.array_equal(found[:, [0, 2]], [[-900, 3], [0, 1]])


@pytest.fixture
def scratch(monkeypatch, tmp_path):
    """A control made of a function, found as if it lay in the package; and a store."""

    def add(function):
        class Scratch(fusion_jax.controls.base.Control):
            info = Info("none")

            def predict(self, x, labels, split, graph, classes, seed):
                return function(x, labels, split, classes, seed)

        module = types.ModuleType("fusion_jax.controls.scratch")
        Scratch.__module__, module.Scratch = module.__name__, Scratch
        monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
        known = zoo.names
        monkeypatch.setattr(zoo, "names", lambda kind: known(kind) + ["scratch"] * (kind == "control"))

    return add, Store(tmp_path, create=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_scores_that_are_no_numbers_fail_the_cell_and_store_nothing(scratch, bad):
    add, store = scratch

    def function(x, labels, split, classes, seed):
        scores = np.zeros((len(x), classes))
        scores[[7, 9], 1] = bad if seed == 1 else 0
        return scores

    add(function)
    with pytest.raises(FloatingPointError, match=r"control 'scratch', seed 1: scores of 2 rows .* \(rows 7, 9, "):
        run_cell(tiny.cell(control__name="scratch"), store, tiny.dataset())
    assert not list((store.root / "cells").iterdir())


def test_scores_of_another_shape_fail_the_cell(scratch):
    add, store = scratch
    add(lambda x, labels, split, classes, seed: np.zeros((classes, len(x))))
    with pytest.raises(ValueError, match=r"scores of shape \(2, 60\), expected \(60, 2\)"):
        run_cell(tiny.cell(control__name="scratch"), store, tiny.dataset())


def test_validation_labels_are_given_on_request_only_and_the_row_says_so(scratch):
    add, store = scratch
    calls = []

    def function(x, labels, split, classes, seed):
        calls.append((labels, split))
        return np.eye(classes)[np.maximum(labels, 0)]

    add(function)
    data = tiny.dataset()
    plain, more = (tiny.cell(control__name="scratch", control__options=o) for o in ({}, {"validation_labels": True}))
    assert (plain.label, more.label) == ("scratch", "scratch (+ validation labels)")
    named = study.Cell(more.config, "my own", 2)
    cells = [(run_cell(c, store, data)["identity"], c) for c in (plain, more)]
    for i, (labels, split) in enumerate(calls):
        drawn = data.split(i % 2)
        known = np.sort(np.r_[drawn.train, drawn.val]) if i >= 2 else drawn.train
        assert np.array_equal(np.flatnonzero(labels >= 0), known) and np.array_equal(split.train, known)
        assert np.array_equal(split.test, drawn.test)
    parts = [set(store.table(i, "metrics").part) for i, _ in cells]
    assert parts == [{"train", "val", "test"}, {"train", "test"}], "validation scores of such a row mean nothing"
    store.write_study([*cells, (cells[1][0], named)], "test")
    assert [r.label for r in tables.rows(store)] == ["scratch", more.label, "my own (+ validation labels)"]
    assert "scratch (+ validation labels) | -" in report.write(store)


def test_seeds_can_be_added_to_a_row_with_validation_labels(tmp_path):
    store, options = Store(tmp_path, create=True), {"validation_labels": True}
    for seeds in (1, 2):
        cell = tiny.cell(control__name="label_propagation", control__options=options, seeds=seeds)
        done = run_cell(cell, store, tiny.dataset())
    assert done["seeds"] == (1,) and store.finished_seeds(done["identity"]) == (0, 1)


def test_validation_labels_under_protocol_paper_would_be_test_labels(scratch):
    _, store = scratch
    cell = tiny.cell(control__name="rbf_svm", control__options={"validation_labels": True}, protocol="paper")
    with pytest.raises(ValueError, match="control 'rbf_svm': validation_labels=True under protocol 'paper'"):
        run_cell(cell, store, tiny.dataset())


def test_every_metric_can_be_computed_from_what_is_stored(tmp_path):
    options = {**tiny.DATA, "classes": 3, "dim": 9}
    store, data = Store(tmp_path, create=True), tiny.dataset(**options)
    cell = tiny.cell(control__name="random_forest", control__options=dict(trees=10), data__options=options)
    identity = run_cell(cell, store, data)["identity"]
    stored, table = store.table(identity, "metrics"), store.table(identity, "predictions")
    test = table[(table.part == "test") & (table.seed == 1)]
    rows = made.classes(np.stack(test.prediction.to_list()), test.labels.to_numpy())
    found = {name: value for name, (value,) in metrics.scores([rows]).items()}
    kept = stored[(stored.part == "test") & (stored.seed == 1)].set_index("metric").value
    assert found == {name: kept[name] for name in found}


def test_what_is_missing_is_the_training_mean_whatever_the_scale(scratch):
    """With data.scale="none" that is not 0."""
    add, store = scratch
    data, seen = tiny.dataset(), {}
    moved = dataclasses.replace(data, features={name: x + 8 for name, x in data.features.items()})

    def function(x, labels, split, classes, seed):
        seen[seed] = x, split
        return np.zeros((len(x), classes))

    add(function)
    run_cell(tiny.cell(control__name="scratch", data__scale="none"), store, moved)
    x, split = seen[1]
    raw, present = next(iter(moved.features.values())), moved.mask[:, 0]
    train = split.train[present[split.train]]
    assert not present.all()
    x = x[:, : raw.shape[1]]
    np.testing.assert_allclose(x[~present], np.tile(raw[train].mean(0), ((~present).sum(), 1)), rtol=1e-5)
    np.testing.assert_array_equal(x[present], raw[present])


def test_rows_whose_labels_a_control_may_use_are_stored_as_training_rows(tmp_path):
    store = Store(tmp_path, create=True)
    cell = tiny.cell(control__name="label_propagation", control__options=dict(validation_labels=True))
    identity = run_cell(cell, store, tiny.dataset())["identity"]
    for name in ("metrics", "predictions"):
        assert set(store.table(identity, name).part) == {"train", "test"}
