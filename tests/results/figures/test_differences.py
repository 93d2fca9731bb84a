"""The difference plot: dots, intervals, an axis that is zoomed; any number of rows, any names."""

import dataclasses

import numpy as np
import pytest

from fusion_jax.results.figures import differences
from fusion_jax.results.rendering import table as shared
from tests.drawn import LONG, NEEDS, apart, inside, study

pytestmark = NEEDS


def test_differences_are_dots_with_their_intervals_the_best_on_top():
    table = shared.of(study())
    figure = differences.figure([table])
    (ax,) = figure.axes
    found = sorted(table.compared["accuracy"].values(), key=lambda c: c.difference)
    assert [t.get_text() for t in ax.get_yticklabels()] == [shared.name(c.a) for c in found]
    dots = {y: x for line in ax.lines[1:] for x, y in zip(*line.get_data(), strict=True)}
    np.testing.assert_allclose([dots[y] for y in range(len(found))], [100 * c.difference for c in found])
    ends = {seg[0, 1]: (seg[0, 0], seg[1, 0]) for lines in ax.collections for seg in lines.get_segments()}
    np.testing.assert_allclose([ends[y] for y in range(len(found))], [(100 * c.low, 100 * c.high) for c in found])
    low, high = ax.get_xlim()
    assert high - low < 1.3 * (max(e[1] for e in ends.values()) - min(0, *(e[0] for e in ends.values()))), "zoomed"
    shapes = {line.get_label(): line.get_marker() for line in ax.lines[1:]}
    assert len(set(shapes.values())) == len(shapes) == 3, "grey readers see who wins, loses and neither"


@pytest.mark.parametrize("count, name", [(1, LONG), (30, "m"), (90, LONG)])
def test_differences_of_one_row_of_many_and_of_long_names(count, name):
    figure = differences.figure([shared.of(study(count, name=name)), shared.of(study(2, "b"))])
    assert inside(figure) and all(apart(ax.get_yticklabels()) for ax in figure.axes)
    assert len(figure.axes[0].get_yticklabels()) == min(count, differences.SHOWN)


def test_the_title_says_which_baseline_is_whose():
    rows = [dataclasses.replace(r, placement=place) for place in ("before", "after") for r in study(2)]
    titles = [differences.figure([shared.of(own)]).axes[0].get_title(loc="left") for own in (rows[:3], rows)]
    assert titles[0] == "toy: baseline concat_mlp (before)"
    assert titles[1] == "toy: baseline concat_mlp (placed as the row is, if it is there)"
