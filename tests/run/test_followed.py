"""What another process can know of a study that runs."""

import dataclasses
import os

import pytest

from fusion_jax.results import page_cells, running
from fusion_jax.results.lock import exclusive
from fusion_jax.results.store import Store
from fusion_jax.run import followed
from fusion_jax.run.engines.base import Job, Outcome
from fusion_jax.run.progress import Progress, TuningProgress
from tests import tiny


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "study", create=True)


def test_cells_are_running_from_their_beginning_to_their_end(store, monkeypatch):
    cell = tiny.cell()
    store.write_study([("a", cell), ("b", cell)], "study.py")
    monkeypatch.setattr(followed, "EVERY", 0.0)
    heard = followed.Followed(store)
    with exclusive(store.root):

        def states():
            return {k: v["state"] for k, v in page_cells.state(store, store.read_study()).items()}

        assert states() == dict(a="waiting", b="waiting")
        heard.progress(Progress("a", cell))
        assert states() == dict(a="running", b="waiting")
        heard.progress(Progress("a", cell, epoch=3, validation=("accuracy", 0.5)))
        assert running.read(store) == {"a": dict(epoch=3, epochs=6, validation=["accuracy", 0.5])}
        heard.progress(Progress("b", tiny.cell(control__name="rbf_svm")))
        assert running.read(store)["b"] == dict(epoch=0, validation=None)
        heard.done(Outcome(Job("a", cell, store, ValueError()), None, "ValueError: no"))
        assert states() == dict(a="waiting", b="running")
        heard.close()
        assert states() == dict(a="waiting", b="waiting") and not running.path(store, os.getpid()).exists()


def test_a_cell_that_is_tuned_first_runs_under_the_name_it_is_listed_by(store, monkeypatch):
    """That of its tuning until it is finished, that of the chosen cell when it is run again."""
    monkeypatch.setattr(followed, "EVERY", 0.0)
    heard, cell = followed.Followed(store), tiny.cell()
    chosen = dataclasses.replace(cell, tuned=dict(name="a"))
    with exclusive(store.root):
        heard.tuning(TuningProgress("a", cell, 8, 16, ("accuracy", 0.5)))
        assert running.read(store) == {"a": dict(trials=[8, 16], validation=["accuracy", 0.5])}
        heard.progress(Progress("b", chosen, epoch=1))
        assert running.read(store) == dict.fromkeys("ab", dict(epoch=1, epochs=6, validation=None))
        heard.done(Outcome(Job("b", chosen, store, ValueError()), None, "ValueError: no"))
        assert running.read(store) == {}


def test_it_is_written_now_and_then_and_whenever_a_cell_begins(store):
    heard, cell = followed.Followed(store), tiny.cell()
    with exclusive(store.root):
        heard.progress(Progress("a", cell))
        heard.progress(Progress("a", cell, epoch=1))
        assert running.read(store)["a"]["epoch"] == 0, "less than a second after the last time"
        heard.progress(Progress("b", cell))
        assert running.read(store)["a"]["epoch"] == 1
