"""Training as users run it: what may influence a trained seed, and what may not."""

import dataclasses
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.data import splits
from fusion_jax.data.base import edge_set
from fusion_jax.records import Batch
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.training import loop, stopping
from fusion_jax.training.checkpoint import Partial
from fusion_jax.training.prepare import prepare
from tests import tiny

pytestmark = pytest.mark.xdist_group("training-loop")
SEEDS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


@pytest.fixture(scope="module")
def base(data):
    return tiny.train(data, SEEDS)


def leaves(trained):
    return [np.asarray(a) for a in jax.tree.leaves((trained.params, trained.rest))]


def same(a, b, seeds_a=slice(None), seeds_b=slice(None)) -> bool:
    """Whether two trainings agree bit for bit in parameters, predictions, history and best epochs."""
    pairs = [
        *zip(leaves(a), leaves(b), strict=True),
        *((a.history[k], b.history[k]) for k in a.history),
        (a.prediction, b.prediction),
        (a.best_epoch, b.best_epoch),
    ]
    return all(np.array_equal(x[seeds_a], y[seeds_b], equal_nan=True) for x, y in pairs)


def with_labels(data, rows):
    """The data set with the labels of `rows` turned over; its split is that of the original labels."""
    labels = data.target.labels.copy()
    labels[rows] = 1 - labels[rows]
    return dataclasses.replace(data, target=dataclasses.replace(data.target, labels=labels))


def test_test_labels_have_no_influence_at_all(data, base):
    one_split = dict(per_seed=("init", "dropout"))
    before = tiny.train(data, SEEDS, **one_split)
    split = data.split(0)
    assert same(before, tiny.train(with_labels(data, split.test), SEEDS, **one_split))
    assert not same(before, tiny.train(with_labels(data, split.train[:1]), SEEDS, **one_split))
    # another validation label changes which epoch is kept, never what was learned on the way
    other = tiny.train(with_labels(data, split.val), SEEDS, **one_split)
    np.testing.assert_array_equal(other.history["train_loss"], before.history["train_loss"])
    assert not np.array_equal(other.history["val_score"], before.history["val_score"])


def test_a_seed_alone_is_that_seed_among_others(data, base):
    alone = tiny.train(data, (2,))
    assert same(alone, base, 0, 2)
    assert not same(alone, base, 0, 1)


def test_vmap_gives_the_same_numbers_as_one_seed_after_another(data, base):
    batched = tiny.train(data, SEEDS, training__seed_axis="vmap")
    np.testing.assert_array_equal(batched.best_epoch, base.best_epoch)
    for a, b in zip(leaves(batched), leaves(base), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)  # Adam divides by small roots: rounding grows
    np.testing.assert_allclose(batched.prediction, base.prediction, rtol=1e-3, atol=1e-4)
    assert (base.cost["flops_seeds"], batched.cost["flops_seeds"]) == (1, len(SEEDS)), "the compiler counts a loop once"
    each = [cost["flops"] / cost["flops_seeds"] for cost in (base.cost, batched.cost)]
    assert 0.5 < each[0] / each[1] < 2


def test_the_chunk_changes_nothing(data, base):
    assert same(tiny.train(data, SEEDS, training__chunk=4), base)


def test_dropout_is_drawn_anew_every_epoch(data):
    still = tiny.train(data, SEEDS[:2], optimizer__learning_rate=1e-30)  # too small to move a float32
    assert len(np.unique(still.history["train_loss"])) == 12
    assert all(len(np.unique(v)) == 1 for v in still.history["val_loss"])


def test_without_per_seed_all_seeds_are_equal(data, base):
    equal = tiny.train(data, SEEDS, per_seed=())
    assert all(same(equal, equal, 0, i) for i in range(1, 4))
    assert not any(same(base, base, 0, i) for i in range(1, 4))


def test_nan_in_a_missing_slot_changes_nothing(data, base):
    features = {k: np.where(data.mask[:, [m]], x, np.nan) for m, (k, x) in enumerate(data.features.items())}
    assert any(np.isnan(x).any() for x in features.values())
    assert same(tiny.train(dataclasses.replace(data, features=features), SEEDS), base)


class Killed(BaseException):
    pass


class KilledAfterSave(Partial):
    def at_border(self, state, history):
        super().at_border(state, history)
        raise Killed


def test_an_interrupted_training_ends_bit_for_bit_like_an_uninterrupted_one(data, base, tmp_path):
    with pytest.raises(Killed):
        tiny.train(data, SEEDS, KilledAfterSave(tmp_path / "partial", every=0.0))
    assert [p.name for p in (tmp_path / "partial").iterdir()] == ["step-00000003"]
    (tmp_path / "partial" / "step-00000006.orbax-checkpoint-tmp").mkdir()  # a save that was cut off
    borders = []

    class Counted(Partial):
        def at_border(self, state, history):
            borders.append(np.asarray(state.epoch).tolist())
            super().at_border(state, history)

    partial = Counted(tmp_path / "partial", every=0.0)
    resumed = tiny.train(data, SEEDS, partial)
    assert borders == [[6, 6, 6, 6]], "the first three epochs must come from the save"
    assert same(resumed, base)
    # killed after the last border, before the results were written: nothing is left to train
    again = tiny.train(data, SEEDS, Counted(tmp_path / "partial", every=0.0))
    assert same(again, base) and len(borders) == 1
    partial.clear()
    assert not (tmp_path / "partial").exists()


def test_a_save_of_another_model_is_refused_with_its_place(data, tmp_path):
    with pytest.raises(Killed):
        tiny.train(data, SEEDS, KilledAfterSave(tmp_path, every=0.0))
    with pytest.raises(ValueError, match=r"step-00000003 is of another version .*other shapes"):
        tiny.train(data, SEEDS[:1], Partial(tmp_path, every=0.0))


def test_no_save_before_its_time(data, tmp_path):
    tiny.train(data, SEEDS, Partial(tmp_path / "partial", every=1e6))
    assert not (tmp_path / "partial").exists()


def hand_built(data, trained, seed, split):
    """What the best model of a seed predicts for all nodes on the whole graph, scaled by hand."""
    features = {}
    for m, (name, x) in enumerate(data.features.items()):
        rows = split.train[data.mask[split.train, m]]
        scale = 1 / np.sqrt(x[rows].var(0).mean())
        features[name] = jnp.asarray(np.where(data.mask[:, [m]], (x - x[rows].mean(0)) * scale, 0), jnp.float32)
    params, rest = jax.tree.map(lambda a: a[seed], (trained.params, trained.rest))
    model = nnx.merge(trained.graphdef, params, rest)
    return np.asarray(model(Batch(features, jnp.asarray(data.mask), data.graph())).prediction)


def watcher():
    """Hooks that keep the parameters at every border."""
    seen = []

    def at_border(state, history):
        seen.append((np.asarray(state.epoch), [np.asarray(a) for a in jax.tree.leaves(state.params)]))

    return types.SimpleNamespace(restore=lambda state: None, at_border=at_border), seen


@pytest.mark.parametrize("axis", ["map", "vmap"])
def test_early_stopping(data, axis):
    hooks, seen = watcher()
    epochs, patience = 24, 4
    trained = tiny.train(
        data,
        SEEDS,
        hooks,
        training__epochs=epochs,
        training__patience=patience,
        training__chunk=2,
        training__seed_axis=axis,
        optimizer__learning_rate=0.1,
    )
    score = trained.history["val_score"]
    ran = np.isfinite(score).sum(1)
    for s in range(4):
        assert np.isfinite(score[s, : ran[s]]).all() and np.isnan(score[s, ran[s] :]).all()
        assert trained.best_epoch[s] == np.argmax(score[s, : ran[s]])
        assert ran[s] == min(epochs, trained.best_epoch[s] + patience + 1)
    assert len(set(ran)) > 1 and min(ran) < epochs, "some seed must stop, and not all at once"
    for s in SEEDS if axis == "map" else ():
        assert trained.best_epoch[s] < ran[s] - 1, "the best epoch must not be the last"
        best = hand_built(data, trained, s, data.split(s))
        np.testing.assert_allclose(trained.prediction[s], best, rtol=1e-4, atol=1e-5)
    assert score.shape[1] <= -(-max(ran) // 2) * 2, "the host stops when every seed has"
    first = int(np.argmin(ran))
    stopped = [params for epoch, params in seen if epoch[first] == ran[first]]
    assert len(stopped) > 1
    for later in stopped[1:]:
        assert all(np.array_equal(a[first], b[first]) for a, b in zip(stopped[0], later, strict=True))
    last = int(np.argmax(ran))
    assert not all(np.array_equal(a[last], b[last]) for a, b in zip(stopped[0], stopped[-1], strict=True))


@pytest.mark.parametrize(("protocol", "part"), [("honest", "val"), ("paper", "test")])
def test_the_score_that_selects_counts_the_rows_of_its_protocol(data, base, protocol, part):
    trained = base if protocol == "honest" else tiny.train(data, SEEDS, protocol=protocol)
    for s in SEEDS:
        rows = getattr(data.split(s), part)
        correct = (trained.prediction[s].argmax(-1) == data.target.labels)[rows].sum()
        best = trained.history["val_score"][s, trained.best_epoch[s]]
        assert correct < best < correct + 1
        loss = trained.history["val_loss"][s, trained.best_epoch[s]]
        z = trained.prediction[s][rows].astype(np.float64)
        logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
        np.testing.assert_allclose(loss, -logp[np.arange(len(rows)), data.target.labels[rows]].mean(), rtol=1e-5)
        np.testing.assert_allclose(best, correct + 1 / (1 + loss), rtol=1e-6)


INDUCTIVE = {"data__setting": "inductive", "per_seed": ("init", "dropout")}


@pytest.fixture(scope="module")
def inductive(data):
    return tiny.train(data, SEEDS[:2], **INDUCTIVE)


def rewired(data, rows):
    """The data set with every edge that touches `rows` led elsewhere, but never between two other nodes."""
    graph = data.graphs["planted"]
    touched = np.isin(graph.senders, rows) | np.isin(graph.receivers, rows)
    rng = np.random.default_rng(0)
    senders, receivers = graph.senders.copy(), graph.receivers.copy()
    senders[touched] = rng.choice(rows, touched.sum())
    receivers[touched] = rng.integers(0, 60, touched.sum())
    loops = senders == receivers
    receivers[loops] = np.where(senders[loops] == rows[0], rows[1], rows[0])
    return dataclasses.replace(data, graphs={"planted": edge_set(senders, receivers, 60)})


def test_inductive_training_does_not_feel_test_nodes(data, inductive):
    test = data.split(0).test
    features = {k: x.copy() for k, x in data.features.items()}
    for x in features.values():
        x[test] = 100 * np.random.default_rng(1).normal(size=x[test].shape)
    changed = dataclasses.replace(rewired(data, test), features=features)
    other = tiny.train(changed, SEEDS[:2], **INDUCTIVE)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(other), leaves(inductive), strict=True))
    for name, value in inductive.history.items():
        np.testing.assert_array_equal(other.history[name], value)
    assert not np.array_equal(other.prediction[:, test], inductive.prediction[:, test])
    # validation nodes are there already: their features count
    features = {k: x.copy() for k, x in data.features.items()}
    features["m0"][data.split(0).val] += 5
    other = tiny.train(dataclasses.replace(data, features=features), SEEDS[:2], **INDUCTIVE)
    assert not all(np.array_equal(a, b) for a, b in zip(leaves(other), leaves(inductive), strict=True))


def test_inductive_predictions_are_made_on_the_whole_graph(data, inductive):
    for s in (0, 1):
        whole = hand_built(data, inductive, s, data.split(0))
        np.testing.assert_allclose(inductive.prediction[s], whole, rtol=1e-4, atol=1e-5)


def test_transductive_training_feels_the_features_of_test_nodes(data, base):
    features = {k: x.copy() for k, x in data.features.items()}
    features["m0"][data.split(0).test] += 5
    fixed = splits.fixed(*dataclasses.astuple(data.split(0)), "seed 0")
    before = dataclasses.replace(data, splits=fixed)
    after = dataclasses.replace(before, features=features)
    assert not same(tiny.train(after, SEEDS), tiny.train(before, SEEDS))


def files(folder):
    return [p for p in pathlib.Path(folder).rglob("*") if p.is_file()]


def test_more_seeds_later_train_only_the_missing_ones(data, base, tmp_path, monkeypatch):
    store, trained = Store(tmp_path, create=True), []
    monkeypatch.setattr(
        "fusion_jax.run.cell.prepare",
        lambda part, data, seeds, **more: trained.append(seeds) or prepare(part, data, seeds, **more),
    )
    first = run_cell(tiny.cell(seeds=2), store, data)
    folder = store.cell(first["identity"])
    old = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files(folder / "seeds-0000-0001")}
    assert len(old) > 4
    second = run_cell(tiny.cell(seeds=3), store, data)
    third = run_cell(tiny.cell(seeds=3), store, data)
    assert trained == [(0, 1), (2,)] and third["seeds"] == ()
    assert first["identity"] == second["identity"] and store.finished_seeds(first["identity"]) == (0, 1, 2)
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in old} == old
    table = store.table(first["identity"], "predictions")
    for s in range(3):
        mine = table[table.seed == s]
        np.testing.assert_array_equal(np.stack(mine.prediction), base.prediction[s])
        np.testing.assert_array_equal(mine.labels, data.target.labels)
        for part in ("train", "val", "test"):
            np.testing.assert_array_equal(mine.row[mine.part == part], getattr(data.split(s), part))
    metric = store.table(first["identity"], "metrics").set_index(["seed", "part", "metric"]).value
    test = data.split(2).test
    right = (base.prediction[2].argmax(-1) == data.target.labels)[test].mean()
    assert metric[2, "test", "accuracy"] == pytest.approx(right)
    history = store.table(first["identity"], "history")
    np.testing.assert_array_equal(history[history.seed == 1].train_loss, base.history["train_loss"][1])
    assert store.costs(first["identity"])[1]["best_epoch"] == [int(base.best_epoch[2])]
    leftovers = [p.name for p in folder.iterdir() if p.name.startswith(".")]
    assert leftovers == []


def test_a_data_set_without_a_graph_needs_layer_none():
    bare = tiny.dataset(degree=0)
    with pytest.raises(ValueError, match="layer 'gcn' needs a graph, this data set has none"):
        tiny.train(bare, (0,))
    trained = tiny.train(bare, (0,), model__layer__name="none", model__placement="after")
    assert np.isfinite(trained.prediction).all()


def test_selection_at_every_third_epoch_trains_the_same_and_looks_less_often(data):
    """Looking at validation rows changes nothing that is trained; what is kept is the best of the looks."""
    always, seldom = (
        tiny.train(data, (0, 1), training__epochs=8, training__patience=8, training__select_every=k) for k in (1, 3)
    )
    np.testing.assert_allclose(always.history["train_loss"], seldom.history["train_loss"], rtol=1e-5)
    looked = np.isfinite(seldom.history["val_score"])
    assert np.flatnonzero(looked[0]).tolist() == [2, 5, 7], "every third, and the last"
    np.testing.assert_allclose(always.history["val_score"][looked], seldom.history["val_score"][looked], rtol=1e-5)
    for s in range(2):
        assert seldom.best_epoch[s] == [2, 5, 7][int(np.argmax(seldom.history["val_score"][s, [2, 5, 7]]))]


def test_a_chunk_is_as_long_as_its_seconds_allow_and_changes_no_number(data, base, monkeypatch):
    hooks, seen = watcher()
    monkeypatch.setattr(loop, "BORDER", 0.0)  # no epoch is so short
    bounded = tiny.train(data, SEEDS, hooks)
    assert [int(epoch.max()) for epoch, _ in seen] == list(range(1, len(seen) + 1)) and len(seen) == 6
    assert same(bounded, base)
    assert all(np.array_equal(bounded.history[k], base.history[k]) for k in base.history)


def test_the_first_chunk_is_short_where_the_compiler_counts_much_to_do(data, base, monkeypatch):
    hooks, seen = watcher()
    monkeypatch.setattr(loop, "SLOW", 1.0)  # FLOP/s
    assert same(tiny.train(data, SEEDS, hooks), base)
    assert [int(epoch.max()) for epoch, _ in seen] == [1, 4, 6], "then it is known how long they take"


def test_who_is_asked_to_stop_stops_behind_a_save(data, base, tmp_path):
    stopping.ask()
    try:
        with pytest.raises(stopping.Stopped):
            tiny.train(data, SEEDS, Partial(tmp_path, every=1e6))
        with pytest.raises(stopping.Stopped):
            tiny.train(data, SEEDS)
    finally:
        stopping.forget()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000003"]
    assert same(tiny.train(data, SEEDS, Partial(tmp_path, every=1e6)), base)
