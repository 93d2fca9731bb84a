"""Reports as text, as JSON and as files."""

import json

import numpy as np
import pandas as pd
import pytest
from etils import epath

from fusion_jax.results.answers import SHOWN, Report, as_json, markdown, write
from fusion_jax.results.figures import new_figure

TABLE = pd.DataFrame(
    dict(name=["a|b", "c"], score=[0.12345, np.nan], p=[2e-5, 0.5], rows=[3.0, 4.0], count=[7, 8], by=[None, "a"])
)


def report(**changes):
    given = dict(tables={"rows": TABLE}, sentence="It is so.", note="And why.", facts=dict(best=np.float64(np.nan)))
    return Report(**{**given, **changes})


def test_the_text_is_the_sentence_the_tables_and_the_note():
    text = markdown(report())
    assert text.splitlines()[0] == "It is so." and text.splitlines()[-1] == "And why."
    assert text.splitlines()[2:][:4] == [
        "| name | score | p | rows | count | by |",
        "| --- | --- | --- | --- | --- | --- |",
        "| a\\|b | 0.123 | 2.0e-05 | 3 | 7 | - |",
        "| c | - | 0.500 | 4 | 8 | a |",
    ]
    assert "##" not in text and "## rows" in markdown(report(tables={"rows": TABLE, "more": TABLE[:0]}))


def test_a_long_table_is_cut_on_a_screen_and_says_where_the_rest_is():
    long = pd.DataFrame(dict(row=range(SHOWN + 1)))
    text = markdown(report(tables={"rows": long}), SHOWN)
    assert f"| {SHOWN - 1} |\n\nThe first {SHOWN} of {SHOWN + 1} rows; all are in rows.csv." in text
    assert f"| {SHOWN} |" in markdown(report(tables={"rows": long})) and f"| {SHOWN} |" not in text
    assert "rows.csv" not in markdown(report(tables={"rows": long[:SHOWN]}), SHOWN)


def test_json_has_null_for_what_is_not_there():
    found = json.loads(json.dumps(as_json(report(columns={"lean": {0: 0.5, 1: float("nan")}})), allow_nan=False))
    assert found["columns"] == {"lean": {"0": 0.5, "1": None}} and found["facts"] == {"best": None}
    assert found["tables"]["rows"][1] == dict(name="c", score=None, p=0.5, rows=4.0, count=8, by="a")
    assert found["sentence"] == "It is so." and found["note"] == "And why."


@pytest.mark.parametrize("sentence", ["", " ", "One.\nTwo."])
def test_a_report_has_one_sentence(sentence):
    with pytest.raises(ValueError, match="one sentence on one line"):
        report(sentence=sentence)


def test_names_of_tables_and_figures_are_fit_for_files():
    with pytest.raises(ValueError, match="'a/b' names a file"):
        report(tables={"a/b": TABLE})
    with pytest.raises(ValueError, match="'.' names a file"):
        report(figures={".": lambda: None})


def test_files_appear_together_or_not_at_all(tmp_path):
    pytest.importorskip("matplotlib", reason="figures are an extra")
    folder = epath.Path(tmp_path) / "there"
    write(folder, report(figures={"dots": lambda: new_figure(1, 1)[0]}), dict(asked=1), "report.md", "about.json")
    assert sorted(p.name for p in folder.iterdir()) == ["about.json", "dots.png", "report.md", "rows.csv"]
    about = json.loads((folder / "about.json").read_text())
    assert about["asked"] == 1 and about["sentence"] == "It is so." and "tables" not in about and about["best"] is None
    pd.testing.assert_frame_equal(pd.read_csv(folder / "rows.csv"), TABLE)

    def broken():
        raise RuntimeError("no ink")

    with pytest.raises(RuntimeError, match="no ink"):
        write(folder, report(figures={"dots": broken}, sentence="New."), {}, "report.md", "about.json")
    assert (folder / "report.md").read_text().startswith("It is so.")
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
