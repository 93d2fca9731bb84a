"""The calibration a study's report shows, from stores made by hand."""

import csv
import io
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from fusion_jax import metrics
from fusion_jax.metrics.aurc import risk_coverage
from fusion_jax.metrics.ece import reliability
from fusion_jax.results import calibration_study, report, tables
from fusion_jax.results.store import Store
from fusion_jax.study import Cell, resolve
from tests import tiny
from tests.metrics import made as rows_of

RNG = np.random.default_rng(0)
ROWS, TEST = 60, slice(20, 60)
LABELS = RNG.integers(3, size=ROWS)
PART = np.where(np.arange(ROWS) < 20, "train", "test")


def scores(z, table):
    return metrics.scores([rows_of.classes(z[TEST], LABELS[TEST])], table)


@pytest.fixture
def made(tmp_path):
    """A function that adds a cell with random predictions, {label: [S, N, C]} of them, and the store."""
    store, cells, logits = Store(tmp_path / "study", create=True), [], {}

    def add(label, seeds=2, uncertainty=(), wanted=None, **changes):
        cell = Cell(resolve(tiny.config(**changes)).config, label, wanted or seeds)
        identity = f"{len(cells):016x}"
        cells.append((identity, cell))
        right = RNG.normal(size=(seeds, ROWS, 3)) + 2 * np.eye(3)[LABELS]
        logits[label] = np.float32(np.log(softmax(right, -1)))
        for s, z in enumerate(logits[label]):
            values = [(s, "test", k, v) for k, (v,) in scores(z, "main").items()]
            table = pd.DataFrame(values, columns=["seed", "part", "metric", "value"])
            lines = dict(seed=s, row=np.arange(ROWS), part=pd.Categorical(PART), labels=LABELS, prediction=list(z))
            if s in uncertainty:
                lines["uncertainty"] = np.float32(1 - softmax(z, -1).max(-1)) ** 2  # ranks as the probability does
            part = dict(metrics=table, predictions=pd.DataFrame(lines))
            store.write_part(identity, cell, (s,), part, dict(parameters=10, seconds=1.0, seeds=1))
        store.write_study(cells, "made by hand")

    return add, store, logits


def read(store, name):
    return (store.root / "report" / name).read_text()


def test_a_row_has_the_means_of_its_seeds_on_test_rows(made):
    add, store, logits = made
    add("plain")
    add("stated", uncertainty=(0, 1), model__fusion__name="late_logits", model__placement="decision")
    report.write(store)
    lines = {line["variant"]: line for line in csv.DictReader(io.StringIO(read(store, "calibration.csv")))}
    for label, z in logits.items():
        each = [scores(s, "calibration") for s in z]
        assert list(each[0]) == ["ece", "brier", "log_loss", "aurc"]
        for name in each[0]:
            values = [e[name][0] for e in each]
            assert float(lines[label][f"{name}_mean"]) == pytest.approx(np.mean(values), rel=1e-12)
            assert float(lines[label][f"{name}_sd"]) == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert lines["plain"]["aurc_uncertainty_mean"] == ""
    stated = lines["stated"]
    assert float(stated["aurc_uncertainty_mean"]) == pytest.approx(float(stated["aurc_mean"]), rel=1e-9)
    head, _, plain, shown = [line.split("|")[1:-1] for line in read(store, "calibration.md").splitlines()[2:6]]
    assert [h.strip() for h in head][:7] == [
        "variant",
        "placement",
        "ECE",
        "Brier",
        "log-loss",
        "AURC by probability",
        "AURC by uncertainty",
    ]
    assert plain[6].strip() == "-" and shown[1].strip() == "decision" and "±" in shown[6]
    best = min(lines, key=lambda k: float(lines[k]["ece_mean"]))
    assert ("**" in plain[2], "**" in shown[2]) == (best == "plain", best == "stated")


def test_the_curves_are_of_the_test_rows(made):
    add, store, logits = made
    add("stated", uncertainty=(0, 1))
    (found,) = calibration_study.collect(store, tables.rows(store))
    p = softmax(logits["stated"][:, TEST].astype(float), -1)
    correct = p.argmax(-1) == LABELS[TEST]
    for ours, expected in zip(found.bins, reliability(p.max(-1).ravel(), correct.ravel()), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert found.accuracy == pytest.approx(correct.mean())
    at_tenths = [risk_coverage(*x)[1][3::4] for x in zip(p.max(-1), correct, strict=True)]  # 4 of 40 rows, 8, ...
    np.testing.assert_allclose(found.risks["aurc"][9::10], np.mean(at_tenths, 0), rtol=1e-9)
    np.testing.assert_allclose(found.risks["aurc_uncertainty"], found.risks["aurc"], rtol=1e-9)


def test_seeds_without_the_column_or_not_wanted_do_not_mix_in(made):
    add, store, logits = made
    add("mixed", uncertainty=(1,))
    add("more", seeds=3, wanted=2)
    mixed, more = calibration_study.collect(store, tables.rows(store))
    assert "aurc_uncertainty" not in mixed.row.values and set(mixed.risks) == {"aurc"}
    assert [len(v) for v in more.row.values.values()] == [2] * 4
    assert more.bins[0].sum() == 2 * 40


def test_only_probabilities_are_calibrated(made):
    add, store, _ = made
    add("svm", control__name="rbf_svm")
    report.write(store)
    assert not (store.root / "report" / "calibration.md").exists()
    add("lr", control__name="logistic_regression")
    report.write(store)
    text = read(store, "calibration.md")
    assert "| lr | - |" in text and "svm" not in text


def test_a_regression_has_no_calibration(tmp_path):
    store = Store(tmp_path, create=True)
    cell = resolve(tiny.config(data__name="synthetic_values", data__options={}))
    table = pd.DataFrame([(0, "test", "rmse", 1.0)], columns=["seed", "part", "metric", "value"])
    store.write_part("0" * 16, cell, (0,), dict(metrics=table), dict(parameters=1, seconds=1.0, seeds=1))
    store.write_study([("0" * 16, cell)], "made by hand")
    assert "RMSE" in report.write(store, figures=True)
    assert not list((store.root / "report").glob("calibration*"))


def test_the_figure_is_drawn_where_an_uncertainty_is_stated_or_it_is_asked_for(made):
    pytest.importorskip("matplotlib", reason="figures are an extra")
    add, store, _ = made
    picture = store.root / "report" / "calibration.png"
    add("plain")
    status, out = tiny.command("experiments.report", f"--workdir={store.root}")
    assert status == 0 and not picture.exists() and "calibration.md, calibration.csv\n" in out
    status, out = tiny.command("experiments.report", f"--workdir={store.root}", "--figures")
    assert status == 0 and picture.exists() and "calibration.csv, calibration.png\n" in out
    picture.unlink()
    add("stated", uncertainty=(0, 1))
    report.write(store)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_no_figure_and_asking_for_it_is_an_error(made, monkeypatch):
    add, store, _ = made
    add("stated", uncertainty=(0, 1))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report.write(store)
    assert not (store.root / "report" / "calibration.png").exists()
    status, out = tiny.command("experiments.report", f"--workdir={store.root}", "--figures")
    assert status == 2 and "figures need matplotlib: pip install" in out


def test_few_rows_are_drawn_those_with_an_uncertainty_first(made):
    pytest.importorskip("matplotlib", reason="figures are an extra")
    add, store, _ = made
    for i in range(8):
        add(f"row {i}", uncertainty=(0, 1) if i in (2, 5) else ())
    found = calibration_study.collect(store, tables.rows(store))
    kept = [c.row.label for c in calibration_study.chosen(found)]
    assert len(kept) == 6 and {"row 2", "row 5"} <= set(kept) and kept == sorted(kept)
    others = sorted((c for c in found if c.row.label not in ("row 2", "row 5")), key=lambda c: -c.accuracy)
    assert min(c.accuracy for c in others if c.row.label in kept) >= others[4].accuracy
    right = calibration_study.figure(found).axes[1]
    assert right.get_legend().get_title().get_text().startswith("6 of 8 rows") and len(right.lines) == 8


def test_a_long_name_takes_the_figure_no_place_and_is_not_cut_off(made):
    pytest.importorskip("matplotlib", reason="figures are an extra")
    add, store, _ = made
    add("geometric_mean, " + ", ".join(f"model.layer.options.an_option_{i}=symmetric" for i in range(6)))
    figure = calibration_study.figure(calibration_study.collect(store, tables.rows(store)))
    figure.draw_without_rendering()
    right = figure.axes[1]
    assert right.get_legend().get_window_extent().x1 <= figure.bbox.x1 and right.bbox.width > figure.bbox.width / 4
