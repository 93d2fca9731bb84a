"""Cells as jobs of a cluster: submitit's local one runs them, and what SLURM would be given is looked at."""

import os
import signal
import stat
import threading
import time

import numpy as np
import psutil
import pytest

from fusion_jax import zoo
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.run.engines.base import Job
from fusion_jax.run.sweep import run
from fusion_jax.training import stopping
from tests import studies, tiny

pytestmark = pytest.mark.xdist_group("slurm")
# long enough that a busy machine hears of the first save before the end
LONG = dict(training__epochs=4000, training__patience=4000, training__chunk=40, training__checkpoint_seconds=0.0)


def preempt_once(store, told):
    """Sends the job that has saved something what SLURM sends a job whose place is wanted; the other one has ended."""
    while not told.is_set():
        saved = any(store.root.glob("cells/*/.partial-*/step-*")) and any(store.root.glob("cells/*/failure.json"))
        jobs = [child for child in psutil.Process().children(recursive=True) if _is_job(child)] if saved else []
        if len(jobs) == 1:
            jobs[0].send_signal(signal.SIGUSR2)
            told.set()
            return
        time.sleep(0.05)


def _is_job(process):
    try:
        return "submitit.core._submit" in " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return False


def test_jobs_run_elsewhere_fail_by_themselves_and_go_on_where_they_were_preempted(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "0")  # of the tests, for the processes of the jobs
    monkeypatch.setenv("JAX_NUMPY_DTYPE_PROMOTION", "standard")
    mine = tmp_path / "scratch.py"
    mine.write_text(studies.CONTROL.format(body='raise ValueError("on purpose")'))
    model = tiny.cell(model__rate=0.3, seeds=1, **LONG)
    cells = [model, tiny.cell(control__name=str(mine))]
    store, told, found = Store(tmp_path / "r", create=True), threading.Event(), []
    watch = threading.Thread(target=preempt_once, args=(store, told), daemon=True)
    watch.start()
    options = dict(cluster="local", poll=0.1)
    how = dict(engine="slurm", workers=2, engine_options=options)
    failed = run(cells, store, "test", done=lambda outcome, problem: found.append(outcome), **how)
    assert failed == 1 and told.is_set(), "it was preempted in between"
    told.set()
    by = {outcome.job.cell.plan.control.name: outcome for outcome in found}
    assert by[""].result["seeds"] == (0,) and isinstance(by[""].job.data, type(tiny.dataset()))
    assert by[str(mine)].error == "ValueError: on purpose" and "Traceback" in by[str(mine)].trace
    log = "".join(path.read_text() for path in store.root.glob("slurm/*/*.err"))
    log += "".join(path.read_text() for path in store.root.glob("slurm/*/*.out"))
    assert "Requeued job" in log
    here = Store(tmp_path / "here", create=True)
    run_cell(model, here, tiny.dataset())
    identity = model.identity(tiny.dataset())
    for name in ("metrics", "history"):
        np.testing.assert_array_equal(
            store.table(identity, name).select_dtypes("number"), here.table(identity, name).select_dtypes("number")
        )
    assert not list(store.root.glob("cells/*/.partial-*"))


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """A machine with SLURM's commands, which only write down what they are told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    heard = tmp_path / "heard"
    lines = dict(
        sbatch=f'for last; do :; done; cat "$last" > {heard}.$$; echo "Submitted batch job 77"',
        srun="true",
        scancel=f'echo "$@" >> {heard}.cancelled',
        sacct='echo "JobID|State|NodeList"; echo "77_0|RUNNING|a"; echo "77_1|PENDING|a"',
    )
    for name, line in lines.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod((folder / name).stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return lambda: {path.suffix: path.read_text() for path in tmp_path.glob("heard.*")}


def jobs(folder, *changes):
    data, store = tiny.dataset(), Store(folder, create=True)
    made = [tiny.cell(**change) for change in changes]
    return [Job(cell.identity(data), cell, store, data) for cell in made]


def test_what_slurm_is_given(sbatch, tmp_path):
    asked = dict(resources__gpus=2, resources__cpus=8, resources__memory_gb=32.0, resources__minutes=90)
    waiting = jobs(
        tmp_path / "r", dict(model__fusion__name="gmu", **asked), dict(asked), dict(control__name="logistic_regression")
    )
    stopping.ask()
    try:
        with pytest.raises(stopping.Stopped):
            next(zoo.get("engine", "slurm")(waiting, workers=3, partition="long", poll=0.01))
    finally:
        stopping.forget()
    heard = sbatch()
    cancelled = heard.pop(".cancelled")
    array = next(text for text in heard.values() if "--array" in text)
    single = next(text for text in heard.values() if "--array" not in text)
    lines = [line.removeprefix("#SBATCH --") for line in array.splitlines() if line.startswith("#SBATCH --")]
    told = dict(line.split("=", 1) for line in lines if "=" in line)
    assert told["array"] == "0-1%2", "as many at a time as there are, where more are allowed"
    assert told["gpus-per-node"] == "2" and told["cpus-per-task"] == "8" and told["mem"] == "32GB"
    assert told["time"] == "90" and told["partition"] == "long" and told["signal"].startswith("USR2@")
    assert "--gpus" not in single and "--time=1440" in single and "--partition=long" in single
    assert "77" in cancelled


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(cluster="slurm"), "engine 'slurm': .*srun"),
        (dict(cluster="nothing"), "engine 'slurm': .*nothing"),
    ],
)
def test_what_cannot_be(tmp_path, monkeypatch, options, message):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        next(zoo.get("engine", "slurm")(jobs(tmp_path / "r", {}), **options))


def test_an_option_that_sbatch_does_not_have(sbatch, tmp_path):
    with pytest.raises(ValueError, match="engine 'slurm': .*colour"):
        next(zoo.get("engine", "slurm")(jobs(tmp_path / "r", {}), colour="red"))
    assert sbatch() == {}


def test_a_folder_that_no_machine_sees(tmp_path):
    import dataclasses

    [job] = jobs(tmp_path, {})
    away = dataclasses.replace(job, store=Store("gs://bucket/results"))
    with pytest.raises(ValueError, match="gs://bucket/results is no folder that machines share"):
        next(zoo.get("engine", "slurm")([away]))
