"""How stages follow one another: where they start, what `begin` sees and changes, and that a kill changes nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn.linear_model import Ridge

from fusion_jax.data import splits
from fusion_jax.schemes.base import Stage
from tests import staged, tiny
from tests.staged import equal, of_seed, result

pytestmark = pytest.mark.xdist_group("training-stages")


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


@pytest.fixture(scope="module")
def ready(data):
    return staged.prepared(data)


def scaled_by_two(model, batch, target, weight, loss, key):
    del batch, target, weight, loss, key
    model.head.kernel[...] = 2 * model.head.kernel[...]


def drawn(model, batch, target, weight, loss, key):
    """A begin that uses all it is given: the head is drawn anew, around a gradient."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    slope = jax.grad(lambda p: loss(nnx.merge(graphdef, p, rest, copy=True), key))(params)
    shown = model.states(batch).sum() + (target.labels * weight).sum()
    model.head.kernel[...] += 0.1 * slope["head"]["kernel"][...] + 0.01 * jax.random.normal(key, (4, 2), jnp.float32)
    model.notes[...] = jnp.full_like(model.notes[...], shown)


def ridge(model, batch, target, weight, loss, key):
    """The head in closed form: (H'H + I)^-1 H'Y of the training rows."""
    del loss, key
    rows = np.asarray(weight) > 0
    h = np.asarray(model.states(batch), np.float64)[rows]
    y = np.eye(2)[np.asarray(target.labels)[rows]]
    model.head.kernel[...] = jnp.asarray(np.linalg.solve(h.T @ h + np.eye(4), h.T @ y), jnp.float32)


def models(trained, tree=None):
    """The model of every seed."""
    params, rest = tree or (trained.params, trained.rest)
    return [nnx.merge(trained.graphdef, *of_seed((params, rest), i)) for i in range(len(trained.prediction))]


def features(data, seed):
    """[N, 12], the features of all rows as the seed's model sees them, scaled by hand."""
    columns = []
    for m, x in enumerate(data.features.values()):
        rows = data.split(seed).train
        rows = rows[data.mask[rows, m]]
        centred = (x - x[rows].mean(0)) / np.sqrt(x[rows].var(0).mean())
        columns.append(np.where(data.mask[:, [m]], centred, 0))
    return np.concatenate(columns, axis=1)


def test_a_stage_without_epochs_solves_the_head_in_closed_form(data, ready):
    trained = staged.train(ready, [Stage(0, begin=ridge)])
    assert trained.best_epoch.tolist() == [0, 0] and trained.diverged == {}
    assert {name: h.shape for name, h in trained.history.items()} == dict.fromkeys(trained.history, (2, 0))
    for seed, model in enumerate(models(trained)):
        x, rows = features(data, seed), data.split(seed).train
        h = sum(np.tanh(x @ np.asarray(expert.kernel[...])) for expert in model.experts) / 2
        fit = Ridge(alpha=1.0, fit_intercept=False).fit(h[rows], np.eye(2)[data.target.labels[rows]])
        np.testing.assert_allclose(model.head.kernel[...], fit.coef_.T, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(trained.prediction[seed], fit.predict(h), rtol=1e-4, atol=1e-5)


def test_a_last_stage_without_epochs_follows_where_all_seeds_have_stopped_early(ready):
    def write(model, *_):
        model.notes[...] = jnp.full_like(model.notes[...], 7.0)

    stages = [Stage(12), Stage(0, begin=write)]
    trained = staged.train(ready, stages, score=staged.ever_worse, patience=2)
    assert (trained.rest["notes"][...] == 7).all() and trained.diverged == {}
    loss = trained.history["train_loss"]
    assert loss.shape == (2, 12) and np.isfinite(loss[:, :3]).all() and np.isnan(loss[:, 3:]).all()


def test_a_seed_is_looked_at_before_its_patience_ends(ready):
    """Patience counts epochs, of which only every fourth is looked at."""
    trained = staged.train(ready, [Stage(12)], score=staged.ever_worse, patience=2, select_every=4)
    assert trained.diverged == {} and trained.best_epoch.tolist() == [3, 3]
    longer = staged.train(ready, [Stage(12)], score=staged.ever_worse, patience=5, select_every=4)
    lengths = [np.isfinite(t.history["train_loss"]).sum(1).tolist() for t in (trained, longer)]
    assert lengths == [[8, 8], [9, 9]], "the first look at epoch 3, then so many more"


def test_remember_and_the_score_hold_in_a_stage_without_epochs(ready):
    def remember(model, batch, target, weight):
        del batch, target
        model.notes[...] = weight

    trained = staged.train(ready, [Stage(0, remember=remember, snapshots=(0,))])
    np.testing.assert_array_equal(trained.rest["notes"][...], ready.trials.train_weight)
    assert equal(trained.snapshots[0], (trained.params, trained.rest))
    never = staged.train(ready, [Stage(0)], score=lambda *_: jnp.array(jnp.nan, jnp.float32))
    why = (0, "no epoch has a validation score that is a number")
    assert never.diverged == {0: why, 1: why}


def test_begin_copies_one_part_into_another(ready):
    def copy(model, *_):
        model.experts[1].kernel[...] = model.experts[0].kernel[...]

    first = Stage(3, trains=("experts.0",), snapshots=(3,), keep="last")
    trained = staged.train(ready, [first, Stage(2, begin=copy, trains=("head",))])
    for model, before in zip(models(trained), models(trained, trained.snapshots[3]), strict=True):
        assert equal(model.experts[0], before.experts[0]) and equal(model.experts[1], before.experts[0])
        assert not equal(before.experts[1], before.experts[0]) and not equal(model.head, before.head)


def test_labels_made_off_line_are_what_the_stage_learns(data, ready):
    def label(model, batch, target, weight, loss, key):
        del target, weight, loss, key
        model.notes[...] = model(batch).prediction.argmax(1).astype(jnp.float32)

    def loss(model, output, target, weight, step, key):
        del target, step, key
        return (weight * (output.prediction[:, 0] - model.notes[...]) ** 2).sum()

    trained = staged.train(
        ready, [Stage(4, begin=label, loss=loss, snapshots=(0,))], optimizer=dict(learning_rate=1e-30)
    )
    for seed, model in enumerate(models(trained, trained.snapshots[0])):
        rows, said = data.split(seed).train, trained.prediction[seed]
        np.testing.assert_array_equal(model.notes[...], said.argmax(1))
        key = jax.random.split(jax.random.fold_in(ready.trials.key[seed], 0))[1]
        x = features(data, seed)
        hidden = sum(np.tanh(x @ np.asarray(expert.kernel[...])) for expert in model.experts) / 2
        hidden = hidden * np.asarray(jax.random.bernoulli(key, 0.8, hidden.shape))
        by_hand = ((hidden @ np.asarray(model.head.kernel[...]))[:, 0] - said.argmax(1))[rows]
        np.testing.assert_allclose(trained.history["train_loss"][seed, 0], (by_hand**2).sum(), rtol=1e-4)


def test_the_loss_that_begin_gets_is_that_of_the_training_step(ready):
    """Its value and, by one step of plain gradient descent, its gradient; transform and penalty included."""
    seen = []

    def look(model, batch, target, weight, loss, key):
        del batch, target, weight, key
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)
        step_key = jax.random.fold_in(ready.trials.key[len(seen)], 0)
        seen.append(jax.value_and_grad(lambda p: loss(nnx.merge(graphdef, p, rest, copy=True), step_key))(params))

    def transform(batch, key):
        noisy = {k: x + jax.random.normal(key, x.shape, x.dtype) for k, x in batch.features.items()}
        return dataclasses.replace(batch, features=noisy)

    def penalty(params, numbers):
        return sum((x**2).sum() for x in jax.tree.leaves(params))

    stage = Stage(1, begin=look, transform=transform, snapshots=(0, 1))
    plain = dict(name="sgd", learning_rate=1.0, options={})
    trained = staged.train(ready, [stage], optimizer=plain, penalty=penalty)
    without = staged.train(ready, [dataclasses.replace(stage, begin=None)], optimizer=plain)
    added = [penalty(of_seed(trained.snapshots[0][0], i), None) for i in range(2)]
    np.testing.assert_allclose((trained.history["train_loss"] - without.history["train_loss"])[:, 0], added, rtol=1e-5)
    for i, (value, slope) in enumerate(seen):
        np.testing.assert_allclose(trained.history["train_loss"][i, 0], value, rtol=1e-5)
        (before, _), (after, _) = (of_seed(trained.snapshots[epoch], i) for epoch in (0, 1))
        for x, y, g in zip(*map(jax.tree.leaves, (before, after, slope)), strict=True):
            np.testing.assert_allclose(x - y, g, rtol=1e-3, atol=1e-5)


def test_what_a_stage_starts_from_and_hands_on(ready):
    """The best epoch is the first of every stage here, so that best and last differ."""
    base = [Stage(3, snapshots=(1, 3))]
    for start, keep, expected in [("best", "best", 1), ("last", "best", 3), ("best", "last", 3), ("last", "last", 3)]:
        first = dataclasses.replace(base[0], keep=keep)
        second = Stage(0, start=start, begin=scaled_by_two)
        trained = staged.train(ready, [first, second], score=staged.ever_worse)
        (params, _), doubled = trained.snapshots[expected], trained.params
        assert equal(doubled["experts"], params["experts"]), (start, keep)
        np.testing.assert_array_equal(doubled["head"]["kernel"][...], 2 * params["head"]["kernel"][...])


@pytest.mark.parametrize("select_every", [1, 2])
def test_the_last_epoch_is_kept_whatever_the_scores_and_the_patience(ready, select_every):
    options = dict(score=staged.ever_worse, patience=1, select_every=select_every)
    trained = staged.train(ready, [Stage(5, keep="last", snapshots=(5,))], **options)
    assert trained.best_epoch.tolist() == [4, 4] and np.isfinite(trained.history["train_loss"]).all()
    assert equal((trained.params, trained.rest), trained.snapshots[5])
    stopped = staged.train(ready, [Stage(5)], **options)
    assert (stopped.best_epoch < 2).all() and (np.isfinite(stopped.history["train_loss"]).sum(1) < 5).all()


class Watcher:
    """Hooks that keep the optimiser's state at every border."""

    def __init__(self):
        self.seen = []

    def restore(self, state):
        return None

    def at_border(self, state, history):
        self.seen.append(jax.tree.map(np.asarray, state.opt_state))


def test_the_same_optimiser_goes_on_as_if_there_were_one_stage(ready):
    """Moments and schedule: warm-up and decay are those of the two stages together."""
    scheduled = dict(warmup=2, decay=True)
    whole, halves, fresh = Watcher(), Watcher(), Watcher()
    one = staged.train(ready, [Stage(6, keep="last")], whole, optimizer=scheduled)
    second = Stage(3, start="last", keep="last", same_optimizer=True)
    two = staged.train(ready, [Stage(3, keep="last"), second], halves, optimizer=scheduled)
    assert equal(result(two), result(one)) and equal(halves.seen, whole.seen)
    anew = dataclasses.replace(second, same_optimizer=False)
    other = staged.train(ready, [Stage(3, keep="last"), anew], fresh, optimizer=scheduled)
    assert not equal(fresh.seen[1], whole.seen[1]) and not equal(other.params, one.params)


def test_a_stage_moves_what_it_trains_and_does_not_freeze(ready):
    """To the bit, weight decay included."""
    for stage, moved in [
        (Stage(2, trains=("experts", "head"), freezes=("experts.0",)), {"experts.1", "head"}),
        (Stage(2, freezes=("experts.1.kernel",)), {"experts.0", "head"}),
        (Stage(2, trains=("experts.1",)), {"experts.1"}),
    ]:
        trained = staged.train(ready, [dataclasses.replace(stage, snapshots=(0, 2))])
        before, after = (models(trained, trained.snapshots[epoch])[0] for epoch in (0, 2))
        parts = {"experts.0": lambda m: m.experts[0], "experts.1": lambda m: m.experts[1], "head": lambda m: m.head}
        assert {name for name, part in parts.items() if not equal(part(before), part(after))} == moved


def test_what_is_frozen_does_not_count_where_gradients_are_clipped(ready):
    """A step of plain descent at rate 1 is then as long as the gradient may be."""
    frozen, clipped = Stage(1, freezes=("experts",), snapshots=(0, 1)), dict(name="sgd", learning_rate=1.0, clip=1e-3)
    trained = staged.train(ready, [frozen], optimizer={**clipped, "options": {}})
    before, after = (trained.snapshots[epoch][0]["head"]["kernel"][...] for epoch in (0, 1))
    np.testing.assert_allclose(np.linalg.norm(after - before, axis=(1, 2)), 1e-3, rtol=1e-3)


def test_a_part_the_model_does_not_have_is_refused(ready):
    with pytest.raises(ValueError, match="a stage trains .*'expert'.*did you mean 'experts'.*the parts.*experts"):
        staged.train(ready, [Stage(2, trains=("expert",))])
    with pytest.raises(ValueError, match=r"a stage freezes .*'experts.2'.*did you mean 'experts.[01]'"):
        staged.train(ready, [Stage(2, freezes=("head", "experts.2"))])


def greedy(model, batch, target, weight, loss, key):
    """A begin that leaves everything it sees in the model."""
    labels = (1 + jnp.arange(60)) * target.labels
    seen = labels.sum() + loss(model, key) + batch.features["m0"].sum() + weight.sum()
    model.notes[...] = jnp.full_like(model.notes[...], seen)


def test_begin_sees_no_label_of_validation_or_test_rows(data):
    fixed = dataclasses.replace(data, splits=splits.fixed(*dataclasses.astuple(data.split(0)), "seed 0"))
    split = data.split(0)

    def flipped(rows):
        labels = data.target.labels.copy()
        labels[rows] = 1 - labels[rows]
        changed = dataclasses.replace(fixed, target=dataclasses.replace(data.target, labels=labels))
        trained = staged.train(staged.prepared(changed), [Stage(0, begin=greedy)])
        return trained.params, trained.rest, trained.prediction

    base = flipped([])
    assert equal(flipped(np.r_[split.val, split.test]), base)
    assert not equal(flipped(split.train[:1]), base)


def test_begin_sees_the_training_batch_and_concrete_arrays(data):
    """In the inductive setting test nodes are not there yet."""
    seen = []

    def look(model, batch, target, weight, loss, key):
        del model, target, loss, key
        seen.append((np.asarray(batch.mask), np.asarray(batch.graph.present), np.flatnonzero(weight)))

    staged.train(staged.prepared(data, data__setting="inductive"), [Stage(0, begin=look)])
    assert len(seen) == 2
    for seed, (mask, present, rows) in enumerate(seen):
        split = data.split(seed)
        assert not mask[split.test].any() and np.array_equal(np.flatnonzero(~present), split.test)
        assert np.array_equal(mask[split.val], data.mask[split.val]) and np.array_equal(rows, split.train)


def test_begin_has_a_key_of_its_own_in_every_stage_and_seed(ready):
    keys = []

    def note(model, batch, target, weight, loss, key):
        del model, batch, target, weight, loss
        keys.append(tuple(jax.random.key_data(key).tolist()))

    staged.train(ready, [Stage(0, begin=note), Stage(0, begin=note), Stage(1, begin=note)])
    assert len(keys) == len(set(keys)) == 6
    of_epochs = {
        tuple(jax.random.key_data(jax.random.fold_in(key, epoch)).tolist())
        for key in ready.trials.key
        for epoch in range(10)
    }
    assert not of_epochs & set(keys)


@pytest.mark.parametrize("axis", ["map", "vmap"])
def test_a_seed_alone_is_that_seed_among_others(data, ready, axis):
    stages = [Stage(2), Stage(2, begin=drawn, snapshots=(0,))]
    both = staged.train(ready, stages, seed_axis=axis)
    alone = staged.train(staged.prepared(data, (1,)), stages, seed_axis=axis)
    same = equal if axis == "map" else staged.close
    assert same(of_seed(result(alone), 0), of_seed(result(both), 1))
    assert not staged.close(of_seed(both.params, 0), of_seed(both.params, 1))
    solved = [Stage(0, begin=drawn)]  # what runs on the host is the same for either axis
    assert equal(
        of_seed(staged.train(staged.prepared(data, (1,)), solved, seed_axis=axis).params, 0),
        of_seed(staged.train(ready, solved).params, 1),
    )


def test_a_seed_that_has_diverged_is_not_shown_to_begin(data, ready):
    shown = []
    row = min(set(data.split(1).train) - set(data.split(0).train))

    def loss(model, output, target, weight, step, key):
        del model, target, key
        return jnp.where((weight[row] > 0) & (step == 1), jnp.nan, (output.prediction**2).mean())

    def note(model, batch, target, weight, loss, key):
        del model, batch, target, loss, key
        shown.append(bool(weight[row] > 0))

    trained = staged.train(ready, [Stage(3, loss=loss), Stage(2, begin=note)])
    assert trained.diverged == {1: (1, "training loss is nan")} and shown == [False]


class Killed(BaseException):
    pass


def test_killed_anywhere_a_run_ends_bit_for_bit_the_same(ready, tmp_path):
    """At every border, and in a `begin`; those of stages that have been trained on are not called again."""
    called = []

    def counted(name):
        def begin(model, *seen):
            called.append(name)
            drawn(model, *seen)

        return begin

    stages = [
        Stage(0, begin=counted("solve"), snapshots=(0,)),
        Stage(3, begin=counted("one"), snapshots=(1, 3)),
        Stage(0, begin=counted("two"), start="last", same_optimizer=True),
        Stage(3, begin=counted("three"), start="last", same_optimizer=True, keep="last", snapshots=(0, 2)),
        Stage(0, begin=counted("end")),
    ]
    names = ["solve", "one", "two", "three", "end"]
    saved, options = staged.SavedEverywhere(tmp_path), dict(chunk=2, snapshots=3)
    base = staged.train(ready, stages, saved, **options)
    assert sorted(base.snapshots) == [0, 1, 3, 5, 6]
    assert called == [name for name in names for _ in range(2)]
    assert saved.borders == [[2, 2], [3, 3], [5, 5], [6, 6]]

    def killed(model, *seen):
        if "three" in called:
            raise Killed
        counted("three")(model, *seen)

    called.clear()
    with pytest.raises(Killed):
        broken = [*stages[:3], dataclasses.replace(stages[3], begin=killed), stages[4]]
        staged.train(ready, broken, saved.at(1), **options)
    assert called == ["two", "two", "three"]
    for n, left in enumerate([names[2:], names[2:], names[4:], names[4:]]):
        called.clear()
        resumed = staged.train(ready, stages, saved.at(n), **options)
        assert equal(result(resumed), result(base)), f"from border {n}"
        assert called == [name for name in left for _ in range(2)], f"from border {n}"


def test_all_seeds_stopped_at_the_border_that_was_saved(ready, tmp_path):
    """The next stage still begins at its own epoch."""
    saved = staged.SavedEverywhere(tmp_path)
    stages = [Stage(40), Stage(4, begin=drawn)]
    options = dict(score=staged.ever_worse, patience=2)
    base = staged.train(ready, stages, saved, **options)
    loss = base.history["train_loss"]
    assert np.isnan(loss[:, 3:40]).all() and np.isfinite(loss[:, 40]).all() and (base.best_epoch == 40).all()
    assert saved.borders[0] == [3, 3]
    for n in range(len(saved.borders)):
        assert equal(result(staged.train(ready, stages, saved.at(n), **options)), result(base))


def test_two_equal_stages_without_rest_are_two_trainings(ready):
    """A stage that is the cell's own is what training alone from those parameters is."""
    one = staged.train(ready, [Stage(3)])
    two = staged.train(ready, [Stage(3), Stage(3)])
    for name in one.history:
        np.testing.assert_array_equal(two.history[name][:, :3], one.history[name])


def test_one_program_a_stage(ready, monkeypatch):
    compiled = []
    original = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda self: compiled.append(0) or original(self))
    staged.train(ready, [Stage(3), Stage(3), Stage(0)])
    assert len(compiled) == 3


def other_shape(model, *_):
    model.experts[1].kernel = nnx.Param(jnp.zeros((12, 5), jnp.float32))


def other_dtype(model, *_):
    model.notes = nnx.BatchStat(jnp.zeros(60, jnp.int32))


def another(model, *_):
    model.extra = nnx.Param(jnp.zeros(2, jnp.float32))


def without(model, *_):
    del model.notes


def other_static(model, *_):
    model.flag = 3


@pytest.mark.parametrize(
    ("begin", "message"),
    [
        (other_shape, r"made experts.1.kernel float32 \[12, 5\], which was float32 \[12, 4\]"),
        (other_dtype, r"made notes int32 \[60\], which was float32 \[60\]"),
        (another, r"added \['extra'\] to the model and removed \[\]"),
        (without, r"added \[\] to the model and removed \['notes'\]"),
        (other_static, "changed how the model is built"),
    ],
)
def test_a_change_of_structure_is_refused_by_name(ready, begin, message):
    with pytest.raises(ValueError, match=f"stage 2: begin {message}"):
        staged.train(ready, [Stage(0), Stage(0, begin=begin)])
