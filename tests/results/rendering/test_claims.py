"""The answers to a study's claims, as a report shows them."""

import json

from fusion_jax.results import claim_record, report
from fusion_jax.results.claims import Answered
from fusion_jax.results.rendering.claims import as_dict, render
from fusion_jax.results.store import Store
from fusion_jax.study import Cell, Claim
from tests import tiny

CLAIM = dict(claim="a|b")
VERSION = dict(sha256=claim_record.digest([CLAIM]), written="2026-01-02", finished_seeds=0, claims=[CLAIM])
STUDY = dict(claims=[VERSION])


def answered(verdict="holds", more=None, late=0):
    return Answered("a|b", verdict, "because", more, 0.1, 0.2, late, Claim("a|b", "a", "b"), ())


def test_every_claim_has_its_line():
    lines = render([answered(), answered("undecided", 7), answered("undecided")], STUDY, []).splitlines()
    assert lines[0] == f"Claims, before the first epoch (sha256 {VERSION['sha256'][:12]}, 2026-01-02):"
    assert lines[2:] == [
        r"- **holds**: a\|b: because.",
        r"- **undecided**: a\|b: because. About 7 more seeds would decide it.",
        r"- **undecided**: a\|b: because.",
    ]
    assert render([], {}, []) == "" and as_dict(answered())["verdict"] == "holds"


def test_what_came_late_or_was_withdrawn_is_said():
    late = dict(VERSION, finished_seeds=9, claims=[], sha256=claim_record.digest([]))
    study = dict(claims=[*STUDY["claims"], late])
    said = claim_record.changes(study, {})
    text = render([answered(late=9)], study, said)
    assert "of which some came late" in text and "(written when 9 seeds had finished or begun)" in text
    assert r"- claim 'a\|b' was withdrawn or changed when 9 seeds had finished or begun (2026-01-02)" in text
    assert "withdrawn" in render([], study, said), "of claims that are gone too"


def test_claims_that_are_not_what_was_written_are_said_to_be():
    forged = dict(VERSION, claims=[dict(claim="b|a")])
    (said,) = claim_record.changes(dict(claims=[forged]), {})
    assert said.startswith("the claims of 2026-01-02 were changed in study.json after they had been written: their sha")
    assert VERSION["sha256"][:12] in said and f"- {said}" in render([answered()], dict(claims=[forged]), [said])


def test_the_report_answers_the_claims(tmp_path):
    store, cell = Store(tmp_path, create=True), tiny.cell()
    store.write_study([("0" * 16, Cell(cell.config, "a", 2)), ("1" * 16, Cell(cell.config, "b", 2))], "here")
    claim_record.record(store, [Claim("a beats b", "a, before", "b, before")])
    text = report.write(store)
    assert "Of 1 claim 1 is undecided" in text.splitlines()[0]
    assert "- **undecided**: a beats b: a and b on synthetic: no results yet" in text
    held = json.loads((store.root / "report" / "table.json").read_text())
    assert held["claims"][0]["verdict"] == "undecided" and held["claims"][0]["p"] is None
    (version,) = store.read_study()["claims"]
    stated = dict(sha256=version["sha256"], written=version["written"], changes=[])
    assert held["claims_stated"] == stated and f"sha256 {version['sha256'][:12]}" in text
