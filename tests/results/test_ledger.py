"""The ledger: claims of several studies, corrected for how many of them there are, and the page that says so."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from fusion_jax.folders import Damaged
from fusion_jax.results import ledger, measured_rows, paired, tables
from fusion_jax.results.claims import answer
from fusion_jax.results.rendering import ledger as form
from fusion_jax.results.store import Store
from fusion_jax.run.ledger import measure, run_studies, stores_of
from fusion_jax.study import Claim
from fusion_jax.study.claim_files import claim_studies
from fusion_jax.training import stopping
from tests import claiming, tiny


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two studies that were run, and one that was not."""
    files, workdir = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("results")
    data = "seeds=6", "seeds=6, data__options=tiny.DATA | dict(homophily=0.95)"
    claiming.write(files, "alpha", data)
    claiming.write(files, "beta", data, ('than="features"', 'than="features", metric="macro_f1"'))
    claiming.write(files, "gamma")
    studies = claim_studies(files)
    assert run_studies(studies[:2], workdir, engine="serial", workers=1) == {}
    return studies, workdir


@pytest.fixture(scope="module")
def found(made):
    studies, workdir = made
    return ledger.ledger(studies, stores_of(studies, workdir))


def test_p_is_corrected_over_all_claims_of_the_ledger(made, found):
    alone = [answer(Store(made[1] / name))[0] for name in ("alpha", "beta")]
    raw = np.array([one.p for one in alone])
    assert 0 < raw.max() < 0.5 and [line.answered.p for line in found.lines] == raw.tolist()
    assert [line.answered.adjusted for line in found.lines] == paired.holm(raw).tolist() != raw.tolist()
    assert "after Holm over 2 claims" in found.lines[0].answered.evidence


def test_the_sentence_says_what_the_correction_takes_back(found):
    def line(verdict, alone):
        own = dataclasses.replace(found.lines[0].answered, verdict=verdict, alone=alone)
        return dataclasses.replace(found.lines[0], answered=own)

    lines = [line("holds", "holds"), line("undecided", "holds"), line("undecided", "fails"), line("fails", "fails")]
    said = dataclasses.replace(found, lines=tuple(lines)).sentence
    assert said == (
        "Of 4 claims of 1 paper 1 holds, 1 fails, 2 are undecided (5 % after Holm over all of them; before it 2 hold "
        "and 2 fail)."
    )
    assert dataclasses.replace(found, lines=(lines[0],)).sentence.endswith("(5 % after Holm over all of them).")
    assert dataclasses.replace(found, lines=()).sentence == "No claim was tested."


def test_a_line_has_the_difference_of_its_rows_and_what_the_study_took(made, found):
    line = found.lines[0]
    (one,) = line.compared
    assert one.mean == pytest.approx(np.mean(one.better.values["accuracy"]) - np.mean(one.than.values["accuracy"]))
    assert one.low < one.mean < one.high and line.seconds > 0
    assert f"(95 % interval {one.low:+.3f} to {one.high:+.3f})" in line.answered.evidence
    (other,) = found.lines[1].compared
    assert (one.metric, other.metric) == ("accuracy", "macro_f1")
    assert other.mean == pytest.approx(np.mean(other.better.values["macro_f1"] - other.than.values["macro_f1"]))
    version = Store(made[1] / "alpha").read_study()["claims"][-1]
    assert (line.sha256, line.written) == (version["sha256"], version["written"]) and line.changed == ()


def test_the_page_says_what_was_not_run_and_links_the_studies_beside_it(made, found):
    page = form.markdown(found, date="2020-02-02", beside=str(made[0][0].path.rpartition("/")[0]))
    assert "- gamma: not run" in page and "[alpha](alpha.py)" in page and "2020-02-02" in page and "Small." in page
    assert found.sentence.startswith("Of 2 claims of 2 papers ") and found.sentence in page
    rows = [row for row in page.split("\n") if row.startswith("| ")]
    assert len(rows) == 4 and len({row.count(" | ") for row in rows}) == 1
    assert found.lines[0].sha256[:12] in page


@pytest.mark.parametrize(
    "claim, metric, shown",
    [
        (dict(equivalent=0.03), "accuracy", "±0.03"),
        (dict(), "accuracy", "> 0"),
        (dict(by=0.02), "accuracy", "> +0.02"),
        (dict(by=-0.02), "accuracy", "> -0.02"),
        (dict(), "rmse", "< 0"),
        (dict(by=0.5), "rmse", "< -0.5"),
    ],
)
def test_the_page_says_what_a_difference_is_held_against(found, claim, metric, shown):
    line, asked = found.lines[0], Claim("c", "a", "b", **claim)
    compared = tuple(dataclasses.replace(one, metric=metric) for one in line.compared)
    changed = dataclasses.replace(line, answered=dataclasses.replace(line.answered, claim=asked), compared=compared)
    page = form.markdown(dataclasses.replace(found, lines=(changed,)))
    head, row = (text for text in page.split("\n") if text.startswith(("| system", f"| {line.study.system}")))
    assert dict(zip(head.split(" | "), row.split(" | "), strict=True))["asked"] == shown


def test_the_page_for_programs_is_strict_json(found):
    held = json.loads(form.as_json(found, date="2020-02-02"), parse_constant=pytest.fail)
    assert [one["system"] for one in held["claims"]] == ["alpha", "beta"] and held["lacking"] == {"gamma": "not run"}


def test_a_claim_that_was_reworded_behind_its_results_says_so(made, tmp_path):
    studies, _ = made
    claiming.write(tmp_path, "alpha")
    (first,) = claim_studies(tmp_path)
    run_studies([first], tmp_path / "r", engine="serial", workers=1)
    claiming.write(tmp_path, "alpha", ("alone tells more", "tells more"))
    (second,) = claim_studies(tmp_path)
    run_studies([second], tmp_path / "r", engine="serial", workers=1)
    (line,) = ledger.ledger([second], stores_of([second], tmp_path / "r")).lines
    assert line.answered.late == 12 and any("when 12 seeds had finished or begun" in text for text in line.changed)
    assert "written when 12 seeds had finished or begun" in form.markdown(
        ledger.ledger([second], stores_of([second], tmp_path / "r"))
    )


def test_claims_that_were_taken_out_behind_their_results_are_told_of(made, tmp_path):
    studies = made[0][:2]
    for name in ("alpha", "beta"):
        shutil.copytree(made[1] / name, tmp_path / name)
    Store(tmp_path / "alpha").amend(claims=[])
    found = ledger.ledger(studies, stores_of(studies, tmp_path))
    assert [line.study.system for line in found.lines] == ["beta"]
    said = "its folder states no claims; 12 seeds were trained when study.json held other claims, sha256 "
    assert found.lacking["alpha"].startswith(said) and found.lacking["alpha"] in form.markdown(found)


def test_a_file_whose_claims_are_not_those_of_its_folder_is_told_of(made, tmp_path):
    studies, workdir = made
    turned = 'better="graph", than="features"', 'better="features", than="graph"'
    gone = (
        '[dict(claim="beta the graph',
        '[dict(claim="beta x", better="graph", than="features"), dict(claim="beta the graph',
    )
    for name, change in (("alpha", turned), ("beta", gone)):
        claiming.write(tmp_path, name, change)
        (study,) = claim_studies(tmp_path, only=[name])
        (line,) = ledger.ledger([study], stores_of([study], workdir)).lines
        assert line.changed == ("its file states other claims than its folder, whose claims these are",)
        assert line.answered.claim.better == "graph, -" and line.answered.late == 0


def test_a_row_of_the_page_has_first_what_is_claimed_to_be_better_and_the_seeds_that_both_have(found):
    line = found.lines[0]
    (one,) = line.compared
    assert one.seeds == 6
    better = dataclasses.replace(one.better, parameters=7000, seconds=1.0)
    than = dataclasses.replace(one.than, parameters=5, seconds=2.5)
    compared = (dataclasses.replace(one, better=better, than=than, seeds=4),)
    answered = dataclasses.replace(line.answered, p=0.001, adjusted=0.012)
    line = dataclasses.replace(line, compared=compared, answered=answered, seconds=90.0)
    page = form.markdown(dataclasses.replace(found, lines=(line,)))
    (row,) = (row for row in page.split("\n") if row.startswith("| alpha"))
    assert row.removesuffix(" |").split(" | ")[5:] == [".001", ".012", "7,000 / 5", "1.00 / 2.50", "4", "1.5"]


def test_a_study_that_cannot_be_run_stops_no_other(tmp_path):
    claiming.write(tmp_path, "alpha", ("seeds=6", 'seeds=6, data__name="tables", data__options={"folder": "/nowhere"}'))
    claiming.write(tmp_path, "beta")
    studies = claim_studies(tmp_path)
    failed = run_studies(studies, tmp_path / "r", engine="serial", workers=1)
    assert list(failed) == ["alpha"] and "nowhere" in failed["alpha"]
    assert [line.study.system for line in ledger.ledger(studies, stores_of(studies, tmp_path / "r")).lines] == ["beta"]


@pytest.fixture(scope="module")
def measuring(tmp_path_factory):
    """A study of which two rows are measured on a trained model, and the folder with its results."""
    folder = tmp_path_factory.mktemp("measuring")
    claiming.write(
        folder, "alpha", claiming.MEASURING, ('better="graph", than="features"', 'better="whole", than="half"')
    )
    (study,) = claim_studies(folder)
    assert run_studies([study], folder / "r", engine="serial", workers=1) == {}
    return study, folder / "r"


def test_no_study_is_begun_where_it_was_asked_to_stop(made, tmp_path):
    stopping.ask()
    try:
        with pytest.raises(stopping.Stopped):
            run_studies(made[0], tmp_path / "r", engine="serial", workers=1)
    finally:
        stopping.forget()
    assert not (tmp_path / "r").exists()


def test_rows_that_are_measured_are_compared_like_rows_that_are_trained(measuring):
    study, workdir = measuring
    found = ledger.ledger([study], stores_of([study], workdir))
    ((one,), answered) = found.lines[0].compared, found.lines[0].answered
    (model,) = (row for row in tables.rows(Store(workdir / "alpha")) if row.name == "model")
    assert one.mean == pytest.approx(model.values["accuracy"].mean() / 2) and answered.verdict == "holds"
    assert (one.better.seeds, one.better.splits, one.better.train_rows) == (model.seeds, model.splits, model.train_rows)
    assert one.better.cell == "" and one.better.parameters is None and answered.late == 0
    assert "Nadeau-Bengio" in answered.evidence, "splits are those of the model"
    store = Store(workdir / "alpha")
    trained = sum(cost["seconds"] for cell in store.read_study()["cells"] for cost in store.costs(cell["id"]))
    assert found.lines[0].seconds == pytest.approx(trained + measured_rows.seconds(store)) and trained > 0
    assert measured_rows.seconds(store) > 0


def test_measured_rows_stand_under_what_they_are(measuring):
    study, workdir = measuring
    named = dataclasses.replace(study, quantity="share of rows")
    for said, one in (("accuracy", study), ("share of rows", named)):
        page = form.markdown(ledger.ledger([one], stores_of([one], workdir)))
        (line,) = (row for row in page.splitlines() if row.startswith("| alpha"))
        assert f"| {said} +0." in line


def test_they_are_measured_once_and_again_where_file_or_results_are_others(measuring, tmp_path):
    study, workdir = measuring
    store = Store(shutil.copytree(workdir / "alpha", tmp_path / "alpha"))
    rows, path = tables.rows(store), store.root / measured_rows.FILE

    def measured_anew(study):
        path.write_text(json.dumps(json.loads(path.read_text()) | dict(seconds=1e6)))
        measure(study, store)
        return measured_rows.seconds(store) < 1e6

    assert not measured_anew(study)
    assert [row.name for row in measured_rows.rows(store, rows)] == ["whole", "half"]
    record = store.cell(rows[0].cell) / "record.json"
    held = json.loads(record.read_text())
    held["parts"][0]["sha256"]["history.parquet"] = "0" * 64
    del held["sha256"]
    record.write_text(json.dumps(held))
    assert measured_rows.rows(store, rows) == [], "they were measured on other results"
    assert measured_anew(study) and len(measured_rows.rows(store, rows)) == 2
    (tmp_path / "alpha.py").write_text(pathlib.Path(study.path).read_text() + "\n# by other means\n")
    assert measured_anew(dataclasses.replace(study, path=str(tmp_path / "alpha.py")))


@pytest.mark.parametrize(
    ("returns", "said"),
    [
        ("{}", r"measured\(\)\['whole'\] is None; expected {metric"),
        ("{r: {'accuracy': {}} for r in MEASURED}", "expected {metric: {seed: value}}"),
        ("{r: {'acuracy': {0: 1.0}} for r in MEASURED}", "did you mean 'accuracy'"),
        ("{r: {'accuracy': {77: 1.0}} for r in MEASURED}", r"\['accuracy'\] has seed 77; the cell has 0, 1"),
        ("{r: {'accuracy': {0: float('nan')}} for r in MEASURED}", r"\['accuracy'\]\[0\]=nan; expected a finite"),
        ("1 / 0", r"measured\(\) failed: ZeroDivisionError"),
    ],
)
def test_what_is_not_measured_as_said_is_named(measuring, tmp_path, returns, said):
    _, workdir = measuring
    store = Store(shutil.copytree(workdir / "alpha", tmp_path / "alpha"))
    text = pathlib.Path(measuring[0].path).read_text()
    start, end = text.index("    accuracy = cells"), text.index("def sweep")
    (tmp_path / "alpha.py").write_text(text[:start] + f"    return {returns}\n\n" + text[end:])
    (study,) = claim_studies(tmp_path)
    with pytest.raises(ValueError, match=said):
        measure(study, store)


def test_a_file_of_measured_rows_that_is_none_is_named(measuring, tmp_path):
    _, workdir = measuring
    store = Store(shutil.copytree(workdir / "alpha", tmp_path / "alpha"))
    rows, path = tables.rows(store), store.root / measured_rows.FILE
    held = json.loads(path.read_text())
    cell = held["rows"]["whole"]["cell"]
    for broken in (
        [],
        held | dict(rows={"whole": 1}),
        held | dict(rows={"whole": dict(cell="../x", values={"a": {}})}),
        held | dict(rows={"whole": dict(cell=cell, values={"accuracy": {"0": float("nan")}})}),
        held | dict(rows=held["rows"] | {"whole": held["rows"]["half"]}),
        held | dict(seconds="1.0"),
        held | dict(seconds=float("nan")),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(Damaged, match=f"{measured_rows.FILE} is damaged"):
            measured_rows.rows(store, rows)
    measure(measuring[0], store)
    assert len(measured_rows.rows(store, rows)) == 2, "it is made of what is there, and made anew"


def test_rows_of_some_seeds_say_so_and_have_those_that_their_cell_has(measuring, tmp_path):
    _, workdir = measuring
    store = Store(shutil.copytree(workdir / "alpha", tmp_path / "alpha"))
    rows = tables.rows(store)
    (model,) = (row for row in rows if row.name == "model")
    values = {"whole": {s: 0.9 - s / 100 for s in range(4)} | {99: 1.0}, "half": {s: 0.5 for s in range(6)}}
    found = {name: (model.cell, {"accuracy": held}) for name, held in values.items()}
    measured_rows.write(store, found, by="a test", seconds=1.0)
    whole, half = measured_rows.rows(store, rows)
    assert (whole.label, whole.name, whole.seeds) == ("whole (4 of 6 seeds)", "whole", (0, 1, 2, 3))
    assert (half.label, half.name, half.seeds) == ("half", "half", model.seeds)
    assert whole.values["accuracy"].tolist() == [0.9, 0.89, 0.88, 0.87] and whole.splits == model.splits[:4]
    assert "; whole (4 of 6 seeds)" in answer(store, rows)[0].evidence
    measured_rows.write(store, {"half": (model.cell, {"macro_f1": {0: 0.5}})}, by="a test", seconds=1.0)
    assert [row.primary for row in measured_rows.rows(store, rows)] == ["macro_f1"] != [model.primary]
