"""Schemes: what modality dropout hides, and how stages follow one another in the loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.records import Batch, Target
from fusion_jax.schemes.base import Scheme, Stage
from fusion_jax.schemes.modality_dropout import ModalityDropout
from fusion_jax.training import loop, step
from fusion_jax.training.build import plain_model
from fusion_jax.training.checkpoint import Partial
from tests import tiny

pytestmark = pytest.mark.xdist_group("training-schemes")


def modality_batch(n=4000, m=4, present=0.7):
    rng = np.random.default_rng(0)
    mask = rng.random((n, m)) < present
    features = {f"m{i}": jnp.asarray(rng.normal(size=(n, 2)), jnp.float32) for i in range(m)}
    return Batch(features, jnp.asarray(mask), None)


def dropped(batch, rate, seed=0):
    return np.asarray(ModalityDropout(rate=rate).transform(batch, jax.random.key(seed)).mask)


@pytest.mark.parametrize("rate", [0.2, 0.9])
def test_masked_stay_masked_and_one_is_kept(rate):
    batch = modality_batch()
    before, after = np.asarray(batch.mask), dropped(batch, rate)
    assert not (after & ~before).any()
    assert np.array_equal(after.any(1), before.any(1)), "a node keeps one, and one with none gets none"
    assert (before & ~after).any()


def test_the_rate():
    """A modality of n present ones stays with probability 1 - r, or as the one that is kept: + r^n / n."""
    batch, rate = modality_batch(n=40000), 0.4
    before, after = np.asarray(batch.mask), dropped(batch, rate)
    for n in range(1, 5):
        rows = before.sum(1) == n
        assert after[rows].sum() / before[rows].sum() == pytest.approx(1 - rate + rate**n / n, abs=0.01)


def test_which_one_is_kept_is_even():
    batch = modality_batch(n=40000, m=3, present=1.1)
    after = dropped(batch, 0.95)
    one = after[after.sum(1) == 1]
    np.testing.assert_allclose(one.mean(0), 1 / 3, atol=0.01)


def test_only_the_mask_changes_and_the_key_decides():
    batch = modality_batch()
    out = ModalityDropout(rate=0.5).transform(batch, jax.random.key(0))
    assert out.features is batch.features and out.graph is batch.graph
    assert np.array_equal(dropped(batch, 0.5), dropped(batch, 0.5))
    assert not np.array_equal(dropped(batch, 0.5), dropped(batch, 0.5, seed=1))
    np.testing.assert_array_equal(dropped(batch, 0.0), batch.mask)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="modality_dropout"):
        ModalityDropout(rate=rate)


def test_evaluation_sees_every_modality():
    """The predictions stored are those of the batch as it is."""
    data = tiny.dataset()
    trained = tiny.train(data, (0,), scheme__name="modality_dropout", scheme__options={"rate": 0.8})
    plain = tiny.train(data, (0,))
    assert not np.array_equal(trained.history["train_loss"], plain.history["train_loss"])
    np.testing.assert_allclose(trained.prediction[0], predict(trained, data), rtol=1e-5, atol=1e-6)


def predict(trained, data, **changes):
    """What seed 0's model says of the whole batch."""
    from flax import nnx

    ready = tiny.prepared(tiny.cell(**changes).plan, data, (0,))
    params, rest = (jax.tree.map(lambda a: a[0], tree) for tree in (trained.params, trained.rest))
    batch = step.scaled(ready.batch, jax.tree.map(lambda a: a[0], ready.trials))
    return np.asarray(nnx.merge(trained.graphdef, params, rest)(batch).prediction)


def test_the_scheme_itself_changes_nothing():
    (stage,) = Scheme().stages(7)
    assert stage.epochs == 7 and stage.loss is None and stage.remember is None and stage.trains == ()
    batch = modality_batch(n=3)
    assert stage.transform(batch, jax.random.key(0)) is batch

    def model(batch, key=None):
        return (batch, key)

    assert stage.forward(model, batch, key=1) == (batch, 1)
    assert Scheme().build(lambda dims, key: (dims, key), {"a": 1}, Target("classes"), 2) == ({"a": 1}, 2)


class Heads(Scheme):
    """Two stages of the plain model: all but the head, then the head alone with a transform."""

    def __init__(self, first=4):
        self.first = first

    def stages(self, epochs):
        first = Stage(self.first, trains=("encoders", "layers"))
        return first, Stage(epochs - self.first, trains=("head",), rate=0.5)


def train_in_stages(data, stages, hooks=None, seeds=(0, 1), patience=50, chunk=3):
    """`loop.train` of the tiny cell in the given stages."""
    import functools

    from fusion_jax.tasks.classes import accuracy_then_loss
    from fusion_jax.training import optimizers
    from fusion_jax.training.build import build_loss

    plan = tiny.cell().plan
    ready = tiny.prepared(plan, data, seeds)
    dims = {name: x.shape[1] for name, x in ready.batch.features.items()}
    loss = build_loss(plan.loss, plan.model, data.target)
    hooks = {} if hooks is None else dict(restore=hooks.restore, at_border=hooks.at_border)
    return loop.train(
        functools.partial(plain_model, plan.model, data.target, dims),
        ready.init_keys,
        ready.trials,
        ready.batch,
        ready.target,
        stages,
        lambda s: optimizers.make("adamw", 0.01 * s.rate, options=dict(weight_decay=0.1), epochs=s.epochs),
        loss,
        accuracy_then_loss(loss),
        patience=patience,
        chunk=chunk,
        seed_axis="map",
        **hooks,
    )


class Borders:
    """Hooks that keep what stands at every border."""

    def __init__(self):
        self.seen = []

    def restore(self, state):
        return None

    def at_border(self, state, history):
        def part(tree):
            return {k: [np.asarray(a) for a in jax.tree.leaves(v)] for k, v in tree.items()}

        self.seen.append((np.asarray(state.epoch), part(state.params), part(state.best_params)))


def test_a_stage_trains_its_parts_from_the_best_of_the_one_before():
    """Weight decay included: what a stage does not train stays to the bit."""
    borders = Borders()
    trained = train_in_stages(tiny.dataset(), Heads().stages(9), borders)
    epochs = [e.tolist() for e, *_ in borders.seen]
    assert epochs == [[3, 3], [4, 4], [7, 7], [9, 9]]
    (_, first, _), (_, last, best), (_, second, _), *_ = borders.seen

    def same(a, b):
        return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))

    assert same(first["head"], last["head"]) and not same(first["encoders"], last["encoders"])
    assert same(second["encoders"], best["encoders"]) and same(second["layers"], best["layers"])
    assert not same(second["head"], best["head"])
    assert all(h.shape == (2, 9) for h in trained.history.values())
    assert np.isfinite(trained.history["train_loss"]).all() and (trained.best_epoch >= 4).all()


def test_two_equal_stages_without_rest_are_two_trainings():
    """A stage that is the cell's own is what training alone from those parameters is."""
    data = tiny.dataset()
    one = train_in_stages(data, (Stage(3),))
    two = train_in_stages(data, (Stage(3), Stage(3)))
    for name in one.history:
        np.testing.assert_array_equal(two.history[name][:, :3], one.history[name])


def test_a_stage_that_stops_early_leaves_the_epochs_of_the_next_where_they_are():
    data = tiny.dataset()
    stages = (Stage(40), Stage(5))
    trained = train_in_stages(data, stages, patience=2)
    loss = trained.history["train_loss"]
    assert 40 < loss.shape[1] <= 45  # the last stage ends where all have stopped
    for s in range(2):
        stopped = np.flatnonzero(np.isnan(loss[s]))
        assert stopped.size and stopped[0] < 40 and np.isfinite(loss[s, 40])
        assert trained.best_epoch[s] >= 40


class Killed(Exception):
    """Stands for a signal."""


class KilledAt(Partial):
    """Saves at every border and dies behind the nth."""

    def __init__(self, folder, n):
        super().__init__(folder, every=0.0)
        self.left = n

    def at_border(self, state, history):
        super().at_border(state, history)
        self.left -= 1
        if not self.left:
            raise Killed


def equal(a, b):
    pairs = [
        *zip(jax.tree.leaves((a.params, a.rest)), jax.tree.leaves((b.params, b.rest)), strict=True),
        *((a.history[k], b.history[k]) for k in a.history),
        (a.prediction, b.prediction),
        (a.best_epoch, b.best_epoch),
    ]
    return all(np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True) for x, y in pairs)


@pytest.mark.parametrize("first, patience", [(6, 50), (40, 2)])
def test_stages_interrupted_anywhere_end_bit_for_bit_the_same(first, patience, tmp_path):
    """At the end of a stage, by its epochs or because all seeds had stopped, and inside the next one."""
    data, stages, borders = tiny.dataset(), Heads(first=first).stages(first + 5), Borders()
    base = train_in_stages(data, stages, borders, patience=patience)
    end = sum(int(epoch.max()) <= first for epoch, *_ in borders.seen)
    assert (borders.seen[end - 1][0].max() < first) == (patience == 2) and end < len(borders.seen)
    for n in (end, end + 1):
        with pytest.raises(Killed):
            train_in_stages(data, stages, KilledAt(tmp_path / str(n), n), patience=patience)
        resumed = train_in_stages(data, stages, Partial(tmp_path / str(n), every=1e6), patience=patience)
        assert equal(resumed, base), f"killed behind border {n}"


def test_one_program_a_stage(monkeypatch):
    compiled = []
    original = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda self: compiled.append(0) or original(self))
    train_in_stages(tiny.dataset(), Heads().stages(9))
    assert len(compiled) == 2


def test_a_part_the_model_does_not_have_is_refused():
    with pytest.raises(ValueError, match="enc.*the parts.*encoders"):
        train_in_stages(tiny.dataset(), (dataclasses.replace(Stage(2), trains=("enc",)),))
