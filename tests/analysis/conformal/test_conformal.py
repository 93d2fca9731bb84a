"""The analysis on a trained cell: every number from its predictions in NumPy, refusals, what the note says."""

import dataclasses

import numpy as np
import pytest

from fusion_jax.analysis.conformal import TEST, VALIDATION, conformal
from fusion_jax.results.restore import restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    with as_users_run():
        store, identities = train_cells(tmp_path_factory.mktemp("conformal"), [tiny_cell()])
        yield restore(store, identities[0])


def probabilities(cell, i):
    e = np.exp(cell.prediction(i).astype(np.float64))
    return e / e.sum(1, keepdims=True)


def test_sets_of_validation_rows_from_predictions(cell):
    report = conformal(cell, 0, alpha=0.3, score="probability")
    seeds, y = report.tables["seeds"], cell.data.target.labels
    for i, seed in enumerate(cell.seeds):
        split, s = cell.prepared.splits[i], 1 - probabilities(cell, i)
        true = sorted(s[r, y[r]] for r in split.val)
        k = int(np.ceil(0.7 * (len(true) + 1)))
        inside = [[c for c in range(3) if s[r, c] <= true[k - 1]] for r in split.test]
        row = seeds[(seeds.seed == seed) & (seeds.calibration == VALIDATION)].iloc[0]
        assert row.coverage == np.mean([y[r] in own for r, own in zip(split.test, inside, strict=True)])
        assert row["size"] == pytest.approx(np.mean([len(own) for own in inside]))
        assert row.single + row.larger + row.empty == pytest.approx(1)
        assert row["calibration rows"] == len(split.val) and row.rows == len(split.test)
        halves = seeds[(seeds.seed == seed) & (seeds.calibration == TEST)].iloc[0]
        assert halves["calibration rows"] + halves.rows == len(split.test)
    table = report.tables["coverage"].set_index("calibration")
    assert table.coverage[VALIDATION] == pytest.approx(seeds[seeds.calibration == VALIDATION].coverage.mean())
    classes = report.tables["classes"]
    own = classes[classes.calibration == VALIDATION]
    assert (own.coverage * own.rows).sum() / own.rows.sum() == pytest.approx(table.coverage[VALIDATION])


def test_diffusion_is_of_the_cells_own_graph(cell):
    plain, spread = (conformal(cell, 0, alpha=0.3, score="probability", diffusion=d) for d in (0.0, 0.5))
    s, g = 1 - probabilities(cell, 0), cell.data.graphs["planted"]
    mixed = s.copy()
    for v in range(len(s)):
        if (near := g.senders[g.receivers == v]).size:
            mixed[v] = 0.5 * s[v] + 0.5 * s[near].mean(0)
    split, y = cell.prepared.splits[0], cell.data.target.labels
    true = np.sort(mixed[split.val, y[split.val]])
    limit = true[int(np.ceil(0.7 * (len(true) + 1))) - 1]
    seeds = spread.tables["seeds"]
    row = seeds[(seeds.seed == cell.seeds[0]) & (seeds.calibration == VALIDATION)].iloc[0]
    assert row["size"] == pytest.approx((mixed[split.test] <= limit + 1e-12).sum(1).mean(), abs=1.1 / len(split.test))
    assert not spread.tables["seeds"].equals(plain.tables["seeds"])


def test_the_note_says_where_validation_rows_are_not_drawn_as_test_rows(cell):
    report = conformal(cell, 0)
    assert report.facts["exchangeable"] and "does not say that" not in report.note
    splits = dataclasses.replace(cell.data.splits, exchangeable=False, rule="2 people train")
    other = dataclasses.replace(cell, data=dataclasses.replace(cell.data, splits=splits))
    told = conformal(other, 0)
    assert not told.facts["exchangeable"] and "splits (2 people train) does not say" in told.note


def test_under_protocol_paper_validation_rows_do_not_calibrate(cell):
    paper = dataclasses.replace(cell, plan=dataclasses.replace(cell.plan, protocol="paper"))
    report = conformal(paper, 0)
    assert set(report.tables["seeds"].calibration) == {TEST} and "not even the halves" in report.note


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(alpha=1.0), "alpha=1.0, expected a share in"),
        (dict(score="aps"), "score='aps', expected 'adaptive' or 'probability'"),
        (dict(diffusion=1.5), "diffusion=1.5, expected a share in"),
    ],
)
def test_options_out_of_range_are_refused(cell, options, message):
    with pytest.raises(ValueError, match=message):
        conformal(cell, 0, **options)
