"""Closed forms, crossings read off planted curves, the rows of a study, who is refused."""

import dataclasses
import itertools

import numpy as np
import pytest
from flax import nnx

from fusion_jax.analysis.depth_efficiency import (
    ABOVE,
    APART,
    BELOW,
    crossings,
    depth_efficiency,
    effective_rank,
    rule,
)
from fusion_jax.fusion.node_token import NodeToken
from fusion_jax.results import tables
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from tests.helpers import parameters


def test_published_depths_and_widths():
    assert rule.theory_depth(729) == pytest.approx(6)
    np.testing.assert_allclose(rule.best_depth([1.75e11, 1e12]), [80.5, 94.7], atol=0.05)
    assert rule.transition_width(rule.best_depth(1e12)) == pytest.approx(29657, abs=1)
    np.testing.assert_allclose(rule.transition_depth(rule.transition_width([3.0, 40.0])), [3, 40])


def test_pairs_of_equal_size_are_equal_to_a_few_percent():
    for budget, depths in ((320_000, (1, 2, 3, 4, 6, 8)), (1_300_000, (1, 2, 3, 4, 6, 8))):
        sizes = [rule.block_parameters(d, rule.width_within(budget, d)) for d in depths]
        assert max(sizes) <= budget and min(sizes) > 0.97 * budget
    assert rule.width_within(20_000, 2, heads=4) == 28
    with pytest.raises(ValueError, match="100 parameters are too few for 8 layers of 4 heads"):
        rule.width_within(100, 8, heads=4)


def test_the_counter_is_that_of_a_stack_of_blocks():
    made = nnx.eval_shape(lambda: NodeToken(3, 128, blocks=2, heads=4, rngs=nnx.Rngs(0)))
    more = nnx.eval_shape(lambda: NodeToken(3, 128, blocks=5, heads=4, rngs=nnx.Rngs(0)))
    count = [sum(np.prod(v.shape) for v in parameters(m).values()) for m in (made, more)]
    assert count[1] - count[0] == pytest.approx(rule.block_parameters(3, 128), rel=0.02)


def planted(depths, a, b, seeds=3, spread=0.0):
    """{depth: (log N, scores)}, straight lines whose neighbours cross at the transition of the shallower."""
    log_n, offset, curves = np.linspace(5, 30, 26), 0.0, {}
    for i, depth in enumerate(depths):
        noise = spread * np.random.default_rng(i).normal(size=seeds)
        curves[depth] = log_n, (depth * log_n - offset)[:, None] + noise
        if i + 1 < len(depths):
            offset += (depths[i + 1] - depth) * np.log(rule.transition_parameters(depth, a, b))
    return curves


def test_a_and_b_come_back_from_crossings_that_the_formula_makes():
    curves = planted((2, 4, 6, 9), 5.1, 0.07)
    found = crossings.all_crossings({d: (n, s.mean(1)) for d, (n, s) in curves.items()})
    np.testing.assert_allclose(found.fit, [5.1, 0.07], rtol=1e-9)
    for a, b in itertools.pairwise((2, 4, 6, 9)):
        assert found.pairs[a, b].log_n == pytest.approx(np.log(rule.transition_parameters(a, 5.1, 0.07)))
    again = crossings.resampled(curves, 4)
    np.testing.assert_allclose([one.fit for one in again], [[5.1, 0.07]] * 4, rtol=1e-9)


def test_crossings_are_read_within_common_sizes_alone_and_the_last_counts():
    n = np.arange(6.0)
    flat = n, np.zeros(6)
    wave = crossings.crossing(flat, (n, np.array([-1.0, 1.0, -1.0, -1.0, 3.0, 3.0])))
    assert wave.log_n == pytest.approx(3.25) and wave.changes == 3
    assert crossings.crossing(flat, (n, np.ones(6))) == (-np.inf, 0)
    assert crossings.crossing(flat, (n, np.zeros(6))) == (np.inf, 0)
    late = n + 3.0, np.array([-1.0, -1.0, -0.5, 4.0, 5.0, 6.0])  # rises above behind the largest common size
    assert crossings.crossing(flat, late).log_n == np.inf
    assert crossings.crossing(flat, (n + 5, np.ones(6))) is None


def test_intervals_hold_what_lies_outside():
    assert crossings.interval([1.0, 2.0, np.nan]) == (1.0, 2.0)
    assert crossings.interval([-np.inf, 1.0, 2.0, 3.0])[0] == -np.inf
    assert np.isnan(crossings.interval([])).all() and len(crossings.resampled(planted((2, 3), 5, 0.1, seeds=1), 5)) == 0


def test_effective_rank():
    assert effective_rank(np.eye(5)) == pytest.approx(5)
    assert effective_rank(np.outer(np.arange(1.0, 4), np.arange(1.0, 6))) == pytest.approx(1)
    assert effective_rank(np.zeros((3, 2))) == 0


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """A study of cells {(depth, width): accuracy by seed}."""

    def ask(scores, fusion="node_token", primary="accuracy", rates=None, trials=None, **options):
        rows, cells, widths = [], [], {}
        for i, ((depth, width), values) in enumerate(scores.items()):
            row = Row(f"{depth} {width}", "before", "d", "honest", "t", {primary: np.array(values)}, 1000, 1.0)
            tried = (trials or {}).get((depth, width), 0)
            row = dataclasses.replace(row, cell=f"c{i}", fusion=fusion, primary=primary, seeds=(0, 1), trials=tried)
            rows.append(row)
            about = dict(model=dict(fusion=dict(name=fusion, options=dict(blocks=depth, heads=2)), dim=width))
            about |= dict(label=row.label, optimizer=dict(learning_rate=1 / width))
            about["model"]["rate"] = (rates or {}).get((depth, width), 0)
            cells.append(dict(id=f"c{i}", config=about))
            widths[f"c{i}"] = width
        monkeypatch.setattr(tables, "rows", lambda store: rows)
        monkeypatch.setattr(Store, "read_study", lambda self: dict(cells=cells))
        monkeypatch.setattr(Store, "costs", lambda self, identity: [dict(dim=widths[identity])])
        return depth_efficiency(Store(tmp_path, create=True), **options)

    return ask


STUDY = {
    (1, 20): [0.5, 0.5],
    (1, 40): [0.6, 0.6],
    (1, 80): [0.7, 0.7],
    (2, 14): [0.4, 0.4],
    (2, 28): [0.6, 0.6],
    (2, 56): [0.9, 0.9],
    (4, 10): [0.6, 0.6],
    (4, 40): [0.95, 0.95],
    (8, 200): [0.9, 0.9],
    (8, 400): [0.9, 0.9],
}


def test_a_study_is_read_by_depth_and_width(asked):
    found = asked(STUDY, resamples=10)
    points = found.tables["points"]
    assert points.depth.tolist() == [k[0] for k in STUDY] and points.width.tolist() == [k[1] for k in STUDY]
    np.testing.assert_allclose(points.block_parameters, [12 * d * w * w for d, w in STUDY])
    pairs = found.tables["crossings"].set_index(["shallow", "deep"])
    assert pairs["where"].to_dict() == {
        (1, 2): "inside",
        (1, 4): BELOW,
        (1, 8): APART,
        (2, 4): BELOW,
        (2, 8): APART,
        (4, 8): APART,
    }
    one = pairs.loc[1, 2]
    assert 12 * 20**2 < one.block_parameters < 12 * 80**2 and one.low == one.high == pytest.approx(one.block_parameters)
    assert one.width_shallow == pytest.approx(np.sqrt(one.block_parameters / 12)) and one.inside == 1
    assert "in 2, at the largest sizes only in 1 and not even at the largest in 0" in found.sentence
    assert found.tables["fit"].a.isna().tolist() == [True, False]
    assert found.tables["fit"][["a_low", "a_high", "b_low", "b_high"]].isna().all(axis=None)
    expected = {width: depth if (depth := (np.log(width) - rule.A) / rule.B) >= 1 else np.nan for _, width in STUDY}
    np.testing.assert_allclose(points.fit_depth, points.width.map(expected))
    assert points.fit_depth.isna().any() and points.fit_depth.notna().any()


def test_without_a_fit_there_is_no_interval_of_one(asked, monkeypatch):
    """A few resamples may have one."""
    drawn = crossings.resampled

    def resampled(*args):
        first, *others = drawn(*args)
        return [first._replace(fit=(4.5, 0.9)), *others]

    monkeypatch.setattr(crossings, "resampled", resampled)
    own, paper = asked(STUDY, resamples=3).tables["fit"].to_dict("records")
    assert all(np.isnan(own[key]) for key in ("a", "a_low", "a_high", "b", "b_low", "b_high")) and paper["a"] == rule.A


def test_cells_that_differ_in_more_than_depth_and_width_are_not_compared(asked):
    """Of two groups each has one depth with two sizes, or none."""
    few = {key: STUDY[key] for key in [(1, 20), (1, 40), (2, 14), (2, 28)]}
    assert len(asked(few, resamples=1).tables["crossings"]) == 1
    with pytest.raises(ValueError, match="two depths or more of one fusion"):
        asked(few, rates={(2, 14): 0.5, (2, 28): 0.5})


def test_cells_that_are_tuned_or_have_no_number_of_every_seed_are_left_out(asked):
    left = [k for k in STUDY if k != (4, 10)]
    for given in (dict(trials={(4, 10): 3}), dict(scores=STUDY | {(4, 10): [0.6, np.nan]})):
        points = asked(**dict(dict(scores=STUDY, resamples=1), **given)).tables["points"]
        assert list(zip(points.depth, points.width, strict=True)) == left


def test_the_fit_is_to_crossings_of_neighbouring_depths_alone(asked):
    """All three pairs cross within their sizes."""
    scores = {1: (0.5, 0.5, 0.5), 2: (0.4, 0.5, 0.9), 3: (0.3, 0.45, 0.95)}
    widths = {1: (20, 40, 80), 2: (14, 28, 56), 3: (11, 23, 46)}
    study = {(d, w): [v, v] for d in widths for w, v in zip(widths[d], scores[d], strict=True)}
    found = asked(study, resamples=2)
    pairs, fit = found.tables["crossings"], found.tables["fit"].iloc[0]
    assert pairs["where"].tolist() == ["inside"] * 3 and fit.crossings == 2
    near = np.log(pairs.width_shallow[pairs.deep - pairs.shallow == 1].to_numpy())
    assert (fit.a + fit.b, fit.a + 2 * fit.b) == pytest.approx(tuple(near))


def test_of_errors_less_is_better(asked):
    found = asked({key: [1 - v for v in values] for key, values in STUDY.items()}, primary="rmse", resamples=2)
    assert found.tables["crossings"]["where"].tolist()[:2] == ["inside", BELOW]
    found = asked(STUDY, primary="rmse", resamples=2)
    assert found.tables["crossings"]["where"].tolist()[1] == ABOVE


@pytest.mark.parametrize(
    "scores,options,match",
    [
        (STUDY, dict(resamples=0), "resamples=0; expected a whole number, at least 1"),
        (STUDY, dict(metric="acuracy"), r"no row has the metric 'acuracy' \(did you mean 'accuracy'\?\)"),
        (STUDY, dict(option="deepness"), "no finished cell's fusion has an option 'deepness'; found fusions: 'node"),
        (STUDY, dict(fusion="mean"), "has one of the options layers, blocks, depth; found fusions: 'mean'"),
        (
            {(1, 20): [0.5, 0.5], (2, 20): [0.5, 0.5]},
            {},
            "each at two widths or more; found: depth 1 at width 20, depth",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused(asked, scores, options, match):
    with pytest.raises(ValueError, match=match):
        asked(scores, **options)
