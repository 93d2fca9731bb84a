"""Indicators of attention: on matrices where they are known, and what the rows of a cell say."""

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.analysis import analyse
from fusion_jax.analysis.attention_patterns import CHECKED_WITH, _rows, attention_patterns, indicators
from fusion_jax.records import Attention
from fusion_jax.results.restore import restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run

L = 5


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    def cell(keys):
        return tiny_cell(seeds=1, **{key.replace(".", "__"): value for key, value in keys.items()})

    plain = {"model.fusion.name": "deconstructing_attention", "model.fusion.options": dict(layers=2, heads=2, hidden=8)}
    with as_users_run():
        cells = [cell(CHECKED_WITH), cell(plain), tiny_cell(seeds=1)]
        yield train_cells(tmp_path_factory.mktemp("patterns"), cells)


def test_uniform_weights_have_the_largest_entropy_and_the_identity_none():
    both = np.stack([np.full((L, L), 1 / L), np.eye(L)])
    said = indicators(both)
    np.testing.assert_allclose(said.entropy, [L * np.log(L), 0])
    np.testing.assert_allclose(said.concentration, [1, np.sqrt(L)])
    np.testing.assert_allclose(said.sink, [1 / L, 1 / L])
    np.testing.assert_allclose(said.local_focus[1], [1, 0, 0, 0])
    np.testing.assert_allclose(said.head_diversity, both.std(0).mean())
    assert indicators(both[:1]).head_diversity == 0


def test_all_on_the_first_key_is_a_sink():
    first = np.zeros((1, L, L))
    first[..., 0] = 1
    assert indicators(first).sink == 1 and indicators(first).local_focus[0, 0] == 1 / L


def test_causal_entries_are_those_of_the_lower_triangle():
    rng = np.random.default_rng(0)
    a = np.tril(rng.random((2, L, L)))
    inside = np.tril_indices(L)
    np.testing.assert_allclose(indicators(a, causal=True).head_diversity, a.std(0)[inside].mean())
    upper = np.triu(np.ones((1, L, L)), 1)
    assert indicators(upper, causal=True).local_focus[0].max() == 0, "no query looks ahead"
    assert indicators(upper).local_focus[0, 1] == 0.5, "and here half of the neighbours are"
    with pytest.raises(ValueError, match="5 queries and 4 keys"):
        indicators(a[..., :4], causal=True)


def test_fewer_tokens_than_distances_have_no_focus_there():
    focus = indicators(np.full((1, 2, 2), 0.5)).local_focus[0]
    assert focus[:2].tolist() == [0.5, 0.5] and np.isnan(focus[2:]).all()
    assert np.isnan(indicators(np.full((1, 1, 4), 0.25)).local_focus).all(), "nor has a single query"


def test_a_row_a_layer_and_head_of_tokens_is_what_its_matrices_say(trained):
    cell = restore(trained[0], trained[1][1])
    table = attention_patterns(cell, 0).tables["patterns"]
    assert table[["layer", "head"]].values.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    output = cell.models[0](cell.batch(0), context=cell.context(0))
    (shown,) = (a for a in output.attention if a.name == "fusion 1: layers")
    weights = np.asarray(shown.weights, np.float64)[np.asarray(cell.batch(0).mask).any(1)]
    expected = indicators(weights[:, 1]).entropy.mean(0)
    np.testing.assert_allclose(table.entropy[2:], expected, rtol=1e-6)
    np.testing.assert_allclose(table.head_diversity[2:], indicators(weights[:, 1]).head_diversity.mean())
    np.testing.assert_allclose(table.sink[:2], weights[:, 0, :, :, 0].mean((0, 2)), rtol=1e-6)


def test_a_single_query_has_a_row_too(trained):
    table = attention_patterns(restore(trained[0], trained[1][0]), 0).tables["patterns"]
    assert set(table["queries"]) == {1} and set(table["keys"]) == {4} and len(table) == 4
    assert table.local_focus_0.isna().all() and (table.entropy <= np.log(4)).all()


def test_a_cell_without_attention_over_tokens_is_refused_by_name(trained):
    with pytest.raises(ValueError, match="fusion 'concat_mlp' of this cell shows no attention over tokens"):
        analyse(trained[0], "attention_patterns", cell=trained[1][2])


def test_numbers_of_jax_are_taken_too():
    assert indicators(jnp.full((1, 2, 2), 0.5)).sink == 0.5


def test_uniform_weights_are_those_of_what_a_node_has():
    """Else heads look more concentrated where modalities are missing."""
    there = np.array([[True, True, True], [True, False, True], [False, True, False]])
    pairs = there[:, :, None] & there[:, None, :]
    weights = pairs / np.maximum(pairs.sum(-1, keepdims=True), 1)
    (row,) = _rows(Attention("a", weights, ("node", "query", "key"), "query", "key"))
    assert row["uniform_entropy"] == pytest.approx((3 * np.log(3) + 2 * np.log(2) + 0) / 3)
    assert row["entropy"] == pytest.approx(row["uniform_entropy"])
