"""Records of how far a cell is: every epoch once, with the best validation so far; they can be sent elsewhere."""

import dataclasses
import pickle

import numpy as np
import pytest

from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.run.engines.base import Job, run_job, told
from fusion_jax.run.progress import Progress, Told
from tests import tiny

pytestmark = pytest.mark.xdist_group("progress")


@pytest.fixture(autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def recorded(folder, **changes):
    """A cell run as a job: what was told, and its store and identity."""
    found, data, cell = [], tiny.dataset(), tiny.cell(**changes)
    job = Job(cell.identity(data), cell, Store(folder, create=True), data, tell=found.append)
    outcome = run_job(job)
    assert outcome.error == "", outcome.trace
    return found, job


def test_every_epoch_is_told_once_as_it_is_stored(tmp_path):
    found, job = recorded(tmp_path, seeds=3, training__epochs=7)
    assert [p.epoch for p in found] == [0, 3, 6, 7] and all(p.seeds == (0, 1, 2) for p in found)
    assert found[0].history == {} and found[0].validation is None and found[0].training == 3
    stored = job.store.table(job.identity, "history").sort_values(["seed", "epoch"])
    for name in ("train_loss", "val_loss", "val_score"):
        joined = np.concatenate([p.history[name] for p in found[1:]], axis=1)
        np.testing.assert_array_equal(joined.ravel(), stored[name].to_numpy(joined.dtype))


def test_the_best_accuracy_so_far_is_that_of_the_validation_rows(tmp_path):
    """In the end that of the kept epochs, as it is recorded among the metrics."""
    found, job = recorded(tmp_path, seeds=3, training__epochs=9)
    table = job.store.table(job.identity, "metrics")
    kept = table[(table.part == "val") & (table.metric == "accuracy")].value.mean()
    assert found[-1].validation[0] == "accuracy" and found[-1].validation[1] == pytest.approx(kept, rel=1e-6)
    values = [p.validation[1] for p in found[1:]]
    assert values == sorted(values)


@pytest.mark.parametrize("select", ["loss", "last"])
def test_where_the_loss_selects_it_is_the_loss(tmp_path, select):
    found, job = recorded(tmp_path, training__select=select)
    history = job.store.table(job.identity, "history")
    losses = history.pivot(index="seed", columns="epoch", values="val_loss").to_numpy()
    expected = losses.min(1).mean() if select == "loss" else losses[:, -1].mean()
    assert found[-1].validation == ("loss", pytest.approx(expected, rel=1e-5))


def test_only_missing_seeds_are_told_of(tmp_path):
    recorded(tmp_path, seeds=1)
    found, _ = recorded(tmp_path, seeds=3)
    assert {p.seeds for p in found} == {(1, 2)} and found[-1].history["train_loss"].shape[0] == 2


def test_controls_begin_and_have_no_epochs(tmp_path):
    found, _ = recorded(tmp_path, control__name="label_propagation")
    assert [p.epoch for p in found] == [0]


def test_what_an_interrupted_attempt_has_trained_is_told_too(tmp_path):
    data, cell, store = tiny.dataset(), tiny.cell(training__checkpoint_seconds=0.0), Store(tmp_path, create=True)
    identity, borders = cell.identity(data), []

    def stop(history):
        borders.append(len(history))
        if len(borders) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, store, data, stop, identity)
    found = []
    run_job(Job(identity, cell, store, data, tell=found.append))
    assert [p.epoch for p in found] == [0, 6] and found[1].history["train_loss"].shape == (2, 6)


def test_a_seed_that_stopped_is_not_counted():
    cell, found = tiny.cell(), []
    listen = Told(found.append, "0", cell, tiny.dataset(), (0, 1))
    losses = np.array([[0.5, 0.4], [0.5, np.nan]])
    listen([dict(train_loss=losses, val_loss=losses, val_score=np.array([[9.4, 8.2], [7.5, np.nan]]))])
    rows = [len(tiny.dataset().split(seed).val) for seed in (0, 1)]
    assert found[-1].training == 1 and found[-1].validation == (
        "accuracy",
        pytest.approx((9 / rows[0] + 7 / rows[1]) / 2),
    )


def test_records_can_be_pickled_and_a_listener_stays_where_it_is(tmp_path):
    found, job = recorded(tmp_path)
    again = pickle.loads(pickle.dumps(found[-1]))
    assert isinstance(again, Progress) and again.cell == found[-1].cell and again.epoch == 6
    assert told(job) is None, "nothing is left to be trained"
    job = dataclasses.replace(job, store=Store(tmp_path / "new", create=True))
    assert told(pickle.loads(pickle.dumps(job))) is None and told(job) is not None
