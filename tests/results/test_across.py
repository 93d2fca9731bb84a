"""Rows over data sets, against the worked example of Demsar (2006), SciPy and scikit-posthocs."""

import numpy as np
import pytest
import scikit_posthocs
from scipy import stats

from fusion_jax.results import across as module
from fusion_jax.results import paired
from fusion_jax.results.across import across
from tests.results.compared import row

NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
AUC = {  # table 6 of the paper; of "voting" the last digit that its ranks go by is added
    "adult": (0.763, 0.768, 0.771, 0.798),
    "breast cancer": (0.599, 0.591, 0.590, 0.569),
    "breast cancer wisconsin": (0.954, 0.971, 0.968, 0.967),
    "cmc": (0.628, 0.661, 0.654, 0.657),
    "ionosphere": (0.882, 0.888, 0.886, 0.898),
    "iris": (0.936, 0.931, 0.916, 0.931),
    "liver disorders": (0.661, 0.668, 0.609, 0.685),
    "lung cancer": (0.583, 0.583, 0.563, 0.625),
    "lymphography": (0.775, 0.838, 0.866, 0.875),
    "mushroom": (1.000, 1.000, 1.000, 1.000),
    "primary tumor": (0.940, 0.962, 0.965, 0.962),
    "rheum": (0.619, 0.666, 0.614, 0.669),
    "voting": (0.972, 0.981, 0.9751, 0.975),
    "wine": (0.957, 0.978, 0.946, 0.970),
}
TABLE = [
    row(name, [v - 0.01, v + 0.01], "auc", data=data)
    for data, values in AUC.items()
    for name, v in zip(NAMES, values, strict=True)
]


def test_the_worked_example():
    """Average ranks 3.143, 2.000, 2.893 and 1.964; chi2 = 9.28 (without correction for ties), F = 3.69; CD = 1.25, and
    1.12 at the level .10."""
    found = across(TABLE, "auc")
    ranks = dict(zip(found.names, found.mean_ranks, strict=True))
    expected = dict(zip(NAMES, (3.143, 2.000, 2.893, 1.964), strict=True))
    assert {k.removesuffix(", before"): round(float(v), 3) for k, v in ranks.items()} == expected
    ties = ((found.ranks - 2.5) ** 2).sum() / (14 * 5)  # 1 without equal ranks
    chi2 = found.chi2 * ties
    assert round(chi2, 2) == 9.28 and round(13 * chi2 / (14 * 3 - chi2), 2) == 3.69
    assert round(found.critical_difference, 2) == 1.25 and round(module.critical_difference(4, 14, 0.1), 2) == 1.12
    assert found.names[0] == "C4.5+m+cf, before" and found.groups == ((0, 1, 2, 3),)
    assert module.groups(found.mean_ranks, 1.12) == ((0, 1, 2), (2, 3)), (
        "as the text says, not the last two of figure 1"
    )


def test_it_is_what_scipy_and_scikit_posthocs_say():
    found = across(TABLE, "auc")
    scores = np.round(found.scores, 9)
    chi2, p = stats.friedmanchisquare(*scores.T)
    np.testing.assert_allclose([found.chi2, found.p], [chi2, p])
    np.testing.assert_allclose(found.f_p, stats.f.sf(13 * chi2 / (14 * 3 - chi2), 3, 39))
    np.testing.assert_allclose(found.nemenyi, scikit_posthocs.posthoc_nemenyi_friedman(scores), atol=1e-6)
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    expected = paired.holm(np.array([paired.wilcoxon(scores[:, i] - scores[:, j]) for i, j in pairs]))
    np.testing.assert_allclose([found.wilcoxon[i, j] for i, j in pairs], expected)


@pytest.mark.parametrize(
    ("ranks", "apart", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], 1.5, ((0, 1), (1, 2), (2, 3))),
        ([1.0, 1.2, 3.0, 3.1, 3.2], 1.0, ((0, 1), (2, 3, 4))),
        ([1.0, 3.0, 5.0], 1.0, ()),
        ([1.0, 1.9, 2.8], 2.0, ((0, 1, 2),)),
    ],
)
def test_bars_join_the_longest_runs(ranks, apart, expected):
    assert module.groups(np.array(ranks), apart) == expected


def test_less_is_better_where_it_is_and_every_data_set_has_its_own_metric():
    table = [row(f"r{i}", [i, i + 0.1], "rmse", data="x", primary="rmse") for i in range(3)]
    table += [row(f"r{i}", [0.9 - i / 10] * 2, "accuracy", data="y") for i in range(3)]
    found = across(table)
    assert found.names == ("r0, before", "r1, before", "r2, before") and found.data == ("x", "y")
    np.testing.assert_array_equal(found.ranks, [[1, 2, 3]] * 2)
    assert np.isinf(found.f) and found.f_p == 0


def test_rows_that_a_data_set_lacks_are_named():
    table = [row(f"r{i}", [i], data=data) for data in "xyz" for i in range(4)]
    table += [row("extra", [1.0], data="x"), row("r0", [1.0], data="x", placement="after")]
    table += [
        row("r1", [np.nan], data="x", protocol="paper"),
        row("r9", None, data="y", published=dict(accuracy=(1, 0))),
    ]
    found = across(table, "accuracy")
    assert found.left_out == ("extra, before", "r0, after") and len(found.names) == 4
    with pytest.raises(ValueError, match="4 rows are in all of 1 data sets"):
        across([r for r in table if r.data == "y"], "accuracy")
    with pytest.raises(ValueError, match="1 rows are in all of 2"):
        across([row("a", [1.0], data="x"), row("a", [1.0], data="y"), row("b", [1.0], data="y")], "accuracy")


def test_settings_are_told_apart_on_all_data_sets_where_one_has_several():
    values = {("x", "default"): (0.1, 0.2), ("x", "inductive"): (0.4, 0.3), ("y", "default"): (0.5, 0.6)}
    table = [
        row(name, [v], data=data, setting=setting)
        for (data, setting), pair in values.items()
        for name, v in zip("ab", pair, strict=True)
    ]
    found, turned = across(table), across(table[::-1])
    assert found.names == ("b, before, default", "a, before, default") == turned.names
    assert sorted(found.data) == ["x", "y"] and found.left_out == ("a, before, inductive", "b, before, inductive")
    scores = {d: s.tolist() for d, s in zip(turned.data, turned.scores, strict=True)}
    assert scores == dict(x=[0.2, 0.1], y=[0.6, 0.5])
    plain = across([r for r in table if r.setting == "default"])
    assert plain.names == ("b, before", "a, before")


def test_equal_scores_share_their_rank_whatever_their_scale():
    noise = np.array([1.0, 1.0 + 1e-15, 1.0 - 1e-3])
    for scale in (1e-9, 1.0, 1e9, -1e9):
        expected = [[1.5, 1.5, 3]] if scale > 0 else [[2.5, 2.5, 1]]
        np.testing.assert_array_equal(module.rank(scale * noise[None]), expected)
    np.testing.assert_array_equal(module.rank(np.zeros((1, 2))), [[1.5, 1.5]])


def test_two_rows_have_no_friedman_test():
    found = across([row(n, [v], data=d) for d in "xyz" for n, v in (("a", 0.1), ("b", 0.2))], "accuracy")
    assert np.isnan([found.chi2, found.f_p]).all() and found.names[0] == "b, before"
