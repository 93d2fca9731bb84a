"""From a sweep to its cells: in order, each once, every row with a name of its own."""

import pytest

from fusion_jax import study
from fusion_jax.study import defaults
from tests import tiny


def test_a_sweep_adds_cells_in_order_each_once_and_leaves_the_config_alone():
    config = tiny.config()

    def sweep(add):
        add({"model.fusion.name": "gmu"}, label="first")
        add({"model.placement": "after", "model.dim": 16})
        add({"model.fusion.name": "gmu", "seeds": 2})  # the first again
        add({"model.fusion.name": "self_attention", "model.fusion.options.width": 2})
        add({"control.name": "rbf_svm", "data.modalities": ("m0",)})
        add()

    cells = study.expand(config, sweep)
    assert [c.label for c in cells] == ["first", "mean", "self_attention(width=2)", "rbf_svm [m0]", "mean"]
    assert [c.config["model"]["dim"] for c in cells] == [8, 16, 8, 8, 8]
    assert cells[-1].identity("") == tiny.cell().identity("")
    assert config.model.dim == 8 and config.model.fusion.name == "mean"
    assert [c.label for c in study.expand(config)] == ["mean"]
    with pytest.raises(ValueError, match="did you mean 'model.dim'"):
        study.expand(config, lambda add: add({"model.dmi": 3}))


def test_rows_that_would_share_a_name_are_told_apart():
    """A sweep over a key the label does not show: the differing keys are added, and only those."""
    config = defaults.get_config()

    def sweep(add):
        for layer in ("gcn", "sage"):
            add({"model.layer.name": layer})
        add({"model.fusion.name": "mean"})

    labels = [cell.label for cell in study.expand(config, sweep)]
    assert labels[2] == "mean"
    assert "model.layer.name=gcn" in labels[0] and "model.layer.name=sage" in labels[1]
