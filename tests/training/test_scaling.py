"""The unit in which a model sees features: fitted on present training rows, and what they do not tell is said."""

import dataclasses
import warnings

import jax
import numpy as np
import pytest

from fusion_jax.model import MISSING
from fusion_jax.training.trial import scaled
from tests import tiny


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


def with_features(data, change, rows):
    """The data set with other features in the given rows."""
    features = {}
    for name, x in data.features.items():
        x = x.copy()
        x[rows] = change(x[rows])
        features[name] = x
    return dataclasses.replace(data, features=features)


@pytest.mark.parametrize("scale", ["column", "modality"])
def test_scalers_are_fitted_on_present_training_rows_only(data, scale):
    plan = tiny.cell(data__scale=scale).plan
    ready = tiny.prepared(plan, data, (0, 1))
    for i, split in enumerate(ready.splits):
        for m, (name, x) in enumerate(data.features.items()):
            rows = [r for r in split.train if data.mask[r, m]]
            assert 0 < len(rows) < len(split.train)
            deviation = x[rows].std(0) if scale == "column" else np.sqrt(x[rows].var(0).mean()) * np.ones(x.shape[1])
            np.testing.assert_allclose(ready.trials.shift[name][i], x[rows].mean(0), rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(ready.trials.scale[name][i], 1 / deviation, rtol=1e-5)
    others = np.setdiff1d(np.arange(60), ready.splits[0].train)
    changed = tiny.prepared(plan, with_features(data, lambda x: 7 - 3 * x, others), (0,))
    trained = tiny.prepared(plan, with_features(data, lambda x: 7 - 3 * x, ready.splits[0].train), (0,))
    for name in data.features:
        np.testing.assert_array_equal(changed.trials.scale[name][0], ready.trials.scale[name][0])
        np.testing.assert_array_equal(changed.trials.shift[name][0], ready.trials.shift[name][0])
        assert not np.allclose(trained.trials.shift[name][0], ready.trials.shift[name][0])


def test_what_has_no_spread_in_training_is_0_everywhere_and_scale_none_changes_nothing(data):
    """A column whose unit training rows do not tell would reach the model raw where it does vary: 1e4 here."""
    train = data.split(0).train
    others = np.setdiff1d(np.arange(60), train)
    features = {k: x.copy() for k, x in data.features.items()}
    features["m0"][:] = 0.1
    features["m0"][others] = 1e4
    features["m1"][:, 2] = 3
    features["m1"][others, 2] = 1e4
    flat = dataclasses.replace(data, features=features)
    with pytest.warns(UserWarning) as said:
        ready = tiny.prepared(tiny.cell(data__scale="column").plan, flat, (0,))
    seen = scaled(ready.batch, jax.tree.map(lambda a: a[0], ready.trials))
    np.testing.assert_array_equal(seen.features["m0"], 0)
    np.testing.assert_array_equal(seen.features["m1"][:, 2], 0)
    assert np.abs(seen.features["m1"]).max() < 10
    texts = [str(warning.message) for warning in said]
    assert [t.split(":")[0] for t in texts] == [f"data set 'synthetic', modality '{m}', seed 0" for m in ("m0", "m1")]
    assert "no column varies over the training rows" in texts[0] and "some of its 6 columns" in texts[1]
    with pytest.warns(UserWarning, match="modality 'm0', seed 0: no column varies"):
        ready = tiny.prepared(tiny.cell(data__scale="modality").plan, flat, (0,))
    np.testing.assert_array_equal(ready.trials.scale["m0"][0], 0)
    ready = tiny.prepared(tiny.cell(data__scale="none").plan, data, (0,))
    seen = scaled(ready.batch, jax.tree.map(lambda a: a[0], ready.trials))
    np.testing.assert_array_equal(seen.features["m1"], np.where(data.mask[:, 1:], data.features["m1"], 0))


@pytest.mark.parametrize("scale", ["column", "modality"])
@pytest.mark.parametrize("unit", [1e-30, 1e-7, 1e7, 1e30])
def test_standardised_features_do_not_depend_on_the_unit(data, scale, unit):
    plan = tiny.cell(data__scale=scale).plan
    other = dataclasses.replace(data, features={k: x * np.float32(unit) for k, x in data.features.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, b = (
            scaled(r.batch, jax.tree.map(lambda a: a[0], r.trials))
            for r in (tiny.prepared(plan, d, (0,)) for d in (data, other))
        )
    for name in data.features:
        assert 0.5 < np.std(b.features[name]) < 2
        np.testing.assert_allclose(a.features[name], b.features[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", ["column", "modality"])
def test_standardised_features_do_not_depend_on_the_origin(data, scale):
    """But for rounding: x + 1e4 and its mean are known to 2^-11 each, in units of x."""
    plan = tiny.cell(data__scale=scale).plan
    moved = dataclasses.replace(data, features={k: x + np.float32(1e4) for k, x in data.features.items()})
    ready = [tiny.prepared(plan, d, (0,)) for d in (data, moved)]
    a, b = (scaled(r.batch, jax.tree.map(lambda a: a[0], r.trials)) for r in ready)
    for name in data.features:
        rounding = 2**-10 * np.abs(ready[0].trials.scale[name]).max()
        np.testing.assert_allclose(a.features[name], b.features[name], rtol=1e-3, atol=1.01 * rounding)


def test_one_scale_for_all_columns_is_warned_of_where_it_leaves_nothing_of_them(data):
    wide = {"m0": data.features["m0"] * np.array([1, 1, 1, 1e6, 1, 1], np.float32), "m1": data.features["m1"]}
    wide = dataclasses.replace(data, features=wide)
    with pytest.warns(UserWarning) as said:
        tiny.prepared(tiny.cell(data__scale="modality").plan, wide, (0, 1))
    (text,) = [str(warning.message) for warning in said]
    assert "modality 'm0', seeds 0, 1: column 3 has so much more spread" in text and "data.scale='column'" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny.prepared(tiny.cell(data__scale="column").plan, wide, (0, 1))
        tiny.prepared(tiny.cell(data__scale="modality").plan, data, (0, 1))


def without_m1_in_training(data, seed=0):
    """The data set without modality m1 in any training row, rows that have nothing else among the others."""
    mask = data.mask.copy()
    train = data.split(seed).train
    mask[train] = [True, False]
    others = np.setdiff1d(np.arange(60), train)
    mask[others] = [True, True]
    mask[others[::2], 0] = False
    return dataclasses.replace(data, mask=mask), others[::2]


@pytest.mark.parametrize("setting", ["transductive", "inductive"])
def test_a_modality_that_no_training_row_has_is_missing_everywhere_and_said_once(data, setting):
    lacking, bare = without_m1_in_training(data)
    with pytest.warns(UserWarning) as said:
        ready = tiny.prepared(tiny.cell(data__setting=setting, per_seed=("init",)).plan, lacking, (0, 1))
    assert [str(w.message) for w in said] == [
        "data set 'synthetic', modality 'm1', seeds 0, 1: no training row has it; it is treated as missing everywhere"
    ]
    trial = jax.tree.map(lambda a: a[0], ready.trials)
    for seen in (scaled(ready.batch, trial), scaled(ready.batch, dataclasses.replace(trial, graph=None, mask=None))):
        assert not np.asarray(seen.mask)[:, 1].any() and not np.asarray(seen.mask)[bare].any()
        np.testing.assert_array_equal(seen.features["m1"], 0)
    assert np.asarray(seen.mask)[:, 0].any()


def test_only_the_seeds_that_lack_a_modality_are_said_to(data):
    lacking, _ = without_m1_in_training(data, seed=1)
    with pytest.warns(UserWarning, match="modality 'm1', seed 1: no training row has it"):
        ready = tiny.prepared(tiny.cell().plan, lacking, (0, 1))
    np.testing.assert_array_equal(ready.trials.known, [[True, True], [True, False]])
    assert tiny.prepared(tiny.cell().plan, data, (0, 1)).trials.known is None


@pytest.mark.filterwarnings("ignore:data set 'synthetic'")
@pytest.mark.parametrize("missing", MISSING)
def test_what_an_unknown_modality_holds_reaches_no_prediction(data, missing):
    """Nor does a row that is left without any modality fail."""
    lacking, _ = without_m1_in_training(data)
    loud = {"m0": lacking.features["m0"], "m1": lacking.features["m1"] * 1e6}
    loud = dataclasses.replace(lacking, features=loud)
    with tiny.as_users_run():
        a, b = (tiny.train(d, (0,), model__missing=missing, model__fusion__name="concat_mlp") for d in (lacking, loud))
    assert np.isfinite(a.prediction).all()
    np.testing.assert_array_equal(a.prediction, b.prediction)


def test_scale_row_divides_each_present_row_by_the_sum_of_its_absolute_values(data):
    data = with_features(data, lambda x: 0 * x, np.flatnonzero(data.mask.all(1))[:1])
    ready = tiny.prepared(tiny.cell(data__scale="row").plan, data, (0, 1))
    for m, (name, x) in enumerate(data.features.items()):
        present, total = data.mask[:, m], np.abs(x).sum(1, keepdims=True)
        expected = np.where(present[:, None] & (total > 0), x / np.where(total > 0, total, 1), x)
        assert (total[present] == 0).sum() == 1 and not present.all() and (x < 0).any()
        np.testing.assert_allclose(ready.batch.features[name], expected, rtol=1e-6)
        np.testing.assert_array_equal(ready.batch.features[name][~present], x[~present])
        np.testing.assert_array_equal(ready.trials.shift[name], 0)
        np.testing.assert_array_equal(ready.trials.scale[name], 1)
    nan = {k: np.where(data.mask[:, [m]], x, np.nan) for m, (k, x) in enumerate(data.features.items())}
    other = tiny.prepared(tiny.cell(data__scale="row").plan, dataclasses.replace(data, features=nan), (0,))
    for m, name in enumerate(data.features):
        rows = data.mask[:, m]
        np.testing.assert_array_equal(other.batch.features[name][rows], ready.batch.features[name][rows])


def test_the_mean_of_features_that_are_not_standardised_is_not_0(data):
    for scale, warned in (("none", True), ("row", True), ("modality", False)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            tiny.prepared(tiny.cell(data__scale=scale, model__missing="mean").plan, data, (0,))
        assert any("model.missing='mean' fills" in str(w.message) for w in said) is warned
