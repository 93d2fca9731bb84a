"""Scores against co-occurrence: known where scores are made of it, whatever constant a query has, and of a cell."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fusion_jax.analysis import analyse
from fusion_jax.analysis.distributional_projection import (
    centred_pairs,
    correlations,
    distributional_projection,
    most_followed,
    sentence,
    shuffled,
)
from fusion_jax.nn.attention import masked_softmax
from fusion_jax.nn.projection import ABSENT, Symbols
from fusion_jax.results.restore import restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run

V = 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    own = dict(seeds=1, model__fusion__name="self_attention")
    begun = dict(scheme__name="distributional_projection", scheme__options=dict(prototypes=2), training__epochs=1)
    with as_users_run():
        cells = [tiny_cell(**own), tiny_cell(**own, **begun, optimizer__learning_rate=1e-9), tiny_cell(seeds=1)]
        yield train_cells(tmp_path_factory.mktemp("projection"), cells)


def made(rng, constant=0.0):
    """Weights whose scores are M, and a constant a query; the last node lacks a modality."""
    s = rng.normal(size=(V, V))
    symbols = np.stack([rng.integers(0, 2, 9), 2 + rng.integers(0, 2, 9), 4 + rng.integers(0, 2, 9)], axis=1)
    symbols[-1, 1] = ABSENT
    m = s[symbols[:, :, None], symbols[:, None, :]]
    logits = 0.7 * m + constant * rng.normal(size=(9, 3, 1))
    return s, symbols, np.asarray(masked_softmax(logits, (symbols != ABSENT)[:, None, :]), np.float64)


@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_scores_made_of_m_are_found_whatever_constant_a_query_has(constant):
    s, symbols, weights = made(np.random.default_rng(0), constant)
    scores, predicted = centred_pairs(weights, symbols, s)
    assert len(scores) == 8 * 9 + 4, "absent modalities ask nothing and are asked nothing"
    # Weights are float32 here, and their logarithms beside a constant of 5 keep that much of the scores.
    np.testing.assert_allclose(scores, 0.7 * predicted, rtol=1e-4, atol=1e-5)
    rho, share = correlations(scores, predicted)
    assert rho > 0.999 and share == pytest.approx(1, abs=1e-6)


def test_uniform_weights_say_nothing():
    s, symbols, weights = made(np.random.default_rng(0))
    pairs = centred_pairs(np.where(weights > 0, 1 / 3, 0), symbols, s)
    assert np.isnan(correlations(*pairs)).all()


def test_values_that_only_rounding_tells_apart_share_a_rank():
    """Counts are few, so pairs tie, and the mean that is taken off leaves ties apart by the last bit."""
    rng = np.random.default_rng(2)
    scores, predicted = rng.normal(size=60), np.log1p(rng.integers(0, 3, 60) / 2)
    expected = stats.spearmanr(scores, predicted).statistic
    nearly = predicted * (1 + 1e-15 * rng.normal(size=60))
    assert len(np.unique(nearly)) > len(np.unique(predicted))
    assert correlations(scores, nearly)[0] == pytest.approx(expected, abs=1e-12)
    assert correlations(1e-9 * scores, 1e6 * nearly)[0] == pytest.approx(expected, abs=1e-12)


def test_another_order_of_the_modalities_changes_no_correlation():
    rng = np.random.default_rng(3)
    s = np.log1p(rng.integers(0, 3, (V, V)) / 2)
    symbols = np.stack([rng.integers(0, 2, 40), 2 + rng.integers(0, 2, 40), 4 + rng.integers(0, 2, 40)], axis=1)
    weights = np.exp(rng.normal(size=(40, 3, 3)))
    weights /= weights.sum(-1, keepdims=True)
    order = [2, 0, 1]
    moved = centred_pairs(weights[:, order][:, :, order], symbols[:, order], s)
    one, other = correlations(*centred_pairs(weights, symbols, s)), correlations(*moved)
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_symbols_are_shuffled_within_their_modality():
    known = Symbols({"a": np.zeros((3, 1)), "b": np.zeros((9, 1))})
    matrix = np.arange(144.0).reshape(12, 12)
    other = shuffled(matrix, known, np.random.default_rng(0))
    assert (other != matrix).any()
    for rows, columns in itertools.product((slice(3), slice(3, 12)), repeat=2):
        assert sorted(other[rows, columns].ravel()) == sorted(matrix[rows, columns].ravel())
    row, column = np.argwhere(other == 15.0)[0]  # 15 is of the rows and columns 1 and 3
    assert np.argwhere(other == 37.0).tolist() == [[column, row]], "rows and columns alike"


def test_the_head_that_is_named_follows_the_most_whichever_its_sign():
    rows = followed((0.2, -0.9, 0.5, np.nan)) + [dict(followed((1.0,))[0], head=4, part="train")]
    assert most_followed(pd.DataFrame(rows))["head"] == 1
    assert most_followed(pd.DataFrame(rows[3:])) is None
    rows.append(dict(rows[0], head=5, spearman=0.95, relation="directed"))
    assert most_followed(pd.DataFrame(rows))["head"] == 5, "across edges counts as well"
    rows[-1]["chance"] = rows[1]["chance"] = 0.97
    assert most_followed(pd.DataFrame(rows))["head"] == 2, "one beyond chance goes before a larger one within"


def followed(rho):
    about = dict(attention="fusion 1", layer=0, relation="symmetric", part="others", explained=0.25, chance=0.1)
    return [dict(about, head=h, spearman=r) for h, r in enumerate(rho)]


def test_the_sentence_names_what_goes_beyond_chance_or_says_that_nothing_does():
    scores = pd.DataFrame(followed((0.05, -0.5, 0.3)))
    said = sentence(scores, most_followed(scores))
    assert said.startswith("The scores of head 1 of layer 0 of 'fusion 1', of 3 heads the most, follow how often")
    assert "symbols meet within nodes is -0.500, beyond the 0.100 of shuffled symbols" in said and "25.0%" in said
    assert "Of 3 comparisons of a head with a relation 2 go beyond shuffled symbols; by chance one in 21 would." in said
    scores = scores.assign(chance=0.6, relation="directed")
    said = sentence(scores, most_followed(scores))
    assert (
        said.startswith("None of 3 heads scores modalities by how often their symbols meet") and "across edges" in said
    )
    assert sentence(scores[:1], most_followed(scores[:1])).startswith("The one head does not score")


def test_a_query_with_one_key_is_no_pair():
    _, symbols, weights = made(np.random.default_rng(0))
    alone = np.where(np.eye(3, dtype=bool), weights, 0)
    assert len(centred_pairs(alone, symbols, np.eye(V))[0]) == 0


def test_a_trained_cell_has_a_row_a_head_relation_and_part(trained):
    cell = restore(trained[0], trained[1][0])
    report = distributional_projection(cell, 0, prototypes=4)
    table = report.tables["scores"]
    keys = table[["relation", "part"]].values.tolist()
    assert keys == [[r, p] for r in ("symmetric", "directed") for p in ("train", "others")]
    mask, rows = np.asarray(cell.batch(0).mask), cell.prepared.splits[0].train
    count = mask.sum(1)
    pairs = np.where(count > 1, count**2, 0)
    assert table.pairs.tolist() == [pairs[rows].sum(), np.delete(pairs, rows).sum()] * 2
    assert table.spearman.between(-1, 1).all() and report.facts["symbols"] == 12
    assert report.tables["maps"].relation.tolist() == ["symmetric", "directed"]


def test_a_cell_that_began_with_the_projection_is_near_it(trained):
    cell = restore(trained[0], trained[1][1])
    report = distributional_projection(cell, 0, prototypes=2)
    maps = report.tables["maps"].set_index("relation")
    assert maps.distance["directed"] < 0.1 and maps.cosine["directed"] > 0.99
    assert maps.distance["symmetric"] > maps.distance["directed"]


def test_what_it_cannot_look_at_is_refused_by_name(trained):
    store, cells = trained
    with pytest.raises(ValueError, match="fusion 'concat_mlp' of this cell shows no attention from modalities"):
        analyse(store, "distributional_projection", cell=cells[2])
    with pytest.raises(ValueError, match="prototypes=0, expected at least 1"):
        analyse(store, "distributional_projection", dict(prototypes=0), cell=cells[0])
