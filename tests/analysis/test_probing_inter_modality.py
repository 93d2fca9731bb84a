"""Inter-modality flow: on attention where it is known, and what the rows of a cell say."""

import numpy as np
import pytest

from fusion_jax.analysis import analyse
from fusion_jax.analysis.base import among_modalities
from fusion_jax.analysis.probing_inter_modality import (
    CHECKED_WITH,
    directed,
    probing_inter_modality,
    rollout,
    share,
    uniform,
)
from fusion_jax.results.restore import restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run

GROUP = np.array([0, 0, 0, 1, 1, 2])
N = len(GROUP)


def attention(*shape, seed=0):
    a = np.random.default_rng(seed).random((*shape, N, N))
    return a / a.sum(-1, keepdims=True)


def test_attention_within_modalities_only_crosses_nothing():
    blocks = attention() * (GROUP[:, None] == GROUP)
    blocks /= blocks.sum(-1, keepdims=True)
    assert share(blocks, GROUP) == 0
    np.testing.assert_allclose(directed(blocks, GROUP), np.eye(3))
    np.testing.assert_allclose(directed(rollout(np.stack([blocks, blocks])), GROUP), np.stack([np.eye(3)] * 2))


def test_uniform_attention_flows_by_the_number_of_tokens():
    np.testing.assert_allclose(directed(np.full((N, N), 1 / N), GROUP), np.tile([3 / 6, 2 / 6, 1 / 6], (3, 1)))
    np.testing.assert_allclose(uniform(GROUP, np.ones(N, bool)), 1 / N)
    some = np.array([[True, False, True, True, False, False]])
    np.testing.assert_allclose(uniform(GROUP, some)[0, some[0]], np.tile(some / 3, (3, 1)))


def test_shares_are_of_the_mass_and_not_of_the_pairs():
    """All tokens look at the one of the rare modality: what crosses is nearly everything, in few pairs."""
    rare = np.zeros((N, N))
    rare[:, 5] = 1
    assert share(rare, GROUP) == pytest.approx(5 / 6)


def test_rows_sum_to_1_and_shares_lie_between_0_and_1():
    a = attention(2, 4)
    np.testing.assert_allclose(directed(a, GROUP).sum(-1), 1)
    np.testing.assert_allclose(directed(rollout(a), GROUP).sum(-1), 1)
    assert share(a, GROUP).shape == (2, 4) and (share(a, GROUP) > 0).all() and (share(a, GROUP) < 1).all()


def test_relabelled_modalities_permute_the_flow():
    a, order = attention(), np.array([2, 0, 1])
    np.testing.assert_allclose(directed(a, order[GROUP])[np.ix_(order, order)], directed(a, GROUP))
    assert share(a, order[GROUP]) == share(a, GROUP)


def test_a_later_layer_multiplies_from_the_left_and_the_residual_is_half():
    first, second = attention(2)
    one = (first + np.eye(N)) / 2
    found = rollout(np.stack([first, second]))
    np.testing.assert_allclose(found, [one, (second + np.eye(N)) / 2 @ one])
    assert not np.allclose(found[1], one @ (second + np.eye(N)) / 2)


def test_a_masked_modality_neither_gives_nor_takes():
    present = np.array([[True, True, False, True, True, False]])
    a = attention(2, 1)
    for weights in (a[0], rollout(a, present)[-1]):
        found = directed(weights, GROUP, present)[0]
        assert np.isnan(found[2]).all() and (found[:2, 2] == 0).all()
    np.testing.assert_allclose(directed(rollout(a, present), GROUP, present)[:, 0, :2].sum(-1), 1)
    kept = np.ix_([0, 1, 3, 4], [0, 1, 3, 4])
    assert share(a[0], GROUP, present)[0] == pytest.approx(share(a[0, 0][kept], GROUP[[0, 1, 3, 4]]))
    assert np.isnan(share(a[0], GROUP, np.zeros((1, N), bool)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    def cell(keys):
        return tiny_cell(seeds=1, **{key.replace(".", "__"): value for key, value in keys.items()})

    with as_users_run():
        yield train_cells(tmp_path_factory.mktemp("flow"), [cell(CHECKED_WITH), tiny_cell(seeds=1)])


def test_the_rows_of_a_cell_are_its_matrices(trained):
    cell = restore(trained[0], trained[1][0])
    report = probing_inter_modality(cell, 0)
    (shown,) = among_modalities(cell, 0, "a test")
    shares, flow = report.tables["share"], report.tables["flow"]
    assert shares[["layer", "head"]].values.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    whole = shown.tokens.all(1)
    diagonal = np.einsum("nlhmm->lh", shown.weights[whole]) / whole.sum() / 3
    several = shown.tokens.sum(1) > 1
    ours = share(shown.weights[several], np.arange(3), shown.tokens[several][:, None, None])
    np.testing.assert_allclose(ours[shown.tokens[several].all(1)].mean(0), 1 - diagonal, rtol=1e-5)
    np.testing.assert_allclose(shares.share, ours.mean(0).reshape(-1))
    counts = shown.tokens[several].sum(1)
    np.testing.assert_allclose(shares.uniform, (1 - 1 / counts).mean())
    heads = shown.weights.mean(2).swapaxes(0, 1)
    carried = directed(rollout(heads, shown.tokens), np.arange(3), shown.tokens)
    both = shown.tokens[:, 0] & shown.tokens[:, 2]
    row = flow[(flow.form == "rollout") & (flow.layer == 1) & (flow["to"] == cell.prepared.batch.names[0])].iloc[2]
    assert row["from"] == cell.prepared.batch.names[2] and row.nodes == both.sum()
    assert row.flow == pytest.approx(carried[1, both, 0, 2].mean())
    direct = flow[(flow.form == "direct") & (flow.layer == 0)]
    expected = directed(heads[0], np.arange(3), shown.tokens)[both, 0, 2].mean()
    assert direct.flow.iloc[2] == pytest.approx(expected) and direct.uniform.iloc[2] < 0.5
    assert f"(rollout), {report.facts['crossing']:.0%} of it comes from other modalities at the end" in report.sentence
    assert report.sentence.startswith(f"In 2 layers {shares.share.mean():.0%} of the attention crosses from one")
    assert "unverified" in report.note


def test_a_fusion_without_attention_among_modalities_is_refused_by_name(trained):
    with pytest.raises(ValueError, match="probing_inter_modality looks at .* fusion 'concat_mlp' of this cell shows"):
        analyse(trained[0], "probing_inter_modality", cell=trained[1][1])
