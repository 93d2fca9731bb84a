"""Synthetic values: what can be explained is what the formulas say."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from fusion_jax.data.synthetic_values import best_r2, load
from tests.data.linear import averaged

MANY = 3000


@pytest.fixture(scope="module")
def data():
    return load(nodes=MANY)


def along(x):
    """The latent as its modality shows it: the leading principal component."""
    return x @ np.linalg.svd(x - x.mean(0), full_matrices=False)[2][0]


def r2(columns, y, rows=slice(None)):
    x = np.stack(columns, 1)
    return LinearRegression().fit(x[rows], y[rows]).score(x[rows], y[rows])


def test_own_features_explain_what_the_formula_says(data):
    """Linear regression on (ab, a, b) of the noisy latents is the conditional mean."""
    a, b = (along(data.features[m]) for m in "ab")
    y = data.target.values[:, 0]
    assert abs(r2([a * b, a, b], y) - best_r2()) < 0.04
    assert abs(r2([a], y) - best_r2(given="one")) < 0.04
    assert abs(r2([b, b**2, b**3], y) - best_r2(given="one")) < 0.04


def test_the_product_is_in_no_sum(data):
    y = load(nodes=MANY, interaction=1.0, target_noise=0.0).target.values[:, 0]
    a, b = (along(data.features[m]) for m in "ab")
    assert r2([a, b, a**2, b**2], y) < 0.02
    assert abs(r2([a * b], y) - best_r2(interaction=1.0, target_noise=0.0)) < 0.05


def test_without_noise_all_but_the_targets_own_is_explained():
    clean = load(nodes=MANY, noise=0.0)
    a, b = (along(clean.features[m]) for m in "ab")
    y = clean.target.values[:, 0]
    assert abs(r2([a * b, a, b], y) - best_r2(given="latents")) < 0.01
    assert best_r2(noise=0.0) == best_r2(given="latents")


def test_missing_modalities():
    sparse = load(nodes=MANY, missing=0.4, noise=0.3)
    assert sparse.mask.any(1).all()
    a, b = (along(sparse.features[m]) for m in "ab")
    both, y = sparse.mask.all(1), sparse.target.values[:, 0]
    assert abs(both.mean() - 0.36) < 0.03
    explained = np.zeros(len(y))
    for rows, columns in ((both, [a * b, a, b]), (~both & sparse.mask[:, 0], [a]), (~both & sparse.mask[:, 1], [b])):
        x = np.stack(columns, 1)[rows]
        explained[rows] = LinearRegression().fit(x, y[rows]).predict(x)
    assert abs(1 - (y - explained).var() / y.var() - best_r2(missing=0.4, noise=0.3)) < 0.04


def test_neighbours_tell_more():
    """Averages over near nodes are better images of the latents than a node's own features; over any nodes, worse."""
    for homophily, better in ((1.0, True), (0.0, False)):
        data = load(homophily=homophily)
        x = averaged(np.stack([along(data.features[m]) for m in "ab"], 1), data.graphs["near"], 1)
        score = r2([x[:, 0] * x[:, 1], x[:, 0], x[:, 1]], data.target.values[:, 0])
        assert (score > best_r2() + 0.2) if better else (score < best_r2())


def test_the_seed_decides_everything():
    a, b, c = load(nodes=30), load(nodes=30), load(nodes=30, seed=1)
    np.testing.assert_array_equal(a.target.values, b.target.values)
    assert a.target.values.dtype == np.float32 and a.target.values.shape == (30, 1)
    assert a.provenance.checksum == b.provenance.checksum != c.provenance.checksum


@pytest.mark.parametrize(
    "option, message",
    [
        (dict(nodes=8), "nodes=8, expected at least 9"),
        (dict(interaction=2), "interaction=2"),
        (dict(dim=0), "dim=0"),
        (dict(missing=1), "missing=1"),
        (dict(target_noise=-1), "target_noise=-1"),
        (dict(degree=0), "degree=0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        load(**option)
    with pytest.raises(ValueError, match="given='all'"):
        best_r2(given="all")


def test_its_numbers_stay():
    """Finished results are of these: another fingerprint makes it another data set."""
    assert load().fingerprint.startswith("10ff4fc7243a")
    assert load(missing=0.3, homophily=0.5).fingerprint.startswith("fff6d0f0bf17")


def test_the_ends_of_the_ranges_are_in_them():
    d = load(nodes=9, dim=1, interaction=0, noise=0, target_noise=0, homophily=0)
    assert d.features["b"].shape == (9, 1)
    d = load(nodes=5, interaction=1, homophily=1, degree=1, train=0.4, val=0.4)
    assert d.num_nodes == 5 and 5 <= len(d.graphs["near"].senders) <= 10
