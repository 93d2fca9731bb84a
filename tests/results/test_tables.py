"""What rows may be compared by, what fixed test rows leave open, and what a row says of itself."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fusion_jax.data import splits
from fusion_jax.data.base import Dataset, Provenance
from fusion_jax.data.fingerprint import split_digest
from fusion_jax.metrics.base import Scored
from fusion_jax.records import Target
from fusion_jax.results import entries, measured, report, tables
from fusion_jax.results.differences import difference
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.study import Cell, resolve
from tests import tiny
from tests.results.predicted import SAME, study

VALUES = np.array([0.5, 0.52, 0.57, 0.61])


def row(values, seeds=(), protocol="honest", setting="default", metric="accuracy", **fields):
    return Row(
        "r", "before", "d", protocol, setting, {metric: np.asarray(values, float)}, None, None, seeds=seeds, **fields
    )


def test_values_without_their_seeds_are_an_error():
    with pytest.raises(ValueError):
        row([0.5, 0.6, 0.7], seeds=(0, 2)).by_seed("accuracy")


def right(wrong, n=100):
    """Influences on accuracy [S, N] and values of predictors whose rows `wrong` (a list a seed) are wrong."""
    correct = np.ones((len(wrong), n))
    for c, w in zip(correct, wrong, strict=True):
        c[w] = 0
    mean = correct.mean(1, keepdims=True)
    influence = dict(accuracy=correct - mean)
    return mean[:, 0], dict(tested=np.arange(n), influence=influence, seeds=tuple(range(len(wrong))))


def fixed(*wrong):
    values, fields = right(wrong)
    return row(values, **fields)


def test_a_column_says_what_the_fixed_test_rows_leave_open():
    one = fixed(range(10), range(10))
    low, high = stats.binomtest(90, 100).proportion_ci(0.95, "wilson")
    lines = report.markdown([one, row(VALUES)]).splitlines()
    differences = "accuracy - baseline | p (Holm)"
    assert (
        lines[2]
        == f"| variant | placement | accuracy | accuracy by rows | {differences} | seeds | parameters | seconds |"
    )
    assert f"| 0.900 | 100: {low:.3f} to {high:.3f} | baseline | - | 2 |" in lines[4].replace("**", "")
    assert lines[5].split(" | ")[3] == "-"
    tex = report.latex([one, fixed(range(11), range(5))])
    assert r"\textbf{0.920 $\pm$ 0.042}" in tex and "& 0.900 & baseline &" in tex and "& 100: 0.826 to 0.945" in tex
    assert report.markdown([row(VALUES)]).splitlines()[2].count("|") == 7


def test_a_control_that_gives_the_same_for_all_seeds_has_no_deviation():
    control = dataclasses.replace(row([0.8, 0.8]), placement="-")
    assert tables.cell_text(control, "accuracy") == "0.800"
    assert tables.cell_text(row([0.8, 0.8]), "accuracy") == "0.800 ± 0.000"
    assert tables.cell_text(dataclasses.replace(control, values=dict(accuracy=VALUES)), "accuracy") == "0.550 ± 0.050"


def test_whether_test_rows_are_fixed_is_seen_from_the_predictions(tmp_path):
    store = study(tmp_path, [("drawn", 3, {}), ("same", 3, SAME), ("one", 1, {})])
    drawn, same, one = tables.rows(store)
    assert drawn.tested is None and np.array_equal(same.tested, one.tested)
    assert same.influence["macro_f1"].shape == (3, len(same.tested)) and one.influence["accuracy"].shape[0] == 1
    low, high = tables.of_rows(same, "accuracy")
    assert low < same.values["accuracy"].mean() < high
    assert "Where all seeds of a row have the same test rows" in report.write(store)
    table = pd.read_csv(store.root / "report" / "table.csv").set_index("variant")
    assert table.test_rows["same"] == len(same.tested) and np.isnan(table.test_rows["drawn"])
    np.testing.assert_allclose([table.accuracy_rows_low["same"], table.accuracy_rows_high["same"]], [low, high])
    assert np.isnan(table.macro_f1_rows_low["drawn"]) and table.macro_f1_rows_low["same"] < table.macro_f1_mean["same"]


def test_settings_share_a_table_and_each_has_its_best(tmp_path):
    store = study(tmp_path, [("m", 3, {}), ("m", 3, {"data__setting": "inductive"})])
    text = report.write(store)
    assert text.count("###") == 1 and "setting default, inductive" in text
    for setting in ("default", "inductive"):
        line = next(li for li in text.splitlines() if li.startswith(f"| m [{setting}]"))
        assert line.split(" | ")[2].startswith("**"), "the only row of its setting"


def test_published_rows_stand_beside_the_variant_they_name_whatever_its_settings(tmp_path):
    options = dict(tiny.DATA, seed=1)
    store = study(
        tmp_path,
        [
            ("m", 2, {"data__setting": "inductive"}),
            ("m", 2, {}),
            ("n", 2, {"data__options": {}}),
            ("o", 2, {"data__options": options}),
        ],
    )
    written = store.read_study()
    cells = [(c["id"], Cell(c["config"], c["label"], c["seeds"])) for c in written["cells"]]
    other = dict(label="theirs", source="S", data="synthetic", values=dict(accuracy=(0.9, 0.1)))
    store.write_study(cells, "here", [other])
    groups = {name: [r.label for r in group] for (name, _), group in tables.grouped(tables.rows(store)).items()}
    assert groups.pop("synthetic") == ["n", "theirs"]
    assert sorted(map(len, groups.values())) == [1, 2] and all("seed=1" in k or "nodes=60" in k for k in groups)


def test_diverged_seeds_are_named_and_averaged_by_nobody(tmp_path):
    cells = [("gmu", 5, {}), ("whole", 5, {}), ("none", 2, {}), ("two", 5, {})]
    lost = dict(
        gmu=[[1, 2, "loss"], [4, 2, "loss"]],
        none=[[0, 7, "loss"], [1, 3, "loss"]],
        two=[[3, 9, "loss"], [0, 4, "prediction"]],
    )
    store = study(tmp_path, cells, lost)
    gmu, whole, none, two = tables.rows(store)
    assert gmu.label == "gmu (3 of 5 seeds; seeds 1, 4 diverged at epoch 2)" and gmu.seeds == (0, 2, 3)
    assert two.label == "two (3 of 5 seeds; seed 0 diverged at epoch 4; seed 3 diverged at epoch 9)"
    assert all(len(v) == 3 for v in gmu.values.values())
    assert none.values == {} and none.error == "seed 1 diverged at epoch 3; seed 0 diverged at epoch 7"
    expected = [whole.by_seed("accuracy")[s] - gmu.by_seed("accuracy")[s] for s in gmu.seeds]
    np.testing.assert_allclose(difference(whole, gmu, "accuracy").values, expected)
    text = report.write(store)
    assert "| none | before | FAILED: seed 1 diverged at epoch 3; seed 0 diverged at epoch 7 |" in text
    assert gmu.label in text and gmu.label in (store.root / "report" / "calibration.md").read_text()


def test_diverged_and_missing_seeds_are_both_named(tmp_path):
    store = study(tmp_path, [("m", 3, {})], dict(m=[[1, 2, "loss"]]))
    cells = [(c["id"], Cell(c["config"], c["label"], 4)) for c in store.read_study()["cells"]]
    store.write_study(cells, "here")
    (found,) = tables.rows(store)
    assert found.label == "m (2 of 4 seeds: not finished; seed 1 diverged at epoch 2)"


def test_a_deterministic_control_on_a_published_split(tmp_path):
    """From the data set to the table: one fit for all seeds, 30 test rows."""
    rng = np.random.default_rng(0)
    y = (np.arange(60) % 2).astype(np.int32)
    x = (rng.normal(size=(60, 4)) + y[:, None]).astype(np.float32)
    rows = np.arange(60)
    data = Dataset(
        "toy",
        {"m0": x},
        np.ones((60, 1), bool),
        {},
        Target("classes", labels=y, num_outputs=2),
        splits.fixed(rows[:20], rows[20:30], rows[30:], "published"),
        Provenance("made here", "none"),
    )
    cell, store = tiny.cell(control__name="rbf_svm", seeds=3, per_seed=("split",)), Store(tmp_path, create=True)
    store.write_study([(run_cell(cell, store, data)["identity"], cell)], "test")
    (found,) = tables.rows(store)
    assert len(found.tested) == 30 and (found.values["accuracy"] == found.values["accuracy"][0]).all()
    low, high = stats.binomtest(round(30 * found.values["accuracy"][0]), 30).proportion_ci(0.95, "wilson")
    text = report.write(store)
    assert f"30: {low:.3f} to {high:.3f}" in text and "± 0.000" not in text


def test_a_row_says_of_its_splits_what_comparisons_ask(tmp_path):
    store = study(tmp_path, [("drawn", 3, {}), ("same", 3, SAME)], dict(drawn=[[1, 2, "loss"]]))
    drawn, same = tables.rows(store)
    split = {s: tiny.dataset().split(s) for s in range(3)}
    assert drawn.name == "drawn" and drawn.label.startswith("drawn (2 of 3 seeds")
    assert drawn.train_rows == tuple(len(split[s].train) for s in (0, 2)) and len(drawn.test_rows) == 2
    assert drawn.splits == () and same.met is None and same.met_influence == {}
    np.testing.assert_array_equal(drawn.met, np.union1d(split[0].test, split[2].test))
    tested = np.stack([np.isin(drawn.met, split[s].test) for s in (0, 2)])
    assert drawn.met_influence and all((~np.isnan(psi) == tested).all() for psi in drawn.met_influence.values())


@pytest.mark.parametrize("later, asked", [(30, True), (19, False)])
def test_rows_are_kept_where_any_seed_has_more_test_than_training_rows(later, asked):
    """A first look may ask for them, though over all seeds there are fewer: its p would change when seeds come."""
    rows = np.arange(30), np.arange(10)
    scored = [Scored(Target("classes", labels=r % 2, num_outputs=2), np.eye(2, dtype=np.float32)[r % 2]) for r in rows]
    measure = measured.Measured({}, rows, tuple(scored), (20 if asked else later + 11, 100))
    met, psi = entries._met(measure)
    assert (met is not None) == asked and ("accuracy" in psi) == asked


def test_the_digests_of_splits_are_those_of_the_store(tmp_path):
    options = dict(tiny.DATA, train=0.6)
    cell, data, store = tiny.cell(seeds=2, data__options=options), tiny.dataset(train=0.6), Store(tmp_path, create=True)
    store.write_study([(run_cell(cell, store, data)["identity"], cell)], "test")
    (row,) = tables.rows(store)
    assert row.met is None and row.test_rows < row.train_rows, "no more test than training rows: nobody asks"
    assert row.splits == tuple(split_digest(data.split(s)) for s in range(2)) and len(set(row.splits)) == 2


def test_what_rows_have_in_common_that_differ_in_the_graph_alone(tmp_path):
    none = {"model__layer__name": "none", "model__layers": 1}
    cells = {
        "gcn": {"model__layers": 2},
        "none": none,
        "other layer": {"model__layer__name": "sage"},
        "no layer": {"model__layers": 0},
        "tuned": {"optimizer__learning_rate": 0.5},
        "tuned, none": {"optimizer__learning_rate": 0.05} | none,
        "wide": {"model__dim": 16} | none,
        "after": {"model__placement": "after"} | none,
        "slow": {"optimizer__learning_rate": 0.5} | none,
        "gmu": {"model__fusion__name": "gmu"} | none,
        "control": {"control__name": "rbf_svm"},
    }
    store, entries = Store(tmp_path, create=True), []
    for i, (label, changes) in enumerate(cells.items()):
        rate = changes.get("optimizer__learning_rate")
        tuned = dict(trials=3, chosen={"optimizer.learning_rate": rate}) if "tuned" in label else {}
        entries.append((f"{i:016x}", Cell(resolve(tiny.config(**changes)).config, label, 2 + i, tuned=tuned)))
    store.write_study(entries, "made by hand")
    found = {row.label: row.without_graph for row in tables.rows(store)}
    same = {label for label in found if found[label] == found["none"]}
    assert same == {"gcn", "none", "other layer", "no layer"} and found["control"] == ""
    assert found["tuned"] == found["tuned, none"], "each has the rate that was chosen for it"
    assert len({found[label] for label in cells}) == 7, "width, place, a number that was set and the fusion count"
