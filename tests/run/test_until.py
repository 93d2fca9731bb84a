"""Seeds are added until what is to be decided is, look by look; what was interrupted goes on."""

import dataclasses
import json

import numpy as np
import pytest

from fusion_jax import study
from fusion_jax.data.fingerprint import split_digest
from fusion_jax.results import compare, tables
from fusion_jax.results.recorded import metric_table, prediction_table
from fusion_jax.results.store import Store
from fusion_jax.run.engines.base import Outcome
from fusion_jax.run.sweep import run
from fusion_jax.run.until import run_until_decided
from fusion_jax.study import Cell, Claim, tuning
from tests import studies, tiny

DATA = tiny.dataset()
RIGHT = {"concat_mlp": 0.55, "sum": 0.55, "gmu": 0.95, "late_logits": 0.52}


def cell(label, seeds=4):
    made = tiny.cell(model__fusion__name=label, model__placement="decision" if label == "late_logits" else "before")
    return Cell(made.config, label, seeds)


def trained(job):
    """What a cell leaves behind, without training: a share of the rows is right, drawn anew for every seed."""
    seeds = tuple(s for s in range(job.cell.seeds) if s not in job.store.finished_seeds(job.identity))
    logits = []
    for s in seeds:
        right = np.random.default_rng([s, *job.cell.label.encode()]).uniform(size=60) < RIGHT[job.cell.label]
        logits.append(np.eye(2)[np.where(right, DATA.target.labels, 1 - DATA.target.labels)])
    ready = tiny.prepared(job.cell.plan, DATA, seeds)
    parts = dict(
        metrics=metric_table(np.array(logits), DATA, ready), predictions=prediction_table(np.array(logits), DATA, ready)
    )
    digests = {str(s): split_digest(split) for s, split in zip(seeds, ready.splits, strict=True)}
    cost = dict(parameters=1, seconds=1.0, seeds=len(seeds), splits=digests)
    job.store.write_part(job.identity, job.cell, seeds, parts, cost)
    return Outcome(job, dict(seconds=1.0, seeds=seeds, identity=job.identity))


@pytest.fixture(autouse=True)
def without_training(monkeypatch):
    monkeypatch.setattr("fusion_jax.run.engines.serial.run_job", trained)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, create=True)


def seeds(store):
    return {c["label"]: c["seeds"] for c in store.read_study()["cells"]}


CELLS = [cell(label) for label in RIGHT]


def test_only_what_is_undecided_gets_more_seeds(store):
    looks = []
    run_until_decided(CELLS, store, "here", limit=12, step=4, looked=looks.append)
    assert [look.seeds for look in looks] == [4, 8, 12]
    assert "gmu, before on synthetic" in looks[-1].decided and len(looks[-1].undecided) == 2
    decided_at = next(look.seeds for look in looks if look.decided)
    assert decided_at < 12 and seeds(store) == dict(concat_mlp=12, sum=12, gmu=decided_at, late_logits=12)
    held = store.read_study()["looks"]
    assert held["plan"] == [4, 8, 12] and [t["seeds"] for t in held["taken"]] == [4, 8, 12]
    assert held["taken"][-1]["undecided"] == list(looks[-1].undecided)
    rows = {r.label: r for r in tables.rows(store)}
    assert rows["gmu"].looks == tuple(n for n in (4, 8) if n <= decided_at) and rows["sum"].limit == 12
    (found,) = (c for c in compare.against(list(rows.values()), "accuracy") if c.a.label == "gmu")
    assert found.better and f"looked at {', '.join(map(str, rows['gmu'].looks))} of at most 12 seeds" in found.method


def test_what_is_tuned_first_grows_as_the_cell_that_was_chosen(store, monkeypatch):
    pytest.importorskip("optuna", reason="the extra [tune]")
    values, tuned = {"optimizer.learning_rate": 0.1}, []

    def chosen(job):
        if job.cell.tuning is not None:
            tuned.append(job.identity)
            record = dict(name=job.identity, asked=job.cell.identity(""), chosen=values, trials=2)
            made = study.with_values(dataclasses.replace(job.cell, tuning=None), values)
            made = dataclasses.replace(made, seeds=job.cell.seeds, tuned=record)
            job = dataclasses.replace(job, cell=made, identity=made.identity(DATA))
        return trained(job)

    monkeypatch.setattr("fusion_jax.run.engines.serial.run_job", chosen)
    own = tuning.tune({"optimizer.learning_rate": (0.1, 0.2)}, trials=2)
    looks = []
    asked = [dataclasses.replace(cell, tuning=own) for cell in CELLS]
    run_until_decided(asked, store, "here", limit=12, step=4, looked=looks.append)
    assert [look.seeds for look in looks] == [4, 8, 12] and len(tuned) == len(CELLS)
    decided_at = next(look.seeds for look in looks if look.decided)
    assert seeds(store) == dict(concat_mlp=12, sum=12, gmu=decided_at, late_logits=12)


def test_claims_are_what_is_to_be_decided(store):
    looks = []
    claims = [Claim("gmu wins", "gmu", "concat_mlp"), Claim("and beats sum", "gmu", "sum, before")]
    run_until_decided(CELLS, store, "here", limit=40, step=4, claims=claims, looked=looks.append)
    assert looks[-1].decided == ("gmu wins", "and beats sum") and looks[-1].seeds < 40, "it stops when all are"
    assert seeds(store)["late_logits"] == 4, "no claim is about it"
    assert store.read_study()["claims"][0]["finished_seeds"] == 0, "written down before the first epoch"


def test_an_interrupted_study_goes_on_and_its_plan_stays(store, monkeypatch):
    def stop(look):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_until_decided(CELLS, store, "here", limit=12, step=4, looked=stop)
    assert [t["seeds"] for t in store.read_study()["looks"]["taken"]] == [4]
    with pytest.raises(ValueError, match="begun with looks at 4, 8, 12 seeds, now asked for are 4, 8, 12, 16"):
        run_until_decided(CELLS, store, "here", limit=16, step=4)
    looks = []
    run_until_decided(CELLS, store, "here", limit=12, step=4, looked=looks.append)
    whole = Store(store.root / "again", create=True)
    run_until_decided(CELLS, whole, "here", limit=12, step=4)
    assert seeds(store) == seeds(whole) and looks[-1].seeds == 12
    assert [t["seeds"] for t in store.read_study()["looks"]["taken"]] == [4, 8, 12]


@pytest.mark.parametrize(("limit", "step", "most"), [(10_001, 50, 10_000), (1001, 1, 1000)])
def test_more_seeds_or_looks_than_a_study_can_have_are_an_error(store, limit, step, most):
    with pytest.raises(ValueError, match=f"at most {limit} seeds, {step} at a time; expected at most {most}"):
        run_until_decided(CELLS, store, "here", limit=limit, step=step)
    assert not (store.root / "study.json").exists()


def test_an_ordinary_run_leaves_out_no_seed_that_was_added(store):
    run_until_decided(CELLS, store, "here", limit=8, step=4)
    before = json.loads((store.root / "study.json").read_text())
    run(CELLS, store, "here")
    assert json.loads((store.root / "study.json").read_text()) == before
    more = [dataclasses.replace(c, seeds=9) for c in CELLS]
    run(more, store, "here")
    assert set(seeds(store).values()) == {9}
    assert {r.looks for r in tables.rows(store)} == {(4, 8)}, "no look was planned at nine"


def test_a_cell_that_fails_does_not_keep_the_study_going(store, monkeypatch):
    def failing(job):
        return Outcome(job, None, "E", "trace") if job.cell.label == "gmu" else trained(job)

    monkeypatch.setattr("fusion_jax.run.engines.serial.run_job", failing)
    claims, looks = [Claim("gmu wins", "gmu", "concat_mlp")], []
    failed = run_until_decided(CELLS, store, "here", limit=12, step=4, claims=claims, looked=looks.append)
    assert failed == 1 and [look.seeds for look in looks] == [4] and looks[0].undecided == ("gmu wins",)


def test_a_claim_about_no_row_leaves_nothing_behind(store):
    with pytest.raises(ValueError, match="here: claim 'c': better='gmo' names no row"):
        run(CELLS, store, "here", claims=[Claim("c", "gmo", "sum")])
    assert not (store.root / "study.json").exists()


def test_the_command_says_what_every_look_found(tmp_path, study_file, monkeypatch):
    monkeypatch.undo()
    file = study_file(studies.LR, studies.RBF)
    status, out = studies.run(file, tmp_path / "r", "--until_decided", "--max_seeds=3")
    assert status == 0, out
    assert "2 seeds: 0 of 1 decided" in out and "3 seeds: 0 of 1 decided" in out
    assert Store(tmp_path / "r").read_study()["looks"]["plan"] == [2, 3]
    status, out = studies.run(file, tmp_path / "r", "--until_decided", "--max_seeds=4")
    assert status == 2 and "error: looks: the study was begun with looks at 2, 3 seeds" in out
