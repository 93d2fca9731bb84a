"""A cell's config: what it may hold, what makes it another cell, and that every key of it is read."""

import functools
import json
import re
from collections.abc import Mapping

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import base
from experiments import sweep as sweep_command
from fusion_jax import study, zoo
from fusion_jax.data import load as load_data
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.study import Cell
from tests import tiny

NOT_IDENTITY = {"label", "seeds", "training.chunk", "training.seed_axis", "training.checkpoint_seconds"}


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def reverse_keys(tree):
    return {k: reverse_keys(tree[k]) for k in reversed(list(tree))} if isinstance(tree, Mapping) else tree


def test_identity_does_not_depend_on_order_label_seeds_or_how_it_is_run():
    cell = tiny.cell()
    identity = cell.identity("data")
    assert re.fullmatch("[0-9a-f]{16}", identity)
    assert Cell(reverse_keys(cell.config), "another label", 99).identity("data") == identity
    assert Cell(json.loads(json.dumps(cell.config)), cell.label, 2).identity("data") == identity
    run_otherwise = dict(training__chunk=5, training__seed_axis="vmap", training__checkpoint_seconds=1.0)
    same = tiny.cell(label="x", seeds=7, **run_otherwise)
    assert same.identity("data") == identity and same.label == "x" and same.seeds == 7
    assert tiny.cell().identity("data") == identity, "the same in another call"
    assert cell.identity("other data") != identity


def test_every_other_key_makes_another_cell():
    cell = tiny.cell()
    identities = {}
    for key in study.flatten(cell.config):
        config = json.loads(json.dumps(cell.config))
        *parents, leaf = key.split(".")
        node = config
        for part in parents:
            node = node[part]
        node[leaf] = ["changed", node[leaf]]
        identities[key] = Cell(config, "", 1).identity("")
    original = cell.identity("")
    assert {k for k, i in identities.items() if i == original} == NOT_IDENTITY
    changed = [i for i in identities.values() if i != original]
    assert len(set(changed)) == len(changed)


def test_a_default_given_or_left_out_is_the_same_cell():
    given = tiny.cell(model__fusion__options=zoo.options("fusion", "mean"), model__layer__options={"norm": "symmetric"})
    assert given.identity("") == tiny.cell().identity("")
    given = tiny.cell(model__fusion__name="gpcr_filter", model__fusion__options={"layers": [2, 2]})
    assert given.identity("") == tiny.cell(model__fusion__name="gpcr_filter").identity("")
    assert given.label == "gpcr_filter"
    assert tiny.cell(training__epochs=6, optimizer__learning_rate=1).config["optimizer"]["learning_rate"] == 1.0


def one_cell(overrides, add):
    add(overrides)


SAME = [
    ("optimizer.learning_rate", 0.25, [np.float64(0.25), np.float32(0.25), np.float16(0.25), np.array(0.25)]),
    ("optimizer.learning_rate", 1.0, [1, np.int64(1), np.array(1), np.uint8(1)]),
    ("model.dim", 16, [16.0, np.int8(16), np.float64(16), np.array(16), np.logspace(0, 4, 5, base=2)[4]]),
    ("seeds", 3, [np.int64(3), 3.0]),
    ("model.rate", 0.0, [-0.0, 0, np.float32(-0.0)]),
    ("optimizer.decay", True, [np.bool_(True), np.array(True)]),
    ("model.layer.name", "gcn", [np.str_("gcn")]),
    ("data.modalities", ("m1", "m0"), [["m1", "m0"], np.array(["m1", "m0"])]),
    (
        "optimizer.rate_steps",
        ((10, 0.5), (20, 1.0)),
        [np.array([[10, 0.5], [20, 1]]), ((10.0, np.float32(0.5)), (20, 1))],
    ),
    ("optimizer.options", dict(weight_decay=0.0), [dict(weight_decay=0), dict(weight_decay=np.float32(-0.0))]),
    ("optimizer.part_rates", dict(fusions=2.0), [dict(fusions=2), dict(fusions=np.int32(2))]),
    ("loss.extra", dict(evidential=1.0), [dict(evidential=1), dict(evidential=np.array(1))]),
    ("model.fusion.options", dict(beta=2.0, main=1), [dict(beta=2, main=1.0), dict(beta=np.int8(2), main=np.int8(1))]),
    ("model.fusion.options.beta", 2.0, [2, np.float32(2), np.array(2)]),
    ("data.options", {**tiny.DATA, "missing": 0.0}, [{**tiny.DATA, "missing": np.int64(0), "nodes": 60.0}]),
]


@pytest.mark.parametrize(("key", "plain", "others"), SAME, ids=[case[0] for case in SAME])
def test_one_number_in_any_form_is_one_cell(key, plain, others):
    """NumPy's numbers, arrays of no dimension, integers for floats, whole floats for integers, -0.0."""
    config = tiny.config(model__fusion__name="mag")
    cells = [study.expand(config, functools.partial(one_cell, {key: value}))[0] for value in (plain, *others)]
    text = json.dumps(cells[0].config, sort_keys=True)
    assert all(json.dumps(c.config, sort_keys=True) == text and c.seeds == cells[0].seeds for c in cells)
    assert len({c.identity("") for c in cells}) == 1


def test_a_resolved_config_resolves_to_itself():
    cell = tiny.cell(
        optimizer__rate_steps=((10, 0.5),), loss__extra={"evidential": 2}, optimizer__part_rates={"fusions": 1}
    )
    assert study.resolve(ConfigDict(cell.config)).config == cell.config


def test_the_schema_version_makes_all_cells_new(monkeypatch):
    before = tiny.cell().identity("")
    monkeypatch.setattr(study, "SCHEMA", study.SCHEMA + 1)
    assert tiny.cell().identity("") != before


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.dmi", 3, "no config key 'model.dmi' (did you mean 'model.dim'?)"),
        ("modle.dim", 3, "no config key 'modle.dim' (did you mean 'model.dim'?)"),
        ("model.dim.x", 3, "no config key 'model.dim.x'"),
        ("epochs", 3, "no config key 'epochs' (did you mean 'training.epochs'?)"),
        ("model.dim", "64", "'model.dim' is '64', expected a int such as 8"),
        ("model.dim", 6.5, "'model.dim' is 6.5, expected a int"),
        ("model.dim", True, "'model.dim' is True, expected a int"),
        ("loss.class_weights", 1, "'loss.class_weights' is 1, expected a bool"),
        ("per_seed", "init", "'vary' is 'init', expected a tuple"),
        ("model.fusion", "gmu", "expected a ConfigDict"),
        ("model.dim", np.array([8, 16]), "'model.dim' is [8, 16], expected a int"),
        ("model.dim", None, "'model.dim' is None, expected a int"),
        ("optimizer.learning_rate", True, "'optimizer.learning_rate' is True, expected a float"),
        ("optimizer.learning_rate", 1j, "'optimizer.learning_rate' is 1j, expected a number"),
        ("optimizer.learning_rate", np.datetime64("2020-01-01"), "'optimizer.learning_rate' is datetime.date"),
        ("model.fusion.options", {"heads": {1, 2}}, "'model.fusion.options.heads' is {1, 2}, expected a number"),
        ("model.fusion", "gmu", "'model.fusion' is 'gmu', expected a ConfigDict; set one of model.fusion.name, "),
        ("model.fusion.options", "heads=2", "'model.fusion.options' is 'heads=2', expected a dictionary"),
    ],
)
def test_a_key_or_value_that_cannot_be_is_refused_by_name(key, value, message):
    with pytest.raises(ValueError) as error:
        study.set_key(tiny.config(), key, value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(model__fusion__name="gmuu"), "no fusion named 'gmuu' (did you mean 'gmu'?)"),
        (dict(model__layer__name="gcnn"), "no graph named 'gcnn' (did you mean 'gcn'?)"),
        (dict(model__encoder__name="mpl"), "no encoder named 'mpl' (did you mean 'mlp'?)"),
        (dict(model__readout__name="lats"), "no readout named 'lats' (did you mean 'last'?)"),
        (dict(control__name="rbf_svn"), "no control named 'rbf_svn' (did you mean 'rbf_svm'?)"),
        (dict(loss__name="mes"), "no loss named 'mes' (did you mean 'mse'?)"),
        (dict(loss__extra={"evidentail": 1.0}), "no loss named 'evidentail' (did you mean 'evidential'?)"),
        (dict(scheme__name="modality_dropuot"), "did you mean 'modality_dropout'"),
        (dict(optimizer__name="adamww"), "no optimiser 'adamww' (did you mean 'adamw'?)"),
        (dict(optimizer__options={"weight_deacy": 0.1}), "no option 'weight_deacy' (did you mean 'weight_decay'?)"),
        (
            dict(model__fusion__name="self_attention", model__fusion__options={"widht": 2}),
            "fusion 'self_attention' has no option 'widht' (did you mean 'width'?)",
        ),
        (dict(model__encoder__options={"rates": 0.1}), "encoder 'linear' has no option 'rates' (did you mean 'rate'?)"),
        (dict(model__placement="afer"), "placement 'afer' (did you mean 'after'?)"),
        (dict(model__placement="interleaved"), "fusion 'mean' cannot stand 'interleaved' (it returns no tokens)"),
        (dict(model__layer__last={"nrom": "row"}), "graph 'gcn' has no option 'nrom' (did you mean 'norm'?)"),
        (dict(model__head="linaer"), "config key 'model.head' is 'linaer' (did you mean 'linear'?)"),
        (dict(model__activation="ellu"), "config key 'model.activation' is 'ellu' (did you mean 'elu'?)"),
        (dict(model__head="none", model__placement="after"), "model.head='none'"),
        (dict(model__head="none", model__layers=0), "model.head='none'"),
        (dict(model__layer__name="gat", model__layer__options={"value_rate": 1.0}), "expected a number in [0, 1)"),
        (dict(model__layer__name="gat", model__layer__last={"rate": -0.1}), "expected a number in [0, 1)"),
        (dict(loss__l2=-1e-3), "'loss.l2' is -0.001, expected at least 0"),
        (dict(protocol="papre"), "config key 'protocol' is 'papre' (did you mean 'paper'?)"),
        (dict(data__scale="colum"), "config key 'data.scale' is 'colum' (did you mean 'column'?)"),
        (dict(data__setting="induktive"), "'data.setting' is 'induktive' (did you mean 'inductive'?)"),
        (dict(training__select="acuracy"), "'training.select' is 'acuracy' (did you mean 'accuracy'?)"),
        (dict(training__seed_axis="vmpa"), "'training.seed_axis' is 'vmpa' (did you mean 'vmap'?)"),
        (dict(per_seed=("init", "splits")), "'vary' is 'splits' (did you mean 'split'?)"),
        (dict(seeds=0), "'seeds' is 0, expected at least 1"),
        (dict(training__epochs=0), "'training.epochs' is 0, expected at least 1"),
        (dict(model__layers=-1), "'model.layers' is -1, expected at least 0"),
        (dict(optimizer__learning_rate=0), "'optimizer.learning_rate' is 0.0, expected a number > 0"),
        (dict(optimizer__learning_rate=-0.01), "'optimizer.learning_rate' is -0.01, expected a number > 0"),
        (dict(optimizer__learning_rate=np.nan), "'optimizer.learning_rate' is nan, expected a finite number"),
        (dict(optimizer__learning_rate=np.inf), "'optimizer.learning_rate' is inf, expected a finite number"),
        (dict(model__rate=1), "'model.rate' is 1.0, expected a number in [0, 1)"),
        (dict(model__rate=-0.5), "'model.rate' is -0.5, expected a number in [0, 1)"),
        (dict(model__dim=0), "'model.dim' is 0, expected at least 1"),
        (dict(training__patience=0), "'training.patience' is 0, expected at least 1"),
        (dict(training__chunk=-5), "'training.chunk' is -5, expected at least 1"),
        (dict(training__select_every=0), "'training.select_every' is 0, expected at least 1"),
        (dict(training__checkpoint_seconds=-1), "'training.checkpoint_seconds' is -1.0, expected at least 0"),
        (dict(training__checkpoint_seconds=np.inf), "'training.checkpoint_seconds' is inf, expected a finite number"),
        (dict(optimizer__clip=-1), "'optimizer.clip' is -1.0, expected at least 0"),
        (dict(optimizer__warmup=-1), "'optimizer.warmup' is -1, expected at least 0"),
        (dict(loss__l2=-1e-4), "'loss.l2' is -0.0001, expected at least 0"),
        (dict(optimizer__options={"weight_decay": -1e-4}), "'optimizer.options.weight_decay' is -0.0001, expected"),
        (dict(optimizer__options={"weight_decay": np.nan}), "'optimizer.options.weight_decay' is nan, expected a fin"),
        (dict(optimizer__options={"b1": 1}), "'optimizer.options.b1' is 1.0, expected a number in [0, 1)"),
        (dict(optimizer__rate_steps=((10,),)), "'optimizer.steps' holds [10], expected pairs (epoch, factor)"),
        (dict(optimizer__rate_steps=((10.5, 0.1),)), "'optimizer.steps' holds [10.5, 0.1], expected pairs"),
        (dict(optimizer__rate_steps=((10, -0.1),)), "'optimizer.steps' holds [10, -0.1], expected pairs"),
        (dict(optimizer__rate_steps=(10, 0.1)), "'optimizer.steps' holds 10, expected pairs"),
        (dict(optimizer__rate_steps=((10, np.nan),)), "'optimizer.steps' is nan, expected a finite number"),
        (
            dict(optimizer__part_rates={"fusions": -1}),
            "'optimizer.factors.fusions' is -1, expected a finite number, at l",
        ),
        (dict(optimizer__part_rates={"fusions": "1"}), "'optimizer.factors.fusions' is '1', expected a finite number"),
        (dict(loss__extra={"evidential": np.nan}), "'loss.extra.evidential' is nan, expected a finite number"),
        (dict(loss__extra={"evidential": None}), "'loss.extra.evidential' is None, expected a finite number"),
        (
            dict(model__fusion__name="mag", model__fusion__options={"rate": 1.0}),
            "'model.fusion.options.rate' is 1.0, expected a number in [0, 1)",
        ),
        (
            dict(model__fusion__name="mag", model__fusion__options={"beta": np.nan}),
            "'model.fusion.options.beta' is nan, expected a finite number",
        ),
        (
            dict(model__fusion__name="mag", model__fusion__options={"beta": "1"}),
            "'model.fusion.options.beta' is '1', expected a float such as 1.0",
        ),
        (
            dict(model__layer__name="gat", model__layer__options={"heads": 0}),
            "'model.layer.options.heads' is 0, expected at least 1",
        ),
        (
            dict(model__fusion__name="moe", model__fusion__options={"experts": -2}),
            "'model.fusion.options.experts' is -2, expected at least 0",
        ),
        (
            dict(loss__name="cross_entropy", loss__options={"smoothing": 1.0}),
            "'loss.options.smoothing' is 1.0, expected a number in [0, 1)",
        ),
        (dict(scheme__name="mpfnet", scheme__options={"shots": 0}), "scheme 'mpfnet': shots=0, expected at least 1"),
        (
            dict(control__name="label_propagation", control__options={"alpha": 2}),
            "control 'label_propagation': alpha=2.0, expected a number in [0, 1)",
        ),
        (
            dict(model__layer__name="gat", model__layer__last={"rate": 1.5}),
            "'model.layer.last.rate' is 1.5, expected a number in [0, 1)",
        ),
        (dict(data__options={"missing": np.nan}), "'data.options.missing' is nan, expected a finite number"),
        (dict(data__modalities=(1, 2)), "'data.modalities' is [1, 2], expected names"),
    ],
)
def test_a_name_option_or_value_that_does_not_exist_is_refused_with_the_nearest(changes, message):
    with pytest.raises(ValueError) as error:
        tiny.cell(**changes)
    assert message in str(error.value)


def test_an_unknown_data_set_or_option_of_it_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="no data set named 'syntetic' .did you mean 'synthetic'"):
        load_data("syntetic")
    with pytest.raises(ValueError, match="data set 'synthetic' has no option 'node' .did you mean 'nodes'"):
        load_data("synthetic", node=3)


def test_a_config_with_keys_of_its_own_is_refused():
    config = tiny.config()
    with config.unlocked():
        config.model.widht = 3
    with pytest.raises(ValueError, match="no config key 'model.widht'"):
        study.resolve(config)
    with pytest.raises(ValueError, match="config key 'data' is missing"):
        study.resolve(ConfigDict({k: v for k, v in tiny.config().items() if k != "data"}))


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


def test_a_study_file_is_loaded_or_refused_by_name(tmp_path):
    assert hasattr(study.load("configs/ablations/quickstart.py"), "sweep")
    with pytest.raises(FileNotFoundError, match=r"did you mean 'configs/ablations/quickstart.py'"):
        study.load("configs/ablations/quikstart.py")
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="a study file defines get_config"):
        study.load(str(tmp_path / "empty.py"))


def test_arguments_of_the_base_config():
    config = base.get_config("fusion=self_attention,placement=after,layer=gat,data=cora,quick")
    assert (config.model.placement, config.data.name, config.seeds) == ("after", "cora", 2)
    assert config.model.fusion.options.to_dict() == zoo.options("fusion", "self_attention") != {}
    for wrong in ("fuson=gmu", "quik", "gmu"):
        with pytest.raises(ValueError, match=f"config argument '{wrong}'"):
            base.get_config(wrong)


class Recording(Mapping):
    """A config that notes the dotted keys read from it."""

    def __init__(self, tree, read, prefix=""):
        self.tree, self.read, self.prefix = tree, read, prefix

    def __getitem__(self, key):
        value, path = self.tree[key], self.prefix + key
        if isinstance(value, Mapping) and key not in ("options", "extra", "factors"):
            return Recording(value, self.read, path + ".")
        self.read.add(path)
        return value

    def __iter__(self):
        return iter(self.tree)

    def __len__(self):
        return len(self.tree)


class Watched(Cell):
    def identity(self, data_checksum):
        return "watched"


class Quiet(Store):
    def write_part(self, *args):
        pass


def leaf_keys(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, Mapping) and key not in ("options", "extra", "factors"):
            yield from leaf_keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_every_key_of_the_base_config_is_read_when_cells_run(tmp_path):
    named = dict(model__readout__name="last", loss__name="cross_entropy", scheme__name="modality_dropout")
    read = set()
    for changes in (named, dict(control__name="logistic_regression")):
        cell = tiny.cell(seeds=1, training__epochs=1, **changes)
        watched = Watched(Recording(cell.config, read), cell.label, cell.seeds)
        sweep_command.data_key(watched)
        run_cell(watched, Quiet(tmp_path, create=True), tiny.dataset())
    by_resolve = {"label", "seeds"}  # they become the cell's own
    unread = set(leaf_keys(base.get_config().to_dict())) - read - by_resolve
    assert unread == set(), f"keys of configs/base.py that change nothing: {sorted(unread)}"
    assert tiny.cell(label="mine", seeds=9).label == "mine" and tiny.cell(label="mine", seeds=9).seeds == 9


def test_rows_that_would_share_a_name_are_told_apart():
    """A sweep over a key the label does not show: the differing keys are added, and only those."""
    config = base.get_config()

    def sweep(add):
        for layer in ("gcn", "sage"):
            add({"model.layer.name": layer})
        add({"model.fusion.name": "mean"})

    labels = [cell.label for cell in study.expand(config, sweep)]
    assert labels[2] == "mean"
    assert "model.layer.name=gcn" in labels[0] and "model.layer.name=sage" in labels[1]


def test_controls_do_not_depend_on_the_model():
    def identity(**changed):
        config = base.get_config()
        config.control.name = "rbf_svm"
        for key, value in changed.items():
            study.set_key(config, key.replace("__", "."), value)
        return study.resolve(config).identity("")

    assert identity() == identity(model__dim=16, training__epochs=3)
    assert identity() != identity(data__scale="column")


def test_options_without_a_name_are_refused():
    config = base.get_config()
    study.set_key(config, "scheme.options", {"rate": 0.1})
    with pytest.raises(ValueError, match="scheme.options.*scheme.name.*empty"):
        study.resolve(config)
