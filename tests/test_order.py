"""The order of the modalities is the data set's, whatever their names: eager, compiled, trained and restored.

A dict that goes through `jit` or `jax.tree.map` comes back with sorted keys. Everything here has names that are not
in alphabetical order and values that are missing.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.data.base import edge_set
from fusion_jax.records import Batch
from fusion_jax.results.restore import predict, restore
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.training.trial import scaled
from tests import tiny

pytestmark = pytest.mark.xdist_group("order")
SORTED, UNSORTED = ("a", "b", "c"), ("m", "z", "a")
VIEWS = {"model__placement": "after", "data__views": ("ring", "graph", "ring")}
CELLS = {
    "before": {"model__fusion__name": "concat_mlp"},
    "after": {"model__placement": "after", "model__fusion__name": "gmu"},
    "own": {"model__placement": "after", "model__presence": "own"},
    "interleaved": {"model__placement": "interleaved", "model__fusion__name": "self_attention"},
    "decision": {"model__placement": "decision", "model__fusion__name": "late_logits"},
    "learned": {"model__missing": "learned"},
    "inductive": {"data__setting": "inductive"},
    "subset": {"data__modalities": (2, 1)},
    "views": VIEWS,
    "encoder": {**VIEWS, "model__encoder__name": "gcn"},
    "dropped": {"scheme__name": "modality_dropout"},
    "stages": {**VIEWS, "scheme__name": "mpfnet", "scheme__options": {"form": "cascaded", "shares": (1, 1, 1)}},
}


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def named(names):
    """The small data set with three modalities of different widths and a second edge set, under other names."""
    data = tiny.dataset(modalities=3, missing=0.4)
    features = {n: x[:, : 6 - i] for i, (n, x) in enumerate(zip(names, data.features.values(), strict=True))}
    ids = np.arange(60)
    ring = edge_set(np.r_[ids, (ids + 1) % 60], np.r_[(ids + 1) % 60, ids], 60)
    sets = {"graph": data.graphs[data.default_graph], "ring": ring}
    return dataclasses.replace(data, features=features, graphs=sets, default_graph="graph")


def cell(changes, names):
    chosen = {k: tuple(names[i] for i in v) if k == "data__modalities" else v for k, v in changes.items()}
    return tiny.cell(seeds=1, **chosen)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The stored predictions of a cell under given names, and the restored cell: (what, names) -> both, made once."""
    made = {}

    def get(what, names):
        if (what, names) not in made:
            store, data = Store(tmp_path_factory.mktemp("order"), create=True), named(names)
            one = cell(CELLS[what], names)
            identity = run_cell(one, store, data)["identity"]
            store.write_study([(identity, one)], "test")
            stored = np.stack(store.table(identity, "predictions").prediction)
            made[what, names] = stored, restore(store, identity, data=data)
        return made[what, names]

    return get


@pytest.mark.parametrize("what", CELLS)
def test_names_decide_nothing(finished, what):
    np.testing.assert_array_equal(finished(what, SORTED)[0], finished(what, UNSORTED)[0])


@pytest.mark.parametrize("what", CELLS)
def test_restored_eager_and_compiled_are_what_was_stored(finished, what):
    """Training predicts inside one compiled program; a restored model is run eagerly, and compiled by itself."""
    stored, restored = finished(what, UNSORTED)
    batch = restored.batch(0)
    assert batch.names == (UNSORTED if what != "subset" else ("a", "z"))
    for found in (restored.models[0](batch).prediction, predict(restored.models[0], batch), restored.prediction(0)):
        np.testing.assert_allclose(found, stored, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("setting", ["transductive", "inductive"])
def test_what_a_step_sees_is_the_same_eager_and_compiled(setting):
    data = named(UNSORTED)
    ready = tiny.prepared(cell({"data__setting": setting}, UNSORTED).plan, data, (0,))
    trial = jax.tree.map(lambda a: a[0], ready.trials)
    eager, compiled = scaled(ready.batch, trial), jax.jit(scaled)(ready.batch, trial)
    assert list(eager.features) == list(compiled.features) == list(UNSORTED)
    train = ready.splits[0].train
    for m, name in enumerate(UNSORTED):
        np.testing.assert_allclose(eager.features[name], compiled.features[name], rtol=1e-5, atol=1e-6)
        absent = ~np.asarray(eager.mask)[:, m]
        assert absent.any() and not np.asarray(compiled.features[name])[absent].any()
        fit = np.asarray(compiled.features[name])[train[data.mask[train, m]]]  # its own scaler: mean 0, mean variance 1
        np.testing.assert_allclose([fit.mean(), fit.var(0).mean()], [0, 1], atol=1e-4)


def test_a_batch_keeps_its_order_through_trees_and_refuses_other_names():
    x = {name: jnp.full((4, 2), float(i)) for i, name in enumerate(UNSORTED)}
    batch = Batch(x, jnp.ones((4, 3), bool), None)
    for other in (jax.tree.map(lambda a: a + 1, batch), jax.jit(lambda b: b)(batch), jax.vmap(lambda b: b)(batch)):
        assert other.names == UNSORTED and tuple(other.features) == UNSORTED
    same = jax.tree.unflatten(jax.tree.structure(batch), [object()] * 4)
    assert tuple(same.features) == UNSORTED
    with pytest.raises(ValueError, match="names .* are not the modalities"):
        Batch(x, batch.mask, None, ("m", "z"))
