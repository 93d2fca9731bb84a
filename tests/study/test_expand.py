"""From a sweep to its cells: in order, each once, every row with a name of its own."""

import dataclasses
import pathlib

import pytest

import fusion_jax
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


def test_labels_that_differ_in_capitals_only_are_said():
    cells = [dataclasses.replace(tiny.cell(), label=label) for label in ("Control", "gmu", "control", "Control", "gmu")]
    assert study.alike(cells) == [
        "rows 'Control' and 'control' differ between small and capital letters only: give one another label"
    ]


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


def test_a_mechanism_beside_the_fusion_that_most_rows_do_not_have_is_said():
    def sweep(add):
        for fusion in ("mean", "gmu", "max"):
            add({"model.fusion.name": fusion})
        add({"model.fusion.name": "self_attention", "model.layer.name": "sage"})
        add({"model.fusion.name": "concat_mlp", "model.encoder.name": "mlp", "model.layer.name": "none"})
        add({"model.fusion.name": "sum", "model.layer.name": "sage"}, label="mine")
        add({"control.name": "rbf_svm", "model.layer.name": "sage"})

    labels = [cell.label for cell in study.expand(defaults.get_config(), sweep)]
    named = ["self_attention, model.layer.name=sage", "concat_mlp, model.encoder.name=mlp", "mine", "rbf_svm"]
    assert labels == ["mean", "gmu", "max", *named]


def test_options_are_said_where_the_name_of_their_mechanism_does_not_say_them():
    """Not at the defaults it brings along, unless another row has other ones of the same mechanism."""

    def sweep(*rows):
        def add_all(add):
            for layer, options in rows:
                add({"model.layer.name": layer, "model.layer.options": options})

        return [cell.label.removeprefix("concat_mlp, ") for cell in study.expand(defaults.get_config(), add_all)]

    named, heads = "model.layer.name=", "model.layer.options.heads="
    assert sweep(("gcn", {}), ("gat", {}), ("sgc", {})) == [f"{named}gcn", f"{named}gat", f"{named}sgc"]
    assert sweep(("gcn", {}), ("gat", {"heads": 2})) == [f"{named}gcn", f"{named}gat, {heads}2"]
    assert sweep(("gcn", {}), ("gat", {}), ("gat", {"heads": 2})) == [
        f"{named}gcn",
        f"{named}gat, {heads}4",
        f"{named}gat, {heads}2",
    ]


def test_what_tells_rows_apart_has_no_folders_and_nothing_empty(tmp_path):
    """Unless two files of one name have to be told apart."""
    layer = pathlib.Path(fusion_jax.__file__).parent / "layers" / "gcn.py"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(
            layer.read_text().replace("class GCN", "class Mine") + f"# {folder}\n"
        )
    first, second = (str(tmp_path / folder / "mine.py") for folder in ("a", "b"))

    def sweep(*layers):
        def add_all(add):
            add({"loss.name": "cross_entropy", "loss.l2": 0.1})
            for layer in layers:
                add({"model.layer.name": layer})

        return [cell.label for cell in study.expand(defaults.get_config(), add_all)]

    assert sweep(first) == [
        "concat_mlp, loss.l2=0.1, loss.name=cross_entropy, model.layer.name=gcn",
        "concat_mlp, loss.l2=0.0, model.layer.name=mine",
    ]
    paths = (first, second)
    assert sweep(*paths)[1:] == [f"concat_mlp, loss.l2=0.0, model.layer.name={path}" for path in paths]


def test_the_keys_that_every_cell_sets_itself():
    def sweep(add):
        add({"model.fusion.name": "gmu", "model.dim": 3}, label="one")
        add({"model.fusion.name": "mean", "seeds": 2}, label="other")

    assert study.set_by_all(sweep) == {"model.fusion.name", "label"}
    assert study.set_by_all(lambda add, arg: add({arg: 1}), "seeds") == {"seeds"}
    assert study.set_by_all(lambda add: None) == set()
