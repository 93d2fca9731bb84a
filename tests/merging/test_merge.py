"""Merging the seeds of finished cells: the command, its numbers, and what it refuses."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from fusion_jax import zoo
from fusion_jax.merging import base, merge
from fusion_jax.merging.average import average
from fusion_jax.merging.ensemble import ensemble
from fusion_jax.merging.ot_fusion import ot_fusion
from fusion_jax.results.answers import markdown
from fusion_jax.results.restore import predict, restore
from fusion_jax.training.trial import scaled
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run, command

COMPLETE = dict(nodes=120, modalities=3, classes=3, dim=9, missing=0.0)


@pytest.fixture(scope="module", autouse=True)
def settings():
    with as_users_run():
        yield


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    one = dict(seeds=1)
    cells = [
        tiny_cell(),
        tiny_cell(**one, model__dim=6),
        tiny_cell(**one, optimizer__learning_rate=0.02),
        tiny_cell(**one, data__scale="row"),
        tiny_cell(model__missing="mean"),
        tiny_cell(model__missing="mean", data__scale="none"),
        tiny_cell(model__missing="indicator"),
        tiny_cell(model__missing="indicator", data__options=COMPLETE),
    ]
    return train_cells(tmp_path_factory.mktemp("merge"), cells)


@pytest.fixture(scope="module")
def cell(trained):
    return restore(trained[0], trained[1][0])


@pytest.fixture(scope="module")
def family(cell):
    return base.parents_of([cell])


def test_a_network_under_the_anchors_scaler_computes_what_it_did(cell, family):
    """Seeds have splits, so scalers, of their own."""
    parents, anchor = family
    other = 1 - anchor
    assert np.abs(np.asarray(cell.trial(0).shift["m0"] - cell.trial(1).shift["m0"])).max() > 0
    np.testing.assert_allclose(
        predict(parents[other].model, parents[other].batch), parents[other].prediction, rtol=1e-4, atol=1e-4
    )
    assert parents[anchor].score == max(p.score for p in parents)


def test_a_column_that_the_anchor_does_not_scale_is_taken_at_its_shift(cell):
    """Such a column has no spread in the anchor's training rows: its scale there is 0."""
    own, anchor = cell.trial(0), cell.trial(1)
    anchor = dataclasses.replace(anchor, scale={**anchor.scale, "m0": anchor.scale["m0"].at[1].set(0)})
    batch = cell.prepared.batch
    flat = dataclasses.replace(
        batch, features={**batch.features, "m0": batch.features["m0"].at[:, 1].set(anchor.shift["m0"][1])}
    )
    model = base.rescaled(cell.models[0], own, anchor)
    np.testing.assert_allclose(
        predict(model, scaled(flat, anchor)), predict(cell.models[0], scaled(flat, own)), rtol=1e-4, atol=1e-4
    )


def test_the_average_is_the_mean_of_every_parameter(family):
    parents, anchor = family
    merged = average(parents, anchor)
    each = [base.leaves(p.model) for p in parents]
    for name, value in base.leaves(merged.model).items():
        np.testing.assert_allclose(value, np.mean([e[name] for e in each], 0), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(merged.prediction, predict(merged.model, parents[anchor].batch))


def test_the_ensemble_averages_probabilities(family):
    parents, anchor = family
    expected = np.mean([softmax(p.prediction, -1) for p in parents], 0)
    np.testing.assert_allclose(softmax(ensemble(parents, anchor).prediction, -1), expected, rtol=1e-5)
    assert parents[0].classes
    values = [dataclasses.replace(p, classes=False) for p in parents]
    mean = ensemble(values, anchor).prediction
    np.testing.assert_array_equal(mean, ensemble(parents, anchor, probabilities=False).prediction)
    np.testing.assert_allclose(mean, np.mean([p.prediction for p in parents], 0), rtol=1e-6)


def test_three_times_the_same_network_is_that_network(family):
    parents, anchor = family
    same = [parents[anchor]] * 3
    # the class with hard maps: a soft map of a network to itself is not the identity
    np.testing.assert_allclose(
        ot_fusion(same, 1, solver="emd").prediction, parents[anchor].prediction, rtol=1e-4, atol=1e-5
    )


def test_soft_and_hard_maps_give_other_networks_than_the_average(family):
    parents, anchor = family
    soft, hard = (ot_fusion(parents, anchor, solver=s).prediction for s in ("sinkhorn", "emd"))
    plain = average(parents, anchor).prediction
    assert min(np.abs(a - b).max() for a, b in ((soft, hard), (soft, plain), (hard, plain))) > 1e-3


def test_only_rows_that_trained_no_network_count(family):
    parents, _ = family
    rows = base.common_test_rows(parents)
    assert 0 < len(rows) < len(parents[0].split.test)
    for parent in parents:
        assert not np.isin(rows, parent.split.train).any() and not np.isin(rows, parent.split.val).any()
    disjoint = dataclasses.replace(parents[0].split, test=parents[0].split.train)
    with pytest.raises(ValueError, match="only 0 rows are test rows of all 2 networks: train the cell with one split"):
        base.common_test_rows([parents[0], dataclasses.replace(parents[0], split=disjoint)])


def test_the_command_writes_its_table_and_figure_into_the_cell(trained):
    store, identities = trained
    status, text = command("experiments.merge", f"--workdir={store.root}", f"--cell={identities[0]}", "--epochs=1")
    assert status == 0 and "(anchor)" in text
    folder = store.cell(identities[0]) / "merge"
    assert sorted(p.name for p in folder.iterdir()) == ["figure.png", "merge.json", "table.csv", "table.md"]
    table = pd.read_csv(folder / "table.csv").set_index("name")
    assert list(table.index) == [
        "seed 0",
        "seed 1",
        "mean of the networks",
        "ensemble",
        "average",
        "average, finetuned",
        "ot_fusion",
        "ot_fusion, finetuned",
    ]
    mean = table.accuracy[["seed 0", "seed 1"]].mean()
    np.testing.assert_allclose(table.accuracy["mean of the networks"], mean)
    assert list(table.passes) == [1, 1, 1, 2, 1, 1, 1, 1]
    assert store.finished_seeds(identities[0]) == (0, 1)


def test_the_table_says_how_many_labels_stand_behind_a_predictor(trained, cell):
    """Seeds with splits of their own: merged, they have learned from rows of both."""
    known = [np.union1d(s.train, s.val) for s in cell.prepared.splits]
    both = len(np.union1d(*known))
    assert both > len(known[0]) == len(known[1])
    result = merge([cell], ["ensemble", "average"], epochs=1)
    assert list(result.tables["table"].labels) == [len(known[0])] * 3 + [both] * 3
    text = markdown(result)
    assert f"from the labels of {both} rows, a network from {len(known[0])}." in text and "protocol paper" not in text
    assert f"| 2 | {both} |" in next(line for line in text.splitlines() if line.startswith("| ensemble"))


def test_finetuning_starts_from_the_merged_network_at_a_factor_of_the_cells_rate(cell):
    still, moved = (merge([cell], ["average"], epochs=1, rate=rate).tables["table"] for rate in (0.0, 1.0))
    loss = still.set_index("name").log_loss
    np.testing.assert_allclose(loss["average, finetuned"], loss["average"], rtol=1e-5)
    assert abs(moved.set_index("name").log_loss["average, finetuned"] - loss["average"]) > 1e-4


def test_of_one_split_no_predictor_knows_more_labels_and_selection_on_test_is_said(tmp_path):
    with as_users_run():
        store, (identity,) = train_cells(tmp_path, [tiny_cell(per_seed=("init",), protocol="paper")])
        result = merge([restore(store, identity)], ["ensemble"], epochs=0)
    assert result.tables["table"].labels.nunique() == 1 and result.note.startswith("All networks share one split")
    assert "selected on test rows (protocol paper)" in result.note


def test_the_seeds_of_two_cells_of_one_shape_merge(trained):
    store, identities = trained
    cells = [restore(store, identities[0]), restore(store, identities[2])]
    result = merge(cells, ["average"], epochs=0)
    assert list(result.tables["table"].kind) == ["network"] * 3 + ["mean", "merged"]


@pytest.mark.parametrize(
    "which,match",
    [
        ([1], "needs at least two networks, cell .* has one seed"),
        ([0, 3], "one has data.scale='row', one has not"),
        (
            [0, 1],
            r"networks of different shape cannot be merged: .* has \(8,\) as 'encoders/0/linear/bias', .* has \(6,\)",
        ),
    ],
)
def test_one_seed_or_other_shapes_are_refused(trained, which, match):
    store, identities = trained
    cells = [restore(store, identities[i]) for i in which]
    with pytest.raises(ValueError, match=match):
        base.parents_of(cells)
    names = ",".join(identities[i] for i in which)
    status, text = command("experiments.merge", f"--workdir={store.root}", f"--cell={names}")
    assert status == 2 and "error: " in text
    assert not list(store.cell(identities[which[0]]).glob(".tmp*"))


def test_the_catalogue_has_the_mergings():
    with pytest.raises(ValueError, match="no merging named 'ot_fuson'.*did you mean 'ot_fusion'"):
        zoo.get("merging", "ot_fuson")
    assert {"average", "ensemble", "ot_fusion"} <= set(zoo.names("merging"))
    for row in zoo.catalogue():
        if row["kind"] == "merging":
            assert row["paper"] and row["cost"], row


def test_means_of_several_seeds_do_not_merge(trained):
    """What stands for a missing modality is a seed's own mean: under another seed's scaler it is something else."""
    store, identities = trained
    with pytest.raises(ValueError, match="model.missing='mean' fills what is missing with each seed's own mean"):
        base.parents_of([restore(store, identities[4])])
    with pytest.raises(ValueError, match="model.missing='indicator' fills what is missing"):
        base.parents_of([restore(store, identities[6])])
    parents, _ = base.parents_of([restore(store, identities[7])])  # nothing is: its columns say so in any unit
    for parent in parents:  # float32 of a compiled and of an eager model
        np.testing.assert_allclose(predict(parent.model, parent.batch), parent.prediction, rtol=1e-4, atol=1e-4)
    parents, _ = base.parents_of([restore(store, identities[5])])
    for parent in parents:  # nothing was rescaled: float32 of a compiled and of an eager model
        np.testing.assert_allclose(predict(parent.model, parent.batch), parent.prediction, rtol=1e-6, atol=1e-6)
