"""The page in a browser: its numbers against results/compare.py, what a name can do to it, keyboard and widths."""

import csv
import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest

from fusion_jax.results import claim_record, claims, compare, page, page_data, page_pairing, sequential, tables
from fusion_jax.study import Claim
from tests import pages

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return pages.make(tmp_path_factory.mktemp("page") / "study").store


@pytest.fixture(scope="module")
def file(study, tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "index.html"
    path.write_bytes(page.render(study))
    return path


def shown(window, column):
    """{(label, placement): the number behind a cell of the table of differences}."""
    rows = window.locator("#compare-table tbody tr")
    script = """(rows, column) => rows.map((row) => {
        const at = (name) => row.querySelector(`[data-column="${name}"]`);
        const name = at('variant').querySelector('bdi').textContent;
        return [name, at('placement').textContent, at(column).dataset.value ?? null];
    })"""
    found = rows.evaluate_all(script, column)
    return {(a, b): None if v is None else float(v) for a, b, v in found}


def expected(found, metric, data, **options):
    made = compare.against(found, metric, **options)
    return {(label(c.a), c.a.placement): c for c in made if c.a.data == data}


def label(row):
    return re.sub(r"[\u202a-\u202e]", lambda c: f"[U+{ord(c[0]):04X}]", row.name)


def check(window, found, metric, data, **options):
    wanted = expected(found, metric, data, **options)
    assert wanted
    columns = {
        "difference": lambda c: c.difference,
        "interval": lambda c: c.low,
        "p": lambda c: c.p,
        "adjusted": lambda c: c.adjusted,
        "effect": lambda c: c.effect,
        "wilcoxon": lambda c: c.wilcoxon,
        "permutation": lambda c: c.permutation,
        "improvement": lambda c: c.improvement,
        "needed": lambda c: np.nan if c.needed is None else c.needed,
    }
    for column, of in columns.items():
        there = shown(window, column)
        for key, c in wanted.items():
            if np.isnan(of(c)):
                assert there[key] is None, (column, key)
            else:
                assert there[key] == pytest.approx(of(c), rel=1e-9, abs=1e-12), (column, key)
    marked = window.locator("#compare-table tbody tr").evaluate_all(
        "rows => rows.map((row) => row.querySelector('[data-column=difference] .hidden')?.textContent ?? '')"
    )
    assert marked.count("better") == sum(c.better for c in wanted.values())
    assert marked.count("worse") == sum(c.worse for c in wanted.values())


def without(found, seed):
    """The rows as they were without that seed."""
    made = []
    for row in found:
        at = [i for i, s in enumerate(row.seeds) if s != seed]
        cut = {
            f: tuple(getattr(row, f)[i] for i in at)
            for f in ("seeds", "train_rows", "test_rows", "splits")
            if getattr(row, f)
        }
        values = {m: v[at] for m, v in row.values.items()}
        known = {m: v[at] for m, v in row.influence.items()}
        met = {m: v[at] for m, v in row.met_influence.items()}
        made.append(dataclasses.replace(row, values=values, influence=known, met_influence=met, **cut))
    return made


def test_numbers_are_those_of_the_comparisons(study, file, opened):
    window, found = opened(file), tables.rows(study)
    assert expected(found, "accuracy", "synthetic")["gmu", "after"].better, "there is something to be marked"
    for metric in ("accuracy", "auc", "log_loss"):
        window.select_option("#metric", metric)
        check(window, found, metric, "synthetic")
    for group in ("digits", "breast_cancer"):
        window.select_option("#group", label=group)
        for metric in ("accuracy", "auc", "log_loss"):
            window.select_option("#metric", metric)
            check(window, found, metric, group)
            methods = {c.method for c in expected(found, metric, group).values()}
            assert all(method in window.inner_text("#compare-note") for method in methods)


def test_they_follow_the_baseline_the_seeds_and_the_rows_that_are_chosen(study, file, opened):
    window, found = opened(file), tables.rows(study)
    base = next(row for row in found if row.name == "gmu" and row.placement == "before" and row.data == "synthetic")
    window.select_option("#baseline", f"row:{base.cell}")
    check(window, found, "accuracy", "synthetic", baseline=base)
    window.click("#reset")
    window.click("#seeds label:has(#seed-3)")
    check(window, without(found, 3), "accuracy", "synthetic")
    for group in ("digits", "breast_cancer"):
        window.select_option("#group", label=group)
        for metric in ("accuracy", "log_loss"):
            window.select_option("#metric", metric)
            check(window, without(found, 3), metric, group)
            assert "is of all seeds" not in window.inner_text("#compare-note")
    window.click("#reset")
    window.select_option("#group", label="digits")
    dropped = next(row for row in found if row.name == "mean")
    window.click(f"#part-{dropped.cell}")
    rest = [row for row in found if row is not dropped]
    window.select_option("#metric", "accuracy")
    assert shown(window, "adjusted")["gmu", "before"] == pytest.approx(
        expected(rest, "accuracy", "digits")["gmu", "before"].adjusted, rel=1e-9
    )
    assert shown(window, "p")["mean", "before"] is None


def test_where_influences_are_too_large_their_variances_of_pairs_are_enough(study, opened, tmp_path, monkeypatch):
    monkeypatch.setattr(page_pairing, "BUDGET", 0)
    (tmp_path / "p.html").write_bytes(page.render(study))
    window, found = opened(tmp_path / "p.html"), tables.rows(study)
    window.select_option("#group", label="digits")
    for metric in ("accuracy", "log_loss"):
        window.select_option("#metric", metric)
        check(window, found, metric, "digits")
    window.click("#seeds label:has(#seed-3)")
    assert "test rows is of all seeds" in window.inner_text("#compare-note"), "what is not calculated anew is said"


def test_where_seeds_were_added_p_and_intervals_hold_at_all_looks(opened, tmp_path):
    made = pages.Pages(tmp_path / "study")
    for label, skill in (("concat_mlp", 1.0), ("gmu", 2.5), ("mean", 1.1)):
        made.add(label, 7, skill, wanted=8)
        made.add(label, 7, skill, wanted=8, train=20, **pages.FEW)
    made.store.amend(looks=dict(plan=[3, 5, 8]))
    (tmp_path / "p.html").write_bytes(page.render(made.store))
    window, found = opened(tmp_path / "p.html"), tables.rows(made.store)
    for group in ("synthetic", "breast_cancer"):
        window.select_option("#group", label=group)
        check(window, found, "accuracy", group)
        assert "looked at 3, 5 of at most 8 seeds" in window.inner_text("#compare-note")


def test_the_sequential_p_is_that_of_the_report(opened, file):
    looks, nan = page_data.plain(page_pairing.of_looks((3, 5, 8))), float("nan")
    script = pathlib.Path(page.__file__).with_name("statistics.js").read_text(encoding="utf-8")
    own = f"([p, looks]) => {{ {script}\nreturn sequentialP(p, looks); }}"
    window = opened(file)
    for p in ([nan, nan, 0.02], [0.9, 0.9, 0.999], [1e-4, 0.9], [0.001], [nan, 1e-200], [nan]):
        expected = sequential.sequential_p(p, (3, 5, 8)[: len(p)], 8)
        assert window.evaluate(own, [p, looks]) == pytest.approx(expected, rel=1e-9, nan_ok=True), p
    assert window.evaluate(own, [[0.9, 0.9, 0.999], looks]) == 1


def test_the_baseline_is_the_report_s(opened, tmp_path):
    """By its name, with what tuning adds to it or not; the default one where a data set has none of that name; and none
    where its own has no value."""
    made = pages.Pages(tmp_path / "study")
    for label in ("mean", "gmu (tuned, 6 trials)", "concat_mlp"):
        made.add(label, 4)
    for label in ("mean", "lmf", "concat_mlp"):
        made.add(label, 4, fixed=True)
    for label in ("mean", "lmf"):
        made.add(label, 4, train=20, **pages.FEW)
    (tmp_path / "p.html").write_bytes(page.render(made.store, baseline="gmu"))
    window, found = opened(tmp_path / "p.html"), tables.rows(made.store)
    for group, name in (("synthetic", "gmu"), ("digits", "concat_mlp"), ("breast_cancer", "mean")):
        window.select_option("#group", label=group)
        check(window, found, "accuracy", group, baseline="gmu")
        assert {c.b.label.split()[0] for c in expected(found, "accuracy", group, baseline="gmu").values()} == {name}
        assert f"than {name}" in window.inner_text("#verdict")
    given = page_data.collect(made.store, baseline="gmu")
    for row in given["rows"]:
        if row["name"].startswith("gmu"):
            row["values"]["auc"] = [None] * 4
    (tmp_path / "p.html").write_bytes(page.assemble(given))
    window = opened(tmp_path / "p.html")
    window.select_option("#metric", "auc")
    assert "the baseline has no value" in window.inner_text("#verdict")
    assert set(shown(window, "p").values()) == {None}


def test_rows_that_are_the_same_are_as_uncertain_as_one_test_row(opened, tmp_path):
    """Of a share that is known, of the log-loss it is not: drawn splits, and fixed rows."""
    made = pages.Pages(tmp_path / "study")
    for label in ("concat_mlp", "twin", "other"):
        made.rng = np.random.default_rng(label == "other")
        made.add(label, 3)
        made.add(label, 3, fixed=True)
    (tmp_path / "p.html").write_bytes(page.render(made.store))
    window, found = opened(tmp_path / "p.html"), tables.rows(made.store)
    for group in ("synthetic", "digits"):
        window.select_option("#group", label=group)
        for metric, known in (("accuracy", True), ("log_loss", False)):
            window.select_option("#metric", metric)
            check(window, found, metric, group)
            twin = expected(found, metric, group)["twin", "before"]
            assert np.isfinite(twin.low) == known == ("at least one test row" in twin.method)
            assert twin.method in window.inner_text("#compare-note") and (twin.p == 1 or not known)
            family = "over 2 comparisons" if known else "over 1 comparison ("
            assert family in window.inner_text("#verdict"), "what says nothing is not corrected for"
    given = page_data.collect(made.store)
    for row in given["rows"]:
        if row["name"] == "twin":
            row["values"]["accuracy"] = [np.nextafter(v, 1) for v in row["values"]["accuracy"]]
    (tmp_path / "p.html").write_bytes(page.assemble(given))
    window = opened(tmp_path / "p.html")
    ranks = window.locator("#grid-table tbody tr").evaluate_all(
        "rows => rows.map((row) => ['variant', 'rank'].map((name) => row.querySelector(`[data-column=${name}]`)"
        ".textContent))"
    )
    ranks = {name.removesuffix("before"): rank for name, rank in ranks}
    assert ranks["twin"] == ranks["concat_mlp"], "the last bits of a mean are no difference"


def test_claims_stand_below_the_answer(opened, tmp_path):
    made = pages.Pages(tmp_path / "study")
    for label, skill in (("concat_mlp", 0.5), ("gmu", 3.0)):
        made.add(label, 8, skill)
    claim = Claim("gating helps", better="gmu, before", than="concat_mlp, before")
    claim_record.record(made.store, [claim])
    (tmp_path / "p.html").write_bytes(page.render(made.store))
    window = opened(tmp_path / "p.html")
    (answered,) = claims.answer(made.store)
    assert answered.verdict == "holds" and answered.late
    text = window.inner_text("#claims li")
    late = f"written when {answered.late} seeds had finished or begun"
    assert "✓ holds" in text and "gating helps" in text and late in text
    (version,) = made.store.read_study()["claims"]
    assert f"sha256 {version['sha256'][:12]}, {version['written']}" in window.inner_text("#claims > p")
    assert window.inner_text("#sentence").replace("\u2212", "-").startswith("Of 1 claim 1 holds")


def test_a_name_is_text_and_nothing_is_asked_of_the_network(study, file, opened):
    window = opened(file)
    assert "by_hand:quick" in window.title()
    assert window.locator("img").count() == 0 and window.locator("main b:has-text('bold')").count() == 0
    name = window.locator("#compare-table tbody bdi", has_text="onerror").first
    assert name.text_content() == pages.HOSTILE.replace("\u202e", "[U+202E]")
    window.click("#errors summary")
    assert "</script><img" in window.inner_text("#errors pre") and "second line" in window.inner_text("#errors pre")
    assert [url for url in window.asked if not url.startswith(("file:", "data:"))] == []
    refused = window.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')")
    assert refused == "refused" and "Content Security Policy" in window.problems[0]
    window.problems.clear()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_fits_its_window(file, opened, width, scheme):
    window = opened(file, width=width, scheme=scheme)
    assert window.evaluate("document.documentElement.scrollWidth") == width
    for group in ("synthetic", "digits"):
        window.select_option("#group", label=group)
        assert window.evaluate("document.documentElement.scrollWidth") == width
    for summary in window.locator("#cell-list > details > summary").all()[:6]:
        summary.click()
    assert window.evaluate("document.documentElement.scrollWidth") == width
    assert window.evaluate(CONTRAST) >= 4.5, "text against what lies behind it (WCAG 2.1)"


CONTRAST = """() => {
    const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const linear = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = parse(getComputedStyle(node).backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const written = (node) => [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    let least = 21;
    for (const node of document.querySelectorAll('main *:not(svg *):not(option):not(.hidden), header *')) {
        if (!written(node) || !node.checkVisibility()) continue;
        const pair = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
        least = Math.min(least, (pair[0] + 0.05) / (pair[1] + 0.05));
    }
    return least;
}"""


def test_it_can_be_used_by_keyboard_alone(file, opened):
    window = opened(file)
    window.keyboard.press("Tab")
    assert window.evaluate("document.activeElement.className") == "skip"
    head = window.locator("#compare-table-sort-mean")
    head.focus()
    window.keyboard.press("Enter")
    assert window.evaluate("document.activeElement.id") == "compare-table-sort-mean", "the focus stays where it was"
    assert window.locator("#compare-table th[aria-sort=descending]").inner_text().startswith("accuracy")
    cells = window.locator("#compare-table td[data-column=mean]")
    values = [v for v in cells.evaluate_all("cells => cells.map((cell) => +cell.dataset.value)") if v]
    assert values == sorted(values, reverse=True)
    window.keyboard.press("Enter")
    assert window.locator("#compare-table th[aria-sort=ascending]").count() == 1
    chart = window.locator("#cost-figure svg")
    chart.focus()
    window.keyboard.press("ArrowRight")
    assert "accuracy" in window.inner_text("#cost-readout")
    named = "n.textContent.trim() || n.ariaLabel || n.labels?.length || n.querySelector('title')"
    found = f"""[...document.querySelectorAll('button, select, input, [tabindex="0"]')].filter((n) => !({named}))"""
    assert window.evaluate(f"{found}.length") == 0
    assert window.locator("table:not(:has(caption))").count() == 0 and window.locator("th:not([scope])").count() == 0
    assert window.locator("main svg:not(:has(> title))").count() == 0


def test_rows_are_filtered_and_saved(study, file, opened):
    window, found = opened(file), tables.rows(study)
    window.fill("#filter", "gmu after")
    window.locator("#compare-table tbody tr:only-child").wait_for()
    window.fill("#filter", "")
    window.locator("#compare-table tbody tr").nth(4).wait_for()
    with window.expect_download() as saved:
        window.click("#compare-table-CSV")
    lines = list(csv.DictReader(open(saved.value.path(), encoding="utf-8")))
    wanted = expected(found, "accuracy", "synthetic")["gmu", "after"]
    (line,) = [line for line in lines if (line["variant"], line["placement"]) == ("gmu", "after")]
    assert float(line["high"]) == pytest.approx(wanted.high, rel=1e-9)
    with window.expect_download() as saved:
        window.click("#long-table-LaTeX")
    text = open(saved.value.path(), encoding="utf-8").read()
    assert text.isascii() and r"\textless{}/script\textgreater{}" in text and text.count(r"\toprule") == 1


def test_a_study_without_any_result_is_a_page_too(opened, tmp_path):
    made = pages.Pages(tmp_path / "study")
    made.add("gmu", seeds=0)
    (tmp_path / "p.html").write_bytes(page.render(made.store))
    window = opened(tmp_path / "p.html")
    assert "0 of 1 cell finished, 1 waiting" in window.inner_text("#status") and not window.is_visible("#compare")
    assert "gmu" in window.inner_text("#cell-list")


def test_the_data_end_no_script():
    text = page.as_text({"a": pages.HOSTILE})
    assert text.isascii() and not set("<>&") & set(text) and json.loads(text) == {"a": pages.HOSTILE}


def test_styles_and_scripts_that_are_not_the_page_s_own_are_refused(study):
    text = page.assemble(page_data.collect(study)).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "connect-src" not in policy
    assert text.count("<script") == 2 and "{{" not in text.split('id="data"')[0].split("<style>")[0]
