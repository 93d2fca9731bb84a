"""A cell's config: what it may hold, and that every key of it is read."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from ml_collections import ConfigDict

from fusion_jax import study
from fusion_jax.data import load as load_data
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.run.sweep import data_key
from fusion_jax.study import Cell, defaults
from tests import tiny


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def test_a_resolved_config_resolves_to_itself():
    cell = tiny.cell(
        optimizer__rate_steps=((10, 0.5),), loss__extra={"evidential": 2}, optimizer__part_rates={"fusions": 1}
    )
    assert study.resolve(ConfigDict(cell.config)).config == cell.config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(model__fusion__name="gmuu"), "no fusion named 'gmuu' (did you mean 'gmu'?)"),
        (dict(model__layer__name="gcnn"), "no layer named 'gcnn' (did you mean 'gcn'?)"),
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
        (dict(model__layer__last={"nrom": "row"}), "layer 'gcn' has no option 'nrom' (did you mean 'norm'?)"),
        (dict(model__head="linaer"), "config key 'model.head' is 'linaer' (did you mean 'linear'?)"),
        (dict(model__activation="ellu"), "config key 'model.activation' is 'ellu' (did you mean 'elu'?)"),
        (dict(model__head="none", model__placement="after"), "model.head='none'"),
        (dict(model__head="none", model__layers=0), "model.head='none'"),
        (dict(model__layer__name="gat", model__layer__options={"value_rate": 1.0}), "expected a number in [0, 1)"),
        (dict(model__layer__name="gat", model__layer__last={"rate": -0.1}), "expected a number in [0, 1)"),
        (dict(model__layer__name="graphormer", model__layer__options={"attention_rate": 2.5}), "a number in [0, 1)"),
        (dict(model__layer__name="graphormer", model__layer__options={"hidden_rate": -1}), "a number in [0, 1)"),
        (dict(model__layer__name="appnp", model__layer__options={"edge_rate": 1}), "a number in [0, 1)"),
        (dict(model__fusion__name="csa_rerank", model__fusion__options={"path_rate": 1.5}), "a number in [0, 1)"),
        (dict(loss__l2=-1e-3), "'loss.l2' is -0.001, expected at least 0"),
        (dict(protocol="papre"), "config key 'protocol' is 'papre' (did you mean 'paper'?)"),
        (dict(data__scale="colum"), "config key 'data.scale' is 'colum' (did you mean 'column'?)"),
        (dict(data__setting="induktive"), "'data.setting' is 'induktive' (did you mean 'inductive'?)"),
        (dict(training__select="scroe"), "'training.select' is 'scroe' (did you mean 'score'?)"),
        (dict(training__seed_axis="vmpa"), "'training.seed_axis' is 'vmpa' (did you mean 'vmap'?)"),
        (dict(per_seed=("init", "splits")), "'per_seed' is 'splits' (did you mean 'split'?)"),
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
        (dict(optimizer__rate_steps=((10,),)), "'optimizer.rate_steps' holds [10], expected pairs (epoch, factor)"),
        (dict(optimizer__rate_steps=((10.5, 0.1),)), "'optimizer.rate_steps' holds [10.5, 0.1], expected pairs"),
        (dict(optimizer__rate_steps=((10, -0.1),)), "'optimizer.rate_steps' holds [10, -0.1], expected pairs"),
        (dict(optimizer__rate_steps=(10, 0.1)), "'optimizer.rate_steps' holds 10, expected pairs"),
        (dict(optimizer__rate_steps=((10, np.nan),)), "'optimizer.rate_steps' is nan, expected a finite number"),
        (
            dict(optimizer__part_rates={"fusions": -1}),
            "'optimizer.part_rates.fusions' is -1, expected a finite numb",
        ),
        (
            dict(optimizer__part_rates={"fusions": "1"}),
            "'optimizer.part_rates.fusions' is '1', expected a finite numb",
        ),
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
        (
            dict(model__fusion__name="visor", model__fusion__options={"budget": 0.5}),
            "'model.fusion.options.budget' is 0.5, expected a whole number or None",
        ),
        (
            dict(model__fusion__name="visor", model__fusion__options={"budget": True}),
            "'model.fusion.options.budget' is True, expected a whole number or None",
        ),
        (
            dict(model__fusion__name="visor", model__fusion__options={"budget": -3}),
            "'model.fusion.options.budget' is -3, expected at least 0, or None",
        ),
        (
            dict(model__fusion__name="adem_vl", model__fusion__options={"proj_hidden": 0}),
            "'model.fusion.options.proj_hidden' is 0, expected at least 1",
        ),
        (
            dict(model__fusion__name="misa", model__fusion__options={"hidden": 0}),
            "'model.fusion.options.hidden' is 0, expected at least 1",
        ),
        (
            dict(model__fusion__name="gl_dmnet", model__fusion__options={"out_dim": 0}),
            "'model.fusion.options.out_dim' is 0, expected at least 1",
        ),
        (
            dict(model__fusion__name="tfn", model__fusion__options={"width": 0}),
            "'model.fusion.options.width' is 0, expected at least 1",
        ),
        (
            dict(model__fusion__name="adem_vl", model__fusion__options={"layers": 1.5}),
            "'model.fusion.options.layers' is 1.5, expected a whole number",
        ),
        (
            dict(model__fusion__name="misa", model__fusion__options={"transformer_rate": 1.0}),
            "'model.fusion.options.transformer_rate' is 1.0, expected a number in [0, 1)",
        ),
        (
            dict(model__layer__name="appnp", model__layer__options={"edge_rate": 1.5}),
            "'model.layer.options.edge_rate' is 1.5, expected a number in [0, 1)",
        ),
        (
            dict(model__layer__name="graphormer", model__layer__options={"hidden_rate": 1}),
            "'model.layer.options.hidden_rate' is 1.0, expected a number in [0, 1)",
        ),
        (
            dict(scheme__name="hff_net", scheme__options={"warmup": 2.5}),
            "'scheme.options.warmup' is 2.5, expected a whole",
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


def test_options_without_a_name_are_refused():
    config = defaults.get_config()
    study.set_key(config, "scheme.options", {"rate": 0.1})
    with pytest.raises(ValueError, match="scheme.options.*scheme.name.*empty"):
        study.resolve(config)


def watched(record, read, prefix=""):
    """The record, noting in `read` the dotted names of the fields that are looked at, in its sections too."""
    names = [field.name for field in dataclasses.fields(record)]

    def look(self, name):
        read.update(f"{prefix}{n}" for n in (names if name == "__dict__" else {name} & set(names)))
        return object.__getattribute__(self, name)

    kind = type(type(record).__name__, (type(record),), {"__getattribute__": look})
    made = object.__new__(kind)
    for name in names:
        value = getattr(record, name)
        inner = watched(value, read, f"{prefix}{name}.") if dataclasses.is_dataclass(value) else value
        object.__setattr__(made, name, inner)
    return made


class Watched(Cell):
    def identity(self, data):
        return "watched"


class Quiet(Store):
    def write_part(self, *args):
        pass


def leaf_keys(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, Mapping) and key not in study.OPEN:
            yield from leaf_keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_every_key_is_a_field_of_the_plan_that_is_read_when_cells_run(tmp_path):
    named = dict(model__readout__name="last", loss__name="cross_entropy", loss__l2=0.1, scheme__name="modality_dropout")
    read = set()
    for changes in (named, dict(control__name="logistic_regression")):
        cell = tiny.cell(seeds=1, training__epochs=1, **changes)
        seen = Watched(cell.config, cell.label, cell.seeds)
        vars(seen)["plan"] = watched(cell.plan, read)
        data_key(seen)
        run_cell(seen, Quiet(tmp_path, create=True), tiny.dataset())
    by_resolve = {"label", "seeds"}  # they become the cell's own
    unread = set(leaf_keys(defaults.get_config().to_dict())) - read - by_resolve
    assert unread == set(), f"keys of study/defaults.py that change nothing: {sorted(unread)}"
    assert tiny.cell(label="mine", seeds=9).label == "mine" and tiny.cell(label="mine", seeds=9).seeds == 9


def test_the_plan_is_the_config_in_records():
    """Under the names of its keys, lists as tuples."""
    cell = tiny.cell(model__fusion__name="mag", data__modalities=("m1", "m0"), optimizer__rate_steps=((3, 0.5),))
    flat, found = study.flatten(cell.config), study.flatten(dataclasses.asdict(cell.plan))
    assert {k: v for k, v in flat.items() if k not in ("label", "seeds")} == {k: listed(v) for k, v in found.items()}
    assert cell.plan.data.modalities == ("m1", "m0") and cell.plan.optimizer.rate_steps == ((3, 0.5),)


def listed(value):
    return [listed(v) for v in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    "key, then, today", [("data.scale", "view", "modality"), ("training.select", "accuracy", "score")]
)
def test_a_value_that_has_another_name_since_is_taken_for_it(key, then, today):
    with pytest.warns(UserWarning, match=f"config key '{key}': the value '{then}' is called '{today}' now"):
        cell = tiny.cell(**{key.replace(".", "__"): then})
    assert cell == tiny.cell(**{key.replace(".", "__"): today})
