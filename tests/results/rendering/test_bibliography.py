"""References: what the catalogue says, no more; keys that stay; BibTeX that BibTeX reads."""

import re
import shutil
import subprocess

import pytest

from fusion_jax import zoo
from fusion_jax.results.rendering import bibliography
from tests import tiny

WHOLE = [kind for kind in zoo.KINDS if kind not in ("merging", "analysis")]


def study(*changes):
    return dict(cells=[dict(config=tiny.cell(**c).config) for c in changes])


def entries(text):
    """{key: {field: value}} of a file."""
    found = {}
    for key, body in re.findall(r"^@\w+\{(\w+),\n(.*?)^\}", text, re.M | re.S):
        found[key] = dict(re.findall(r"^  (\w+) = \{(.*)\},$", body, re.M))
    return found


def test_a_paper_becomes_its_authors_title_and_year():
    title = "Gated Multimodal Units for Information Fusion"
    made = bibliography.entry(f"Arevalo et al., {title}", 2017, "", "fusion gmu")
    assert made.key == "arevalo2017gated"
    assert made.fields == dict(title=title, author="Arevalo and others", year="2017")


CASES = {
    "Kipf and Welling, Semi-Supervised Classification": ("Kipf and Welling", "Semi-Supervised Classification", "2017"),
    "Kipf, Welling, Variational Graph Auto-Encoders": ("Kipf and Welling", "Variational Graph Auto-Encoders", "2017"),
    "Hassani, Hwu and Shi, Faster": ("Hassani and Hwu and Shi", "Faster", "2017"),
    "Breiman, Random Forests": ("Breiman", "Random Forests", "2017"),
    "MEFN: Multi-modal Evidential Fusion": (None, "MEFN: Multi-modal Evidential Fusion", "2017"),
    "Cox, Regression Models, 1972; order: Another et al., 2024": ("Cox", "Regression Models", "1972"),
}


@pytest.mark.parametrize("text", CASES)
def test_the_ways_papers_are_written(text):
    fields = bibliography.entry(text, 2017, "", "x").fields
    assert (fields.get("author"), fields["title"], fields["year"]) == CASES[text]


def test_numbers_are_taken_where_they_are_the_works_own():
    def made(docs, paper="Arevalo et al., Gated Units"):
        return bibliography.entry(paper, 2017, docs, "x").fields

    assert made('Reference: Arevalo et al., "Gated" (arXiv 1702.01992)')["eprint"] == "1702.01992"
    assert "eprint" not in made("As Zadeh et al. (arXiv 1707.07250) do"), "another's"
    assert "eprint" not in made("Arevalo et al. (arXiv 1702.01992), not (arXiv 1707.07250)"), "which?"
    assert made("", "Arevalo et al., Units, doi 10.1000/abc.12.")["doi"] == "10.1000/abc.12"
    assert made("", "Arevalo et al., Units (arXiv:1702.01992)")["url"] == "https://arxiv.org/abs/1702.01992"


def test_a_study_cites_what_it_uses_once_and_says_what_has_no_paper():
    changes = ({"model__fusion__name": "gmu"}, {"model__fusion__name": "lmf"}, {"control__name": "random_forest"})
    text = bibliography.bibtex(study(*changes, *changes))
    assert list(entries(text)) == sorted(entries(text)) and text.count("@misc") == len(entries(text))
    assert {"arevalo2017gated", "liu2018efficient", "breiman2001random"} <= set(entries(text))
    assert "% data synthetic: made here" in text and "% encoder linear: Folklore" in text and "vaswani" not in text
    text = bibliography.bibtex(study({"data__name": "digits", "data__options": {}}, {"model__fusion__name": "moh"}))
    assert entries(text)["digits1998"]["author"] == "Alpaydin and Kaynak"


def test_what_a_mechanism_brings_along_is_cited_too():
    """The loss of a fusion of predictions, or of the task; what a file takes from another's."""
    decision = dict(model__placement="decision")
    text = bibliography.bibtex(study(dict(decision, model__fusion__name="mefn")))
    assert "loss evidential" in text and "loss cross_entropy" not in text
    text = bibliography.bibtex(study(dict(model__fusion__name="gpcr_filter")))
    assert "layer gcn" in text and "loss" not in text, "the task is not known"
    named = study(dict(model__fusion__name="gmu"), dict(loss__name="mse"), {"control__name": "random_forest"})
    for i, cell in enumerate(named["cells"]):
        cell["id"] = str(i)
    text = bibliography.bibtex(named, {"0": "survival", "1": "survival", "2": "survival"})
    assert {line.rpartition("loss ")[2] for line in text.splitlines() if "loss " in line} == {
        "cox",
        "mse: Folklore: mean squared error",
    }


def test_a_mechanism_that_is_gone_is_named_without_a_source():
    gone = study({})
    gone["cells"][0]["config"]["model"]["fusion"]["name"] = "/nowhere/mine.py"
    assert "% fusion mine: no source is stated" in bibliography.bibtex(gone)


def every():
    made = []
    for kind in ("data", *WHOLE):
        for name in zoo.names(kind):
            source, year, docs = bibliography._source(kind, name)
            if source and not source.startswith(bibliography.MADE):
                made.append(bibliography.entry(source, year, docs, f"{kind} {name}", data=kind == "data"))
    return made


def test_keys_do_not_depend_on_what_else_is_cited():
    """Two works of the whole catalogue have two keys, before any letter is added."""
    works = {}
    for e in every():
        works.setdefault(e.key, set()).add(re.sub(r" \(.*\)$", "", e.fields["title"]))
        assert re.fullmatch(r"[a-z0-9]+", e.key) and e.fields.get("year", "") in e.key
    assert all(len(titles) == 1 for titles in works.values()), works


def test_bibtex_reads_the_whole_catalogue(tmp_path):
    if shutil.which("bibtex") is None:
        pytest.skip("bibtex is not installed")
    text = "\n".join(e.text() for e in {e.key: e for e in every()}.values())
    (tmp_path / "references.bib").write_text(text)
    (tmp_path / "main.aux").write_text("\\citation{*}\n\\bibstyle{plain}\n\\bibdata{references}\n")
    done = subprocess.run(["bibtex", "main"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "error" not in done.stdout.lower(), done.stdout
    assert (tmp_path / "main.bbl").read_text().count(r"\bibitem") == text.count("@misc")
