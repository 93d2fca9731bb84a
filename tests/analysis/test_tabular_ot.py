"""Transport metrics: on trajectories where they are known, and of the tokens of a trained cell."""

import dataclasses

import numpy as np
import pytest

from fusion_jax.analysis import analyse
from fusion_jax.analysis.tabular_ot import CHECKED_WITH, difficulty, standardised, tabular_ot, transport
from fusion_jax.nn.transport import gaussian_distance
from fusion_jax.results.restore import restore, snapshots
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run

P, D = 12, 3
LABELS = np.arange(P) % 2


@pytest.fixture
def start():
    return np.random.default_rng(0).normal(size=(P, D))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    def cell(keys):
        return tiny_cell(seeds=2, **{key.replace(".", "__"): value for key, value in keys.items()})

    after = {"model.placement": "after", "training.snapshots": 2}
    dummy = {"scheme.name": "tabular_ot", "training.snapshots": 2}
    with as_users_run():
        cells = [cell(CHECKED_WITH), cell(CHECKED_WITH | after), tiny_cell(seeds=1, training__snapshots=2)]
        cells += [tiny_cell(seeds=1), cell(dummy), tiny_cell(seeds=1, data__name="synthetic_values", data__options={})]
        cells += [cell(CHECKED_WITH | after | {"model.placement": "interleaved"})]
        yield train_cells(tmp_path_factory.mktemp("transport"), cells)


def moved(how, z):
    end = z.copy()
    for c in (0, 1):
        own = z[LABELS == c]
        end[LABELS == c] = how(own, own.mean(0), c)
    return end


@pytest.mark.parametrize(
    "how",
    [
        lambda z, mean, c: z,
        lambda z, mean, c: z + np.array([3.0, -1.0, c]),
        lambda z, mean, c: mean + (0.3 + c) * (z - mean),
    ],
    ids=["identity", "translation", "scaling"],
)
def test_what_keeps_the_order_of_a_class_is_optimal(how, start):
    said = transport(np.stack([start, moved(how, start)]), LABELS)
    assert said.optimality == pytest.approx(1) and said.monge_gap == pytest.approx(0, abs=1e-12)
    assert said.matched == 1


def test_two_points_of_a_class_that_change_places_are_not(start):
    end = start.copy()
    end[[0, 2]] = start[[2, 0]]
    said = transport(np.stack([start, end]), LABELS)
    apart = np.linalg.norm(start[0] - start[2])
    assert said.monge_gap == pytest.approx(np.sqrt(2) * apart) and said.wasserstein.tolist() == [0, 0]
    assert said.optimality == 0 and said.matched == pytest.approx((P - 2) / P)


def test_places_of_another_class_are_no_partners(start):
    """Two points of different classes that change places have nobody to give their path to."""
    end = start.copy()
    end[[0, 1]] = start[[1, 0]]
    said = transport(np.stack([start, end]), LABELS)
    assert said.wasserstein.min() > 0
    one = transport(np.stack([start, end]), np.zeros(P, int))
    assert one.wasserstein[0] == 0


def test_w_is_of_clouds_and_d_of_pairs(start):
    end = start + np.random.default_rng(1).normal(size=start.shape)
    shuffled = end.copy()
    shuffled[LABELS == 1] = end[LABELS == 1][::-1]
    one, other = (transport(np.stack([start, e]), LABELS) for e in (end, shuffled))
    np.testing.assert_allclose(one.wasserstein, other.wasserstein, rtol=1e-12)
    assert one.distance[0] == other.distance[0] and abs(one.distance[1] - other.distance[1]) > 0.1
    assert (one.wasserstein <= one.distance).all() and (other.monge_gap > 0)


def test_straight_paths_at_any_speed_have_straightness_1_and_the_published_one_falls_with_the_points(start):
    step = np.array([1.0, 2.0, -0.5])
    path = np.stack([start + t * step for t in (0, 0.25, 0.75, 1)])
    said = transport(path, np.zeros(P, int))
    assert said.straightness == pytest.approx(1) and said.efficiency == pytest.approx(1 / np.sqrt(P))
    back = np.stack([start, start + 2 * step, start + step])
    assert transport(back, LABELS).straightness == pytest.approx(1 / 3)


def test_nothing_moves_in_no_time(start):
    said = transport(np.stack([start, start]), LABELS)
    assert (said.optimality, said.straightness, said.monge_gap) == (1, 1, 0)


def test_difficulty_is_the_mean_over_pairs_of_classes(start):
    labels = np.arange(P) % 3
    own = [start[labels == c] for c in range(3)]
    far = [
        gaussian_distance(own[i].mean(0), np.cov(own[i].T), own[j].mean(0), np.cov(own[j].T))
        for i, j in [(0, 1), (0, 2), (1, 2)]
    ]
    assert difficulty(start, labels) == pytest.approx(np.mean(far))
    assert np.isnan(difficulty(start, np.zeros(P, int)))


def test_standardised_has_sample_deviation_1_and_a_constant_is_0(start):
    z = np.column_stack([5 * start + 2, np.full(P, 7.0)])
    found = standardised(z)
    np.testing.assert_allclose(found[:, :D].std(0, ddof=1), 1)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-12)
    assert not found[:, D].any()


@pytest.mark.parametrize("value", [0.1, 1e8 / 3, 0.1e-8])
def test_a_constant_up_to_rounding_is_0_too(value):
    """Its deviation is not exactly 0: divided by that, rounding would move every point by one."""
    x = np.full((30, 2), value)
    assert np.std(x, 0, ddof=1).all() and not standardised(x).any() and not standardised(x[:1]).any()
    nearly = np.full((30, 2), value, np.float32)
    nearly[::2] = np.nextafter(nearly[::2], np.float32(np.inf))
    assert not standardised(nearly).any() and standardised(nearly).dtype == np.float64


@pytest.mark.parametrize(("which", "inside"), [(0, "encoder"), (1, "stream")])
def test_the_points_of_a_cell_are_those_of_its_training_nodes_up_to_the_best_epoch(trained, which, inside):
    cell = restore(trained[0], trained[1][which])
    report = tabular_ot(cell, 1)
    best, kept = cell.best_epoch(1) + 1, snapshots(cell.store, cell)
    assert report.facts["epochs"] == [e for e in kept if e < best] + [best]
    batch, held = cell.batch(1), []

    def states(model):
        def tap(name, x):
            if name.startswith(inside):
                held.append(np.asarray(x, np.float64))
            return x

        output = model(batch, tap=tap)
        return held[-1], np.asarray(output.tokens[-1], np.float64), np.asarray(output.present)

    rows = np.sort(cell.prepared.splits[1].train)
    before, _, present = states(kept[0][1])
    there = present[rows]
    labels = np.repeat(np.asarray(cell.data.target.labels)[rows][:, None], 3, 1)[there]
    ends = [states(kept[e][1])[1] for e in kept if 0 < e < best] + [states(cell.models[1])[1]]
    path = np.stack([standardised(before[rows][there]), *(end[rows][there] for end in ends)])
    said = transport(path, labels)
    table = report.tables["transport"].set_index("class")
    assert table.points.tolist() == [*said.points, len(labels)]
    # The states come from a float32 model, run here and there in programs of their own.
    np.testing.assert_allclose(table.wasserstein[:-1], said.wasserstein, rtol=1e-4)
    np.testing.assert_allclose(table.distance[:-1], said.distance, rtol=1e-4)
    assert table.straightness["all"] == pytest.approx(said.straightness, rel=1e-4)
    assert table.difficulty["all"] == pytest.approx(difficulty(path[0], labels), rel=1e-4)
    assert report.columns["optimality"] == {1: pytest.approx(said.optimality, rel=1e-4)}
    assert report.tables["path"].epoch.tolist() == report.facts["epochs"][1:]
    later = ", ".join(str(e) for e in kept if e >= best)
    assert f"are left out (after {later} epochs)" in report.note if later else "left out" not in report.note


def test_classes_stand_under_their_names(trained):
    cell = restore(trained[0], trained[1][0])
    named = dataclasses.replace(cell, data=dataclasses.replace(cell.data, class_names=("well", "ill", "dead")))
    assert tabular_ot(named, 0).tables["transport"]["class"].tolist() == ["well", "ill", "dead", "all"]


def test_a_modality_that_a_node_first_hears_of_on_the_way_has_no_start(trained):
    cell = restore(trained[0], trained[1][6])
    rows = cell.prepared.splits[0].train
    own, at_the_end = np.asarray(cell.batch(0).mask)[rows], np.asarray(cell.output(0).present)[rows]
    assert (at_the_end & ~own).any() and tabular_ot(cell, 0).tables["transport"].points.iloc[-1] == own.sum()


def test_labels_of_test_rows_say_nothing(trained):
    cell = restore(trained[0], trained[1][0])
    labels = np.array(cell.data.target.labels)
    labels[cell.prepared.splits[0].test] = 0
    target = dataclasses.replace(cell.data, target=type(cell.data.target)("classes", labels=labels, num_outputs=3))
    other = dataclasses.replace(cell, data=target)
    one, two = (tabular_ot(c, 0).tables["transport"] for c in (cell, other))
    np.testing.assert_array_equal(one.values[:, 1:].astype(float), two.values[:, 1:].astype(float))


def test_the_probe_caps_the_nodes(trained):
    cell = restore(trained[0], trained[1][0])
    assert tabular_ot(cell, 0, probe=10).facts["nodes"] == 10
    with pytest.raises(ValueError, match="tabular_ot: probe=1, expected at least 2"):
        tabular_ot(cell, 0, probe=1)


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (2, "fusion 'concat_mlp' of this cell returns no tokens"),
        (3, "has no snapshots: train it with training.snapshots"),
        (4, "looks at a fusion; scheme 'tabular_ot' of this cell trains none"),
        (5, "looks at classes of nodes; this cell predicts values of nodes"),
    ],
)
def test_what_it_cannot_look_at_is_refused_by_name(trained, which, message):
    with pytest.raises(ValueError, match=message):
        analyse(trained[0], "tabular_ot", cell=trained[1][which])
