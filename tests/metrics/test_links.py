"""The ranking metrics of links by brute force, and as the Open Graph Benchmark defines them."""

import numpy as np
import pytest
from sklearn import metrics as sk

from fusion_jax.metrics.base import Scored
from fusion_jax.metrics.hits_at_10 import hits
from fusion_jax.metrics.mean_reciprocal_rank import ranks
from fusion_jax.records import Target
from tests.metrics import made


def scored(z, labels) -> Scored:
    labels = np.asarray(labels, bool)
    pairs = np.stack([np.arange(len(labels)), np.arange(len(labels)) + 1], 1)
    return Scored(Target("links", labels=labels, pairs=pairs, level="link"), np.asarray(z, float)[:, None])


def drawn(seed: int, digits: int = 9) -> tuple[np.ndarray, np.ndarray, Scored]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(160) < 40)
    z = (rng.normal(size=160) + labels).round(digits)
    return z[labels], z[~labels], scored(z, labels)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [0, 1, 9])
def test_a_rank_is_the_mean_of_those_that_equal_scores_could_have(seed, digits):
    links, others, rows = drawn(seed, digits)
    best = [1 + (others > z).sum() for z in links]
    worst = [1 + (others >= z).sum() for z in links]
    np.testing.assert_array_equal(ranks(rows), (np.array(best) + worst) / 2)
    assert made.value("mean_reciprocal_rank", rows) == pytest.approx(np.mean(2 / (np.array(best) + worst)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("name", "k"), [("hits_at_10", 10), ("hits_at_50", 50)])
def test_hits_are_those_of_the_benchmark(seed, name, k):
    """Its evaluator: the share of links above the k-th highest score of the others."""
    links, others, rows = drawn(seed)
    expected = (links > np.sort(others)[-k]).mean()
    assert made.value(name, rows) == hits(rows, k) == expected and 0 < expected < 1


@pytest.mark.parametrize("digits", [1, 9])
def test_the_area_is_scikit_learns(digits):
    _, _, rows = drawn(7, digits)
    labels, z = rows.target.labels, rows.prediction[:, 0]
    assert made.value("auc", rows) == pytest.approx(sk.roc_auc_score(labels, z), abs=1e-12)
    made.check_influence("auc", rows, lambda w: sk.roc_auc_score(labels, z, sample_weight=w))


def test_one_kind_alone_is_undefined():
    for labels in ([True, True], [False, False]):
        rows = scored([1.0, 2.0], labels)
        assert np.isnan(made.value("auc", rows)) and made.influence("auc", rows) is None
    for name in ("mean_reciprocal_rank", "hits_at_10", "hits_at_50"):
        assert np.isnan(made.value(name, scored([1.0, 2.0], [False, False])))
        assert made.value(name, scored([1.0, 2.0], [True, True])) == 1
