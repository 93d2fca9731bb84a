"""A user's own task is one file anywhere, named by its path: trained, stored, reported and restored."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from fusion_jax import data, tasks
from fusion_jax.records import Target
from fusion_jax.results import report, tables
from fusion_jax.results.restore import restore
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from tests import tiny

COUNTS = '''
"""Counts: how often something was seen, learned as its logarithm."""

import dataclasses

import numpy as np

from fusion_jax.tasks.base import Field, Task
from fusion_jax.tasks.values import Units, to_values


class Counts(Task):
    """`values` [N, K] >= 0."""

    fields = {"values": Field(to_values)}
    loss = "mse"
    primary = "mae"
    metrics = ("mae", "rmse")
    dtype = np.float64

    def validate(self, target, data, fail):
        if (target.values < 0).any():
            fail("target.values", f"{target.values.min()}", "counts of at least 0")

    def learned(self, target, units):
        return dataclasses.replace(target, values=np.log1p(target.values).astype(np.float32))
'''


DEVIANCE = '''
"""Mean Poisson deviance, up to what depends on the counts alone."""

import numpy as np

from fusion_jax.metrics.base import Metric


class Deviance(Metric):
    """mean of exp z - y z."""

    heading = "deviance"
    tasks = ()
    higher = False
    rank = 0
    note = "Deviance: halved."

    def __call__(self, rows):
        z = np.asarray(rows.prediction, float)[:, 0]
        return float((np.exp(z) - rows.target.values[:, 0] * z).mean())
'''


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.fixture
def counted(tmp_path):
    """The small data set with counts to be predicted, by a task in a file of its own."""
    path = tmp_path / "counts.py"
    path.write_text(COUNTS)
    plain = tiny.dataset()
    values = np.random.default_rng(0).poisson(3, size=(60, 1)) + plain.target.labels[:, None]
    target = Target(str(path), values=values, num_outputs=1)
    return dataclasses.replace(plain, target=target, class_names=())


def test_it_is_trained_stored_reported_and_restored(counted, tmp_path):
    cell, store = tiny.cell(), Store(tmp_path / "study", create=True)
    identity = run_cell(cell, store, counted)["identity"]
    store.write_study([(identity, cell)], "test")
    table = store.table(identity, "metrics")
    assert set(table.metric) == {"mae", "rmse"}
    (row,) = tables.rows(store)
    assert row.task == counted.target.kind and row.primary == "mae" and list(row.values) == ["rmse", "mae"]
    stored = table[(table.part == "test") & (table.metric == "mae")].value
    np.testing.assert_array_equal(row.values["mae"], stored)
    text = report.write(store)
    assert "| RMSE | MAE |" in text and "counts.py" not in text
    restored = restore(store, identity, data=counted)
    kept = store.table(identity, "predictions")
    np.testing.assert_allclose(restored.prediction(0), np.stack(kept[kept.seed == 0].prediction), rtol=1e-6, atol=1e-6)
    assert restored.primary == "mae"


def test_its_file_counts_in_the_identity_and_its_place_does_not_in_the_fingerprint(counted, tmp_path):
    cell, before = tiny.cell(), tiny.cell().identity(counted)
    elsewhere = tmp_path / "other" / "counts.py"
    elsewhere.parent.mkdir()
    elsewhere.write_text(COUNTS)
    moved = dataclasses.replace(counted, target=dataclasses.replace(counted.target, kind=str(elsewhere)))
    assert moved.fingerprint == counted.fingerprint
    (tmp_path / "counts.py").write_text(COUNTS.replace("log1p", "sqrt"))
    assert cell.identity(counted) != before


def test_what_it_says_of_itself_is_heard(counted):
    with pytest.raises(ValueError, match=r"field target\.values: -1.*; expected counts of at least 0"):
        dataclasses.replace(counted, target=dataclasses.replace(counted.target, values=-np.ones((60, 1))))
    with pytest.raises(ValueError, match=r"loss 'cross_entropy' is defined for classes, the task is '.*counts\.py'"):
        tiny.train(counted, (0,), loss__name="cross_entropy")
    assert tasks.of(counted.target).loss == "mse"
    with pytest.raises(ValueError, match=r"target\.kind: 'ranks'; expected one of \['classes', 'labels', 'links'"):
        dataclasses.replace(data.load("synthetic"), target=Target("ranks", labels=np.zeros(3)))


def test_a_path_from_the_current_folder_is_stored_as_it_is_found_from_any(counted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = dataclasses.replace(counted.target, kind="counts.py")
    described = tasks.of(here).about(here)
    monkeypatch.chdir("/")
    assert described["kind"] == str(tmp_path / "counts.py") and tasks.primary(described) == "mae"


def named(counted, tmp_path, metrics, primary):
    """The same data, whose task names these metrics and that primary one."""
    text = COUNTS.replace('("mae", "rmse")', repr(metrics)).replace('primary = "mae"', f"primary = {primary!r}")
    path = tmp_path / "mine" / "counts.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return dataclasses.replace(counted, target=dataclasses.replace(counted.target, kind=str(path)))


def test_a_metric_of_its_own_is_a_column_of_every_table(counted, tmp_path):
    """In a new process too, which has met neither file."""
    (tmp_path / "deviance.py").write_text(DEVIANCE)
    own = named(counted, tmp_path, (str(tmp_path / "deviance.py"),), "deviance")
    cell, store = tiny.cell(), Store(tmp_path / "study", create=True)
    identity = run_cell(cell, store, own)["identity"]
    store.write_study([(identity, cell)], "test")
    script = f"""
from fusion_jax.analysis.cost_against_score import cost_against_score
from fusion_jax.results import report
from fusion_jax.results.store import Store
store = Store({str(store.root)!r})
print(report.write(store), cost_against_score(store).sentence)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    values = tables.rows(store)[0].values["deviance"]
    assert "| variant | placement | deviance | seeds |" in done.stdout, done.stdout
    assert f"| mean | before | **{values.mean():.3f} ± {values.std(ddof=1):.3f}** | 2 |" in done.stdout
    assert "Deviance: halved." in done.stdout and "Of 1 rows 1 are beaten by no other" in done.stdout


@pytest.mark.parametrize(
    ("metrics", "primary", "message"),
    [
        (
            ("mae", "rmse"),
            "maee",
            r"primary='maee' is none of its metrics \(did you mean 'mae'\?\); they are: rmse, mae",
        ),
        ((), "mae", r"primary='mae' is none of its metrics; they are: none"),
        (
            ("mae", "{folder}/rmse.py"),
            "mae",
            r"its metric 'rmse' has the name of another, whose heading.*\('RMSE', False",
        ),
    ],
)
def test_one_that_cannot_be_scored_is_refused_before_it_is_trained(counted, tmp_path, metrics, primary, message):
    (tmp_path / "rmse.py").write_text(DEVIANCE.replace("Deviance(Metric)", "Rmse(Metric)"))
    own = named(counted, tmp_path, tuple(m.format(folder=tmp_path) for m in metrics), primary)
    store = Store(tmp_path / "study", create=True)
    with pytest.raises(ValueError, match=rf"task '.*counts\.py': {message}"):
        run_cell(tiny.cell(), store, own)
    assert not list((store.root / "cells").iterdir())
