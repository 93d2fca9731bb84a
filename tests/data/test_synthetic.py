"""The planted truth is there: scikit-learn's models reach what the knobs allow, and none gets beyond it."""

import itertools
import math

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.svm import SVC

from fusion_jax import data
from fusion_jax.data.graphs import standardise
from fusion_jax.data.synthetic import bayes_accuracy
from tests.data.linear import accuracy, agreement, averaged

PURE_SYNERGY = dict(redundant=0.0, unique=0.0, synergy=1.0)
PURE_UNIQUE = dict(redundant=0.0, unique=0.5, synergy=0.0)
PURE_REDUNDANT = dict(redundant=0.7, unique=0.0, synergy=0.0)


def views(d, chosen=None):
    return np.concatenate([d.features[m] for m in chosen or d.modalities], axis=1).astype(np.float64)


def rows(d):
    s = d.split(0)
    return d.target.labels, s.train, s.test


def kernel(x, y, train, test) -> float:
    """Accuracy of an RBF support vector machine."""
    x = standardise(x, train)
    return SVC(C=3).fit(x[train], y[train]).score(x[test], y[test])


def brute(classes, modalities, redundant, unique, synergy) -> float:
    """E[max p(y | symbols)] by listing every outcome of r, u_1 ... u_M, s_1 ... s_M."""
    total = 0.0

    def p(symbol, y, knob):
        return knob * (symbol == y) + (1 - knob) / classes

    for o in itertools.product(range(classes), repeat=1 + 2 * modalities):
        r, u, s = o[0], o[1 : 1 + modalities], o[1 + modalities :]
        total += max(
            p(r, y, redundant)
            * math.prod(p(c, y, unique) for c in u)
            * p(sum(s) % classes, y, synergy)
            / classes ** (modalities - 1)
            for y in range(classes)
        )
    return total / classes


def test_its_numbers_stay():
    """Finished results are of these: another fingerprint makes it another data set."""
    assert data.load("synthetic").fingerprint.startswith("159e45db03c6")
    assert data.load("synthetic", missing=0.3, degree=3).fingerprint.startswith("d85aaeaf8347")


@pytest.mark.parametrize("classes", [2, 3])
def test_bayes_accuracy_equals_the_sum_over_all_outcomes(classes):
    for knobs in ((0.3, 0.3, 0.3), (0.0, 0.5, 0.8), (0.9, 0.1, 0.0), (0.0, 0.0, 0.0), (1.0, 0.2, 0.4)):
        given = dict(zip(("redundant", "unique", "synergy"), knobs, strict=True))
        ours = bayes_accuracy(classes=classes, modalities=2, noise=0.0, **given)
        assert ours == pytest.approx(brute(classes, 2, *knobs), rel=1e-12)


def test_bayes_accuracy_in_closed_form():
    """One symbol with knob k gives k + (1 - k) / C; a label seen for sure gives 1; nothing seen 1 / C."""
    exact = dict(noise=0.0, classes=4, modalities=3)
    assert bayes_accuracy(redundant=0.4, unique=0, synergy=0, **exact) == pytest.approx(0.4 + 0.6 / 4)
    assert bayes_accuracy(redundant=0, unique=0, synergy=0.4, **exact) == pytest.approx(0.4 + 0.6 / 4)
    assert bayes_accuracy(redundant=0, unique=0.4, synergy=0, seen=1, **exact) == pytest.approx(0.4 + 0.6 / 4)
    assert bayes_accuracy(redundant=0, unique=0, synergy=1, seen=2, **exact) == pytest.approx(1 / 4)
    assert bayes_accuracy(redundant=0, unique=1, synergy=0, seen=1, **exact) == pytest.approx(1)
    # synergy needs all three: (1 - q)^3 of the nodes have them
    missing = bayes_accuracy(redundant=0, unique=0, synergy=1, missing=0.2, **exact)
    assert missing == pytest.approx(0.8**3 + (1 - 0.8**3) / 4)
    # redundant needs one, and every node keeps one; a single modality has it unless it is missing
    assert bayes_accuracy(redundant=1, unique=0, synergy=0, missing=0.5, **exact) == pytest.approx(1)
    there = 0.5 + 0.5**3 / 3
    one = bayes_accuracy(redundant=1, unique=0, synergy=0, missing=0.5, seen=1, **exact)
    assert one == pytest.approx(there + (1 - there) / 4)


def test_bayes_accuracy_with_noise_goes_from_the_exact_one_to_chance():
    knobs = dict(redundant=0.3, unique=0.4, synergy=0.6, missing=0.2)
    exact = bayes_accuracy(noise=0.0, **knobs)
    curve = [bayes_accuracy(noise=noise, **knobs) for noise in (0.01, 0.3, 0.6, 2.0, 50.0)]
    assert curve[0] == pytest.approx(exact, abs=0.006)
    assert all(a > b for a, b in itertools.pairwise(curve))
    assert curve[-1] == pytest.approx(1 / 3, abs=0.02)


def test_bayes_accuracy_of_one_noisy_symbol_against_the_integral():
    """Two classes, one redundant symbol in one modality: P(N(0, 1) < 1 / (sqrt(2) noise))."""
    noise = 0.5
    expected = 0.5 * (1 + math.erf(1 / (2 * noise)))
    ours = bayes_accuracy(modalities=1, classes=2, redundant=1, unique=0, synergy=0, noise=noise, draws=200_000)
    assert ours == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("classes", [2, 3])
def test_synergy_is_in_no_modality_and_no_sum_of_scores_but_in_all_together(classes):
    options = dict(modalities=2, classes=classes, noise=0.15, **PURE_SYNERGY)
    chance, alone, linear, loss, additive = 1 / classes, [], [], [], []
    for seed in range(3):
        d = data.load("synthetic", nodes=3000, train=0.5, degree=0, seed=seed, **options)
        y, train, test = rows(d)
        alone += [kernel(views(d, [m]), y, train, test) for m in d.modalities]
        x = views(d)
        linear.append(accuracy(x, y, train, test))
        model = LogisticRegression().fit(x[train], y[train])
        loss.append(log_loss(y[test], model.predict_proba(x[test])))
        groups = [range(16), range(16, 32)]  # trees that see one modality each: a sum f_1(x_1) + f_2(x_2)
        trees = HistGradientBoostingClassifier(max_iter=20, interaction_cst=groups).fit(x[train], y[train])
        additive.append(log_loss(y[test], trees.predict_proba(x[test])))
    assert np.mean(alone) == pytest.approx(chance, abs=0.03)
    assert np.mean(linear) == pytest.approx(chance, abs=0.06)
    assert np.mean(loss) > math.log(classes) - 0.003 and np.mean(additive) > math.log(classes) - 0.003
    best = bayes_accuracy(**options)
    assert best > 0.99 and kernel(x, y, train, test) > 0.95 * best


def test_unique_information_needs_all_modalities():
    options = dict(classes=3, modalities=3, noise=0.15, **PURE_UNIQUE)
    d = data.load("synthetic", nodes=4000, train=0.5, degree=0, **options)
    y, train, test = rows(d)
    known = [bayes_accuracy(seen=k, **options) for k in (1, 2, 3)]
    assert known[2] > known[0] + 0.08
    for k in (1, 2, 3):
        for chosen in itertools.combinations(d.modalities, k):
            assert accuracy(views(d, chosen), y, train, test) == pytest.approx(known[k - 1], abs=0.035)


def test_redundant_information_is_in_every_modality():
    options = dict(classes=3, modalities=3, noise=0.1, **PURE_REDUNDANT)
    d = data.load("synthetic", nodes=3000, train=0.5, degree=0, **options)
    y, train, test = rows(d)
    one, all_three = (bayes_accuracy(seen=k, **options) for k in (1, 3))
    assert one == pytest.approx(all_three, abs=0.005) and one == pytest.approx(0.8, abs=0.005)
    for chosen in ([m] for m in d.modalities):
        assert accuracy(views(d, chosen), y, train, test) == pytest.approx(one, abs=0.03)
    assert accuracy(views(d), y, train, test) == pytest.approx(all_three, abs=0.03)


@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_no_model_beats_the_bound_on_a_mixture(noise):
    options = dict(classes=2, modalities=2, redundant=0.2, unique=0.4, synergy=0.6, noise=noise)
    d = data.load("synthetic", nodes=5000, train=0.6, degree=0, **options)
    y, train, test = rows(d)
    best = bayes_accuracy(**options)
    error = 3 * math.sqrt(best * (1 - best) / len(test))
    joint, flat = kernel(views(d), y, train, test), accuracy(views(d), y, train, test)
    assert joint < best + error and flat < bayes_accuracy(**{**options, "synergy": 0.0}) + error
    assert joint > best - 0.06 and joint > flat + 0.03


def test_missing_modalities():
    options = dict(modalities=3, missing=0.4)
    d = data.load("synthetic", nodes=6000, **options)
    assert d.mask.any(1).all()
    assert d.mask.mean() == pytest.approx(0.6 + 0.4**3 / 3, abs=0.015)
    for i, x in enumerate(d.features.values()):
        assert not x[~d.mask[:, i]].any() and x[d.mask[:, i]].any(1).all()
    assert bayes_accuracy(**options) < bayes_accuracy(modalities=3) - 0.03


def test_the_graph_has_the_homophily_asked_for():
    for homophily in (1 / 3, 0.8, 1.0):
        d = data.load("synthetic", nodes=3000, homophily=homophily, degree=8)
        assert agreement(d.graphs["planted"], d.target.labels) == pytest.approx(homophily, abs=0.015)
        assert len(d.graphs["planted"].senders) / 3000 == pytest.approx(8, abs=0.1)
    assert data.load("synthetic", degree=0).graphs == {}


def test_the_graph_tells_nothing_at_chance_and_something_beyond():
    """Averaging over neighbours beats the bound of the single node with homophily 0.9 and not with 1 / C."""
    options = dict(classes=3, modalities=2, redundant=0.5, unique=0.0, synergy=0.0, noise=0.1)
    best, found = bayes_accuracy(**options), {}
    for homophily in (1 / 3, 0.9):
        d = data.load("synthetic", nodes=3000, homophily=homophily, degree=8, train=0.5, **options)
        y, train, test = rows(d)
        found[homophily] = accuracy(averaged(views(d), d.graphs["planted"], 1), y, train, test)
    assert found[1 / 3] < best + 0.02 and found[0.9] > best + 0.1


def test_the_seed_decides_everything():
    a, b, c = (data.load("synthetic", seed=seed) for seed in (1, 1, 2))
    assert a.provenance.checksum == b.provenance.checksum != c.provenance.checksum
    assert all(np.array_equal(a.features[m], b.features[m]) for m in a.modalities)
    assert not np.array_equal(a.target.labels, c.target.labels)
    assert a.provenance.checksum != data.load("synthetic", seed=1, noise=0.3).provenance.checksum


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(synergy=1.5), r"synergy=1.5, expected a number in \[0, 1\]"),
        (dict(homophily=-0.1), r"homophily=-0.1, expected a number in \[0, 1\]"),
        (dict(missing=1), r"missing=1, expected a number in \[0, 1\)"),
        (dict(noise=-1.0), "noise=-1.0, expected at least 0"),
        (dict(noise=math.nan), "noise=nan, expected at least 0"),
        (dict(dim=8), "dim=8, expected at least 9"),
        (dict(classes=1), "classes=1, expected at least 2"),
        (dict(modalities=0), "modalities=0, expected at least 1"),
        (dict(nodes=2), "nodes=2, expected at least 3"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=f"data set 'synthetic': {message}"):
        data.load("synthetic", **option)


def test_bayes_accuracy_refuses_more_modalities_than_there_are():
    with pytest.raises(ValueError, match="seen=4, expected 1 ... 3"):
        bayes_accuracy(seen=4)


def test_the_ends_of_the_ranges_are_in_them():
    d = data.load(
        "synthetic", nodes=8, modalities=1, classes=2, dim=6, degree=0, noise=0, redundant=0, unique=1, synergy=1
    )
    assert d.features["m0"].shape == (8, 6)
    assert data.load("synthetic", nodes=9, homophily=0, redundant=1, synergy=0, unique=0).num_nodes == 9
