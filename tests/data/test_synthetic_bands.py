"""The structures are there: classifiers that look for them reach the known best accuracy, plain ones do not."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from fusion_jax import data
from fusion_jax.data.graphs import standardise
from fusion_jax.data.synthetic_bands import KINDS, bayes_accuracy, draw, load, posterior, shift
from tests.data.linear import accuracy, agreement

OFF = dict.fromkeys(KINDS, 0.0)
BAND, PHASE, EFFORT, RELIABILITY = (OFF | {kind: 1.0} for kind in KINDS)


def rows(d):
    s = d.split(0)
    return d.target.labels, s.train, s.test


def flat(d) -> np.ndarray:
    return np.concatenate(list(d.features.values()), axis=1).astype(np.float64)


def neighbours_mean(x, graph) -> np.ndarray:
    total, count = np.zeros_like(x), np.bincount(graph.receivers, minlength=len(x))
    np.add.at(total, graph.receivers, x[graph.senders])
    return total / np.maximum(count, 1)[:, None]


def mlp(x, y, train, test) -> float:
    x = standardise(x, train)
    model = MLPClassifier((64,), alpha=0.01, early_stopping=True, max_iter=200, random_state=0)
    return model.fit(x[train], y[train]).score(x[test], y[test])


def right(drawn, **given) -> float:
    return float((posterior(drawn, **given).argmax(1) == drawn.labels).mean())


def test_its_numbers_stay():
    """Finished results are of these: another fingerprint makes it another data set."""
    assert data.load("synthetic_bands").fingerprint.startswith("bb43fce2ce91")
    mixed = dict(phase=0.5, effort=0.5, reliability=0.5, frequency="low", missing=0.2, homophily=0.5)
    assert data.load("synthetic_bands", **mixed).fingerprint.startswith("493bb2c1df0d")


@pytest.mark.parametrize("kind", KINDS)
def test_without_noise_a_symbol_of_knob_k_gives_k_and_guessing_the_rest(kind):
    for knob in (0.3, 1.0):
        found = bayes_accuracy(**OFF | {kind: knob, "noise": 0.0})
        assert found == pytest.approx(knob + (1 - knob) / 3, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [dict(modalities=2, missing=0.3), dict(modalities=4, classes=2, noise=0.6)])
def test_the_best_classifier_is_as_often_right_as_it_thinks(kind, given):
    """p(y | data) is calibrated: no other posterior has both its mean and its accuracy."""
    options = OFF | {kind: 0.8} | given
    best = bayes_accuracy(**options, seed=1)
    drawn = draw(**options, nodes=20000)
    assert right(drawn) == pytest.approx(best, abs=0.012)
    p = posterior(drawn).max(1)
    for low, high in ((0.0, 0.6), (0.6, 0.8), (0.8, 1.0)):
        part = (p >= low) & (p < high)
        if part.sum() > 1000:
            hit = (posterior(drawn).argmax(1) == drawn.labels)[part].mean()
            assert hit == pytest.approx(p[part].mean(), abs=0.04)


def test_kinds_add_up():
    """Four symbols of knob 0.5 tell more than one; the posterior multiplies what they tell."""
    one, all_four = (bayes_accuracy(**options) for options in (OFF | dict(phase=0.5), dict.fromkeys(KINDS, 0.5)))
    assert one == pytest.approx(2 / 3, abs=0.01) and all_four > one + 0.1


def test_the_band_is_in_the_difference_from_the_neighbours_alone():
    d = load(nodes=6000, group=30, degree=16, **BAND)
    y, train, test = rows(d)
    x = flat(d)
    mean = neighbours_mean(x, d.graphs["groups"])
    alone, best = bayes_accuracy(graph=False, **BAND), bayes_accuracy(**BAND)
    assert accuracy(x, y, train, test) == pytest.approx(alone, abs=0.08) and alone < 0.5  # of 60 nuisances in the test
    assert accuracy(mean, y, train, test) == pytest.approx(1 / 3, abs=0.05)
    assert mlp(x, y, train, test) < alone + 0.08
    assert best > 0.99 and best - 0.04 < accuracy(x - mean, y, train, test) <= best


def test_the_low_band_is_in_the_mean_of_the_neighbours():
    options = dict(nodes=6000, group=30, degree=16, frequency="low", **BAND)
    d = load(**options)
    y, train, test = rows(d)
    x = flat(d)
    mean = neighbours_mean(x, d.graphs["groups"])
    alone = bayes_accuracy(graph=False, **BAND | dict(frequency="low"))
    found = accuracy(mean, y, train, test)
    assert accuracy(x, y, train, test) == pytest.approx(alone, abs=0.08) and found > alone + 0.12
    assert accuracy(x - mean, y, train, test) < alone
    group, held = draw(**options).group, draw(**options).labels
    assert all(len(set(held[group == g])) == 1 for g in set(group))


def test_the_band_with_its_nuisance_known_against_a_fitted_classifier():
    """What stands on the codes taken away, and left: logistic regression is the best classifier in both."""
    options = BAND | dict(nodes=20000, noise=0.7, nuisance=1.5, group=2)
    drawn = draw(**options)
    for x, graph in (
        (drawn.blocks["band"][..., :3] - drawn.nuisance, True),
        (drawn.blocks["band"][..., :3], False),
    ):
        found = accuracy(x.reshape(20000, -1), drawn.labels, np.arange(10000), np.arange(10000, 20000))
        assert found == pytest.approx(bayes_accuracy(graph=graph, **options), abs=0.015)


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_phase_against_the_gaussians_of_the_classes(modalities):
    """The log-density of all columns under each class's covariance, written out."""
    noise, dim, c = 1.0, 12, 3
    options = PHASE | dict(noise=noise, dim=dim, modalities=modalities, nodes=6000)
    drawn = draw(**options)
    x = drawn.blocks["phase"].reshape(6000, -1)
    log_p = []
    for symbol in range(c):
        move = np.roll(np.eye(dim), int(shift(symbol, c, dim)), axis=0)
        maps = np.concatenate([np.eye(dim)] + [move] * (modalities - 1))
        covariance = maps @ maps.T + noise**2 * np.eye(dim * modalities)
        log_p.append(-0.5 * np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x))
    p = np.exp(log_p - np.max(log_p, axis=0))
    assert np.allclose(posterior(drawn), (p / p.sum(0)).T, atol=1e-8)
    best = bayes_accuracy(**options)
    assert 0.7 < best < 0.97 and right(drawn) == pytest.approx(best, abs=0.02)


def test_the_phase_is_in_no_modality_and_no_linear_map_but_in_the_phase_correlation():
    options = PHASE | dict(dim=32, noise=0.5)
    d = load(nodes=2000, **options)
    y, train, test = rows(d)
    for x in d.features.values():
        scaled = standardise(x.astype(np.float64), train)
        assert SVC(C=3).fit(scaled[train], y[train]).score(scaled[test], y[test]) == pytest.approx(1 / 3, abs=0.06)
    assert accuracy(flat(d), y, train, test) == pytest.approx(1 / 3, abs=0.06)
    f = [np.fft.rfft(x, axis=1) for x in d.features.values()]
    p = [z / np.abs(z) for z in f]
    cosine = np.concatenate([(z * p[0].conj()).real for z in p[1:]], axis=1)
    best = bayes_accuracy(**options)
    assert best > 0.99 and accuracy(cosine, y, train, test) > best - 0.03
    assert mlp(flat(d), y, train, test) < 0.9


def test_pointers_lead_to_the_label_in_as_many_readings_as_it_says():
    drawn = draw(**EFFORT | dict(noise=0.0, modalities=4, nodes=500, dim=8))
    x = drawn.blocks["effort"]
    symbol, pointer = x[..., :3].argmax(2), x[..., 3:7].argmax(2)
    for n in range(500):
        m, readings = 0, 1
        while pointer[n, m] != m:
            m, readings = pointer[n, m], readings + 1
        assert readings == drawn.need[n] and symbol[n, m] == drawn.labels[n]
    assert set(drawn.need) == {1, 2, 3, 4} and (drawn.need > 1).mean() == pytest.approx(0.5, abs=0.07)


def test_effort_left_undone_costs_the_nodes_that_need_it():
    options = EFFORT | dict(noise=0.0, deep=0.6)
    for rounds, missed in ((1, 0.6), (2, 0.3), (3, 0.0)):
        assert bayes_accuracy(rounds=rounds, **options) == pytest.approx(1 - missed + missed / 3, abs=0.007)
    drawn = draw(**options, nodes=4000)
    hit = posterior(drawn, rounds=1).argmax(1) == drawn.labels
    assert hit[drawn.need == 1].all() and hit[drawn.need > 1].mean() == pytest.approx(1 / 3, abs=0.04)


def test_which_modality_to_trust_stands_in_another():
    options = RELIABILITY | dict(noise=0.0)
    # modality 0 alone: a mark (1 in 3) says that the last one is right, none that itself is with 1/2
    assert bayes_accuracy(seen=(0,), **options) == pytest.approx(1 / 9 + 2 / 3 * (1 / 2 + 1 / 6), abs=0.007)
    drawn = draw(**options, nodes=300)
    x, n = drawn.blocks["reliability"], np.arange(300)
    assert np.array_equal(x[n, drawn.reliable, :3].argmax(1), drawn.labels)
    assert np.array_equal(x[..., 3].argmax(1), (drawn.reliable + 1) % 3)


@pytest.mark.parametrize("options", [EFFORT, RELIABILITY])
def test_linear_maps_and_small_samples_miss_effort_and_trust(options):
    d = load(nodes=2000, **options)
    y, train, test = rows(d)
    best = bayes_accuracy(**options)
    assert best > 0.98
    assert 0.5 < accuracy(flat(d), y, train, test) < best - 0.25
    assert mlp(flat(d), y, train, test) < best - 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_no_model_of_the_node_beats_the_bound(kind):
    options = OFF | {kind: 0.7, "noise": 0.4}
    d = load(nodes=4000, **options)
    y, train, test = rows(d)
    best = bayes_accuracy(graph=False, **options)
    x = standardise(flat(d), train)
    found = SVC(C=1).fit(x[train], y[train]).score(x[test], y[test])
    assert found < best + 3 * math.sqrt(best * (1 - best) / len(test))


def test_missing_modalities():
    d = load(missing=0.4, nodes=4000)
    assert d.mask.any(1).all() and d.mask.mean() == pytest.approx(0.6 + 0.4**3 / 3, abs=0.015)
    for i, x in enumerate(d.features.values()):
        assert not x[~d.mask[:, i]].any() and x[d.mask[:, i]].any(1).all()
    there = 0.6 * (1 - 0.4**2)  # of the phase: modality 0 and another
    best = bayes_accuracy(missing=0.4, **PHASE | dict(noise=0.0))
    assert best == pytest.approx(there + (1 - there) / 3, abs=0.007)


def test_the_graph_stays_in_its_groups_and_has_the_homophily_asked_for():
    for homophily, expected in ((0.0, 1 / 3), (0.6, 0.6 + 0.4 / 3)):
        options = dict(nodes=3000, homophily=homophily, group=200)
        d = load(**options)
        g, group = d.graphs["groups"], draw(**options).group
        assert np.array_equal(group[g.senders], group[g.receivers])
        assert agreement(g, d.target.labels) == pytest.approx(expected, abs=0.02)
        assert np.array_equal(np.sort(g.senders), np.sort(g.receivers)) and (g.senders != g.receivers).all()


def test_what_is_the_same_in_a_group_is_in_no_detail_band():
    """Of the random walk, and of the normalised Laplacian, as degrees are equal."""
    d, drawn = load(nodes=240), draw(nodes=240)
    g = d.graphs["groups"]
    assert set(np.bincount(g.receivers)) == {8}
    a = np.zeros((240, 240))
    a[g.receivers, g.senders] = 1
    flat_in_group = drawn.nuisance.reshape(240, -1)
    assert np.allclose(a @ flat_in_group / 8, flat_in_group)


def test_a_group_is_in_one_part_of_the_split():
    """A model that knows the nuisance of a training group by its labels knows nothing of one in the test."""
    d, group = load(nodes=600), draw(nodes=600).group
    for seed in range(3):
        split = d.split(seed)
        parts = [set(group[rows]) for rows in (split.train, split.val, split.test)]
        assert sum(map(len, parts)) == len(set(group)) == 50 and [len(p) for p in parts] == [25, 10, 15]
    assert not np.array_equal(d.split(0).train, d.split(1).train)


@pytest.mark.parametrize("modalities", [1, 2, 6])
def test_any_number_of_modalities(modalities):
    d = load(nodes=60, modalities=modalities, phase=0.5, effort=0.5, reliability=0.5)
    assert list(d.features) == [f"m{i}" for i in range(modalities)]
    assert all(x.shape == (60, 64) for x in d.features.values())
    assert 1 / 3 <= bayes_accuracy(modalities=modalities, draws=200) <= 1
    p = posterior(draw(nodes=60, modalities=modalities, phase=0.5, effort=0.5, reliability=0.5))
    assert np.allclose(p.sum(1), 1)


def test_one_modality_has_no_phase():
    assert bayes_accuracy(modalities=1, draws=500, **PHASE) == pytest.approx(1 / 3)


def test_the_seed_decides_everything():
    a, b, c = (load(seed=seed) for seed in (1, 1, 2))
    assert a.provenance.checksum == b.provenance.checksum != c.provenance.checksum
    assert all(np.array_equal(a.features[m], b.features[m]) for m in a.modalities)
    assert not np.array_equal(a.target.labels, c.target.labels)
    assert a.provenance.checksum != load(seed=1, noise=0.3).provenance.checksum


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(phase=1.5), r"phase=1.5, expected a number in \[0, 1\]"),
        (dict(deep=-0.1), r"deep=-0.1, expected a number in \[0, 1\]"),
        (dict(missing=1), r"missing=1, expected a number in \[0, 1\)"),
        (dict(noise=math.nan), "noise=nan, expected at least 0"),
        (dict(phase=0.5, dim=5), "dim=5, expected at least 6"),
        (dict(effort=0.5, dim=5), "dim=5, expected at least 6"),
        (dict(reliability=0.5, dim=3), "dim=3, expected at least 4"),
        (dict(classes=1), "classes=1, expected at least 2"),
        (dict(modalities=0), "modalities=0, expected at least 1"),
        (dict(group=1), "group=1, expected at least 2"),
        (dict(degree=0), "degree=0, expected at least 2"),
        (dict(degree=5), "degree=5, expected an even number"),
        (dict(nodes=60.5), "nodes=60.5, expected a whole number"),
        (dict(nodes="a"), "nodes='a', expected a whole number"),
        (dict(modalities=True), "modalities=True, expected a whole number"),
        (dict(deep="some"), "deep='some', expected a number"),
        (dict(nodes=30), "nodes=30 are 2 groups of group=12, of which train=0.5 and val=0.2 leave a part without any"),
        (dict(frequency="middle"), "frequency='middle', expected 'high' or 'low'"),
        (OFF, "band, phase, effort, reliability are 0, expected one of them above 0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=f"data set 'synthetic_bands': {message}"):
        load(**option)


def test_an_option_that_is_none_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no option 'noize' \(did you mean 'noise'\?\)"):
        draw(noize=0.1)


def test_without_the_marks_the_best_is_a_vote():
    """Truth and two decoys of three classes: right unless the decoys agree on another, with 1/3 where all differ."""
    drawn = draw(nodes=6000, **RELIABILITY | dict(noise=0.1))
    x = drawn.blocks["reliability"][..., :3].reshape(6000, -1)
    model = LogisticRegression(max_iter=2000).fit(x[:3000], drawn.labels[:3000])
    assert model.score(x[3000:], drawn.labels[3000:]) == pytest.approx(1 / 9 + 4 / 9 + 2 / 27, abs=0.03)
