"""Heads that are planted are read as such; the estimators' identities; who is refused."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.analysis import analyse
from fusion_jax.analysis.icl_linear_regression import (
    CHECKED_WITH,
    HEADS,
    MODEL,
    NEAREST,
    Patterns,
    chance,
    estimators,
    icl_linear_regression,
    indicators,
    patterns,
)
from fusion_jax.results.restore import restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run

OTHER = {"model.fusion.name": "node_token", "model.fusion.options": dict(blocks=2, heads=2)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    def cell(keys):
        return tiny_cell(seeds=1, **{key.replace(".", "__"): value for key, value in keys.items()})

    with as_users_run():
        yield train_cells(tmp_path_factory.mktemp("icl"), [cell(CHECKED_WITH), cell(OTHER), tiny_cell(seeds=1)])


def sample(seed=0, shape=(4,), size=9, d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*shape, size, d)), rng.normal(size=(*shape, size)), rng.normal(size=(*shape, d))


def test_a_constant_in_all_labels_moves_the_plain_step_alone():
    x, y, query = sample()
    debiased, plain = estimators.debiased_step(x, y, query), estimators.gradient_step(x, y, query)
    np.testing.assert_allclose(estimators.debiased_step(x, y + 3, query), debiased, atol=1e-12)
    assert np.abs(estimators.gradient_step(x, y + 3, query) - plain).min() > 1e-3


def test_the_order_of_examples_does_not_matter():
    x, y, query = sample()
    order = np.random.default_rng(1).permutation(9)
    for function in (
        estimators.debiased_step,
        lambda *given: estimators.multi_head(*given, [0.4, -0.3], [1.0, 2.0]),
        lambda *given: estimators.ridge(*given, 0.1),
    ):
        np.testing.assert_allclose(function(x[:, order], y[:, order], query), function(x, y, query), atol=1e-12)


def test_descent_goes_down_and_mu_star_is_where_the_loss_is_least():
    about = dict(d=5, context=40, noise=0.1)
    omega = np.array([0.3, -0.2])
    best = estimators.best_mu(omega, **about)
    least = estimators.approximate_loss(omega, best, **about)
    for step in np.eye(2) * 1e-3:
        assert estimators.approximate_loss(omega, best + step, **about) > least
        assert estimators.approximate_loss(omega, best - step, **about) > least
    flow = estimators.gradient_flow(omega, [0.3, -0.2], rate=1e-6, steps=1, **about)
    for i, (part, other) in enumerate((("mu", "omega"), ("omega", "mu"))):
        for h in range(2):
            ends = []
            for sign in (1, -1):
                at = dict(mu=np.array([0.3, -0.2]), omega=omega.copy())
                at[part][h] += sign * 1e-6
                ends.append(estimators.approximate_loss(at["omega"], at["mu"], **about) / 2)
            slope = (ends[0] - ends[1]) / 2e-6
            moved = getattr(flow, part)
            assert (moved[0, h] - moved[1, h]) / 1e-6 == pytest.approx(slope, rel=1e-4), (i, other)
    with pytest.raises(ValueError, match="best_mu: heads of equal omega"):
        estimators.best_mu([0.2, 0.2], **about)


def test_indicators_of_planted_maps():
    kq, ov = np.zeros((2, 4, 4)), np.zeros((2, 4, 1))
    kq[0, :3, :3], kq[1, :3, :3] = 0.8 * np.eye(3), np.diag([-0.4, -0.8, -0.6])
    kq[1, 0, 3] = 0.5
    ov[0, 3], ov[1, 3], ov[1, 0] = 2.0, -1.0, 0.5
    table = indicators(Patterns("fusion", 0, kq, ov, 0.5, 1))
    np.testing.assert_allclose(table.omega, [0.4, -0.3])
    np.testing.assert_allclose(table.diagonality, [1, 1.16 / 1.41])
    np.testing.assert_allclose(table.homogeneity, [1, 1 - np.std([0.4, 0.8, 0.6]) / 0.6])
    np.testing.assert_allclose(table.mu, [2, -1])
    np.testing.assert_allclose(table.off_label, [0, 0.25 / 1.25])
    np.testing.assert_allclose(table.zero_sum, 1 / 3)
    unlabelled = indicators(Patterns("fusion", 0, kq, ov, 0.5, 0))
    assert unlabelled.off_label.isna().all() and unlabelled.diagonality[0] == 1
    assert unlabelled.homogeneity[0] < 1  # the last column is on the diagonal now


def test_a_diagonal_is_beyond_shuffled_columns_and_a_map_without_one_is_not():
    rng = np.random.default_rng(3)
    kq = np.stack([np.eye(6), rng.normal(size=(6, 6)) * (1 - np.eye(6)), np.ones((6, 6))])
    found = Patterns("fusion", 0, kq, np.ones((3, 6, 1)), 0.5, 0)
    shares, reached = indicators(found).diagonality, chance(found)
    assert shares[0] == 1 > reached[0] > 1 / 6 and shares[1] == 0 < reached[1]
    assert shares[2] == pytest.approx(reached[2]) == pytest.approx(1 / 6)
    assert np.isnan(chance(found._replace(kq=kq[:, :, :5]))).all()


def test_planted_heads_are_what_the_model_predicts(trained):
    """With K Q = omega I and O V = mu on the label the row of the heads is the model itself."""
    cell = restore(trained[0], trained[1][0])
    (block,) = cell.models[0].fusions[0].blocks
    eye, label = np.diag([1.0] * 3 + [0.0]), np.diag([0.0] * 3 + [1.0])
    block.query.kernel.set_value(jnp.asarray(np.concatenate([0.2 * eye, -0.3 * eye], 1), jnp.float32))
    block.key.kernel.set_value(jnp.asarray(np.concatenate([eye, eye], 1), jnp.float32))
    block.value.kernel.set_value(jnp.asarray(np.concatenate([label, label], 1), jnp.float32))
    block.out.kernel.set_value(jnp.asarray(np.concatenate([2 * label[:, 3:], -2 * label[:, 3:]]), jnp.float32))
    found = icl_linear_regression(cell, 0)
    heads, by = found.tables["patterns"], found.tables["estimators"].set_index("estimator")
    np.testing.assert_allclose(heads.omega, [0.1, -0.15], rtol=1e-6)
    np.testing.assert_allclose(heads.mu, [2, -2], rtol=1e-6)
    assert by.distance[HEADS] < 1e-5 and by.distance[MODEL] == 0 and by.distance[NEAREST] > 1e-3
    rows = cell.prepared.splits[0].test
    error = ((cell.prediction(0)[rows, 0] - cell.data.target.values[rows, 0]) ** 2).mean()
    assert by.mse[MODEL] == pytest.approx(error, rel=1e-6)


def test_targets_of_test_rows_have_no_part_in_the_steps(trained):
    cell = restore(trained[0], trained[1][0])
    values = np.array(cell.data.target.values)
    values[cell.prepared.splits[0].test] *= -10
    data = dataclasses.replace(cell.data, target=dataclasses.replace(cell.data.target, values=values))
    one, two = (icl_linear_regression(c, 0).tables["estimators"] for c in (cell, dataclasses.replace(cell, data=data)))
    np.testing.assert_array_equal(one.distance, two.distance)
    assert (one.mse != two.mse).all()


def test_the_best_single_head_is_that_of_the_width_and_the_context(trained):
    cell = restore(trained[0], trained[1][0])
    batch, found = cell.batch(0), icl_linear_regression(cell, 0, noise=0.3).tables["estimators"].set_index("estimator")
    x, y = (np.asarray(cell.data.features[name], np.float64) for name in batch.names)
    senders, ptr, tests = np.asarray(batch.graph.senders), np.asarray(batch.graph.row_ptr), cell.prepared.splits[0].test
    omega, mu = estimators.single_head(3, 6, 0.3)
    near = [senders[ptr[i] : ptr[i + 1]] for i in tests]
    told = [estimators.multi_head(x[n], y[n, 0], x[i], [omega], [mu]) for i, n in zip(tests, near, strict=True)]
    error = ((np.array(told) - np.asarray(cell.data.target.values)[tests, 0]) ** 2).mean()
    assert found.mse["best single head"] == pytest.approx(error)


def test_heads_of_any_attention_are_read(trained):
    cell = restore(trained[0], trained[1][1])
    found = list(patterns(cell.models[0]))
    assert [one.kq.shape for one in found] == [(2, 8, 8)] * 2 and found[0].scale == 0.5
    report = icl_linear_regression(cell, 0)
    assert list(report.tables) == ["patterns"]
    table = report.tables["patterns"]
    assert table.layer.tolist() == [0, 0, 1, 1] and table["head"].tolist() == [0, 1, 0, 1]
    beyond = (table.diagonality > table.chance).sum()
    assert report.sentence.startswith(f"The model has 4 heads; in {beyond} of them a column of the query looks for")
    pytest.importorskip("matplotlib", reason="figures are an extra")
    titles = [axes.get_title() for axes in report.figures["key_query"]().axes]
    assert titles[:4] == [f"layer {l}, head {h}" for l in (0, 1) for h in (0, 1)]
    assert "no off_label" in report.note


def test_a_cell_without_attention_and_a_noise_that_is_no_variance_are_refused(trained):
    with pytest.raises(ValueError, match="icl_linear_regression: fusion 'concat_mlp' of this cell has no attention"):
        analyse(trained[0], "icl_linear_regression", cell=trained[1][2])
    for noise in (-1.0, "nan", True, (0.1, 0.2)):
        with pytest.raises(ValueError, match=r"icl_linear_regression: noise=.*; expected a variance, at least 0"):
            analyse(trained[0], "icl_linear_regression", dict(noise=noise), cell=trained[1][0])
