"""Verdicts of universes, and what a choice changes."""

import itertools

import numpy as np
import pytest

from fusion_jax.analysis import multiverse as package
from fusion_jax.analysis.multiverse import multiverse
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store

NOISE = np.array([-0.01, 0.0, 0.01, 0.002])
GAINS = {  # (width, layer): gain of gmu over concat_mlp in points
    ("16", "gcn"): 0.10,
    ("16", "sage"): 0.00,
    ("32", "gcn"): 0.12,
    ("32", "sage"): -0.20,
}


def row(fusion, values, primary="accuracy"):
    return Row(
        f"{fusion}, some key", "before", "d", "honest", "t", {primary: values}, 1, 1.0, primary=primary, fusion=fusion
    )


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Asks of rows in settings of two keys."""

    def ask(gains=GAINS, sign=1, primary="accuracy", fusions=("gmu",), **options):
        placed = []
        for (dim, layer), gain in gains.items():
            setting = {"model.dim": dim, "model.layer.name": layer}
            placed.append((row("concat_mlp", np.full(4, 0.5), primary), setting))
            for i, fusion in enumerate(fusions):
                placed.append((row(fusion, 0.5 + sign * (gain - 0.3 * i + NOISE), primary), setting))
        monkeypatch.setattr(package, "placed_rows", lambda store, metric: placed)
        return multiverse(Store(tmp_path), **options)

    return ask


def test_a_universe_is_a_row_with_its_own_verdict_the_lowest_gain_first(asked):
    found = asked()
    table = found.tables["universes"]
    assert list(table["model.layer"]) == ["sage", "sage", "gcn", "gcn"]
    assert list(table["model.dim"]) == ["32", "16", "16", "32"]
    assert list(table.verdict) == ["fails", "undecided", "holds", "holds"]
    gain = np.array([-0.20, 0.0, 0.10, 0.12]) + NOISE.mean()
    np.testing.assert_allclose(table.gain, gain, rtol=1e-12, atol=1e-12)
    half = 3.182446305284263 * NOISE.std(ddof=1) / 2  # t of 3 degrees of freedom
    np.testing.assert_allclose(table.high - table.gain, half, rtol=1e-9)
    assert table.adjusted[0] == pytest.approx(4 * table.p[0]) and list(table.seeds) == [4] * 4
    assert found.sentence == (
        "That gmu beats concat_mlp in accuracy holds in 2 of 4 universes, fails in 1 and is undecided in 1; the median "
        "gain is +0.050 (-0.200 to +0.120), and what moves it most is model.layer, by -0.210 from gcn to sage."
    )
    assert found.facts["holds"] == 0.5 and found.facts["fails"] == found.facts["undecided"] == 0.25


def test_a_choice_changes_the_gain_by_the_mean_over_pairs_that_differ_in_it_alone(asked):
    lines = asked().tables["choices"].set_index(["choice", "value"])
    change = lines.loc[("model.layer", "sage")]
    pairs = np.array([-0.10, -0.32])
    half = 12.706204736174694 * pairs.std(ddof=1) / np.sqrt(2)  # t of one degree of freedom
    assert change.against == "gcn" and change.pairs == 2 and change.holds == 0 and change.fails == 1
    np.testing.assert_allclose([change.change, change.high - change.change], [pairs.mean(), half], rtol=1e-9)
    assert lines.loc[("model.layer", "gcn")].against is None and lines.loc[("model.layer", "gcn")].holds == 2
    fewer = {key: gain for key, gain in GAINS.items() if key != ("32", "sage")}
    change = asked(gains=fewer).tables["choices"].set_index("value").loc["sage"]
    assert change.pairs == 1 and change.change == pytest.approx(-0.10) and np.isnan(change.low)


def test_of_errors_less_is_a_gain_and_a_margin_has_to_be_passed(asked):
    found = asked(sign=-1, primary="rmse")
    assert list(found.tables["universes"].verdict) == ["fails", "undecided", "holds", "holds"]
    table = asked(sign=-1, primary="rmse", by=0.11).tables["universes"]
    assert list(table.verdict) == ["fails", "fails", "undecided", "undecided"]
    assert ((table.low < table.gain) & (table.gain < table.high)).all()
    assert list(asked(by=0.05).tables["universes"].verdict) == ["fails", "fails", "holds", "holds"]
    assert "by more than 0.05 in accuracy holds in 2 of 4" in asked(by=0.05).sentence


def test_without_names_the_best_fusion_stands_against_the_usual_baseline_and_the_note_says_so(asked):
    found = asked(fusions=("gmu", "mean"))
    assert (found.facts["better"], found.facts["than"]) == ("gmu", "concat_mlp")
    assert "was chosen by these very gains" in found.note
    named = asked(fusions=("gmu", "mean"), better="mean")
    assert "was chosen" not in named.note and list(named.tables["universes"].verdict) == ["fails"] * 4


@pytest.mark.parametrize(
    "options,match",
    [
        (dict(by=-0.1), r"by=-0.1; expected a margin, 0 or more"),
        (dict(by=float("nan")), r"by=nan; expected a margin"),
        (dict(better="gmuu"), r"better='gmuu', no such row \(did you mean 'gmu'\?\)"),
        (dict(than="sum"), r"than='sum', no such row.*; there are: concat_mlp, gmu"),
        (dict(fusions=()), "all rows of the study are than='concat_mlp'"),
        (dict(gains=dict(itertools.islice(GAINS.items(), 1))), "1 universe of this study has both better='gmu' and"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(asked, options, match):
    with pytest.raises(ValueError, match=match):
        asked(**options)


def test_gains_in_several_units_are_not_put_into_one_curve(monkeypatch, tmp_path):
    placed = [(row("mean", NOISE, "rmse"), {"data.name": "a"}), (row("mean", NOISE), {"data.name": "b"})]
    monkeypatch.setattr(package, "placed_rows", lambda store, metric: placed)
    with pytest.raises(ValueError, match="ranked by several metrics, accuracy, rmse; name one with metric="):
        multiverse(Store(tmp_path))
