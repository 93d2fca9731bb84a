"""Snapshots: which epochs are kept, and that they are what training stopped there would have given."""

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.schemes.base import Stage
from fusion_jax.training.snapshots import asked_for
from tests import staged, tiny
from tests.staged import equal, of_seed

pytestmark = pytest.mark.xdist_group("training-stages")


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


@pytest.fixture(scope="module")
def ready(data):
    return staged.prepared(data)


def test_which_epochs_each_stage_is_asked_for():
    stages = [Stage(4, snapshots=(0, 4)), Stage(0, snapshots=(0,)), Stage(6, snapshots=(0, 1))]
    assert asked_for(stages, 0) == [{0, 4}, {4}, {4, 5}]
    assert asked_for([Stage(9)], 4) == [{0, 3, 6, 9}]
    assert asked_for([Stage(9)], 1) == [{0}] and asked_for([Stage(9)], 0) == [set()]
    assert asked_for([Stage(3), Stage(6)], 4) == [{0, 3}, {6, 9}], "a border belongs to the stage that ends there"
    assert asked_for([Stage(3), Stage(0)], 9) == [{0, 1, 2, 3}, set()], "no more than there are epochs"


def test_a_snapshot_is_what_a_run_cut_at_that_epoch_ends_with(ready):
    trained = staged.train(ready, [Stage(5, snapshots=(0, 2, 5))], snapshots=2)
    assert sorted(trained.snapshots) == [0, 2, 5]
    for epochs, kept in trained.snapshots.items():
        cut = staged.train(ready, [Stage(epochs, keep="last")])
        assert equal(kept, (cut.params, cut.rest)), f"after {epochs} epochs"


def test_epoch_0_is_behind_begin_and_a_border_belongs_to_the_stage_that_asks(ready):
    def zero(model, *_):
        model.head.kernel[...] = jnp.zeros_like(model.head.kernel[...])

    def head(snapshot):
        return np.asarray(snapshot[0]["head"]["kernel"][...])

    for own, zeroed in [((), False), ((0,), True)]:
        stages = [Stage(2, begin=zero, snapshots=(0, 2)), Stage(2, begin=zero, snapshots=own)]
        trained = staged.train(ready, stages, snapshots=3)
        assert sorted(trained.snapshots) == [0, 2, 4]
        assert not head(trained.snapshots[0]).any() and head(trained.snapshots[4]).any()
        assert (not head(trained.snapshots[2]).any()) == zeroed


def test_a_seed_that_stops_or_diverges_leaves_its_last_parameters(data, ready):
    row = min(set(data.split(1).train) - set(data.split(0).train))

    def loss(model, output, target, weight, step, key):
        del model, target, key
        return jnp.where((weight[row] > 0) & (step == 2), jnp.nan, (output.prediction**2).mean())

    stages = [Stage(6, snapshots=(1, 2, 3, 4, 6), loss=loss)]
    stopped = staged.train(ready, stages, score=staged.ever_worse, patience=3)
    assert stopped.best_epoch[0] == 0 and np.isfinite(stopped.history["train_loss"][0]).sum() == 4
    kept = {epoch: of_seed(tree, 0) for epoch, tree in stopped.snapshots.items()}
    assert not equal(kept[3], kept[4]) and equal(kept[4], kept[6])
    assert equal(kept[1], of_seed((stopped.params, stopped.rest), 0))
    assert stopped.diverged == {1: (2, "training loss is nan")}
    kept = {epoch: of_seed(tree, 1) for epoch, tree in stopped.snapshots.items()}
    assert not equal(kept[2], kept[3]) and equal(kept[3], kept[4]) and equal(kept[3], kept[6])
    assert np.isfinite(kept[2][0]["head"]["kernel"][...]).all()


def test_snapshots_change_nothing_else(ready):
    """Nor what is saved at a border, where none are asked for."""

    class Watcher:
        def restore(self, state):
            self.kept = state.snapshots

        def at_border(self, state, history):
            pass

    without, among = Watcher(), Watcher()
    plain = staged.train(ready, [Stage(3)], without)
    kept = staged.train(ready, [Stage(3)], among, snapshots=3)
    assert without.kept == () and plain.snapshots == {} and sorted(kept.snapshots) == [0, 2, 3]
    assert equal((plain.params, plain.history), (kept.params, kept.history))
    assert among.kept[0].tree["head"]["kernel"].shape == (2, 3, 4, 2)


def test_vmap_keeps_what_map_keeps(ready):
    one, other = (staged.train(ready, [Stage(3)], snapshots=3, seed_axis=axis) for axis in ("map", "vmap"))
    assert sorted(one.snapshots) == sorted(other.snapshots) and staged.close(one.snapshots, other.snapshots)
    assert equal(one.snapshots[0], other.snapshots[0])
