"""What a cell scores without its simple attentions: as trained first, then as a model of that kind computes it."""

import numpy as np
import pytest

from fusion_jax.analysis import analyse
from fusion_jax.analysis.skipped_mixers import CHECKED_WITH, skipped_mixers
from fusion_jax.model import skipped
from fusion_jax.results.restore import restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    def cell(keys):
        return tiny_cell(seeds=1, **{key.replace(".", "__"): value for key, value in keys.items()})

    fixed = {"model.mixer.name": "fixed_seq_qk", "model.mixer.layers": "uniform"}
    with as_users_run():
        cells = [cell(CHECKED_WITH), cell(CHECKED_WITH | fixed), tiny_cell(seeds=1)]
        yield train_cells(tmp_path_factory.mktemp("skipped"), cells)


@pytest.mark.parametrize(("which", "left_out"), [(0, 1), (1, 2)])
def test_both_scores_are_those_of_the_model(trained, which, left_out):
    cell = restore(trained[0], trained[1][which])
    report = skipped_mixers(cell, 0)
    table = report.tables["skipped"].set_index("setting")
    stored = cell.metrics
    own = float(stored[(stored.part == "test") & (stored.metric == "accuracy")].value.iloc[0])
    assert table.accuracy.trained == pytest.approx(own, abs=1e-6)
    with skipped():
        prediction = np.asarray(cell.models[0](cell.batch(0), context=cell.context(0)).prediction)
    rows = cell.prepared.splits[0].test
    right = prediction.argmax(1)[rows] == np.asarray(cell.data.target.labels)[rows]
    assert table.accuracy.skipped == pytest.approx(right.mean(), abs=1e-6)
    assert table["left out"].tolist() == [0, left_out]
    assert ("the attention that is" if left_out == 1 else f"the {left_out} attentions that are") in report.sentence


def test_the_tokens_of_a_trained_cell_are_those_of_a_training_node(trained):
    """Set before training, kept through it, there when the cell is restored."""
    cell = restore(trained[0], trained[1][1])
    assert np.abs(np.asarray(cell.models[0].mixers[0].sequence())).max(-1).min() > 0


def test_a_cell_without_simple_attentions_is_refused_by_name(trained):
    with pytest.raises(ValueError, match="skipped_mixers looks at cells with simple attentions.* 'standard'"):
        analyse(trained[0], "skipped_mixers", cell=trained[1][2])
