"""The Shapley values of a trained cell: coalitions as models predict them, sums, planted truths, refusals."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.analysis import analyse
from fusion_jax.analysis.shapley import play, shapley
from fusion_jax.analysis.shapley.game import members
from fusion_jax.results.altered import without_edges
from fusion_jax.results.restore import predict, restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run

ALONE = dict(nodes=300, modalities=3, classes=2, dim=6, redundant=0.0, unique=0.0, synergy=0.0, noise=0.1, missing=0.0)


@pytest.fixture(scope="module", autouse=True)
def settings():
    with as_users_run():
        yield


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    cells = [
        tiny_cell(),
        tiny_cell(data__setting="inductive", model__layer__name="none", seeds=1),
        tiny_cell(data__name="synthetic_values", data__options={}, seeds=2),
        tiny_cell(data__options={**ALONE, "degree": 0, "synergy": 1.0, "modalities": 2}, model__layer__name="none",
                  training__epochs=150, training__chunk=50, training__patience=150, model__dim=16),
    ]  # fmt: skip
    return train_cells(tmp_path_factory.mktemp("shapley"), cells)


@pytest.fixture(scope="module")
def cell(trained):
    return restore(trained[0], trained[1][0])


def test_a_coalition_is_worth_what_the_model_predicts_with_it(cell):
    played = play(cell)
    assert played.players == ("m0", "m1", "m2", "graph") and played.score.shape == (2, 16)
    for b, inside in enumerate(members(4)):
        for i in range(2):
            batch = cell.batch(i)
            batch = batch.with_mask(batch.mask & inside[:3])
            if not inside[3]:
                batch = batch.with_graph(without_edges(cell, i))
            told = predict(cell.models[i], batch, cell.context(i))[cell.prepared.splits[i].test]
            labels = cell.data.target.labels[cell.prepared.splits[i].test]
            assert played.score[i, b] == pytest.approx((told.argmax(1) == labels).mean())
            p = np.exp(told - told.max(1, keepdims=True))
            p = (p / p.sum(1, keepdims=True))[np.arange(len(labels)), labels]
            np.testing.assert_allclose(played.by_row[1][i][b], p, rtol=1e-5)


def test_values_sum_to_what_all_score_beyond_nothing_in_every_table(cell):
    report = shapley(cell, 0)
    for _, own in report.tables["values"].groupby("of"):
        v = own.set_index("player").value
        assert v[["m0", "m1", "m2", "graph"]].sum() == pytest.approx(v.everything - v.nothing)
        assert (own.low <= own.value).all() and (own.value <= own.high).all()
    stored = cell.metrics[(cell.metrics.part == "test") & (cell.metrics.metric == "accuracy")].value
    first = report.tables["values"].set_index(["of", "player"]).value
    assert first["accuracy", "everything"] == pytest.approx(stored.mean())
    rows = report.tables["rows"]
    players = ["m0", "m1", "m2", "graph"]
    np.testing.assert_allclose(rows[players].sum(1), rows.everything - rows.nothing, atol=1e-14)
    tests = [set(split.test) for split in cell.prepared.splits]
    assert set(rows.row) == tests[0] | tests[1]
    assert [(r in tests[0]) + (r in tests[1]) for r in rows.row] == rows.seeds.tolist()
    each = np.array([list(report.columns[f"Shapley value of {p}"].values()) for p in players])
    np.testing.assert_allclose(each.mean(1), [first["accuracy", p] for p in players])
    seeded = [play(cell).by_row[1][i].mean(1) for i in range(2)]
    assert first["p(true class)", "nothing"] == pytest.approx(np.mean([v[0] for v in seeded]))
    classes = report.tables["classes"]
    assert len(classes) == 3 * 4 and set(classes["class"]) == {"0", "1", "2"}


def test_interactions_are_listed_once_a_pair_and_coalitions_all(cell):
    report = shapley(cell, 0)
    pairs = report.tables["interactions"]
    assert len(pairs) == 2 * 6 and len(report.tables["coalitions"]) == 16
    assert report.tables["coalitions"].coalition.iloc[[0, -1]].tolist() == ["nothing", "m0 + m1 + m2 + graph"]


def test_a_graph_that_nobody_reads_is_worth_nothing(trained):
    report = shapley(restore(trained[0], trained[1][1]), 0)
    own = report.tables["values"].set_index(["of", "player"])
    assert own.value["accuracy", "graph"] == 0 and own.value["p(true class)", "graph"] == pytest.approx(0, abs=1e-7)
    assert own.low.isna().all(), "one seed tells nothing of others"


def test_of_values_less_is_better_and_squared_errors_are_looked_at(trained):
    cell = restore(trained[0], trained[1][2])
    report = shapley(cell, 0)
    own = report.tables["values"]
    assert list(dict.fromkeys(own.of)) == ["rmse", "minus squared error"] and "classes" not in report.tables
    v = own.set_index(["of", "player"]).value
    stored = cell.metrics[(cell.metrics.part == "test") & (cell.metrics.metric == "rmse")].value
    assert v["rmse", "everything"] == pytest.approx(stored.mean())
    assert v["minus squared error", "everything"] == pytest.approx(-(stored**2).mean())
    shares = v["rmse"].drop(["nothing", "everything"])
    assert report.sentence.index(f": {shares.idxmin()} ") > 0, "what lowers the error most comes first"


def test_of_a_relation_that_needs_both_modalities_both_have_half_and_interact(trained):
    """Synergy alone: a modality by itself is worth nothing, and two are worth all of it."""
    cell = restore(trained[0], trained[1][3])
    report = shapley(cell, 0)
    v = report.tables["values"].set_index(["of", "player"]).value["accuracy"]
    gain = v.everything - v.nothing
    assert gain > 0.35
    assert v.m0 == pytest.approx(gain / 2, abs=0.08) and v.m1 == pytest.approx(gain / 2, abs=0.08)
    pair = report.tables["interactions"].iloc[0]
    assert pair.value == pytest.approx(gain, abs=0.15) and "m0 and m1" in report.sentence


def test_a_seed_is_not_named_and_all_are_recorded(trained):
    store, identities = trained
    with pytest.raises(ValueError, match="'shapley' is of all seeds of a cell: name none \\(found seed 1\\)"):
        analyse(store, "shapley", cell=identities[0], seed=1)


def test_more_than_eight_modalities_are_refused_by_name(cell):
    many = {f"m{i}": jnp.zeros((1, 1)) for i in range(9)}
    batch = dataclasses.replace(cell.prepared.batch, features=many, names=tuple(many))
    crowd = dataclasses.replace(cell, prepared=dataclasses.replace(cell.prepared, batch=batch))
    with pytest.raises(ValueError, match=r"9 modalities, which make 2\^10 coalitions.*at most 8"):
        shapley(crowd, 0)
