"""Simulated studies: comparisons mark what is there, and hardly anything else."""

import numpy as np
import pytest
from scipy import stats

from experiments import bench_statistics as bench
from fusion_jax.results import compare


def marks(setting, studies, seed=0):
    """Of each study whether some row that does not differ is marked: corrected, and by t tests that ignore overlap."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(studies):
        compared = compare.against(bench.study(setting, rng, bench.SEEDS), "accuracy")
        found.append((any(c.separated for c in compared), (bench.uncorrected(compared) < compare.LEVEL).any()))
    return np.array(found)


@pytest.mark.parametrize("setting", [bench.Setting("views", 160, 40), bench.Setting("views", 60, 100)])
def test_rows_that_do_not_differ_are_seldom_marked(setting):
    found = marks(setting, 24)
    assert stats.binomtest(int(found[:, 0].sum()), 24, 0.05, "greater").pvalue > 0.01
    assert found[:, 1].sum() > 5, "where splits overlap, tests that do not know it mark rows in every third study"


def test_rows_on_one_split_are_seldom_marked():
    found = marks(bench.Setting("starts", 60, 100, fixed=True), 24)
    assert stats.binomtest(int(found[:, 0].sum()), 24, 0.05, "greater").pvalue > 0.01


def test_what_is_planted_is_found_and_takes_fewer_seeds():
    setting, rng = bench.Setting("views", 60, 100, apart=1.2), np.random.default_rng(0)
    rows = bench.study(setting, rng, bench.LIMIT)
    found, seeds = bench.until(rows)
    assert [c.a.label for c in found if c.better] == [f"row {k}" for k in bench.PLANTED]
    assert bench.SEEDS < seeds < bench.LIMIT and found[0].a.looks[0] == bench.SEEDS
    text = bench.line(setting, 2, sequentially=False)
    assert text.startswith("views    60 / 100  drawn") and " of +0." in text
