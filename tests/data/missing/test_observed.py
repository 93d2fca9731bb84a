"""What is lost depends on the modality that stays, and, that given, on nothing else."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import logit

from fusion_jax.data.missing.observed import observed
from tests.data.missing.nodes import N, made


def first_component(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(0)
    v = np.linalg.svd(x, full_matrices=False)[2][0]
    z = x @ (v * np.sign(v[np.abs(v).argmax()]))
    return z / z.std()


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("by", ["", "m2"])
def test_the_odds_rise_with_the_first_component_of_the_modality_that_stays(by, form):
    """The sign is that of the largest entry, not of the first; that the centre is far from 0 must not matter."""
    nodes = made(lacks=0.0)
    main, first, last = nodes.features[by or "m0"].T
    x = np.stack([first - 0.3 * main, main, last + 50.0], 1)
    nodes = made(lacks=0.0, features={**nodes.features, (by or "m0"): form(x)})
    gone = observed(nodes, np.random.default_rng(0), rate=0.4, by=by, strength=1.5)
    stays = 2 if by else 0
    assert not gone[:, stays].any()
    z, lost = first_component(x), gone[:, 1]
    bins = np.array_split(np.argsort(z), 10)
    odds = [logit(lost[rows].mean()) for rows in bins]
    slope = np.polyfit([z[rows].mean() for rows in bins], odds, 1)[0]
    np.testing.assert_allclose(slope, 1.5, rtol=0.1)
    assert abs(np.corrcoef(lost, made().features["m1"][:, 0])[0, 1]) < 4 / np.sqrt(N)


def test_strength_0_is_completely_at_random_and_absent_nodes_are_average():
    nodes = made(lacks=0.5)
    gone = observed(nodes, np.random.default_rng(0), rate=0.4, strength=0.0)
    z = np.where(nodes.mask[:, 0], nodes.features["m0"][:, 0], np.nan)
    has = nodes.mask[:, 0]
    assert abs(np.corrcoef(gone[has, 1], z[has])[0, 1]) < 4 / np.sqrt(has.sum())
    strong = observed(nodes, np.random.default_rng(0), rate=0.5, strength=50.0)
    np.testing.assert_allclose(strong[~has, 1].mean(), 0.5, atol=0.05)  # z = 0, and a = 0 where z is symmetric
    assert (strong[has, 1] == (z[has] > 0)).mean() > 0.95


@pytest.mark.parametrize("strength", [0.0, 2.0, 200.0, -1000.0])
@pytest.mark.parametrize("rate", [0.1, 0.9])
def test_the_rate_is_what_is_asked_for_however_strong(rate, strength):
    gone = observed(made(2000, lacks=0.0), np.random.default_rng(0), rate=rate, strength=strength)
    np.testing.assert_allclose(gone[:, 1].mean(), rate, atol=4 * np.sqrt(rate * (1 - rate) / 2000))


def test_a_missing_value_is_its_columns_mean():
    nodes = made(200, lacks=0.0)
    x = nodes.features["m0"].copy()
    x[3, 0] = np.nan
    filled = np.where(np.isnan(x), np.nanmean(x, 0), x)
    a, b = (
        observed(made(200, lacks=0.0, features={**nodes.features, "m0": f}), np.random.default_rng(0), rate=0.5)
        for f in (x, filled)
    )
    np.testing.assert_array_equal(a, b)


def test_one_modality_has_none_to_depend_on():
    with pytest.raises(ValueError, match="has one modality, which has none to depend on"):
        observed(made(20, modalities=1), np.random.default_rng(0))
