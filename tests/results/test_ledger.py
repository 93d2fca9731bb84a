"""The ledger: claims of several studies, corrected for how many of them there are, and the page that says so."""

import json

import numpy as np
import pytest

from fusion_jax.results import ledger, paired
from fusion_jax.results.claims import answer
from fusion_jax.results.rendering import ledger as form
from fusion_jax.results.store import Store
from fusion_jax.run.ledger import run_studies, stores_of
from fusion_jax.study.claim_files import claim_studies
from tests import claiming, tiny


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two studies that were run, and one that was not."""
    files, workdir = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("results")
    for name in ("alpha", "beta"):
        claiming.write(files, name, ("seeds=6", "seeds=6, data__options=tiny.DATA | dict(homophily=0.95)"))
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


def test_a_line_has_the_difference_of_its_rows_and_what_the_study_took(made, found):
    line = found.lines[0]
    (one,) = line.compared
    assert one.mean == pytest.approx(np.mean(one.better.values["accuracy"]) - np.mean(one.than.values["accuracy"]))
    assert one.low < one.mean < one.high and line.seconds > 0
    version = Store(made[1] / "alpha").read_study()["claims"][-1]
    assert (line.sha256, line.written) == (version["sha256"], version["written"]) and line.changed == ()


def test_the_page_says_what_was_not_run_and_links_the_studies_beside_it(made, found):
    page = form.markdown(found, date="2020-02-02", beside=str(made[0][0].path.rpartition("/")[0]))
    assert "- gamma: not run" in page and "[alpha](alpha.py)" in page and "2020-02-02" in page and "Small." in page
    assert found.sentence.startswith("Of 2 claims of 2 papers ") and found.sentence in page
    rows = [row for row in page.split("\n") if row.startswith("| ")]
    assert len(rows) == 4 and len({row.count(" | ") for row in rows}) == 1
    assert found.lines[0].sha256[:12] in page


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


def test_a_study_that_cannot_be_run_stops_no_other(tmp_path):
    claiming.write(tmp_path, "alpha", ("seeds=6", 'seeds=6, data__name="tables", data__options={"folder": "/nowhere"}'))
    claiming.write(tmp_path, "beta")
    studies = claim_studies(tmp_path)
    failed = run_studies(studies, tmp_path / "r", engine="serial", workers=1)
    assert list(failed) == ["alpha"] and "nowhere" in failed["alpha"]
    assert [line.study.system for line in ledger.ledger(studies, stores_of(studies, tmp_path / "r")).lines] == ["beta"]
