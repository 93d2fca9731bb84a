"""Single missing values in training: filled per seed from training rows, whoever looks at them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import study
from fusion_jax.data.base import Dataset
from fusion_jax.data.graphs import grow
from fusion_jax.run.control import fit_control
from fusion_jax.training.prepare import fit_features
from fusion_jax.training.trial import scaled, whole
from tests import folders, tiny

SEEDS = (0, 1)


def dataset(**options) -> Dataset:
    """Sixty nodes: every tenth gene value of one column missing, a fifth of the nodes without clinical ones."""
    tables = folders.planted(nodes=60, missing=0.2)
    tables["genes"].loc[::5, "g1"] = np.nan
    tables["genes"].loc[3::7, "g4"] = np.nan
    features = {name: tables[name] for name in ("genes", "clinical")}
    return Dataset.from_tables(features, tables["labels"], tables["edges"], **options)


def plan(**changes) -> study.Cell:
    return tiny.cell(data__name="digits", data__options={}, **changes).plan


@pytest.mark.parametrize("how", ["mean", "median"])
@pytest.mark.parametrize("scale", ["column", "modality", "row", "none"])
def test_what_a_model_sees_is_filled_and_scaled_by_training_rows(how, scale):
    data = dataset(impute=how)
    ready = tiny.prepared(plan(data__scale=scale), data, SEEDS)
    for i, split in enumerate(ready.splits):
        trial = jax.tree.map(lambda a, i=i: a[i], ready.trials)
        seen = scaled(ready.batch, trial)
        x = data.features["genes"].astype(np.float64)
        if scale == "row":
            x = x / np.nansum(np.abs(x), axis=1, keepdims=True)
        fill = getattr(np, f"nan{how}")(x[split.train], axis=0)
        known = np.where(np.isnan(x), fill, x)
        shift, unit = 0, 1
        if scale in ("column", "modality"):
            shift, spread = known[split.train].mean(0), known[split.train].std(0)
            unit = 1 / (spread if scale == "column" else np.sqrt((spread**2).mean()))
        np.testing.assert_allclose(seen.features["genes"], (known - shift) * unit, rtol=2e-4, atol=2e-5)
        assert np.isfinite(seen.features["clinical"]).all() and not seen.features["clinical"][~seen.mask[:, 1]].any()
        assert all(np.isfinite(v).all() for v in whole(ready.batch, trial).features.values())


def test_no_test_value_and_no_label_has_a_say():
    data = dataset()
    split = data.split(0)
    x = data.features["genes"].copy()
    x[split.test] = 1e3 * x[split.test] + 7
    x[split.test[0], 2] = np.nan
    changed = dataclasses.replace(data, features={**data.features, "genes": x})
    target = dataclasses.replace(data.target, fields={"labels": (data.target.labels + 1) % 3})
    others = dataclasses.replace(data, target=target)
    one, *rest = (tiny.prepared(plan(), d, (0,)).trials for d in (data, changed, others))
    for other in rest:
        for field in ("fill", "shift", "scale"):
            for name, value in getattr(one, field).items():
                np.testing.assert_array_equal(value, getattr(other, field)[name])
    x = data.features["genes"].copy()
    x[split.train[0], 1] = 50
    seen = dataclasses.replace(data, features={**data.features, "genes": x})
    assert not np.array_equal(tiny.prepared(plan(), seen, (0,)).trials.fill["genes"], one.fill["genes"])


def test_a_missing_value_reaches_neither_output_nor_gradient():
    data = dataset()
    ready = tiny.prepared(plan(), data, (0,))
    trial = jax.tree.map(lambda a: a[0], ready.trials)

    def total(x):
        batch = dataclasses.replace(ready.batch, features={**ready.batch.features, "genes": x})
        return (scaled(batch, trial).features["genes"] ** 2).sum()

    x = ready.batch.features["genes"]
    value, gradient = jax.value_and_grad(total)(x)
    assert np.isfinite(value) and np.isfinite(gradient).all() and not np.asarray(gradient)[np.isnan(x)].any()
    assert np.isnan(x).any() and jnp.isfinite(value)


def test_a_column_without_a_value_in_training_rows_is_0_and_said():
    data = dataset()
    x = data.features["genes"].copy()
    x[data.split(0).train, 2] = np.nan
    odd = dataclasses.replace(data, features={**data.features, "genes": x})
    for scale in ("modality", "column", "none"):
        with pytest.warns(UserWarning, match="modality 'genes', seed 0: column 2 has no value in any training row"):
            ready = tiny.prepared(plan(data__scale=scale), odd, (0,))
        seen = scaled(ready.batch, jax.tree.map(lambda a: a[0], ready.trials))
        assert not np.asarray(seen.features["genes"])[:, 2].any()


def test_without_imputation_nothing_is_filled_and_nan_is_refused():
    data = tiny.dataset()
    assert tiny.prepared(tiny.cell().plan, data, (0,)).trials.fill is None
    assert fit_features({"a": np.ones((3, 2))}, np.ones((3, 1), bool), np.arange(3), "none", "")[0] is None
    x = dict(data.features)
    name = next(iter(x))
    x[name] = x[name].copy()
    x[name][np.flatnonzero(data.mask[:, 0])[0], 1] = np.nan
    with pytest.raises(ValueError, match="finite values wherever mask is true"):
        dataclasses.replace(data, features=x)
    assert np.isnan(dataclasses.replace(data, features=x, impute="mean").features[name]).sum() == 1
    infinite = {**x, name: np.where(np.isnan(x[name]), np.inf, x[name])}
    with pytest.raises(ValueError, match="holds inf; expected finite values"):
        dataclasses.replace(data, features=infinite, impute="mean")
    with pytest.raises(ValueError, match="field impute: 'men'; expected '' or 'mean' or 'median'"):
        dataclasses.replace(data, impute="men")


def test_controls_see_what_is_filled():
    data = dataset()
    of = plan(control__name="rbf_svm")
    scores, _ = fit_control(of, data, tiny.prepared(of, data, (0,)))
    assert np.isfinite(scores).all()
    x = data.features["genes"]
    rows = data.split(0).train
    known = np.where(np.isnan(x), np.nanmean(x[rows], axis=0), x).astype(np.float32)
    by_hand = dataclasses.replace(data, features={**data.features, "genes": known})
    wanted, _ = fit_control(of, by_hand, tiny.prepared(of, by_hand, (0,)))
    np.testing.assert_allclose(scores, wanted, atol=1e-4)


def test_neighbours_in_the_inductive_setting_are_of_what_seen_nodes_tell():
    data = dataset(graph="knn", k=4, setting="inductive")
    ready = tiny.prepared(plan(), data, (0,))
    split = data.split(0)
    here = np.zeros(60, bool)
    here[np.concatenate([split.train, split.val])] = True
    x = data.features["genes"]
    known = {**data.features, "genes": np.where(np.isnan(x), np.nanmean(x[here], axis=0), x)}
    wanted, _ = grow(data.made["knn"], known, data.mask, here)
    graph = jax.tree.map(lambda a: np.asarray(a)[0], ready.trials.graph)
    kept = graph.senders != graph.receivers
    pairs = set(zip(graph.senders[kept].tolist(), graph.receivers[kept].tolist(), strict=True))
    assert pairs == set(zip(wanted.senders.tolist(), wanted.receivers.tolist(), strict=True))
