"""A study read from its folder: answer, tables, comparisons, page, rows and models."""

import dataclasses
import json

import numpy as np
import pytest

import fusion_jax as fj
from fusion_jax.results import compare, tables
from fusion_jax.results.restore import restore
from fusion_jax.results.store import Store
from tests import tiny
from tests.api.test_ablate import SMALL


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.fixture(scope="module")
def data():
    return dataclasses.replace(tiny.dataset(), name="mine")


@pytest.fixture(scope="module")
def study(data, settings, tmp_path_factory):
    place = tmp_path_factory.mktemp("study")
    return fj.ablate(data, ["gmu"], ["before", "after"], seeds=2, workdir=place / "r", progress=False, config=SMALL)


def test_the_answer_and_the_table_are_those_of_the_report(study):
    text = (study.workdir / "report" / "table.md").read_text()
    assert text.startswith(study.answer)
    frame = study.table()
    assert list(frame.variant) == [row.label for row in study.rows] and "data" not in frame and "error" not in frame
    for row, line in zip(study.rows, frame.itertuples(), strict=True):
        np.testing.assert_allclose(line.accuracy, row.values["accuracy"].mean())
        assert line.seeds == 2 and line.placement == row.placement
    np.testing.assert_allclose(frame["accuracy sd"], [np.std(r.values["accuracy"], ddof=1) for r in study.rows])
    assert frame.parameters.isna().tolist() == [row.label == "label_propagation" for row in study.rows]


def test_comparisons_are_those_of_compare(study):
    frame, found = study.compare(), compare.against(tables.rows(study.store), "accuracy")
    np.testing.assert_allclose(frame.difference, [c.difference for c in found])
    np.testing.assert_allclose(frame.adjusted_p, [c.adjusted for c in found])
    assert list(frame.against) == [c.b.label for c in found] and set(frame.metric) == {"accuracy"}
    other = study.compare("gmu, after", "auc")
    assert "gmu" in set(other.against) and set(other.metric) == {"auc"}
    assert len(study.compare(pairs=True)) == 7 * 6 / 2
    with pytest.raises(ValueError, match="no row has the metric 'accuracyy' .did you mean 'accuracy'"):
        study.compare(metric="accuracyy")
    with pytest.raises(ValueError, match="gmuu"):
        study.compare("gmuu")


def test_the_page_is_written_anew(study):
    path = study.page()
    assert path == study.workdir / "report" / "index.html" and b"gmu" in path.read_bytes()
    path.unlink()
    assert study.page().exists()


def test_a_row_is_asked_for_by_its_name(study):
    variant = study.cell("gmu", "after")
    assert (variant.label, variant.placement, variant.data) == ("gmu", "after", "mine")
    assert variant.config["model"]["fusion"]["name"] == "gmu"
    assert repr(variant).startswith("gmu, after, mine: accuracy 0.")
    assert len(variant.predictions) == 2 * 60 and set(variant.history.seed) == {0, 1}
    assert {"val", "test"} <= set(variant.metrics.part)
    assert study.cell("label_propagation").row.values
    with pytest.raises(ValueError, match="no row 'gmuu' .did you mean 'gmu'"):
        study.cell("gmuu")
    with pytest.raises(ValueError, match="'gmu' is the name of 2 rows; there are: gmu, before, mine; gmu, after, mine"):
        study.cell("gmu")
    with pytest.raises(ValueError, match="no row 'gmu, decision'; there are: gmu, before"):
        study.cell("gmu", "decision")


def test_a_model_says_what_was_stored(study):
    variant = study.cell("gmu", "before")
    model, batch = variant.model(1)
    assert model.seed == 1 and batch is model.batch
    stored = variant.predictions
    stored = np.stack(stored[stored.seed == 1].sort_values("row").prediction)
    np.testing.assert_allclose(model(batch).prediction, stored, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.prediction(), stored, rtol=1e-5, atol=1e-6)
    assert any(a.axes[0] == "node" for a in model().attention)
    spoiled = dataclasses.replace(batch, features={k: 0 * x for k, x in batch.features.items()})
    assert np.abs(np.asarray(model(spoiled).prediction) - stored).max() > 1e-3
    best = [study.cell(label, place) for label in ("gmu", "concat_mlp") for place in ("before", "after")]
    scores = [np.mean([v.restored.validation_score(i) for i in range(2)], 0).tolist() for v in best]
    assert study.model(0).cell.identity == best[scores.index(max(scores))].identity
    assert study.model().seed == study.model().cell.seeds[study.model().cell.place()]
    with pytest.raises(ValueError, match="has no seed 7"):
        variant.model(7)
    with pytest.raises(ValueError, match="is the control 'label_propagation': it has no parameters"):
        study.cell("label_propagation").model()


def test_a_folder_alone_gives_the_models_of_data_that_lay_in_memory(study, data):
    read = fj.load_study(study.workdir)
    assert read.answer == study.answer
    np.testing.assert_array_equal(
        read.cell("gmu", "after").model(0)().prediction, study.cell("gmu", "after").model(0)().prediction
    )
    with_data = fj.load_study(str(study.workdir), data=data)
    assert with_data.cell("gmu", "after").restored.data is data
    other = dataclasses.replace(data, features={k: 2 * x for k, x in data.features.items()})
    with pytest.raises(ValueError, match="was trained on other data"):
        _ = fj.load_study(study.workdir, data={"mine": other}).cell("gmu", "after").restored


def test_what_lay_in_memory_and_is_not_kept_is_asked_for(study, monkeypatch):
    identity = study.cell("gmu", "after").identity
    monkeypatch.setattr("fusion_jax.results.inputs.data_of", lambda store, held: None)
    with pytest.raises(ValueError, match="data set 'mine' lay in memory and is not kept here: hand it over"):
        restore(Store(study.workdir), identity)


def test_a_notebook_shows_the_answer_and_the_table(study):
    shown = study._repr_html_()
    assert study.answer.split()[0] in shown and "<table" in shown and str(study.workdir) in shown
    assert repr(study).startswith(study.answer)


def test_no_study_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no study"):
        fj.load_study(tmp_path)


def test_analyses_are_asked_of_rows_and_of_the_study(study):
    """The data lie in memory, and the row is restored once."""
    report = study.cell("gmu", "after").analyse("attention_patterns", seed=1)
    held = study.store.cell(study.cell("gmu", "after").identity) / "analyses" / "attention_patterns"
    assert report.sentence and json.loads((held / "analysis.json").read_text())["seed"] == 1
    assert report._repr_markdown_().startswith(report.sentence)
    whole = study.analyse("cost_against_score", cost="parameters")
    assert "both parameters and score" in whole.sentence and (study.workdir / "analyses/cost_against_score").is_dir()
    with pytest.raises(ValueError, match=r"'gcav' is of a cell: study.cell\(...\).analyse\('gcav'\)"):
        study.analyse("gcav")
    with pytest.raises(ValueError, match="'cost_against_score' is of a whole study"):
        study.cell("gmu", "after").analyse("cost_against_score")
    with pytest.raises(ValueError, match="no option 'costs' .did you mean 'cost'"):
        study.analyse("cost_against_score", costs="parameters")
