"""A seed that diverges stops and is kept as such; its siblings neither see nor lose anything."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.results.restore import restore
from fusion_jax.results.store import Store, read_json
from fusion_jax.run.cell import run_cell
from fusion_jax.schemes.base import Scheme, Stage
from fusion_jax.training.build import build_loss
from tests import tiny

pytestmark = pytest.mark.xdist_group("training-divergence")
BAD, EPOCH = 1, 4  # the seed that diverges, and when


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


@pytest.fixture(scope="module")
def row(data):
    """A training row of the bad seed alone."""
    others = np.concatenate([data.split(s).train for s in range(4) if s != BAD])
    return int(np.setdiff1d(data.split(BAD).train, others)[0])


def hurt(how, value, output, at):
    """The training loss, spoiled at one epoch of one seed."""
    if how == "loss":
        return jnp.where(at, jnp.inf, value)
    if how == "gradient":  # of sqrt at 0, times 0
        return value + jax.lax.cond(at, lambda x: jnp.sqrt(0 * (x**2).sum()), lambda x: 0 * x.sum(), output.prediction)
    return value * jnp.where(at, 1e37, 1e-6)  # a step too long for float32 from a finite gradient


@pytest.fixture
def spoil(row, monkeypatch):
    def spoil(how):
        def build(plan, model, target):
            loss = build_loss(plan, model, target)

            def spoiled(output, target, weight, context):
                own = (weight[row] > 0) & (weight.sum() > 1)
                return hurt(how, loss(output, target, weight, context), output, own & (context.step == EPOCH))

            return spoiled

        monkeypatch.setattr("fusion_jax.run.model.build_loss", build)

    return spoil


def state(trained, i):
    """All that a seed's training left."""
    leaves = [np.asarray(a)[i] for a in jax.tree.leaves((trained.params, trained.rest))]
    return [*leaves, *(v[i] for v in trained.history.values()), trained.prediction[i], trained.best_epoch[i]]


def equal(a, b):
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("how", "cause", "changes"),
    [
        ("loss", "training loss is inf", {}),
        ("gradient", "gradient is not finite", {}),
        (
            "parameters",
            "parameters are not finite",
            {"optimizer__name": "sgd", "optimizer__learning_rate": 1e3, "optimizer__options": {}},
        ),
    ],
)
def test_a_seed_that_diverges_stops_and_its_siblings_go_on(data, spoil, how, cause, changes):
    spoil(how)
    together = tiny.train(data, (0, 1, 2), **changes)
    assert together.diverged == {BAD: (EPOCH, cause)}
    loss = together.history["train_loss"]
    assert np.isfinite(loss[[0, 2]]).all() and np.isfinite(loss[BAD, :EPOCH]).all()
    assert np.isnan(loss[BAD, EPOCH + 1 :]).all() and loss.shape[1] == EPOCH + 2
    assert together.best_epoch[BAD] < EPOCH, "the epoch it diverged at is not its best"
    assert np.isfinite(together.prediction).all()
    if how == "loss":
        alone, siblings = tiny.train(data, (BAD,), **changes), tiny.train(data, (0, 2), **changes)
        assert alone.diverged == {0: (EPOCH, cause)} and siblings.diverged == {}
        assert equal(state(together, BAD), state(alone, 0))
        assert equal(state(together, 0), state(siblings, 0)) and equal(state(together, 2), state(siblings, 1))


def test_what_is_stored_of_a_cell_some_of_whose_seeds_diverged(data, spoil, tmp_path):
    spoil("loss")
    store, few = Store(tmp_path, create=True), tiny.cell(seeds=3)
    identity = run_cell(few, store, data)["identity"]
    assert store.finished_seeds(identity) == (0, 1, 2)
    assert store.diverged(identity) == {BAD: (EPOCH, "training loss is inf")}
    part, _ = store.parts(identity)[0]
    assert read_json(part / "cost.json")["diverged"] == [[1, EPOCH, "training loss is inf"]]
    assert set(store.table(identity, "metrics").seed) == set(store.table(identity, "predictions").seed) == {0, 2}
    history = store.table(identity, "history")
    assert history[history.seed == BAD].epoch.max() == EPOCH
    assert run_cell(few, store, data)["seeds"] == (), "a seed that diverged is not trained again"
    assert run_cell(dataclasses.replace(few, seeds=4), store, data)["seeds"] == (3,)
    store.write_study([(identity, few)], "test")
    found = restore(store, identity, data=data)
    assert found.seeds == (0, 2, 3)
    predictions = store.table(identity, "predictions")
    for i, seed in enumerate(found.seeds):
        stored = np.stack(predictions[predictions.seed == seed].prediction)
        np.testing.assert_allclose(found.prediction(i), stored, rtol=1e-5, atol=1e-5)


def test_a_cell_all_of_whose_seeds_diverged_fails_and_leaves_no_save(data, tmp_path, monkeypatch):
    def build(plan, model, target):
        del plan, model, target

        def loss(output, target, weight, context):
            return jnp.where(context.step == EPOCH, jnp.nan, (output.prediction**2).mean())

        return loss

    monkeypatch.setattr("fusion_jax.run.model.build_loss", build)
    made = tiny.cell(seeds=2, training__checkpoint_seconds=0.0)
    store, identity = Store(tmp_path, create=True), made.identity(data)
    for _ in range(2):  # the second attempt begins anew, too
        expected = r"every seed diverged, seed 0 at epoch 4 \(training loss is nan\), seed 1 at .*learning_rate.*clip"
        with pytest.raises(FloatingPointError, match=expected):
            run_cell(made, store, data)
        assert store.finished_seeds(identity) == ()
        assert not [p for p in tmp_path.rglob("*") if p.name.startswith((".partial", "step-"))]


class Spoiled(Scheme):
    """Two stages; in the first, one seed's loss becomes NaN."""

    row = 0

    def stages(self, epochs):
        def loss(model, output, target, weight, step, key):
            del model, target, key
            value = (output.prediction**2).mean()
            return jnp.where((weight[self.row] > 0) & (step == 1), jnp.nan, value)

        return Stage(3, loss=loss), Stage(epochs - 3)


def test_a_seed_that_diverged_in_one_stage_does_not_begin_the_next(data, row, monkeypatch):
    scheme = Spoiled()
    scheme.row = row
    monkeypatch.setattr("fusion_jax.run.model.build_scheme", lambda named: scheme)
    trained = tiny.train(data, (0, BAD))
    assert trained.diverged == {1: (1, "training loss is nan")}
    loss = trained.history["train_loss"]
    assert np.isfinite(loss[0]).all() and loss.shape[1] == 6 and np.isnan(loss[1, 1:]).all()
