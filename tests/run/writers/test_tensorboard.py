"""Event files: read back with TensorBoard's own reader they hold what the store holds."""

import math
import pathlib

import pytest

from fusion_jax import zoo
from fusion_jax.results.store import Store
from fusion_jax.run.engines.base import Job, run_job
from fusion_jax.run.listeners import Listeners
from tests import tiny

pytest.importorskip("tensorboardX", reason="TensorBoard's writer is an extra")
pytestmark = pytest.mark.xdist_group("writers")


def run(folder, writer, **changes):
    """One cell with a writer listening: its job."""
    data, cell, listeners = tiny.dataset(), tiny.cell(**changes), Listeners([writer])
    job = Job(cell.identity(data), cell, Store(folder, create=True), data, tell=listeners.progress)
    listeners.done(run_job(job))
    assert listeners.listeners == [writer]
    listeners.close()
    return job


def events(folder) -> dict[str, object]:
    """{path of a run below the folder: TensorBoard's reader of it}."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard")
    found = {}
    for path in pathlib.Path(folder).rglob("*tfevents*"):
        held = found[str(path.parent.relative_to(folder))] = reader.EventAccumulator(str(path.parent))
        held.Reload()
    return found


def test_every_epoch_of_every_seed_and_the_metrics_are_there(tmp_path):
    job = run(tmp_path / "r", zoo.get("writer", "tensorboard")(str(tmp_path / "tb"), tmp_path / "r"))
    found = events(tmp_path / "tb")
    group = f"synthetic-mean-before-{job.identity[:8]}"
    assert sorted(found) == [f"{group}/seed-0", f"{group}/seed-1"]
    history, metrics = (job.store.table(job.identity, name) for name in ("history", "metrics"))
    for seed in (0, 1):
        held, own = found[f"{group}/seed-{seed}"], history[history.seed == seed]
        for name in ("train_loss", "val_loss", "val_score"):
            scalars = held.Scalars(name)
            assert [s.step for s in scalars] == own.epoch.tolist()
            assert [s.value for s in scalars] == pytest.approx(own[name].tolist(), rel=1e-6)
        for row in metrics[metrics.seed == seed].itertuples():
            if math.isfinite(row.value):
                assert held.Scalars(f"{row.part}/{row.metric}")[0].value == pytest.approx(row.value, rel=1e-6)
        plugin = held.SummaryMetadata("_hparams_/session_start_info").plugin_data
        assert plugin.plugin_name == "hparams" and b"model.fusion.name" in plugin.content


def test_a_control_has_metrics_and_no_epochs(tmp_path):
    run(tmp_path / "r", zoo.get("writer", "tensorboard")(str(tmp_path / "tb"), tmp_path / "r"), control__name="rbf_svm")
    found = events(tmp_path / "tb")
    assert len(found) == 2
    for held in found.values():
        assert "test/accuracy" in held.Tags()["scalars"] and "train_loss" not in held.Tags()["scalars"]


def test_a_writer_that_fails_fails_no_cell(tmp_path):
    data, cell, store = tiny.dataset(), tiny.cell(), Store(tmp_path / "r", create=True)
    (tmp_path / "tb").mkdir()
    group = f"synthetic-mean-before-{cell.identity(data)[:8]}"
    (tmp_path / "tb" / group).write_text("in the way")
    listeners = Listeners([zoo.get("writer", "tensorboard")(str(tmp_path / "tb"), store.root)])
    with pytest.warns(UserWarning, match="tensorboard is told no more: .*(Exists|NotADir)"):
        outcome = run_job(Job(cell.identity(data), cell, store, data, tell=listeners.progress))
    assert outcome.error == "" and store.finished_seeds(outcome.job.identity) == (0, 1)


def test_a_folder_is_wanted(tmp_path):
    with pytest.raises(ValueError, match="--tensorboard='', expected a folder"):
        zoo.get("writer", "tensorboard")("", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        zoo.get("writer", "tensorboard")(str(tmp_path / "file"), tmp_path)


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'fusion_jax\[tensorboard\]'"):
        zoo.get("writer", "tensorboard")(str(tmp_path), tmp_path)
