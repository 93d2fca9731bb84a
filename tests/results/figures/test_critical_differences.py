"""The critical-difference diagram: ranks, bars, names that do not overlap."""

import dataclasses

from fusion_jax.results.across import across
from fusion_jax.results.figures import critical_differences, elided
from tests.drawn import NEEDS, apart, inside, study

pytestmark = NEEDS


def test_ranks_stand_where_they_are_and_bars_join_what_is_not_told_apart():
    rows = [dataclasses.replace(r, data=f"d{k}") for k in range(5) for r in study(30, name="mechanism_with_a_name")]
    found = across(rows)
    figure = critical_differences.figure(found)
    (ax,) = figure.axes
    assert inside(figure) and apart(ax.texts)
    shown = {t.get_text().split("  ")[0] for t in ax.texts} | {t.get_text().split("  ")[-1] for t in ax.texts}
    assert elided(found.names[0], 34) in shown and "24 of 31 rows" in ax.texts[-1].get_text()
    few = across([dataclasses.replace(r, data=f"d{k}") for k in range(3) for r in study(3)])
    (ax,) = critical_differences.figure(few).axes
    bars = [line for line in ax.lines if line.get_linewidth() > 3]
    assert (
        len(bars) == len(few.groups) and f"critical difference {few.critical_difference:.2f}" in ax.texts[-1].get_text()
    )
    for bar, run in zip(bars, few.groups, strict=True):
        ends = bar.get_xdata()
        assert ends[0] <= few.mean_ranks[run[0]] and few.mean_ranks[run[-1]] <= ends[1]
