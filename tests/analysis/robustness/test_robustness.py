"""Curves of a trained cell: levels as models predict them, sums of them, refusals, and the warning of bags of words."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from fusion_jax import zoo
from fusion_jax.analysis.robustness import robustness, sparsity
from fusion_jax.analysis.robustness.asked import nodes_of
from fusion_jax.analysis.robustness.curves import area, equity
from fusion_jax.data.missing import lost
from fusion_jax.results.altered import rewired
from fusion_jax.results.restore import predict, restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run

LEVELS = dict(rates=(0.0, 0.5, 0.9), noise=(0.0, 1.0))


@pytest.fixture(scope="module", autouse=True)
def settings():
    with as_users_run():
        yield


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    missing = dict(data__missing__name="uniform", data__missing__options=dict(rate=0.6))
    options = dict(nodes=120, modalities=1, classes=3, dim=9, degree=0)
    cells = [
        tiny_cell(training__epochs=30, training__chunk=30, **missing),
        tiny_cell(seeds=1, data__options=options, model__layer__name="none"),
    ]
    return train_cells(tmp_path_factory.mktemp("robustness"), cells)


@pytest.fixture(scope="module")
def cell(trained):
    return restore(trained[0], trained[1][0])


@pytest.fixture(scope="module")
def report(cell):
    return robustness(cell, 0, **LEVELS)


def accuracy(cell, i, batch):
    rows = cell.prepared.splits[i].test
    told = predict(cell.models[i], batch, cell.context(i))[rows]
    return (told.argmax(1) == cell.data.target.labels[rows]).mean()


def curve(report, mechanism, modality=""):
    table = report.tables["curves"]
    return table[(table.mechanism == mechanism) & (table.modality == modality)].set_index("level").value


def test_every_mechanism_has_a_curve_and_every_modality_its_own(report):
    kinds = [*zoo.names("missing"), "feature noise", "edge noise"]
    table = report.tables["areas"]
    assert set(table.mechanism) == set(kinds)
    assert table[table.mechanism == "one_modality"].modality.tolist() == ["m0", "m1", "m2"]
    assert (table[table.mechanism != "one_modality"].modality == "").all()


def test_nothing_taken_away_is_what_was_stored(cell, report):
    stored = cell.metrics[(cell.metrics.part == "test") & (cell.metrics.metric == "accuracy")].value.mean()
    table = report.tables["curves"]
    np.testing.assert_allclose(table[table.level == 0].value, stored, rtol=1e-6)


@pytest.mark.parametrize("mechanism,modality", [("label", ""), ("one_modality", "m1")])
def test_a_level_is_what_the_models_score_without_what_the_mechanism_takes(cell, report, mechanism, modality):
    nodes, found = nodes_of(cell), []
    np.testing.assert_array_equal(nodes.mask, cell.prepared.batch.mask)  # what training lacked is lacking already
    assert nodes.mask.mean() < 0.5
    for i, seed in enumerate(cell.seeds):
        options = dict(modality=modality) if modality else {}
        gone = lost(mechanism, nodes, np.random.default_rng([seed, 0]), rate=0.5, **options)
        found.append(accuracy(cell, i, cell.batch(i).with_mask(cell.batch(i).mask & ~gone)))
    assert curve(report, mechanism, modality)[0.5] == pytest.approx(np.mean(found))


def test_noise_in_features_and_edges_is_added_as_told(cell, report):
    features, edges = [], []
    for i, seed in enumerate(cell.seeds):
        batch, rng = cell.batch(i), np.random.default_rng([seed, 0])
        made = {}
        for m, (name, x) in enumerate(batch.features.items()):
            own = np.asarray(x)[np.asarray(batch.mask)[:, m]]
            made[name] = (x + np.sqrt(own.var(0).mean()) * rng.normal(size=x.shape)).astype(np.float32)
        features.append(accuracy(cell, i, dataclasses.replace(batch, features=made)))
        graph = rewired(cell, i, 0.5, np.random.default_rng([seed, 0]))
        edges.append(accuracy(cell, i, batch.with_graph(graph)))
    assert curve(report, "feature noise")[1.0] == pytest.approx(np.mean(features))
    assert curve(report, "edge noise")[0.5] == pytest.approx(np.mean(edges))


def test_areas_losses_and_equity_are_those_of_the_curves(cell, report):
    areas = report.tables["areas"].set_index(["mechanism", "modality"])
    own = curve(report, "uniform")
    assert areas.area["uniform", ""] == pytest.approx(area(own.index, own.to_numpy()))
    assert areas.loss["uniform", ""] == pytest.approx(own[0.0] - areas.area["uniform", ""])
    table = report.tables["equity"].set_index("modality")
    assert table.value["m2"] == pytest.approx(areas.loss["one_modality", "m2"])
    one = robustness(dataclasses.replace(cell), 0, **LEVELS).tables["equity"]
    assert one.equals(report.tables["equity"])
    assert report.facts["equity"] is None or 0 <= report.facts["equity"] <= 1
    assert equity(np.array([table.value[m] for m in ("m0", "m1", "m2")])) <= 1


def test_subsets_are_all_and_the_largest_is_the_whole(report):
    table = report.tables["subsets"].set_index("modalities")
    assert len(table) == 8 and table.number.tolist() == [0, 1, 1, 1, 2, 2, 2, 3]
    assert table.value["m0 + m1 + m2"] == pytest.approx(curve(report, "uniform")[0.0])


def test_repeats_are_meaned_over_draws(cell):
    few = dict(mechanisms=("uniform",), rates=(0.0, 0.5), noise=(0.0, 1.0))
    once, twice = (robustness(cell, 0, repeats=n, **few) for n in (1, 2))
    first = curve(once, "uniform")[0.5]
    nodes, second = nodes_of(cell), []
    for i, seed in enumerate(cell.seeds):
        gone = lost("uniform", nodes, np.random.default_rng([seed, 1]), rate=0.5)
        second.append(accuracy(cell, i, cell.batch(i).with_mask(cell.batch(i).mask & ~gone)))
    assert curve(twice, "uniform")[0.5] == pytest.approx((first + np.mean(second)) / 2)


def test_what_does_not_fit_a_cell_is_left_out_and_refused_where_it_is_named(trained):
    cell = restore(trained[0], trained[1][1])
    report = robustness(cell, 0, **LEVELS)
    left = set(report.tables["areas"].mechanism)
    assert not {"observed", "neighbourhood", "edge noise"} & left and "uniform" in left
    assert "has one modality" in report.note and "has no graph" in report.note
    assert report.facts["equity"] is None and "equity" not in report.sentence
    with pytest.raises(ValueError, match="has no graph"):
        robustness(cell, 0, mechanisms=("neighbourhood",), **LEVELS)


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(rates=(0.1, 0.5)), r"rates=\(0.1, 0.5\), expected two levels or more that rise from 0"),
        (dict(rates=(0.0, 1.0)), "expected numbers below 1"),
        (dict(noise=(0.0, 1.0, 1.0)), "noise=.*that rise from 0"),
        (dict(repeats=0), "repeats=0, expected at least 1"),
        (dict(mechanisms=("unifrom",)), "did you mean 'uniform'"),
    ],
)
def test_what_cannot_be_asked_is_named(cell, options, message):
    with pytest.raises(ValueError, match=message):
        robustness(cell, 0, **options)


def test_bags_of_words_are_warned_of(cell):
    words = (np.random.default_rng(0).random((10, 40)) < 0.05).astype(float)
    share = 1 - words.mean()
    assert sparsity(words) == pytest.approx(share) and sparsity(sp.csr_matrix(words)) == pytest.approx(share)
    assert sparsity(-words) == 0 and sparsity(np.ones((3, 3))) == 0
    features = {name: np.where(x > np.quantile(x, 0.9), x, 0) for name, x in cell.data.features.items()}
    spare = dataclasses.replace(cell, data=dataclasses.replace(cell.data, features=features))
    few = dict(mechanisms=("uniform",), rates=(0.0, 0.5), noise=(0.0, 1.0))
    sparse, dense = robustness(spare, 0, **few), robustness(cell, 0, **few)
    assert sparse.facts["bags_of_words"] and sparse.note.startswith(
        "All modalities (but the graph's own) look like bags of words"
    )
    assert not dense.facts["bags_of_words"] and "bags" not in dense.note
    part = dataclasses.replace(cell.plan.data, modalities=("m0", "m1", "structure"))  # what is made of edges is dense
    named = dataclasses.replace(spare, plan=dataclasses.replace(cell.plan, data=part))
    assert robustness(named, 0, **few).facts["bags_of_words"]
