"""What names a cell: all that decides its numbers, and nothing else, whatever keys and options come later."""

import dataclasses
import inspect
import json
import re
from collections.abc import Mapping

import numpy as np
import pytest

from fusion_jax import study, zoo
from fusion_jax.data import load
from fusion_jax.records import Target
from fusion_jax.study import Cell, defaults
from fusion_jax.study.freeze import PATH
from fusion_jax.study.identity import SECTIONS
from fusion_jax.study.layout import LATER
from tests import tiny


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


FROZEN = json.loads(PATH.read_text())
RUNNING = {"training.chunk", "training.seed_axis", "training.node_devices", "training.checkpoint_seconds"}
RESOURCES = {f"resources.{name}" for name in ("cpus", "gpus", "memory_gb", "minutes")}
NOT_IDENTITY = {"label", "seeds", *RUNNING, *RESOURCES}


def reverse_keys(tree):
    return {k: reverse_keys(tree[k]) for k in reversed(list(tree))} if isinstance(tree, Mapping) else tree


def test_identity_does_not_depend_on_order_label_seeds_or_how_it_is_run():
    cell = tiny.cell()
    identity = cell.identity("data")
    assert re.fullmatch("[0-9a-f]{16}", identity)
    assert Cell(reverse_keys(cell.config), "another label", 99).identity("data") == identity
    assert Cell(json.loads(json.dumps(cell.config)), cell.label, 2).identity("data") == identity
    run_otherwise = dict(
        training__chunk=5,
        training__seed_axis="vmap",
        training__node_devices=4,
        training__checkpoint_seconds=1.0,
        resources__gpus=2,
    )
    same = tiny.cell(label="x", seeds=7, **run_otherwise)
    assert same.identity("data") == identity and same.label == "x" and same.seeds == 7
    assert tiny.cell().identity("data") == identity, "the same in another call"
    assert cell.identity("other data") != identity


def changed_value(key, value):
    """Another value: another mechanism of that kind where the key names one, more options where it holds some."""
    kind = {"size.like": "fusion", **{f"{path}.name": kind for path, kind in SECTIONS.items()}}.get(key)
    if kind:
        return next(name for name in zoo.names(kind) if name != value)
    if isinstance(value, Mapping):
        return {"evidential": 1.0}  # of losses added (`loss.extra`) it has to be one that exists
    return f"another {value}" if isinstance(value, str) else ["changed", value]


def test_every_other_key_makes_another_cell():
    cell = tiny.cell()
    identities = {}
    for key in study.flatten(cell.config):
        config = json.loads(json.dumps(cell.config))
        *parents, leaf = key.split(".")
        node = config
        for part in parents:
            node = node[part]
        node[leaf] = changed_value(key, node[leaf])
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


def test_the_schema_version_makes_all_cells_new(monkeypatch):
    before = tiny.cell().identity("")
    monkeypatch.setattr("fusion_jax.study.identity.SCHEMA", study.SCHEMA + 1)
    assert tiny.cell().identity("") != before


def test_controls_do_not_depend_on_the_model():
    def identity(**changed):
        config = defaults.get_config()
        config.control.name = "rbf_svm"
        for key, value in changed.items():
            study.set_key(config, key.replace("__", "."), value)
        return study.resolve(config).identity("")

    assert identity() == identity(model__dim=16, training__epochs=3)
    assert identity() != identity(data__scale="column")


def with_key(cell, key, value):
    """The cell as if its config had one more key."""
    config = json.loads(json.dumps(cell.config))
    *parents, leaf = key.split(".")
    node = config
    for part in parents:
        node = node.setdefault(part, {})
    node[leaf] = value
    return Cell(config, cell.label, cell.seeds)


@pytest.mark.parametrize("key", ["training.novel", "novel.deeply.nested"])
def test_a_new_key_counts_where_it_differs_from_what_it_was_introduced_with(monkeypatch, key):
    cell = tiny.cell()
    monkeypatch.setattr("fusion_jax.study.layout.LATER", {**LATER, key: 3})
    assert with_key(cell, key, 3).identity("") == cell.identity("")
    assert with_key(cell, key, 4).identity("") not in (cell.identity(""), with_key(cell, key, 5).identity(""))


def with_option(monkeypatch, kind, name, option, default):
    """The mechanism as if it took one more option."""
    mechanism = zoo.get(kind, name)
    own, usual = inspect.signature(mechanism.__init__), mechanism.__init__

    def init(self, *args, **options):
        options.pop(option, None)
        usual(self, *args, **options)

    parameter = inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default)
    parameters = {**own.parameters, option: parameter}
    init.__signature__ = own.replace(parameters=list(parameters.values()))
    monkeypatch.setattr(mechanism, "__init__", init)


@pytest.mark.parametrize(
    ("kind", "name", "section"),
    [
        ("fusion", "self_attention", "model__fusion"),
        ("layer", "gat", "model__layer"),
        ("encoder", "linear", "model__encoder"),
        ("control", "label_propagation", "control"),
        ("scheme", "modality_dropout", "scheme"),
    ],
)
def test_a_new_option_counts_where_it_differs_from_what_it_was_introduced_with(monkeypatch, kind, name, section):
    def cell(**options):
        return tiny.cell(**{f"{section}__name": name, f"{section}__options": options})

    before = cell().identity("")
    with_option(monkeypatch, kind, name, "novel", 0.25)
    assert cell().plan != cell(novel=0.5).plan, "it is an option like any other"
    assert cell().identity("") == cell(novel=0.25).identity("") == before
    assert cell(novel=0.5).identity("") not in (before, cell(novel=0.75).identity(""))


def test_a_default_that_changes_later_does_not_pass_for_the_one_of_before(monkeypatch):
    """Of an option that schema 2 had, and of a later one whose first default was written down."""
    cell = {"model__fusion__name": "film"}
    before = tiny.cell(**cell).identity("")
    (option, default), *_ = zoo.options("fusion", "film").items()
    changed = {**zoo.options("fusion", "film"), option: default + 1}
    monkeypatch.setattr(zoo.get("fusion", "film").__init__, "__kwdefaults__", changed)
    assert tiny.cell(**cell).identity("") != before
    assert tiny.cell(**cell, model__fusion__options={option: default}).identity("") == before

    monkeypatch.undo()
    with_option(monkeypatch, "fusion", "film", "novel", 1)
    written = {"schema 2": FROZEN["schema 2"], "later": {"fusion/film": {"novel": 1}}}
    monkeypatch.setattr("fusion_jax.study.identity._frozen", lambda: written)
    assert tiny.cell(**cell).identity("") == before
    with_option(monkeypatch, "fusion", "film", "novel", 2)
    assert tiny.cell(**cell).identity("") != before
    assert tiny.cell(**cell, model__fusion__options={"novel": 1}).identity("") == before


def test_every_option_of_schema_2_is_written_down_as_it_was():
    """What stands there is never taken away, else cells of then would lose what tells them apart."""
    assert len(FROZEN["schema 2"]["options"]) == 74
    assert FROZEN["schema 2"]["options"]["fusion/concat_mlp"] == ["hidden", "out_dim", "rate"]


USERS = {  # kind and name: the changes of a cell that uses it
    "fusion gmu": dict(model__fusion__name="gmu"),
    "layer sage": dict(model__layer__name="sage"),
    "encoder mlp": dict(model__encoder__name="mlp"),
    "readout last": dict(model__readout__name="last"),
    "scheme modality_dropout": dict(scheme__name="modality_dropout"),
    "loss evidential": dict(loss__name="evidential", model__fusion__name="mefn", model__placement="decision"),
    "loss adaptive_margin": dict(loss__extra={"adaptive_margin": 0.5}),
    "control rbf_svm": dict(control__name="rbf_svm"),
}


def bump(monkeypatch, kind, name):
    """The mechanism's version as if it computed something else from now on."""
    info = dataclasses.replace(zoo.info(kind, name), version=2)
    mechanism = zoo.get(kind, name)
    held = (mechanism, "info") if hasattr(mechanism, "info") else (zoo.module(kind, name), "INFO")
    monkeypatch.setattr(*held, info)


@pytest.mark.parametrize("which", USERS)
def test_a_new_version_makes_new_cells_of_exactly_its_users(monkeypatch, which):
    cells = {name: tiny.cell(**changes) for name, changes in USERS.items()}
    before = {name: cell.identity("") for name, cell in cells.items()}
    bump(monkeypatch, *which.split())
    after = {name: cell.identity("") for name, cell in cells.items()}
    assert {name for name in cells if after[name] != before[name]} == {which}


@pytest.mark.parametrize(
    ("kind", "name", "users"),
    [
        ("readout", "last", {"plain", "decision", "values"}),
        ("readout", "mean", {"graphs"}),
        ("loss", "cross_entropy", {"plain", "graphs"}),
        ("loss", "mse", {"values"}),
        ("loss", "stream_cross_entropy", {"decision"}),
    ],
)
def test_a_version_counts_for_those_that_use_it_by_default_too(monkeypatch, kind, name, users):
    """The readout and the loss that the task or the fusion brings where the config names none."""
    cells = {
        "plain": (tiny.cell(), tiny.dataset()),
        "decision": (tiny.cell(model__fusion__name="late_logits", model__placement="decision"), tiny.dataset()),
        "values": (tiny.cell(), load("synthetic_values", nodes=60)),
        "graphs": (tiny.cell(), load("synthetic_graphs", graphs=24)),
        "control": (tiny.cell(control__name="rbf_svm"), tiny.dataset()),
    }
    before = {key: cell.identity(data) for key, (cell, data) in cells.items()}
    bump(monkeypatch, kind, name)
    assert {key for key, (cell, data) in cells.items() if cell.identity(data) != before[key]} == users


def several():
    """The tiny data set with several targets: its classes, and numbers."""
    plain = tiny.dataset()
    values = np.random.default_rng(0).normal(size=(60, 1))
    fields = dict(colour=plain.target, size=Target("values", values=values))
    target = Target("several", num_outputs=plain.target.num_outputs + 1, **fields)
    return dataclasses.replace(plain, target=target, class_names=())


@pytest.mark.parametrize(
    ("kind", "name", "users"),
    [
        ("task", "several", {"several", "named"}),
        ("task", "classes", {"plain", "progressive", "sized", "control", "several", "named"}),
        ("task", "values", {"several", "named"}),
        ("loss", "cross_entropy", {"plain", "progressive", "sized", "several"}),
        ("loss", "mse", {"several", "named"}),
        ("loss", "triplet", {"progressive", "named"}),
        ("loss", "adaptive_margin", {"progressive", "named"}),
        ("fusion", "gmu", {"sized"}),
    ],
)
def test_a_version_counts_wherever_the_mechanism_takes_part(monkeypatch, kind, name, users):
    """Within several targets, as the measure of a size, and in what a mechanism's file takes from another's."""
    named = tiny.cell(loss__name="several", loss__options={"losses": ("triplet", "mse")})
    cells = {
        "plain": (tiny.cell(), tiny.dataset()),
        "progressive": (tiny.cell(scheme__name="mpfnet", training__epochs=60), tiny.dataset()),
        "sized": (tiny.cell(size__like="gmu"), tiny.dataset()),
        "control": (tiny.cell(control__name="rbf_svm"), tiny.dataset()),
        "several": (tiny.cell(), several()),
        "named": (named, several()),
    }
    before = {key: cell.identity(data) for key, (cell, data) in cells.items()}
    if kind == "task":
        monkeypatch.setattr(zoo.get(kind, name), "version", 2)
    else:
        bump(monkeypatch, kind, name)
    assert {key for key, (cell, data) in cells.items() if cell.identity(data) != before[key]} == users


MINE = '''"""The sum, in a file of one's own."""
from fusion_jax.fusion.base import Fusion
from fusion_jax.records import Info

class Mine(Fusion):
    """out = sum_m x_m."""
    info = Info("none")
    def __init__(self, modalities, dim, *, rngs):
        pass
'''


def test_of_a_mechanism_named_by_its_path_the_file_counts(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    cell = tiny.cell(model__fusion__name=str(tmp_path / "mine.py"))
    before, other = cell.identity(""), tiny.cell().identity("")
    assert cell.label == "mine" and cell.identity("") == before != other
    (tmp_path / "mine.py").write_text(MINE.replace("own", "very own"))
    assert cell.identity("") != before and tiny.cell().identity("") == other
    (tmp_path / "mine.py").write_text(MINE)
    assert cell.identity("") == before
