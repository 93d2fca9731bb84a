"""Cost against score: which rows are beaten, by which, within which group."""

import dataclasses

import numpy as np
import pytest

from fusion_jax.analysis.cost_against_score import cost_against_score
from fusion_jax.results import tables
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store


def row(label, score, seconds, parameters=10, **changes):
    about = dict(placement="before", data="d", protocol="honest", setting="transductive")
    values = {"accuracy": np.array(score), "macro_f1": np.array([0.5, 0.5])} if score else {}
    return Row(label, **{**about, **changes}, values=values, parameters=parameters, seconds=seconds)


ROWS = [
    row("cheap", [0.6, 0.6], 1.0, 30),
    row("good", [0.9, 0.8], 4.0, 20),
    row("slow", [0.8, 0.8], 5.0, 40),
    row("bad", [0.5, 0.5], 4.5, 10, placement="-"),
    row("twin", [0.85, 0.85], 4.0, 20),
    row("elsewhere", [0.1, 0.1], 9.0, protocol="paper"),
    row("failed", [], None),
    row("control", [0.99, 0.99], None, None),
]


@pytest.fixture
def asked(monkeypatch, tmp_path):
    def ask(rows=ROWS, **options):
        monkeypatch.setattr(tables, "rows", lambda store: list(rows))
        return cost_against_score(Store(tmp_path), **options)

    return ask


def beaten(report):
    table = report.tables["rows"]
    return dict(zip(table.row, table.beaten_by, strict=True))


def test_a_row_is_beaten_by_one_that_costs_no_more_and_scores_no_less(asked):
    """Rows of equal cost and score do not beat one another; rows of another protocol are not compared."""
    found = asked()
    assert beaten(found) == {
        "cheap": None,
        "good": None,
        "slow": "good (before)",
        "bad": "good (before)",
        "twin": None,
        "elsewhere": None,
    }
    expected = "cheap (before), good (before), twin (before), elsewhere (before)."
    assert found.sentence == f"Of 6 rows 4 are beaten by no other in both seconds and score: {expected}"
    table = found.tables["rows"].set_index("row")
    np.testing.assert_allclose(table.loc["good", ["score", "std"]].astype(float), [0.85, np.std([0.9, 0.8], ddof=1)])
    assert "Rows without one of the two: 2." in found.note and "Seconds are of one seed" in found.note


def test_cost_in_parameters_and_another_metric(asked):
    found = asked(cost="parameters")
    assert beaten(found)["cheap"] == "good (before)" and beaten(found)["bad"] is None and "Seconds" not in found.note
    equal = asked(metric="macro_f1")
    assert beaten(equal)["good"] == "cheap (before)"


def test_of_errors_less_is_better(asked):
    rows = [
        Row("a", "before", "d", "honest", "t", {"rmse": np.array([v])}, 1, s, task="values", primary="rmse")
        for v, s in ((1.0, 2.0), (3.0, 2.0))
    ]
    found = asked([rows[0], dataclasses.replace(rows[1], label="b")])
    assert beaten(found) == {"a": None, "b": "a (before)"}
    assert np.isnan(found.tables["rows"]["std"]).all()


def test_the_figure_has_a_panel_a_group_with_a_dot_a_row(asked):
    pytest.importorskip("matplotlib", reason="figures are an extra")
    figure = asked().figures["front"]()
    assert [len(ax.texts) for ax in figure.axes] == [5, 1]
    assert [len(ax.lines[0].get_xdata()) for ax in figure.axes] == [3, 1]


def test_the_figure_names_its_dots_beside_the_axes_and_writes_few_numbers_below(asked):
    """In a column of names nothing collides; nor do the numbers of a logarithmic axis."""
    pytest.importorskip("matplotlib", reason="figures are an extra")
    rows = [dataclasses.replace(ROWS[0], label=f"r{i}", seconds=0.013 * 1.4**i) for i in range(20)]
    figure = asked(rows=rows).figures["front"]()
    (ax,) = figure.axes
    figure.draw_without_rendering()
    names = ax.get_legend().get_texts()
    assert [text.get_text() for text in names] == [f"{i + 1}  r{i} ({ROWS[0].placement})" for i in range(20)]
    assert [text.get_text() for text in ax.texts] == [str(i + 1) for i in range(20)]
    labels = [t for t in (*ax.get_xticklabels(), *ax.get_xticklabels(minor=True)) if t.get_text()]
    boxes = sorted((t.get_window_extent() for t in labels), key=lambda box: box.x0)
    inside = [box for box in boxes if ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1]
    assert len(inside) > 2 and all(a.x1 < b.x0 for a, b in zip(inside, inside[1:], strict=False))
    shown = figure.bbox
    assert all(shown.x0 <= b.x0 and b.x1 <= shown.x1 for b in (t.get_window_extent() for t in names))


@pytest.mark.parametrize(
    "options,match",
    [
        (dict(cost="second"), r"cost='second' \(did you mean 'seconds'\?\)"),
        (dict(metric="acuracy"), r"no row has the metric 'acuracy' \(did you mean 'accuracy'\?\)"),
        (dict(rows=ROWS[-2:]), "no finished row has both seconds and a score"),
    ],
)
def test_bad_questions_are_refused(asked, options, match):
    with pytest.raises(ValueError, match=match):
        asked(**options)
