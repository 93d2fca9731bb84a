"""What leaves the host: splits, scalers, weights, hidden labels, the graph of the inductive setting."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.data import splits
from fusion_jax.data.base import Split
from fusion_jax.graphs import Graph
from fusion_jax.records import Batch, Target
from fusion_jax.training.prepare import select_split, without_nodes
from fusion_jax.training.step import scaled
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
@pytest.mark.parametrize("missing", ["mask", "zeros", "mean", "learned"])
def test_what_an_unknown_modality_holds_reaches_no_prediction(data, missing):
    """Nor does a row that is left without any modality fail."""
    lacking, _ = without_m1_in_training(data)
    loud = {"m0": lacking.features["m0"], "m1": lacking.features["m1"] * 1e6}
    loud = dataclasses.replace(lacking, features=loud)
    with tiny.as_users_run():
        a, b = (tiny.train(d, (0,), model__missing=missing, model__fusion__name="concat_mlp") for d in (lacking, loud))
    assert np.isfinite(a.prediction).all()
    np.testing.assert_array_equal(a.prediction, b.prediction)


@pytest.mark.parametrize(("shift", "unit"), [(0, 1), (1e4, 1), (0, 1e5), (-300, 1e-6), (1e9, 1e-2)])
def test_values_are_standardised_on_training_rows_in_float64(data, shift, unit):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(60, 2)) * [1, 1000]
    target = Target("values", values=y * unit + shift, num_outputs=2)
    ready = tiny.prepared(tiny.cell().plan, dataclasses.replace(data, target=target), (0, 1))
    for i, split in enumerate(ready.splits):
        mean, std = y[split.train].mean(0), y[split.train].std(0)
        seen = np.isin(np.arange(60), np.concatenate([split.train, split.val]))[:, None]
        learned = np.asarray(ready.target.values[i])
        np.testing.assert_allclose(learned, np.where(seen, (y - mean) / std, 0), atol=2e-5)
        assert learned.dtype == np.float32
        back = np.where(seen, ready.own_units(learned, i), y * unit + shift)
        np.testing.assert_allclose(back, y * unit + shift, rtol=1e-12, atol=1e-6 * unit * 1000)


def test_a_value_that_is_constant_in_training_is_predicted_as_that(data):
    values = np.full((60, 1), 1e-7)
    values[data.split(0).test] = 2e-7
    constant = dataclasses.replace(data, target=Target("values", values=values))
    ready = tiny.prepared(tiny.cell().plan, constant, (0,))
    np.testing.assert_allclose(ready.own_units(np.zeros((1, 1)), 0), 1e-7, rtol=1e-12)
    assert np.isfinite(ready.target.values).all()


def test_labels_outside_training_and_selection_do_not_reach_the_device(data):
    ready = tiny.prepared(tiny.cell().plan, data, (0, 1))
    for i, split in enumerate(ready.splits):
        seen = np.isin(np.arange(60), np.concatenate([split.train, split.val]))
        assert data.target.labels[split.test].any(), "some test label must differ from what stands for hidden"
        np.testing.assert_array_equal(ready.target.labels[i], np.where(seen, data.target.labels, 0))
        np.testing.assert_array_equal(np.flatnonzero(ready.trials.train_weight[i]), split.train)
        np.testing.assert_array_equal(np.flatnonzero(ready.trials.val_weight[i]), split.val)


def test_class_weights_are_1_over_C_times_share(data):
    labels = data.target.labels
    train = np.sort(np.concatenate([np.flatnonzero(labels == 0)[:8], np.flatnonzero(labels == 1)[:2]]))
    rest = np.setdiff1d(np.arange(60), train)
    uneven = dataclasses.replace(data, splits=splits.fixed(train, rest[:10], rest[10:], "8 and 2 labels"))
    weight = np.asarray(tiny.prepared(tiny.cell(loss__class_weights=True).plan, uneven, (0,)).trials.train_weight[0])
    expected = np.zeros(60)
    expected[train] = np.where(labels[train] == 0, 10 / (2 * 8), 10 / (2 * 2))
    np.testing.assert_allclose(weight, expected, rtol=1e-6)
    plain = np.asarray(tiny.prepared(tiny.cell().plan, uneven, (0,)).trials.train_weight[0])
    np.testing.assert_array_equal(plain, np.isin(np.arange(60), train))


def test_protocol_paper_trains_on_validation_rows_and_selects_on_test_rows(data):
    honest = data.split(0)
    ready = tiny.prepared(tiny.cell(protocol="paper").plan, data, (0,))
    np.testing.assert_array_equal(
        np.flatnonzero(ready.trials.train_weight[0]), np.sort(np.concatenate([honest.train, honest.val]))
    )
    np.testing.assert_array_equal(np.flatnonzero(ready.trials.val_weight[0]), honest.test)
    np.testing.assert_array_equal(ready.target.labels[0], data.target.labels)
    split = select_split(Split(np.array([4]), np.array([1]), np.array([2])), "paper")
    np.testing.assert_array_equal(split.train, [1, 4])


@pytest.mark.parametrize("per_seed", [(), ("init",), ("dropout",), ("split",), ("init", "dropout", "split")])
def test_seeds_differ_in_what_per_seed_names_and_in_nothing_else(data, per_seed):
    ready = tiny.prepared(tiny.cell(per_seed=per_seed).plan, data, (3, 4))
    same = dict(
        init=bool((jax.random.key_data(ready.init_keys[0]) == jax.random.key_data(ready.init_keys[1])).all()),
        dropout=bool((jax.random.key_data(ready.trials.key[0]) == jax.random.key_data(ready.trials.key[1])).all()),
        split=np.array_equal(ready.splits[0].train, ready.splits[1].train),
    )
    assert same == {what: what not in per_seed for what in same}


def test_what_a_seed_gets_does_not_depend_on_the_other_seeds(data):
    plan = tiny.cell(data__setting="inductive").plan
    alone, among = tiny.prepared(plan, data, (2,)), tiny.prepared(plan, data, (0, 1, 2))
    for a, b in zip(jax.tree.leaves(alone.trials), jax.tree.leaves(among.trials), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a[0], b[2])


def test_the_graph_without_nodes_is_the_induced_subgraph(data):
    graph = data.graph()
    keep = np.random.default_rng(0).random(60) < 0.7
    cut = without_nodes(graph, keep)
    own = Graph.create(*induced(graph, keep), int(keep.sum()))
    for mine, expected in ((cut, own), (cut.looped, own.looped)):
        s, r = np.asarray(mine.senders), np.asarray(mine.receivers)
        new = np.cumsum(keep) - 1
        kept = keep[r] & keep[s]
        pairs = set(zip(new[s[kept]].tolist(), new[r[kept]].tolist(), strict=True))
        assert pairs == set(zip(*np.asarray([expected.senders, expected.receivers]).tolist(), strict=True))
        assert (s[~kept] == r[~kept]).all(), "an edge of a node that is gone must join nothing"
    assert cut.num_edges == graph.num_edges
    np.testing.assert_array_equal(cut.present, keep)
    assert without_nodes(graph, np.ones(60, bool)) is graph


def induced(graph, keep):
    s, r = np.asarray(graph.senders), np.asarray(graph.receivers)
    inside = keep[s] & keep[r]
    new = np.cumsum(keep) - 1
    return new[s[inside]], new[r[inside]]


@pytest.mark.parametrize("layer", ["gcn", "gat", "sage"])
def test_a_model_on_the_graph_without_nodes_is_the_model_on_the_induced_subgraph(data, layer):
    plan = tiny.cell(model__layer__name=layer, model__placement="after", model__fusion__name="mean").plan
    model = tiny.model(plan, data, tiny.prepared(plan, data, (0,)))
    keep = np.random.default_rng(1).random(60) < 0.7
    graph = data.graph()
    features = {k: jnp.asarray(x) for k, x in data.features.items()}
    cut = Batch(features, jnp.asarray(data.mask & keep[:, None]), without_nodes(graph, keep))
    small = Batch(
        {k: x[keep] for k, x in features.items()},
        jnp.asarray(data.mask[keep]),
        Graph.create(*induced(graph, keep), int(keep.sum())),
    )
    graphdef, state = nnx.split(model)
    run = jax.jit(lambda batch: nnx.merge(graphdef, state)(batch).prediction)
    np.testing.assert_allclose(run(cut)[keep], run(small), rtol=1e-4, atol=1e-5)


def test_inductive_training_sees_training_and_validation_nodes_only(data):
    ready = tiny.prepared(tiny.cell(data__setting="inductive").plan, data, (0,))
    split = ready.splits[0]
    there = np.isin(np.arange(60), np.concatenate([split.train, split.val]))
    np.testing.assert_array_equal(ready.trials.mask[0], data.mask & there[:, None])
    s, r = np.asarray(ready.trials.graph.senders[0]), np.asarray(ready.trials.graph.receivers[0])
    assert there[s[s != r]].all() and there[r[s != r]].all()
    np.testing.assert_array_equal(ready.batch.mask, data.mask)
    assert ready.batch.graph.num_edges == data.graph().num_edges
    assert tiny.prepared(tiny.cell().plan, data, (0,)).trials.graph is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(data__modalities=("m0", "m7")), "no modality 'm7' (did you mean 'm"),
        (dict(data__modalities=("m0", "m0")), "named twice"),
        (dict(data__graph="plantde"), "no edge set 'plantde' (did you mean 'planted'?)"),
        (dict(data__views=("planted",)), "names 1 edge sets for 2 modalities"),
        (dict(data__views=("planted", "knn")), "no edge set 'knn'"),
        (dict(data__modalities=("structure",), data__setting="inductive"), "not for setting 'inductive'"),
    ],
)
def test_what_the_data_set_does_not_have_is_refused_by_name(data, changes, message):
    with pytest.raises(ValueError) as error:
        tiny.prepared(tiny.cell(**changes).plan, data, (0,))
    assert message in str(error.value)


def test_structure_is_a_modality_like_any_other(data):
    ready = tiny.prepared(tiny.cell(data__modalities=("m1", "structure")).plan, data, (0,))
    assert list(ready.batch.features) == ["m1", "structure"]
    assert ready.batch.features["structure"].shape == (60, 59)
    np.testing.assert_array_equal(ready.batch.mask[:, 0], data.mask[:, 1])
    assert np.asarray(ready.batch.mask[:, 1]).all()
    with pytest.raises(ValueError, match="no modality 'structure'"):
        tiny.prepared(tiny.cell(data__modalities=("structure",)).plan, tiny.dataset(degree=0), (0,))


def test_one_edge_set_a_modality(data):
    two = dataclasses.replace(data, graphs={**data.graphs, "other": tiny.dataset(seed=5).graphs["planted"]})
    ready = tiny.prepared(tiny.cell(data__views=("planted", "other")).plan, two, (0,))
    for m, name in enumerate(("planted", "other")):
        np.testing.assert_array_equal(ready.batch.graph.view(m).senders, two.graphs[name].senders)


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
