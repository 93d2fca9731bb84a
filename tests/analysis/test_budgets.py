"""The budgets of a trained visor: scores as the model's own predictions have them, costs as counted, refusals."""

import numpy as np
import pytest

from fusion_jax.analysis import analyse
from fusion_jax.analysis.budgets import CHECKED_WITH, POLICY, budgets
from fusion_jax.results.restore import restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run

SCHEME = {"scheme.name": "visor", "training.epochs": 4, "training.chunk": 4}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    def cell(keys):
        return tiny_cell(seeds=1, **{key.replace(".", "__"): value for key, value in keys.items()})

    with as_users_run():
        cells = [cell(CHECKED_WITH | SCHEME), cell(CHECKED_WITH), tiny_cell(seeds=1)]
        yield train_cells(tmp_path_factory.mktemp("budgets"), cells)


@pytest.fixture(params=[0, 1], ids=["policy", "plain"])
def cell(request, trained):
    return restore(trained[0], trained[1][request.param])


def stored(cell):
    """The accuracy of the test rows when the cell was trained."""
    table = cell.metrics
    return float(table[(table.part == "test") & (table.metric == "accuracy")].value.iloc[0])


def test_as_the_cell_stands_it_scores_what_was_stored(cell):
    report = budgets(cell, 0)
    table = report.tables["budgets"].set_index("setting")
    assert table.accuracy[str(report.facts["stands"])] == pytest.approx(stored(cell), abs=1e-6)
    assert report.facts["stands"] == (POLICY if cell.plan.scheme.name else 1)


def test_costs_are_counted_with_the_cells_own_graph(cell):
    report = budgets(cell, 0)
    table, batch = report.tables["budgets"].set_index("setting"), cell.batch(0)
    dim, hidden, m, layers, most = cell.plan.model.dim, 8, 3, 3, 1
    senders = np.diff(np.asarray(batch.graph.row_ptr)).mean()
    linear = 4 * dim * dim + 2 * dim * hidden
    state = linear + 2 * (senders + 1) * dim
    read = 2 * dim * dim * (1 + m) + 2 * m * dim
    entries = [senders + 1 + m] + [m + 1] * m  # what the state sees, and each of its tokens
    joint = linear * (m + 1) + 2 * dim * sum(entries)
    policy = dim * dim + dim * (most + 1)
    for n in range(most + 1):
        expected = state * (layers - n) + read * most + joint * n + policy
        assert table.multiplications[str(n)] == pytest.approx(expected)
    assert table.share["0"] < table.share["1"] == 1


def test_the_policy_spends_what_its_choices_cost(trained):
    cell = restore(trained[0], trained[1][0])
    table = budgets(cell, 0).tables["budgets"].set_index("setting")
    own, fixed = table.loc[POLICY], table.drop(POLICY)
    assert fixed.nodes.sum() == pytest.approx(1)
    assert own.budget == pytest.approx((fixed.nodes * fixed.budget).sum())
    assert own.multiplications == pytest.approx((fixed.nodes * fixed.multiplications).sum())


def test_without_a_policy_there_is_no_row_of_one_and_the_note_says_what_was_trained(trained):
    policy, plain = (budgets(restore(trained[0], trained[1][i]), 0) for i in range(2))
    table = plain.tables["budgets"]
    assert list(table.setting) == ["0", "1"] and "nodes" not in table
    assert "one budget alone, 1" in plain.note and "one budget alone" not in policy.note
    assert "mean over nodes" in policy.note and "mean over nodes" not in plain.note


def test_the_sentence_says_of_what_its_first_share_is(trained):
    policy, plain = (budgets(restore(trained[0], trained[1][i]), 0) for i in range(2))
    zero, full, own = policy.tables["budgets"].to_dict("records")
    assert policy.sentence == (
        f"On this seed's test rows the policy has accuracy {own['accuracy']:.3f} at {own['share']:.0%} of the "
        f"multiplications of budget 1; budget 0 has {zero['accuracy']:.3f} at {zero['share']:.0%}, budget 1 "
        f"{full['accuracy']:.3f}."
    )
    zero, full = plain.tables["budgets"].to_dict("records")
    assert plain.sentence == (
        f"On this seed's test rows budget 0 has accuracy {zero['accuracy']:.3f} at {zero['share']:.0%} of the "
        f"multiplications of budget 1, which has {full['accuracy']:.3f}."
    )


def test_another_fusion_is_refused_by_name(trained):
    with pytest.raises(ValueError, match="budgets looks at fusion 'visor'; this cell's is 'concat_mlp'"):
        analyse(trained[0], "budgets", cell=trained[1][2])
