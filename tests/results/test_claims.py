"""Claims: resolved to rows, written down beforehand, and answered by results."""

import dataclasses
import re

import numpy as np
import pytest
from scipy import stats

from fusion_jax.results import calibration, claim_record, claims, paired, power, sequential
from fusion_jax.results.singles import SINGLE
from fusion_jax.results.store import Store
from fusion_jax.study import Cell, Claim
from tests import tiny
from tests.results.compared import drawn, row

RNG = np.random.default_rng(0)
BASE = RNG.uniform(0.6, 0.7, 10)
NOISE = RNG.normal(size=10) / 50
NOISE -= NOISE.mean()


def cell(label, **changes):
    made = tiny.cell(**changes)
    return Cell(made.config, label, made.seeds)


CELLS = [
    cell("gmu", model__fusion__name="gmu"),
    cell("gmu", model__fusion__name="gmu", model__placement="after"),
    cell("concat_mlp", model__fusion__name="concat_mlp"),
    cell("logistic", control__name="logistic_regression"),
    *(cell(f"single: {m}", data__modalities=(m,)) for m in ("m0", "m1")),
]


def resolve(better, than, **more):
    return claims.resolved([Claim("c", better, than, **more)], CELLS, "mine.py")[0]


def test_a_claim_is_resolved_to_rows():
    found = resolve("gmu, after", "concat_mlp", data="synthetic")
    assert (found.better, found.than) == ("gmu, after", "concat_mlp, before")
    by_keys = {"model.fusion.name": "gmu", "model.placement": "before"}
    assert resolve(by_keys, "logistic").better == "gmu, before" and resolve("logistic", by_keys).better == "logistic, -"
    assert resolve("concat_mlp", SINGLE).than == f"{SINGLE}, before"
    assert claims.resolved([], []) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            dict(better="gmo", than="logistic"),
            r"better='gmo' names no row \(did you mean 'gmu'\?\); there are: gmu, con",
        ),
        (
            dict(better="logistic", than="gmu"),
            "than='gmu' names 2 rows of synthetic.*; expected one of: gmu, before; gmu, a",
        ),
        (dict(better="gmu, after", than="logistic", data="digit"), "data='digit', no such data set"),
        (dict(better={"model.fusion.nam": "gmu"}, than="logistic"), r"better=.*no config key 'model.fusion.nam'"),
    ],
)
def test_a_claim_about_no_row_is_named(wrong, said):
    with pytest.raises(ValueError, match=f"^mine.py: claim 'c': {said}"):
        resolve(**wrong)


@pytest.mark.parametrize("than", ["gmu, after", {"model.fusion.name": "gmu", "model.placement": "after"}])
def test_a_row_is_not_compared_with_itself(than):
    with pytest.raises(ValueError, match="^mine.py: claim 'c': better='gmu, after' and than=.* are one row, gmu"):
        resolve("gmu, after", than)


def test_the_best_single_modality_is_the_best_of_several_of_one_protocol():
    def resolve_single(cells):
        return claims.resolved([Claim("c", "concat_mlp", SINGLE)], cells)

    paper = cell("paper: m1", data__modalities=("m1",), protocol="paper")
    for cells in (CELLS[:-1], [*CELLS[:-1], paper]):
        with pytest.raises(ValueError, match=re.escape(f"than='{SINGLE}' names no row")):
            resolve_single(cells)


def test_a_sequence_of_a_config_is_the_same_as_list_and_as_tuple():
    for modalities in (("m0",), ["m0"]):
        assert resolve("logistic", {"data.modalities": modalities}).than == "single: m0, before"


def test_rows_of_two_settings_are_not_compared():
    other = cell("x", data__setting="inductive")
    with pytest.raises(ValueError, match="no data set has both 'x' and 'logistic' in one protocol and setting"):
        claims.resolved([Claim("c", "x", "logistic")], [*CELLS, other])


def judged(difference, seeds=10, train=8000, test=2000, **claim):
    """A claim that a is better than b, whose differences have that mean and vary a little."""
    a = drawn("a", (BASE + difference + NOISE)[:seeds], train, test)
    return claims.judge(Claim("c", "a", "b, before", **claim), [a, drawn("b", BASE[:seeds], train, test)])


def test_a_claim_may_be_about_a_metric_of_the_calibration_table():
    def calibrated(name, values):
        own = calibration.Calibration(dict(ece=values), 0.5, (np.zeros(1),) * 3, {})
        return dataclasses.replace(row(name, BASE), calibration=own)

    a, b = calibrated("a", BASE - 0.05 + NOISE), calibrated("b", BASE)
    found = claims.judge(Claim("c", "a", "b", metric="ece"), [a, b])
    assert found.lacking == "" and verdict(found).verdict == "holds", "less of an error is better"
    ((better, than),) = verdict(found).pairs
    np.testing.assert_array_equal(better.values["ece"] - than.values["ece"], (BASE - 0.05 + NOISE) - BASE)
    bare = dataclasses.replace(b, calibration=None)
    assert "b on" in claims.judge(Claim("c", "a", "b", metric="ece"), [a, bare]).lacking


@pytest.mark.parametrize("side, wanted", [(1, "holds"), (-1, "fails")])
def test_the_verdict_of_a_claim_alone_is_the_one_before_holm(side, wanted):
    one = claims.Judged(Claim("c", "a", "b"), (), 0.02 if side > 0 else 0.98, 0.98 if side > 0 else 0.02)
    found = one.answered(0.2, 5, 0)
    assert (found.verdict, found.alone) == ("undecided", wanted)
    assert one.answered(0.04, 1, 0).verdict == one.answered(0.04, 1, 0).alone == wanted
    unsure = dataclasses.replace(one, holds=0.03, fails=0.97) if side > 0 else dataclasses.replace(one, fails=0.03)
    assert unsure.answered(0.06, 1, 0).alone == "undecided"


def verdict(one, adjusted=None, number=1, late=0):
    return one.answered(one.p if adjusted is None else adjusted, number, late)


def test_a_claim_of_better_holds_or_fails_by_the_comparisons_own_p():
    for apart, by, expected in ((0.1, 0, "holds"), (-0.1, 0, "fails"), (0.1, 0.2, "fails"), (0.004, 0, "undecided")):
        one = judged(apart, by=by)
        assert one.p == pytest.approx(paired.estimate(apart + NOISE, 0.25).p(by)) and verdict(one).verdict == expected
    found = verdict(judged(0.1), 0.012, 3)
    assert found.evidence.startswith("a, before - b, before on d: accuracy +0.100 (95 % interval +0.0")
    assert "10 seeds, Nadeau-Bengio, test/train 0.25; p = .012 after Holm over 3 claims" in found.evidence
    assert found.more_seeds is None and found.late == 0


def test_what_is_as_likely_as_the_level_decides_nothing():
    one = judged(0.1)
    assert verdict(one, claims.LEVEL).verdict == "undecided" and verdict(one, 0.0499).verdict == "holds"


def test_the_metric_that_a_claim_names_decides_and_not_the_primary_one():
    a, b = row("a", BASE + 0.1 + NOISE), row("b", BASE)
    a, b = (dataclasses.replace(r, values={**r.values, "auc": v}) for r, v in ((a, BASE), (b, BASE + 0.1 + NOISE)))
    for metric, expected in (("", "holds"), ("accuracy", "holds"), ("auc", "fails")):
        found = verdict(claims.judge(Claim("c", "a", "b", metric=metric), [a, b]))
        assert found.verdict == expected and f": {metric or 'accuracy'} " in found.evidence
    missing = verdict(claims.judge(Claim("c", "a", "b", metric="auc"), [a, row("b", BASE)]))
    assert missing.verdict == "undecided" and "b on d: no results yet, or no auc" in missing.evidence


def test_rows_of_others_of_another_protocol_or_of_another_data_set_are_no_part_of_it():
    a, b = row("a", BASE + 0.1 + NOISE), row("b", BASE)
    printed = dataclasses.replace(b, values={}, published={"accuracy": (0.9, None)})
    assert verdict(claims.judge(Claim("c", "a", "b"), [printed, a, b])).verdict == "holds"
    for field, value in (("protocol", "paper"), ("setting", "inductive")):
        other = dataclasses.replace(b, **{field: value})
        assert "not among those of the study now" in verdict(claims.judge(Claim("c", "a", "b"), [a, other])).evidence
    longer = [dataclasses.replace(r, data="d0 (k=1)") for r in (a, b)]
    assert not claims.judge(Claim("c", "a", "b", data="d"), longer).parts
    assert len(claims.judge(Claim("c", "a", "b", data="d0"), longer).parts) == 1


def test_seeds_that_have_no_result_are_told_and_left_out_of_both_rows():
    a = row("a", BASE[1:] + 0.1 + NOISE[1:], seeds=tuple(range(1, 10)))
    a = dataclasses.replace(a, variant="a", label="a (9 of 10 seeds; seed 0 diverged at epoch 2)")
    found = verdict(claims.judge(Claim("c", "a", "b"), [a, row("b", BASE)]))
    assert found.verdict == "holds" and ", 9 seeds, " in found.evidence
    assert "; a (9 of 10 seeds; seed 0 diverged at epoch 2); p " in found.evidence


def test_rows_that_share_no_seed_decide_nothing_and_have_no_difference():
    a, b = row("a", BASE[:1] + 0.1, seeds=(0,)), row("b", BASE[1:2], seeds=(1,))
    found = verdict(claims.judge(Claim("c", "a", "b"), [a, b]))
    assert found.verdict == "undecided"
    assert "on d: accuracy, 0 seeds, no common seed: nothing is known" in found.evidence


def test_less_is_better_where_it_is():
    a, b = row("a", BASE - 0.1 + NOISE, "rmse", primary="rmse"), row("b", BASE, "rmse", primary="rmse")
    for better, by, expected in (("a", 0, "holds"), ("b", 0, "fails"), ("a", 0.2, "fails"), ("a", 0.05, "holds")):
        one = claims.judge(Claim("c", better, "b" if better == "a" else "a", by=by), [a, b])
        assert verdict(one).verdict == expected


def test_equivalence_holds_within_the_margin_and_fails_outside():
    for apart, margin, expected in ((0.001, 0.1, "holds"), (0.2, 0.1, "fails"), (0.1, 0.1, "undecided")):
        assert verdict(judged(apart, equivalent=margin)).verdict == expected
    outer = paired.estimate(-0.13 + NOISE, 0.25)
    assert judged(-0.13, equivalent=0.1).fails == pytest.approx(2 * outer.below(-0.1)), "on either side"
    one = judged(0.001, equivalent=0.1)
    e = paired.estimate(0.001 + NOISE, 0.25)
    assert one.holds == pytest.approx(max(e.above(-0.1), e.below(0.1)))
    low, high = e.interval(0.95)
    assert f"(95 % interval {low:+.3f} to {high:+.3f})" in verdict(one).evidence
    for margin, expected in ((high * 1.001, "holds"), (high * 0.999, "undecided")):  # what is shown is what decides
        assert verdict(judged(0.001, equivalent=margin)).verdict == expected


def test_how_many_more_seeds_decide_it():
    one = judged(0.012, seeds=10, train=100_000, test=1000)
    found, d = verdict(one, 2 * one.p, 2), 0.012 + NOISE
    assert found.verdict == "undecided"
    assert found.more_seeds == power.needed(paired.effect(d), 0.01, 0.025) - 10 > 0
    never = verdict(judged(0.004))
    assert never.more_seeds is None and never.evidence.endswith("no number of seeds is likely to decide it")
    near = judged(0.012, train=100_000, test=1000, by=0.02)
    expected = power.needed((0.02 - 0.012) / NOISE.std(ddof=1), 0.01, 0.05) - 10
    assert verdict(near).more_seeds == expected
    less = [row("a", BASE - 0.012 + NOISE, "rmse", primary="rmse"), row("b", BASE, "rmse", primary="rmse")]
    of_error = claims.judge(Claim("c", "a", "b", by=0.02), less)
    assert verdict(of_error, 1.0).more_seeds == power.needed((0.02 - 0.012) / NOISE.std(ddof=1), 0.0, 0.05) - 10
    margin = judged(0.0, train=100_000, test=1000, equivalent=0.012)
    assert verdict(margin).more_seeds == power.needed(0.012 / NOISE.std(ddof=1), 0.01, 0.05) - 10


def test_equal_results_on_few_rows_decide_nothing():
    """Two seeds without a difference are no certainty: neither that a lead is missing nor that rows are the same."""
    a, b = drawn("a", BASE[:2], 80, 20), drawn("b", BASE[:2], 80, 20)
    for claim in (dict(by=0.001), dict(equivalent=0.05)):
        one = claims.judge(Claim("c", "a", "b", **claim), [a, b])
        assert one.p > 0.05 and verdict(one).verdict == "undecided", claim
        assert "spread at least one test row" in verdict(one).evidence
    unknown = verdict(claims.judge(Claim("c", "a", "b", by=0.001), [row("a", BASE[:2]), row("b", BASE[:2])]))
    assert unknown.verdict == "undecided" and "nothing is known" in unknown.evidence and unknown.more_seeds is None


def test_a_claim_that_was_looked_at_has_the_p_of_all_looks():
    """Two looks at 5 and 10 of at most 10 seeds; the levels are two-sided, and so is twice the one-sided p."""
    values, looked = BASE + 0.02 + NOISE, dict(looks=(5, 10), limit=10)
    rows = [drawn("a", values, 8000, 2000, **looked), drawn("b", BASE, 8000, 2000, **looked)]
    d = 0.02 + NOISE
    t = [d[:n].mean() / (d[:n].std(ddof=1) * np.sqrt(1 / n + 0.25)) for n in (5, 10)]
    above = [stats.t.sf(own, n - 1) for own, n in zip(t, (5, 10), strict=True)]
    one = claims.judge(Claim("c", "a", "b"), rows)
    assert 2 * one.holds == pytest.approx(sequential.sequential_p(np.minimum(1, 2 * np.array(above)), (5, 10), 10))
    assert one.p == pytest.approx(2 * one.holds) and one.holds > above[1], "of the last look alone"
    assert "looked at 5, 10 of at most 10" in verdict(one).evidence
    margin = claims.judge(Claim("c", "a", "b", equivalent=0.05), rows)
    inside = [stats.t.sf((0.05 - d[:n].mean()) / (d[:n].std(ddof=1) * np.sqrt(1 / n + 0.25)), n - 1) for n in (5, 10)]
    expected = sequential.sequential_p(np.minimum(1, 2 * np.array(inside)), (5, 10), 10)
    assert 2 * margin.holds == pytest.approx(expected), "the nearer margin decides"


def test_how_many_more_seeds_goes_by_the_spread_that_the_test_has():
    one = claims.judge(Claim("c", "a", "b", by=0.1), [drawn("a", BASE, 8000, 20), drawn("b", BASE, 8000, 20)])
    assert verdict(one, 2 * one.p, 2).verdict == "fails"
    near = claims.judge(Claim("c", "a", "b", by=0.03), [drawn("a", BASE, 8000, 20), drawn("b", BASE, 8000, 20)])
    assert verdict(near).more_seeds == power.needed(0.03 / 0.05, 20 / 8000) - 10 > 0


def test_a_claim_about_several_data_sets_is_about_all_of_them():
    def rows(data, apart):
        return [row("a", BASE + apart + NOISE, data=data), row("b", BASE, data=data)]

    def said(*apart, **claim):
        table = [r for i, shift in enumerate(apart) for r in rows(f"d{i} (k=1)", shift)]
        return verdict(claims.judge(Claim("c", "a", "b", **claim), table)).verdict

    assert said(0.1, 0.2) == "holds" and said(0.1, 0.0) == "undecided" and said(0.1, -0.2) == "fails"
    assert said(0.1, -0.2, data="d0") == "holds" and said(0.1, -0.2, data="d1 (k=1)") == "fails"
    one = claims.judge(Claim("c", "a", "b"), [*rows("x", 0.01), *rows("y", -0.02), *rows("z", -0.01)])
    assert one.fails == pytest.approx(3 * paired.estimate(-0.02 + NOISE).below(0)), "the clearest, corrected for three"


def test_the_data_set_that_needs_most_seeds_says_how_many():
    table = [r for d, shift in (("x", 0.012), ("y", 0.008)) for r in (row("a", BASE + shift + NOISE, data=d),)]
    table += [row("b", BASE, data=d) for d in "xy"]
    found = verdict(claims.judge(Claim("c", "a", "b", by=0.001), table), 0.9)
    needed = [power.needed((shift - 0.001) / NOISE.std(ddof=1), 0.0, found.p / 0.9 / 20) for shift in (0.012, 0.008)]
    assert needed[1] > needed[0] and found.more_seeds == max(1, needed[1] - 10)


def test_a_data_set_without_results_counts_and_more_seeds_are_not_what_is_missing():
    """Else one verdict would fall while data sets come in, and be taken back."""
    known = [row("a", BASE - 0.013 + NOISE, data="x"), row("b", BASE, data="x")]
    later = [row(name, None, data=d, error="not run") for d in "yz" for name in "ab"]
    one = claims.judge(Claim("c", "a", "b"), [*known, *later])
    assert one.fails == pytest.approx(3 * paired.estimate(-0.013 + NOISE).below(0)) and np.isnan(one.holds)
    found = verdict(one, 0.9)
    assert found.verdict == "undecided" and found.more_seeds is None and "a and b on z: no results" in found.evidence


def test_what_is_not_finished_decides_nothing():
    a, b = row("a", BASE + 0.2 + NOISE), row("b", BASE)
    some = dataclasses.replace(b, error="not finished", label="b (10 of 20 seeds: not finished)", variant="b")
    found = verdict(claims.judge(Claim("c", "a", "b"), [a, some]))
    assert found.verdict == "undecided" and "b (10 of 20 seeds: not finished) on d: no results yet" in found.evidence
    assert np.isnan(found.p) and found.more_seeds is None
    looked = [dataclasses.replace(r, looks=(10,), limit=20) for r in (a, some)]
    assert verdict(claims.judge(Claim("c", "a", "b"), looked)).verdict == "holds", "a look was planned there"
    gone = verdict(claims.judge(Claim("c", "a", "x"), [a, b]))
    assert gone.verdict == "undecided" and "not among those of the study now" in gone.evidence
    part = [a, b, *(dataclasses.replace(r, data="e", values={}, error="E") for r in (a, b))]
    assert verdict(claims.judge(Claim("c", "a", "b"), part)).verdict == "undecided"
    assert verdict(claims.judge(Claim("c", "b", "a"), part)).verdict == "fails", "on one data set, which is enough"


A, B = (dataclasses.asdict(Claim(c, "gmu, before", "logistic, -")) for c in "ab")


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path, create=True)
    found.write_study([(f"{i:016x}", c) for i, c in enumerate(CELLS)], "here")
    return found


def test_claims_are_kept_with_their_hash_and_every_version(store, monkeypatch):
    claim_record.record(store, [])
    assert "claims" not in store.read_study()
    claim_record.record(store, [Claim(**A)])
    claim_record.record(store, [Claim(**A)])
    (first,) = store.read_study()["claims"]
    assert first["claims"] == [A] and first["finished_seeds"] == 0 and first["sha256"] == claim_record.digest([A])
    assert (
        claim_record.digest([dict(reversed(A.items()))]) == claim_record.digest([A]) != claim_record.digest([B])
        and len(first["sha256"]) == 64
    )
    assert claim_record.changes(store.read_study(), {}) == []
    monkeypatch.setattr(Store, "count_finished", lambda self: 30)
    claim_record.record(store, [Claim(**A), Claim(**B)])
    store.write_study([(f"{i:016x}", c) for i, c in enumerate(CELLS[:2])], "here")
    study = store.read_study()
    assert len(study["claims"]) == 2, "another list of cells keeps them"
    (said,) = claim_record.changes(study, {})
    assert said.startswith("claim 'b' was written when 30 seeds had finished or begun (")
    claim_record.record(store, [])
    assert [s.split(" (")[0] for s in claim_record.changes(store.read_study(), {})][1:] == [
        "claim 'a' was withdrawn or changed when 30 seeds had finished or begun",
        "claim 'b' was withdrawn or changed when 30 seeds had finished or begun",
    ]
    assert claims.answer(store, []) == []


def test_a_claim_that_was_changed_by_hand_is_no_older_than_the_results(store, monkeypatch):
    claim_record.record(store, [Claim("first", "a", "b"), Claim("second", "a", "c")])
    versions = store.read_study()["claims"]
    versions[0]["claims"][1]["better"] = "b"
    store.amend(claims=versions)
    monkeypatch.setattr(Store, "count_finished", lambda self: 30)
    rows = [row("a", BASE + 0.05 + NOISE), row("b", BASE), row("c", BASE + 0.01 + NOISE)]
    assert [(a.text, a.late) for a in claims.answer(store, rows)] == [("first", 30), ("second", 30)]
    versions[0]["claims"][1]["better"] = "a"
    store.amend(claims=versions)
    assert [a.late for a in claims.answer(store, rows)] == [0, 0]


def test_a_first_version_that_was_changed_by_hand_tells_of_claims_that_a_later_one_kept(store, monkeypatch):
    claim_record.record(store, [Claim("first", "a", "b")])
    claim_record.record(store, [Claim("first", "a", "b"), Claim("second", "a", "b")])
    versions = store.read_study()["claims"]
    versions[0]["sha256"] = "0" * 64
    store.amend(claims=versions)
    monkeypatch.setattr(Store, "count_finished", lambda self: 30)
    rows = [row("a", BASE + 0.05 + NOISE), row("b", BASE)]
    assert [(a.text, a.late) for a in claims.answer(store, rows)] == [("first", 30), ("second", 0)]


def test_a_claim_that_came_back_is_as_old_as_its_return(store, monkeypatch):
    for finished, stated in ((5, [Claim("first", "a", "b")]), (7, [Claim("other", "a", "b")])):
        monkeypatch.setattr(Store, "count_finished", lambda self, n=finished: n)
        claim_record.record(store, stated)
    monkeypatch.setattr(Store, "count_finished", lambda self: 9)
    claim_record.record(store, [Claim("first", "a", "b"), Claim("other", "a", "b")])
    rows = [row("a", BASE + 0.05 + NOISE), row("b", BASE)]
    assert [(a.text, a.late) for a in claims.answer(store, rows)] == [("first", 9), ("other", 7)]


def test_claims_changed_together_with_their_hash_are_late_by_what_trainings_know(store):
    claim_record.record(store, [Claim("first", "a", "b")])
    for i, seeds in ((0, (0, 1, 2)), (1, (0, 1))):
        store.write_part(f"{i:016x}", CELLS[i], seeds, {}, dict(seconds=1.0))
    study, rows = store.read_study(), [row("a", BASE + 0.05 + NOISE), row("b", BASE)]
    (version,) = study["claims"]
    assert claim_record.trained(store, study) == {version["sha256"]: 5}
    assert claims.answer(store, rows)[0].late == 0
    turned = [version["claims"][0] | dict(better="b", than="a")]
    store.amend(claims=[version | dict(claims=turned, sha256=claim_record.digest(turned))])
    study = store.read_study()
    assert claims.answer(store, rows)[0].late == 5
    (said,) = claim_record.changes(study, claim_record.trained(store, study))
    assert said.startswith(f"5 seeds were trained when study.json held other claims, sha256 {version['sha256'][:12]}")
    store.amend(claims=[])
    assert claim_record.trained(store, store.read_study()) == {version["sha256"]: 5}, "nor are they withdrawn unseen"


def test_a_version_that_says_fewer_seeds_had_finished_than_were_trained_before_it_is_told(store):
    """Versions are whole and the first is what was trained with: the number of seeds alone was made up."""
    first, second = Claim("first", "a", "b"), Claim("second", "b", "a")
    claim_record.record(store, [first])
    store.write_part(f"{0:016x}", CELLS[0], (0, 1, 2), {}, dict(seconds=1.0))
    (version,) = store.read_study()["claims"]
    later = [dataclasses.asdict(c) for c in (first, second)]
    made_up = version | dict(claims=later, sha256=claim_record.digest(later), finished_seeds=0)
    store.amend(claims=[version, made_up])
    rows = [row("a", BASE + 0.05 + NOISE), row("b", BASE)]
    assert [one.late for one in claims.answer(store, rows)] == [0, 3]
    study = store.read_study()
    trained = claim_record.trained(store, study)
    told, late = claim_record.changes(study, trained)
    assert "say that 0 seeds had finished or begun; 3 were trained with claims before them" in told
    assert late.startswith("claim 'second' was written when 3 seeds")
    store.amend(claims=[version, made_up | dict(finished_seeds=3)])
    assert len(claim_record.changes(store.read_study(), trained)) == 1, "the true number is nothing to tell of"
    store.amend(claims=[version, made_up, version | dict(finished_seeds=3)])
    (again,) = claim_record.changes(store.read_study(), trained)
    assert "withdrawn or changed when 3 seeds" in again, "what was trained with it may have been trained since"


def test_a_study_answers_its_claims_with_holm_over_them(store, monkeypatch):
    claim_record.record(store, [Claim("first", "a", "b"), Claim("second", "a", "c")])
    monkeypatch.setattr(Store, "count_finished", lambda self: 12)
    claim_record.record(store, [Claim("first", "a", "b"), Claim("third", "b", "c"), Claim("second", "a", "c")])
    rows = [row("a", BASE + 0.05 + NOISE), row("b", BASE), row("c", BASE + 0.01 + NOISE)]
    found = claims.answer(store, rows)
    assert [(a.text, a.late) for a in found] == [("first", 0), ("third", 12), ("second", 0)]
    p = np.array([a.p for a in found])
    every = np.where(np.isnan(p), np.nan, paired.holm(np.where(np.isnan(p), 1.0, p)))
    np.testing.assert_allclose([a.adjusted for a in found], every)
    assert found[0].verdict == "holds" and found[0].pairs == ((rows[0], rows[1]),) and found[0].claim.better == "a"


def test_claims_without_results_yet_count_in_the_correction(store):
    claim_record.record(
        store, [Claim(name, "a", than) for name, than in (("first", "b"), ("second", "x"), ("third", "y"))]
    )
    rows = [row("a", BASE + 0.05 + NOISE), row("b", BASE)]
    first, *rest = claims.answer(store, rows)
    assert first.adjusted == pytest.approx(3 * first.p) and "after Holm over 3 claims" in first.evidence
    assert all(np.isnan(one.adjusted) and one.verdict == "undecided" for one in rest)


def test_claims_that_come_behind_trainings_without_any_are_late_whatever_they_say(store):
    for i, seeds in ((0, (0, 1, 2)), (1, (0, 1))):
        store.write_part(f"{i:016x}", CELLS[i], seeds, {}, dict(seconds=1.0))
    study = store.read_study()
    assert claim_record.trained(store, study) == {"": 5} and claim_record.changes(study, {"": 5}) == []
    held = [dataclasses.asdict(Claim("first", "a", "b"))]
    version = dict(sha256=claim_record.digest(held), written="now", finished_seeds=0, claims=held)
    store.amend(claims=[version])
    assert claims.answer(store, [row("a", BASE + 0.05 + NOISE), row("b", BASE)])[0].late == 5
    said = claim_record.changes(store.read_study(), {"": 5})
    assert said[0].startswith("the claims of now say that 0 seeds had finished or begun; 5 were trained with")


def test_finished_seeds_are_counted(store):
    assert store.count_finished() == 0
    for i, seeds in ((0, (0, 1)), (3, (0,))):
        store.write_part(f"{i:016x}", CELLS[i], seeds, {}, dict(seconds=1.0))
    (store.cell("0" * 15 + "1")).mkdir()
    (store.cell("0" * 15 + "1") / "record.json").write_text("{")
    assert store.count_finished() == 4, "of the damaged one it is only known that there was something"
    (store.root / "cells" / "begun" / ".partial-seeds_0").mkdir(parents=True)
    assert store.count_finished() == 5, "what is saved on the way may have been looked at as well"


def test_p_says_what_it_is_not_below_or_above():
    numbers = (0.0123, 0.0009, 0.9994, 0.9996, 1.0)
    assert [claims.p_text(p) for p in numbers] == ["= .012", "< .001", "= .999", "> .999", "> .999"]
