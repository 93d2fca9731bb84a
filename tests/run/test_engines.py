"""Engines: whichever runs the jobs, the outcomes are the same; one more is one file; a failure stops no other job."""

import pickle
import threading

import numpy as np
import pytest

from fusion_jax import zoo
from fusion_jax.data import load
from fusion_jax.results.store import Store
from fusion_jax.run.engines.base import Job, Outcome, run_job
from fusion_jax.run.sweep import run
from tests import studies, tiny
from tests.studies import LP, LR, RBF, cells

pytestmark = pytest.mark.xdist_group("engines")
CHANGES = (
    dict(control__name="logistic_regression"),
    dict(control__name="rbf_svm"),
    dict(seeds=1, training__epochs=2),
    dict(control__name="label_propagation"),
)
ENGINES = [("serial", 1), ("threads", 1), ("threads", 3)]
OUTSIDE = '''"""The last job first; jobs and outcomes travel as bytes."""
import pickle
from fusion_jax.run.engines.base import run_job

def backwards(jobs, *, workers=1):
    """As above."""
    for job in reversed(list(jobs)):
        yield pickle.loads(pickle.dumps(run_job(pickle.loads(pickle.dumps(job)))))
'''


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


def jobs(folder, data):
    made = [tiny.cell(**changes) for changes in CHANGES]
    return [Job(cell.identity(data), cell, Store(folder, create=True), data) for cell in made]


def numbers(store, identity):
    """What was stored of a cell, but for seconds."""
    found = [store.table(identity, name) for name in ("metrics", "predictions")]
    return [np.concatenate([np.stack(t[c]).ravel() for c in t]) for t in (t.drop(columns="part") for t in found)]


def test_serial_and_threads_give_the_same_outcomes(data, tmp_path):
    found = {}
    for engine, workers in ENGINES:
        waiting = jobs(tmp_path / f"{engine}-{workers}", data)
        outcomes = {o.job.identity: o for o in zoo.get("engine", engine)(iter(waiting), workers=workers)}
        assert set(outcomes) == {job.identity for job in waiting}
        assert all(o.error == o.trace == "" for o in outcomes.values())
        found[engine, workers] = [
            (job.identity, outcomes[job.identity].result["seeds"], numbers(job.store, job.identity)) for job in waiting
        ]
    first, *others = found.values()
    for other in others:
        for (identity, seeds, a), (identity_b, seeds_b, b) in zip(first, other, strict=True):
            assert (identity, seeds) == (identity_b, seeds_b)
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("engine", "workers"), ENGINES)
def test_a_failing_job_is_an_outcome_and_stops_no_other(data, tmp_path, engine, workers, monkeypatch):
    def run_cell(cell, store, data, progress, *, identity, still):
        if cell.plan.control.name == "rbf_svm":
            raise RuntimeError("line one\nline two")
        return dict(identity="", seeds=(0,), seconds=0.0)

    monkeypatch.setattr("fusion_jax.run.engines.base.run_cell", run_cell)
    good, bad, lost, broken = jobs(tmp_path, data)
    lost = Job(lost.identity, lost.cell, lost.store, OSError("no such file"))
    broken = Job(broken.identity, broken.cell, broken.store, data, ValueError("damaged"))
    outcomes = {o.job.identity: o for o in zoo.get("engine", engine)([bad, lost, broken, good], workers=workers)}
    assert outcomes[good.identity].result["seeds"] == (0,)
    for job, error in (
        (bad, "RuntimeError: line one\nline two"),
        (lost, "OSError: no such file"),
        (broken, "ValueError: damaged"),
    ):
        outcome = outcomes[job.identity]
        assert (outcome.result, outcome.error) == (None, error) and "Traceback" in outcome.trace
    assert "in run_cell" in outcomes[bad.identity].trace


def test_threads_run_so_many_jobs_at_a_time_and_begin_none_when_nobody_waits(data, tmp_path, monkeypatch):
    inside, most, begun, meeting = [], [], [], threading.Barrier(2)

    def work(job):
        inside.append(job)
        most.append(len(inside))
        meeting.wait(60)  # comes through where two are inside, and never were more allowed in
        inside.remove(job)
        meeting.wait(60)
        return Outcome(job, {})

    def waiting():
        for job in jobs(tmp_path, data):
            begun.append(job)
            yield job

    monkeypatch.setattr("fusion_jax.run.engines.threads.run_job", work)
    threads = zoo.get("engine", "threads")
    assert len(list(threads(waiting(), workers=2))) == len(begun) == 4 and max(most) == 2
    begun.clear()
    running = threads(waiting(), workers=2)
    next(running)
    running.close()
    assert len(begun) == 2


def test_two_cells_at_a_time_give_the_results_of_one(tmp_path):
    made = [tiny.cell(**{k.replace(".", "__"): v for k, v in changes.items()}) for changes in (LR, RBF, LP)]
    found = []
    for engine, workers in (("serial", 1), ("threads", 3)):
        store = Store(tmp_path / engine, create=True)
        assert run(made, store, "test", engine=engine, workers=workers) == 0
        found.append({label: store.table(i, "metrics") for label, i in cells(tmp_path / engine)[1].items()})
    assert list(found[0]) == list(found[1]) == ["logistic_regression", "rbf_svm", "label_propagation"]
    assert all(found[0][k].equals(found[1][k]) for k in found[0])


def test_an_engine_from_outside_is_named_by_its_file(study_file, tmp_path):
    (tmp_path / "backwards.py").write_text(OUTSIDE)
    file, flag = study_file(LR, RBF, {"control.name": "random_forest", "data.options": {"classes": 1}}), "--engine="
    status, out = studies.run(file, tmp_path / "r", f"{flag}{tmp_path}/backwards.py")
    lines = [line for line in out.splitlines() if line.startswith("[")]
    assert [line.split()[2] for line in lines] == ["random_forest", "rbf_svm", "logistic_regression"], out
    assert status == 1 and "FAILED ValueError" in lines[0] and "2 cells trained, 1 failed" in out
    store, ids = cells(tmp_path / "r")
    assert store.finished_seeds(ids["rbf_svm"]) == (0, 1) and store.failure(ids["random_forest"])
    status, out = studies.run(study_file(LP), tmp_path / "other", f"{flag}thread")
    assert status == 2 and "no engine named 'thread' (did you mean 'threads'?)" in out
    assert not list(tmp_path.glob("other/cells/*"))


def test_jobs_and_outcomes_can_be_pickled(data, tmp_path):
    job = jobs(tmp_path, data)[0]
    again = pickle.loads(pickle.dumps(job))
    assert (again.identity, again.cell, again.trouble) == (job.identity, job.cell, None)
    assert again.store.root == job.store.root and again.cell.identity(again.data) == job.identity
    outcome = pickle.loads(pickle.dumps(run_job(again)))
    assert outcome.result["seeds"] == (0, 1) and job.store.finished_seeds(job.identity) == (0, 1)
    failed = run_job(Job(job.identity, job.cell, job.store, OSError("no such file"), None))
    assert pickle.loads(pickle.dumps(failed)).error == "OSError: no such file"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits", dict(missing=0.3)),
        ("synthetic", dict(nodes=60, missing=0.2)),
        ("synthetic_graphs", dict(graphs=12)),
        ("synthetic_temporal", dict(nodes=60)),
        ("synthetic_values", dict(nodes=60)),
        ("watch", {}),
    ],
)
def test_a_data_set_can_be_pickled(name, options):
    """What comes back has the contents and draws the splits."""
    made = load(name, **options)
    again = pickle.loads(pickle.dumps(made))
    assert again.fingerprint == made.fingerprint
    for seed in (0, 1, 7):
        a, b = made.split(seed), again.split(seed)
        assert all(np.array_equal(getattr(a, part), getattr(b, part)) for part in ("train", "val", "test"))


def test_what_engines_share_is_no_engine():
    assert zoo.names("engine") == ["ray", "serial", "slurm", "threads"]
