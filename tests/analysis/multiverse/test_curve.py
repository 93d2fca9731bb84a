"""The specification curve has a mark a universe above, and one for each of its choices below."""

import pandas as pd
import pytest

from fusion_jax.analysis.multiverse.curve import figure

ORDER = {"model.dim": ["16", "32"], "model.layer": ["gcn"]}
TABLE = pd.DataFrame(
    dict(
        gain=[-0.1, 0.0, 0.2],
        low=[-0.2, -0.1, 0.1],
        high=[-0.05, 0.1, 0.3],
        verdict=["fails", "undecided", "holds"],
    )
    | {"model.dim": ["16", "32", "32"], "model.layer": ["gcn"] * 3}
)


def test_every_universe_has_a_gain_above_and_its_choices_below():
    pytest.importorskip("matplotlib", reason="figures are an extra")
    above, below = figure(TABLE, ORDER, "accuracy", 0.05).axes
    *marks, margin = above.lines
    assert {line.get_label(): list(line.get_xdata()) for line in marks} == {
        "holds": [2],
        "fails": [0],
        "undecided": [1],
    }
    assert list(margin.get_ydata()) == [0.05, 0.05]
    assert [list(line.get_xdata()) for line in below.lines] == [[0], [1, 2], [0, 1, 2]]
    names = [text.get_text() for text in below.get_yticklabels()]
    assert names == ["model.dim: 16", "model.dim: 32", "model.layer: gcn"]
