"""A user's own mechanism is one file anywhere, named by its path: of every kind, trained and restored."""

import json
import os
import pathlib
import sys

import numpy as np
import pytest

from fusion_jax import data, study, zoo
from fusion_jax.results.restore import restore
from fusion_jax.results.store import Store
from fusion_jax.run import sweep
from fusion_jax.run.cell import run_cell
from tests import tiny

FILES = {
    "fusion": """
from flax import nnx
from fusion_jax.fusion.base import Fusion
from fusion_jax.records import Fused, Info

class MyFusion(Fusion):
    info = Info("Mine", cost="O(N M D)")

    def __init__(self, modalities, dim, *, factor=0.5, rngs):
        del modalities, dim, rngs
        self.factor = factor

    def node(self, x, mask, context):
        del mask, context
        return Fused(self.factor * x.sum(0))
""",
    "layer": """
from flax import nnx
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.presence import zero_absent
from fusion_jax.nn.segment import propagate
from fusion_jax.records import EVALUATION, Info

class MyLayer(GraphLayer):
    info = Info("Mine", cost="O(E D)")

    def __init__(self, dim, out=None, *, rngs):
        self.linear = nnx.Linear(dim, dim if out is None else out, rngs=rngs)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        del context
        return self.linear(propagate(zero_absent(x, present), graph))
""",
    "encoder": """
from flax import nnx
from fusion_jax.encoders.base import Encoder
from fusion_jax.records import EVALUATION, Info

class MyEncoder(Encoder):
    info = Info("Mine", cost="O(N d D)")

    def __init__(self, in_dim, dim, *, rngs):
        self.linear = nnx.Linear(in_dim, dim, use_bias=False, rngs=rngs)

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        del graph, present, context
        return self.linear(x)
""",
    "readout": """
from fusion_jax.readouts.base import Readout
from fusion_jax.records import EVALUATION, Info, Read

class MyReadout(Readout):
    info = Info("Mine", cost="O(N L D)")

    def __init__(self, dim, layers, *, rngs):
        del dim, layers, rngs

    def __call__(self, history, graph, context=EVALUATION):
        del graph, context
        return Read(history.mean(1))
""",
    "loss": """
import jax
import jax.numpy as jnp
from fusion_jax.losses.base import weighted_mean
from fusion_jax.records import Info

INFO = Info("Mine", cost="O(N C)")

def my_loss(output, target, weight, *, context, power=2.0):
    del context
    p = jnp.take_along_axis(jax.nn.softmax(output.prediction), target.labels[:, None], axis=-1)[:, 0]
    return weighted_mean((1 - p) ** power, weight)
""",
    "scheme": """
import dataclasses
from fusion_jax.records import Info
from fusion_jax.schemes.base import Scheme

class MyScheme(Scheme):
    info = Info("Mine", cost="O(1)")

    def __init__(self, *, factor=0.9):
        self.factor = factor

    def transform(self, batch, key):
        del key
        return dataclasses.replace(batch, features={k: self.factor * x for k, x in batch.features.items()})
""",
    "control": """
import numpy as np
from fusion_jax.controls.base import Control
from fusion_jax.records import Info

class MyControl(Control):
    info = Info("Mine", cost="O(N)")

    def predict(self, x, labels, split, graph, classes, seed):
        share = np.bincount(labels[split.train], minlength=classes) + 1.0
        return np.tile(np.log(share / share.sum()), (len(x), 1))
""",
    "data": """
import dataclasses
from fusion_jax.data import synthetic

def load(nodes: int = 60, name: str = "mine"):
    made = synthetic.load(nodes=nodes, modalities=2, classes=2, dim=6, missing=0.2, redundant=0.6, unique=0.6)
    return dataclasses.replace(made, name=name)
""",
}
KEYS = {
    "fusion": "model__fusion__name",
    "layer": "model__layer__name",
    "encoder": "model__encoder__name",
    "readout": "model__readout__name",
    "loss": "loss__name",
    "scheme": "scheme__name",
    "control": "control__name",
    "data": "data__name",
}


def write(folder, kind: str) -> str:
    path = folder / f"my_{kind}.py"
    path.write_text(f'"""A {kind} of my own."""\n{FILES[kind]}')
    return str(path)


@pytest.mark.parametrize("kind", list(FILES))
def test_one_file_and_no_other_edit(kind, tmp_path):
    changes = {KEYS[kind]: write(tmp_path, kind)}
    if kind == "data":
        changes["data__options"] = {"nodes": 70}
    cell = tiny.cell(seeds=1, training__epochs=2, **changes)
    loaded = data.load(cell.plan.data.name, **cell.plan.data.options)
    store = Store(tmp_path / "results", create=True)
    with tiny.as_users_run():
        identity = run_cell(cell, store, loaded)["identity"]
        store.write_study([(identity, cell)], "test")
        predicted = np.stack(store.table(identity, "predictions").prediction)
        assert predicted.shape == (len(loaded.target), 2) and np.isfinite(predicted).all()
        if kind != "control":
            restored = restore(store, identity, data=loaded)
            np.testing.assert_allclose(restored.prediction(0), predicted, rtol=1e-5, atol=1e-6)


def test_options_are_checked_and_filled_in_as_of_any_other(tmp_path):
    path = write(tmp_path, "fusion")
    assert tiny.cell(model__fusion__name=path).plan.model.fusion.options == {"factor": 0.5}
    with pytest.raises(ValueError, match="has no option 'factr'.*did you mean 'factor'"):
        tiny.cell(model__fusion__name=path, model__fusion__options={"factr": 1.0})
    assert tiny.cell(model__fusion__name=path).label == "my_fusion", "a table shows the file's name"


def test_what_is_wrong_with_the_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no fusion file '.*nowhere.py'"):
        zoo.get("fusion", str(tmp_path / "nowhere.py"))
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(ValueError, match="fusion file '.*broken.py': ModuleNotFoundError"):
        zoo.get("fusion", str(tmp_path / "broken.py"))
    (tmp_path / "other.py").write_text("class Another:\n    pass\n")
    with pytest.raises(ValueError, match="other.py defines no class or function named like its file"):
        zoo.get("fusion", str(tmp_path / "other.py"))
    (tmp_path / "ends.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(ValueError, match="fusion file '.*ends.py': SystemExit: 0"):
        zoo.get("fusion", str(tmp_path / "ends.py"))
    (tmp_path / "itself.py").write_text("from fusion_jax import zoo\nzoo.get('fusion', __file__)\n")
    with pytest.raises(ValueError, match="fusion file '.*itself.py' is asked for while it is executed"):
        zoo.get("fusion", str(tmp_path / "itself.py"))


def test_a_file_that_was_edited_is_executed_anew_and_its_version_is_that_of_what_was_executed(tmp_path):
    path = write(tmp_path, "fusion")
    first, version = zoo.get("fusion", path), zoo.version("fusion", path)
    assert zoo.get("fusion", path) is first
    text = (tmp_path / "my_fusion.py").read_text()
    with zoo.held():
        assert zoo.get("fusion", path) is first
        (tmp_path / "my_fusion.py").write_text(text.replace("0.5", "2.0"))
        assert zoo.get("fusion", path) is first and zoo.version("fusion", path) == version
    assert zoo.options("fusion", path) == {"factor": 2.0} and zoo.version("fusion", path) != version
    assert getattr(sys.modules[first.__module__], first.__name__) is first, "what was made of it can still be pickled"
    (tmp_path / "my_fusion.py").write_text(text)
    assert zoo.get("fusion", path) is first and zoo.version("fusion", path) == version


def test_a_file_edited_while_a_study_runs_is_for_the_next_run(tmp_path, monkeypatch):
    """What study.json lists, what is trained and what is stored are one text."""
    path, store = write(tmp_path, "control"), Store(tmp_path / "results", create=True)
    file, cell = tmp_path / "my_control.py", tiny.cell(seeds=1, control__name=path)
    text, serial = file.read_text(), zoo.get("engine", "serial")

    def edits(jobs, *, workers):
        file.write_text(text.replace("np.log(share / share.sum())", "np.arange(classes)"))
        yield from serial(jobs, workers=workers)

    outcomes = []

    def run():
        assert sweep.run([cell], store, "test", done=lambda outcome, problem: outcomes.append(outcome)) == 0
        (entry,) = store.read_study()["cells"]
        assert store.finished_seeds(entry["id"]) == (0,)
        return np.stack(store.table(entry["id"], "predictions").prediction)

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[serial.__module__], "serial", edits)
        patch.setattr(edits, "__module__", serial.__module__)
        edits.__name__ = "serial"
        assert np.exp(run()).sum(1) == pytest.approx(1)
    np.testing.assert_array_equal(run()[0], [0, 1])
    assert len({outcome.job.identity for outcome in outcomes}) == len(list((tmp_path / "results/cells").iterdir())) == 2


def test_a_cell_that_is_another_than_its_study_lists_is_not_trained(tmp_path):
    store = Store(tmp_path / "results", create=True)
    with pytest.raises(ValueError, match="the cell is .* now, expected 0123 as its study lists it"):
        run_cell(tiny.cell(), store, tiny.dataset(), identity="0123")
    assert not list((tmp_path / "results").rglob("*.parquet"))


def test_a_path_is_stored_as_it_is_found_from_any_folder(tmp_path, monkeypatch):
    """And where the file lies does not count in the identity."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        for kind in ("fusion", "loss", "data"):
            write(folder, kind)
    monkeypatch.chdir(here)
    names = {KEYS[kind]: f"my_{kind}.py" for kind in ("fusion", "data")}
    options = {"nodes": 60}
    cell = tiny.cell(seeds=1, training__epochs=2, loss__extra={"./my_loss.py": 0.5}, data__options=options, **names)
    flat = study.flatten(cell.config)
    assert flat["model.fusion.name"] == f"{here}/my_fusion.py" and flat["data.name"] == f"{here}/my_data.py"
    assert flat[f"loss.extra.{here}/my_loss.py"] == 0.5
    loaded = data.load(cell.plan.data.name, **options)
    store = Store(tmp_path / "results", create=True)
    with tiny.as_users_run():
        identity = run_cell(cell, store, loaded)["identity"]
        store.write_study([(identity, cell)], "test")
        monkeypatch.chdir(tmp_path)
        np.testing.assert_allclose(
            restore(store, identity).prediction(0), np.stack(store.table(identity, "predictions").prediction), rtol=1e-5
        )
    moved = json.loads(json.dumps(cell.config).replace(str(here), str(there)))
    assert study.resolve(moved).identity(loaded) == identity
    (there / "my_loss.py").write_text((there / "my_loss.py").read_text().replace("2.0", "3.0"))
    assert study.resolve(moved).identity(loaded) != identity


@pytest.mark.parametrize("form", ["whole", "one key", "beside another"])
def test_a_loss_in_a_file_is_added_by_its_path(form, tmp_path):
    path = os.path.join(tmp_path, "my_loss.py")
    write(tmp_path, "loss")
    config = tiny.config()
    if form == "whole":
        study.set_key(config, "loss.extra", {path: 0.5})
    if form == "beside another":
        config.loss.extra = {"adaptive_margin": 1.0}
    if form != "whole":
        study.set_key(config, f"loss.extra.{path}", 0.5)
    extra = study.resolve(config).plan.loss.extra
    assert extra == ({"adaptive_margin": 1.0} if form == "beside another" else {}) | {path: 0.5}
    assert study.expand(config)[0].plan.loss.extra == extra


def test_several_losses_by_path_of_one_name_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first, second = write(tmp_path / "a", "loss"), write(tmp_path / "b", "loss")
    (tmp_path / "b" / "my_loss.py").write_text((tmp_path / "b" / "my_loss.py").read_text().replace("2.0", "3.0"))
    one, other = ({first: 1.0, second: w} for w in (1.0, 2.0))
    swapped = {first: 2.0, second: 1.0}
    assert len({tiny.cell(loss__extra=extra).identity("") for extra in (one, other, swapped)}) == 3


WRONG = {
    "fusion": (
        "Fused(self.factor * x.sum(0))",
        "Fused(jnp.tile(x.sum(0), 2))",
        r"out .*\(60, 16\), expected the width 8",
    ),
    "axes": ("Fused(self.factor * x.sum(0))", "Fused(x)", r"out .*\(60, 2, 8\), expected \[N, D\] with N=60"),
    "tokens": (
        "Fused(self.factor * x.sum(0))",
        "Fused(x.sum(0), tokens=x[:1])",
        r"tokens has the shape \(60, 1, 8\), expected \[N, M, D\] with N=60 and M=2",
    ),
    "readout": ("Read(history.mean(1))", "Read(history)", r"out .*\(60, 2, 8\), expected a row a node and the width 8"),
    "rows": (
        "Read(history.mean(1))",
        "Read(history.mean(1)[:7])",
        r"out .*\(7, 8\), expected a row a node and the width 8",
    ),
    "loss": ("target.labels", "target.times", "a target of 'classes' has no field 'times'; its fields: labels"),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_one_that_returns_or_reads_what_is_not_there_is_named(what, tmp_path):
    kind = {"tokens": "fusion", "axes": "fusion", "rows": "readout"}.get(what, what)
    path, (right, wrong, message) = write(tmp_path, kind), WRONG[what]
    text = pathlib.Path(path).read_text()
    assert right in text
    pathlib.Path(path).write_text(text.replace("from flax", "import jax.numpy as jnp\nfrom flax").replace(right, wrong))
    with tiny.as_users_run(), pytest.raises(ValueError, match=rf"{kind} '.*my_{kind}.*: {message}"):
        tiny.train(tiny.dataset(), (0,), training__epochs=1, **{KEYS[kind]: path})


def test_a_data_file_that_returns_no_data_set_is_named(tmp_path):
    (tmp_path / "three.py").write_text("def load():\n    return 3\n")
    with pytest.raises(ValueError, match=r"data set '.*three.py': load\(\) returned 3, expected a Dataset"):
        data.load(str(tmp_path / "three.py"))
