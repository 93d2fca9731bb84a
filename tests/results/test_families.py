"""Which rows are compared with which."""

import numpy as np
import pytest

from fusion_jax.results import families
from tests.results.compared import row

V = [0.5, 0.6]


def test_rows_are_of_one_kind_by_data_task_protocol_and_setting():
    rows = [row("a", V), row("b", V, setting="inductive"), row("c", V, protocol="paper"), row("d", V, data="e")]
    groups = families.of_one_kind([*rows, row("f", V), row("g", V, task="values")])
    assert [[r.label for r in g] for g in groups] == [["a", "f"], ["b"], ["c"], ["d"], ["g"]]
    lacking = families.of_one_kind([row("x", None), *rows, row("g", V, task="values"), row("y", None, data="z")])
    assert [[r.label for r in g] for g in lacking] == [["a", "x"], ["b"], ["c"], ["d"], ["g", "x"]], "of either task"


def test_a_row_without_a_number_cannot_be_compared():
    assert families.usable(row("a", [0.5, np.nan]), "accuracy")
    assert not families.usable(row("a", [np.nan]), "accuracy") and not families.usable(row("a", V), "auc")
    assert not families.usable(row("a", None, published=dict(accuracy=(0.5, 0.1))), "accuracy")


def test_a_row_is_named_with_or_without_its_placement_and_what_it_lacks():
    made = row("gmu (3 of 5 seeds; 1 diverged)", V, placement="after", variant="gmu")
    assert all(families.is_named(made, n) for n in ("gmu", "gmu, after", "gmu (3 of 5 seeds; 1 diverged)"))
    assert not any(families.is_named(made, n) for n in ("gmu, before", "gm", ""))
    with pytest.raises(ValueError, match="baseline: no row is named 'gmo' \\(did you mean 'gmu'"):
        families.check_known("gmo", [made], "baseline")


def test_the_baseline_is_placed_as_the_row_is():
    before, after, other = row("m", V), row("m", V, placement="after"), row("x", V, placement="after")
    late, none = row("l", V, placement="decision"), row("m", V, placement="before (no graph)")
    named = families.baselines([after, other, before, late, none], "m", "accuracy")
    assert named[0] is before and len(named) == 3
    assert families.baseline_of(other, named) is after and families.baseline_of(late, named) is before
    assert families.baseline_of(after, named) is before is families.baseline_of(before, named)
    assert families.baselines([after, before], "m, after", "accuracy") == [after]
    assert families.baselines([after, before], ("m", "after"), "accuracy") == [after]
    assert families.baselines([before, after], after, "accuracy") == [after]


def test_where_no_row_has_the_baselines_name_it_is_the_default_and_then_the_first_row():
    first, default, unusable = row("x", V), row(families.BASELINE, V), row("w", [np.nan])
    assert families.baselines([unusable, first, default], "m", "accuracy") == [default]
    assert families.baselines([unusable, first, default], row("m", V), "accuracy") == [default]
    assert families.baselines([unusable, first], "m", "accuracy") == [first]
    for lacking in (row("m", None, error="E"), row("m", [np.nan, np.nan]), row("m", V, "rmse")):
        assert families.baselines([first, default, lacking], "m", "accuracy") == [], "it is there, without a value"
