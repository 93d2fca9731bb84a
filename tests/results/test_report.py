"""The report against tables worked out by hand, from stores made by hand."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fusion_jax.results import report, tables
from fusion_jax.results.row import PUBLISHED, Row
from fusion_jax.results.singles import SINGLE
from fusion_jax.results.store import Store
from fusion_jax.study import Cell, resolve
from tests import tiny


class Made:
    """A store and its study, filled cell by cell."""

    def __init__(self, root):
        self.store, self.cells = Store(root, create=True), []

    def add(self, label, test=None, val=None, *, wanted=None, parameters=1000, seconds=4.0, error=None, **changes):
        """A cell with {metric: values a seed} on test rows (and validation rows, the same unless given)."""
        config = resolve(tiny.config(**changes)).config
        seeds = 0 if test is None else len(next(iter(test.values())))
        cell = Cell(config, label, wanted or max(seeds, 1))
        identity = f"{len(self.cells):016x}"
        self.cells.append((identity, cell))
        if test is not None:
            rows = [
                (s, part, metric, v)
                for part, values in (("test", test), ("val", val or test), ("train", test))
                for metric, per_seed in values.items()
                for s, v in enumerate(per_seed)
            ]
            table = pd.DataFrame(rows, columns=["seed", "part", "metric", "value"]).sample(frac=1, random_state=0)
            cost = dict(parameters=parameters, seconds=seconds, seeds=seeds)
            self.store.write_part(identity, cell, tuple(range(seeds)), dict(metrics=table), cost)
        if error is not None:
            self.store.write_failure(identity, cell, error, "Traceback\n" + error)
        self.store.write_study(self.cells, "made by hand")
        return identity

    def rows(self):
        self.markdown = report.write(self.store)
        long = self.markdown[self.markdown.index("###") :]
        lines = [li for li in long.splitlines() if li.startswith("|")]
        split = [[c.strip() for c in re.split(r"(?<!\\)\|", li)[1:-1]] for li in lines]
        assert len({len(li) for li in split}) == 1, "every line of a table has the same number of cells"
        head, _, *body = split
        return {row[0]: dict(zip(head, row, strict=True)) for row in body}

    def read(self, name):
        return (self.store.root / "report" / name).read_text()


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path / "study")


def test_mean_sample_deviation_and_bold(made):
    made.add("low", dict(accuracy=[0.80, 0.82, 0.84]), seconds=6.0, parameters=1234567)
    made.add("high", dict(accuracy=[0.81, 0.86, 0.88]), model__placement="after")
    rows = made.rows()
    low, high = stats.ttest_rel([0.81, 0.86, 0.88], [0.80, 0.82, 0.84]).confidence_interval()
    p = stats.ttest_rel([0.81, 0.86, 0.88], [0.80, 0.82, 0.84]).pvalue
    assert rows["low"] == {
        "variant": "low",
        "placement": "before",
        "accuracy": "0.820 ± 0.020",
        "accuracy - baseline": "baseline",
        "p (Holm)": "-",
        "seeds": "3",
        "parameters": "1,234,567",
        "seconds": "2.0",
    }
    sd = np.sqrt(((np.array([0.81, 0.86, 0.88]) - 0.85) ** 2).sum() / 2)
    assert rows["high"]["accuracy"] == f"**0.850 ± {sd:.3f}**" and rows["high"]["placement"] == "after"
    assert "± 0.036" in rows["high"]["accuracy"]
    assert rows["high"]["accuracy - baseline"] == f"+0.030 [{low:.3f}, {high:.3f}]"
    assert rows["high"]["p (Holm)"] == f"{p:.3f}" and rows["high"]["parameters"] == "1,000 *"


def test_rows_better_and_worse_than_the_baseline_are_marked_after_correction(made):
    made.add("first", dict(accuracy=[0.90, 0.80, 0.70], macro_f1=[0.4, 0.5, 0.6]))
    made.add("concat_mlp", dict(accuracy=[0.50, 0.60, 0.70], macro_f1=[0.4, 0.5, 0.6]))
    made.add("better", dict(accuracy=[0.60, 0.701, 0.80], macro_f1=[0.5, 0.5, 0.4]))
    made.add("worse", dict(accuracy=[0.40, 0.501, 0.60], macro_f1=[0.41, 0.51, 0.61]))
    made.add("near", dict(accuracy=[0.52, 0.63, 0.74], macro_f1=[0.4, 0.5, 0.5]))
    rows = made.rows()
    assert rows["better"]["accuracy"] == "_0.700 ± 0.100_ (+)" and rows["worse"]["accuracy"] == "0.500 ± 0.100 (-)"
    p = [stats.ttest_1samp(d, 0).pvalue for d in ([0.1, 0.101, 0.1], [-0.1, -0.099, -0.1], [0.02, 0.03, 0.04])]
    assert p[2] < 0.05 < 2 * p[2] and rows["near"]["accuracy"] == "0.630 ± 0.110", "Holm: 2 p, of four comparisons"
    assert rows["near"]["p (Holm)"] == f"{2 * p[2]:.3f}" and rows["better"]["p (Holm)"] == "<0.001"
    assert rows["first"]["accuracy"] == "**0.800 ± 0.100**", "noisy: best, and not shown to differ"
    assert rows["concat_mlp"]["accuracy - baseline"] == "baseline"
    assert rows["worse"]["macro F1"] == "**0.510 ± 0.100**", "all seeds differ by the same: nothing is known"
    assert "the baseline concat_mlp (before)" in made.markdown and "Holm's correction" in made.markdown


def test_the_interval_is_students_t_over_seeds():
    a = np.array([0.5, 0.52, 0.57])
    low, high = tables.interval(a)
    expected = stats.t.interval(0.95, 2, loc=a.mean(), scale=stats.sem(a))
    np.testing.assert_allclose((low, high), expected, rtol=1e-12)
    assert high - a.mean() == pytest.approx(4.302653 * a.std(ddof=1) / np.sqrt(3), rel=1e-6)
    assert tables.interval(np.array([0.7])) == (0.7, 0.7)


def test_of_errors_the_smallest_is_best(made):
    made.add("good", dict(rmse=[1.0, 1.01], r2=[0.8, 0.8]), data__name="synthetic_values", data__options={})
    made.add("bad", dict(rmse=[2.0, 2.02], r2=[0.1, 0.1]), data__name="synthetic_values", data__options={})
    rows = made.rows()
    assert rows["good"]["RMSE"] == "**1.005 ± 0.007**" and rows["bad"]["RMSE"] == "2.010 ± 0.014 (-)"
    assert rows["good"]["R²"].startswith("**") and not rows["bad"]["R²"].startswith("**")


def test_one_seed_has_no_deviation(made):
    made.add("one", dict(accuracy=[0.75]), seconds=3.0)
    made.add("two", dict(accuracy=[0.50, 0.51]))
    rows = made.rows()
    assert rows["one"]["accuracy"] == "**0.750**" and rows["one"]["seeds"] == "1" and rows["one"]["seconds"] == "3.0 *"
    assert rows["two"]["accuracy"] == "0.505 ± 0.007", "one seed in common says nothing"
    table = pd.read_csv(io.StringIO(made.read("table.csv"))).set_index("variant")
    assert np.isnan(table.accuracy_sd["one"]) and table.accuracy_low["one"] == 0.75 == table.accuracy_high["one"]


def test_failed_and_unfinished_cells_are_marked_and_take_part_in_nothing(made):
    made.add("good", dict(accuracy=[0.5, 0.6], auc=[0.5, 0.6]))
    made.add("broken", error="ValueError: heads=3 | does not divide\nsecond line", wanted=2, model__placement="after")
    made.add("waiting", wanted=2)
    made.add("half", dict(accuracy=[0.9], auc=[0.9]), wanted=3, error="FloatingPointError: seeds [1]\nmore")
    made.add("partly", dict(accuracy=[0.3], auc=[0.3]), wanted=2)
    rows = made.rows()
    assert rows["broken"]["accuracy"] == r"FAILED: ValueError: heads=3 \| does not divide"
    assert rows["broken"]["placement"] == "after" and rows["broken"]["seeds"] == "0"
    assert (rows["broken"]["AUC"], rows["broken"]["parameters"], rows["broken"]["seconds"]) == ("-", "-", "-")
    assert rows["waiting"]["accuracy"] == "not finished" and rows["waiting"]["placement"] == "before"
    assert rows["half (1 of 3 seeds: FloatingPointError: seeds [1])"]["seeds"] == "1"
    assert rows["partly (1 of 2 seeds: not finished)"]["accuracy"] == "0.300"
    assert made.markdown.count("###") == 1, "a cell without a result stays in its data set's table"
    tex = made.read("table.tex")
    assert r"broken & after & failed &" in tex and r"broken & after & 0 & -- & -- \\" in tex
    assert r"waiting & before & not finished &" in tex
    table = pd.read_csv(io.StringIO(made.read("table.csv"))).set_index("variant")
    assert table.error["broken"].startswith("ValueError") and np.isnan(table.accuracy_mean["broken"])


def test_a_study_where_nothing_succeeded_is_a_table_too(made):
    made.add("broken", error="ValueError: no")
    made.add("waiting")
    rows = made.rows()
    assert rows["broken"]["result"] == "FAILED: ValueError: no" and rows["waiting"]["result"] == "not finished"
    tex = made.read("table.tex")
    assert tex.count(r"\begin{tabularx}") == 1 and tex.count(r"arraybackslash}") == 2, "the texts' columns"
    lines = [li for li in tex.splitlines() if li.endswith(r"\\")]
    assert [li.count(" & ") + 1 for li in lines] == [2 + len(re.search(r"(r+)@\{\}\}$", tex, re.M)[1])] * 3


def test_failed_cells_of_a_regression_stay_with_it(made):
    made.add("broken", error="ValueError: no", data__name="synthetic_values", data__options={})
    made.add("good", dict(rmse=[1.0, 1.1]), data__name="synthetic_values", data__options={})
    rows = made.rows()
    assert rows["broken"]["RMSE"] == "FAILED: ValueError: no" and "RMSE" in rows["good"]
    assert made.markdown.count("###") == 1


def test_each_data_set_has_a_table_of_its_own(made):
    made.add("a", dict(accuracy=[0.5, 0.6]))
    made.add("b", dict(accuracy=[0.4, 0.4]), data__name="digits", data__options={})
    text = report.write(made.store)
    assert [li for li in text.splitlines() if li.startswith("###")] == [
        "### synthetic; protocol honest; setting default",
        "### digits; protocol honest; setting default",
    ]
    assert text.count("| **0.550 ± 0.071** | 2 |") == 1 and text.count("| **0.400 ± 0.000** | 2 |") == 1
    assert text.splitlines()[2:6] == [
        "| variant | placement | synthetic | digits |",
        "| --- | --- | --- | --- |",
        "| a | before | **0.550 ± 0.071** | - |",
        "| b | before | - | **0.400 ± 0.000** |",
    ]


def test_rows_of_two_protocols_are_told_apart_and_each_has_its_best(made):
    made.add("m", dict(accuracy=[0.9, 0.9]), protocol="paper")
    made.add("m", dict(accuracy=[0.5, 0.6]))
    rows = made.rows()
    assert rows["m [paper]"]["accuracy"] == "**0.900 ± 0.000**"
    assert rows["m [honest]"]["accuracy"].startswith("**0.550") and "honest and paper" in made.markdown


def test_the_best_single_modality_is_chosen_by_validation_and_not_by_test(made):
    def single(m):
        return dict(data__modalities=(m,))

    m0 = dict(
        test=dict(accuracy=[0.10, 0.20, 0.30], log_loss=[1.0, 1.0, 1.0]),
        val=dict(accuracy=[0.90, 0.40, 0.50], log_loss=[1.0, 1.0, 0.3]),
    )
    m1 = dict(
        test=dict(accuracy=[0.80, 0.70, 0.60], log_loss=[2.0, 2.0, 2.0]),
        val=dict(accuracy=[0.50, 0.60, 0.50], log_loss=[1.0, 1.0, 0.4]),
    )
    made.add("single: m0", **m0, **single("m0"), seconds=3.0)
    made.add("single: m1", **m1, **single("m1"), seconds=6.0)
    made.add("both", dict(accuracy=[0.5, 0.5, 0.5], log_loss=[1.0, 1.0, 1.0]))
    made.add("structure", dict(accuracy=[1.0, 1.0, 1.0], log_loss=[0.1] * 3), **single("structure"))
    rows = made.rows()
    chosen = [0.10, 0.70, 0.30]  # m0 (0.9 > 0.5), m1 (0.6 > 0.4), m0 (equal, lower log-loss)
    assert rows[SINGLE]["accuracy"] == f"{np.mean(chosen):.3f} ± {np.std(chosen, ddof=1):.3f}"
    assert list(rows)[:3] == ["single: m0", "single: m1", SINGLE]
    assert rows[SINGLE]["seconds"] == "3.0", "choosing among them costs training them all"


def test_one_single_modality_alone_has_no_best(made):
    made.add("single", dict(accuracy=[0.5, 0.6]), data__modalities=("m0",))
    assert SINGLE not in made.rows()


def test_a_metric_that_is_nan_is_a_dash(made):
    nan = [np.nan, np.nan]
    made.add("m0", dict(accuracy=[0.5, 0.6], auc=nan), data__modalities=("m0",))
    made.add("m1", dict(accuracy=[0.4, 0.6], auc=nan), data__modalities=("m1",))
    made.add("both", dict(accuracy=[0.4, 0.6], auc=[0.5, np.nan]))
    rows = made.rows()
    assert [r["AUC"] for r in rows.values()] == ["-"] * 4


def test_more_stored_seeds_than_the_study_wants_are_left_out(made):
    made.add("m", dict(accuracy=[0.5, 0.6, 0.1, 0.1]), wanted=2)
    assert made.rows()["m"]["accuracy"] == "**0.550 ± 0.071**"


def test_rows_without_edges_say_so(made):
    made.add("none", dict(accuracy=[0.5, 0.6]), model__layer__name="none")
    made.add("zero", dict(accuracy=[0.5, 0.6]), model__layers=0)
    made.add("control", dict(accuracy=[0.5, 0.6]), control__name="rbf_svm", parameters=0)
    rows = made.rows()
    assert rows["none"]["placement"] == rows["zero"]["placement"] == "before (no graph)"
    assert rows["control"]["placement"] == "-" and rows["control"]["parameters"] == "-"


def test_special_characters_do_not_break_latex(made):
    label = r"a_b & 50% #1 {x} \y ^ ~ $z$ <1> | ²±"
    made.add(label, dict(accuracy=[0.5, 0.6]))
    made.rows()
    line = next(li for li in made.read("table.tex").splitlines() if li.startswith("a"))
    cells = line.split(" & ")
    assert len(cells) == 6
    assert cells[0] == (
        r"a\_b \& 50\% \#1 \{x\} \textbackslash{}y \textasciicircum{} \textasciitilde{} \$z\$ "
        r"\textless{}1\textgreater{} \textbar{} $^2$$\pm$"
    )
    assert cells[2] == r"\textbf{0.550 $\pm$ 0.071}"
    made.read("table.tex").encode("ascii")  # no character a plain LaTeX does not know


LABELS = {
    "[ours] gmu": "{[}ours] gmu",
    " [b]": "{[}b]",
    "*": "{*}",
    "α-fusion Ω Δ": r"$\alpha$-fusion $\Omega$ $\Delta$",
    "Müller, Erdős, Ångström": r"M\"{u}ller, Erd\H{o}s, \r{A}ngstr\"{o}m",
    "100 %": r"100 \%",
    "a\nb\tc": "a b c",
    "x⁴ ≤ y₂": r"x$^{4}$ $\leq$ y$_{2}$",
    "融合": "{[}U+878D][U+5408]",
    "\\": r"\textbackslash{}",
    "½ ﬁt": "1/2 fit",
    "`x`": "{`}x{`}",
    "a\x07b": "a b",
    "±5": r"$\pm$5",
    "": "",
}


@pytest.mark.parametrize("label", LABELS)
def test_any_label_is_ascii_that_latex_reads_as_text(label):
    def row(label):
        return Row(label, label, "d", "honest", label, dict(accuracy=np.ones(2)), 1, 1.0)

    other = Row(label, "-", "d", PUBLISHED, "", {}, None, None, published=dict(accuracy=(1, 0)), source=label)
    tex = report.latex([row(label), row("plain"), other])
    tex.encode("ascii")
    lines = [li for li in tex.splitlines() if li.endswith(r"\\")]
    assert [li.count(" & ") for li in lines] == [5] * 4
    assert not re.search(r"(\\\\|rule)\s*[\[*]", tex), "the argument of a line break or a rule"
    assert re.sub(r"\\[{}]", "", tex).count("{") == re.sub(r"\\[{}]", "", tex).count("}")
    assert lines[1].startswith(LABELS[label]) and f"& {LABELS[label]} &" in lines[1]
    assert not re.search(r"(?<!\\)[%#]", tex)


@pytest.mark.parametrize("label", ["a | b", "a\\| b", "\\", "a\nb", "`x|y`", "*x*", "<b>x", "_x_", "~~x~~", "[x](y)"])
def test_any_label_is_one_cell_of_markdown_without_markup(label):
    row = Row(label, "before", "d", "honest", "", dict(accuracy=np.ones(2)), 1, 1.0)
    line = report.markdown([row]).splitlines()[4]
    escapes = re.compile(r"\\[\\|`*<_~\]]")
    assert escapes.sub("", line).count("|") == 7
    first = re.match(r"\| ((?:\\.|[^\\|])*) \|", line).group(1)
    assert not re.search(r"[\\|`*<]|~~|\b_x_\b|\]\(", escapes.sub("", first))
    shown = re.sub(r"\\([\\|`*<_~\]])", r"\1", first)
    assert shown == " ".join(label.split())


def test_latex_is_a_whole_booktabs_table(made):
    made.add("high", dict(accuracy=[0.81, 0.86, 0.88]))
    made.add("low", dict(accuracy=[0.80, 0.82, 0.84]))
    made.rows()
    tex = made.read("table.tex")
    parts = "begin{table} begin{tabularx}{\\linewidth} toprule midrule bottomrule end{tabularx} caption[] end{table}"
    for part in parts.split():
        assert tex.count("\\" + part) == 2, "scores, and costs"
    low, high = stats.ttest_rel([0.80, 0.82, 0.84], [0.81, 0.86, 0.88]).confidence_interval()
    assert r"high & before & \textbf{0.850 $\pm$ 0.036} & baseline & -- \\" in tex
    assert rf"low & before & 0.820 $\pm$ 0.020 & $-$0.030 [$-${-low:.3f}, {high:.3f}] & " in tex
    assert (
        r"high & before & 3 & 1,000$^{\ast}$ & 1.3$^{\ast}$ \\" in tex and r"low & before & 3 & 1,000 & 1.3 \\" in tex
    )
    assert tex.count("{") == tex.count("}")


def test_csv_has_full_precision(made):
    values = dict(accuracy=[0.81, 0.86, 0.88], macro_f1=[0.1, 0.2, 0.4])
    made.add('with, comma and "quotes"', values, model__placement="after", data__setting="inductive")
    made.rows()
    (line,) = csv.DictReader(io.StringIO(made.read("table.csv")))
    assert line["variant"] == 'with, comma and "quotes"' and line["placement"] == "after"
    assert (line["data"], line["protocol"], line["setting"], line["seeds"]) == ("synthetic", "honest", "inductive", "3")
    for metric, v in values.items():
        assert float(line[f"{metric}_mean"]) == pytest.approx(np.mean(v), rel=1e-12)
        assert float(line[f"{metric}_sd"]) == pytest.approx(np.std(v, ddof=1), rel=1e-12)
        low, high = stats.t.interval(0.95, 2, loc=np.mean(v), scale=stats.sem(v))
        assert float(line[f"{metric}_low"]) == pytest.approx(low, rel=1e-12)
        assert float(line[f"{metric}_high"]) == pytest.approx(high, rel=1e-12)


def test_a_terminal_ends_with_the_answer_the_grid_and_the_page(made, tmp_path):
    made.add("concat_mlp", dict(accuracy=[0.5, 0.6, 0.55]))
    made.add("a", dict(accuracy=[0.7, 0.85, 0.72]), **{"data.name": "watch"})
    made.add("a", dict(accuracy=[0.9, 0.95, 0.99]))
    printed = report.written(made.store).printed
    sentence = printed.partition("\n")[0]
    brief = made.read("answer.md")
    assert brief.startswith(sentence + "\n") and "| variant | placement |" in brief and "baseline concat_mlp" in brief
    assert "seconds" not in brief, "the long tables are elsewhere"
    assert printed.endswith(f"{brief}\npage: {made.store.root}/report/index.html") and printed.count(sentence) == 2


def test_the_report_command(made, tmp_path):
    made.add("a", dict(accuracy=[0.5, 0.6]))
    status, out = tiny.command("experiments.report", f"--workdir={tmp_path}/study")
    assert status == 0 and "| a | before | **0.550 ± 0.071** |" in out
    parts = made.read("table.md").split("\n### ")
    assert all(part.strip() in out for part in parts) and f"page: {tmp_path}/study/report/index.html" in out
    status, out = tiny.command("experiments.report", f"--workdir={tmp_path}/study", "--json")
    held = json.loads(out)
    assert (
        status == 0
        and [row["label"] for row in held["rows"]] == ["a"]
        and out.strip() == made.read("table.json").strip()
    )
    status, out = tiny.command("experiments.report", f"--workdir={tmp_path}/study", "--metrics=acuracy")
    assert status == 2 and "metrics='acuracy': no row has it (did you mean 'accuracy'?); found: accuracy" in out
    status, out = tiny.command("experiments.report", f"--workdir={tmp_path}/study", "--baseline=b")
    assert status == 2 and "baseline: no row is named 'b'" in out
    status, out = tiny.command("experiments.report", f"--workdir={tmp_path}/study", "--percent", "--metrics=accuracy")
    assert status == 0 and r"\textbf{55.0 $\pm$ 7.1}" in made.read("table.tex")
    status, out = tiny.command("experiments.report", f"--workdir={tmp_path}/nowhere")
    assert status == 2 and "error:" in out and "holds no study" in out and not (tmp_path / "nowhere").exists()
    status, out = tiny.command("experiments.report", f"--workdir={tmp_path}/study", "extra")
    assert status != 0 and "unexpected argument 'extra'" in out
    shutil.rmtree(tmp_path / "study" / "report")
    (tmp_path / "study" / "report").write_text("a file where the folder should be")
    status, out = tiny.command("experiments.report", f"--workdir={tmp_path}/study")
    assert status == 0 and "| a | before | **0.550 ± 0.071** |" in out and "written:" not in out


def test_the_best_single_modality_says_what_it_was_not_chosen_from(made):
    """Two of three modalities have a result; and models of different sizes have no one number of parameters."""
    for m, parameters in (("m0", 10), ("m1", 20)):
        made.add(f"single: {m}", dict(accuracy=[0.5, 0.6]), data__modalities=(m,), parameters=parameters)
    made.add("single: m2", data__modalities=("m2",), error="ValueError: no")
    rows = made.rows()
    label = f"{SINGLE} (2 of 3 modalities)"
    assert label in rows and rows[label]["parameters"] == "-"


def test_a_damaged_cell_is_a_row_that_says_so_and_the_others_have_their_numbers(made):
    damaged = made.add("damaged", dict(accuracy=[0.5, 0.6]))
    made.add("whole", dict(accuracy=[0.7, 0.9]))
    made.add("no record", dict(accuracy=[0.5, 0.6]))
    part = made.store.parts(damaged)[0][0]
    content = bytearray((part / "metrics.parquet").read_bytes())
    content[9] ^= 1
    (part / "metrics.parquet").write_bytes(content)
    (made.store.cell(made.cells[2][0]) / "record.json").write_text("[1, 2]")
    rows = made.rows()
    assert rows["whole"]["accuracy"] == "**0.800 ± 0.141**"
    assert "metrics.parquet is damaged" in rows["damaged"]["accuracy"]
    assert "record.json: expected a list of parts" in rows["no record"]["accuracy"]


def test_a_row_whose_metrics_are_not_known_keeps_its_columns():
    """Such as those of a file that is not there any more."""
    rows = [
        Row("a", "before", "d", "honest", "s", {"gone": np.array([0.5, 0.6])}, 7, 1.0, tested=np.arange(4)),
        Row("b", "before", "d", "honest", "s", {}, None, None, error="no"),
    ]
    head, _, first, second = (line.split(" | ") for line in report.markdown(rows).splitlines()[2:])
    assert head[2:5] == ["result", "result by rows", "seeds"] and len(head) == len(first) == len(second)
    assert first[2:6] == ["-", "4", "2", "7"] and second[2] == "FAILED: no"
    assert "a & before & -- & 4 & 2 & 7 & 1.0" in report.latex(rows)
