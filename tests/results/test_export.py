"""An exported predictor says what the predictor says, on all platforms by plain operations, from two files alone."""

import contextlib
import dataclasses
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fusion_jax.results import export
from fusion_jax.results.exported import load_exported
from fusion_jax.results.predictor import Predictor
from fusion_jax.tasks.values import Units
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run

pytest.importorskip("flatbuffers")

ROUNDING = 2e-6  # of numbers about 1 in float32, whose sums over edges are made in another order
IDS, EDGES = list("abcde"), [("a", 0), ("b", "a"), ("c", 7), ("c", 8), ("a", "a")]


@pytest.fixture(scope="module", autouse=True)
def settings():
    with as_users_run():
        yield


def predictor_of(folder, **changes):
    usual = dict(data__options=dict(nodes=60, modalities=3, classes=3, dim=9, missing=0.2), model__layer__name="gcn")
    _, (identity,) = train_cells(folder, [tiny_cell(**{**usual, **changes})])
    return Predictor.load(folder, identity)


def some(predictor, rows):
    """Old nodes once more, as tables of a user have them: NaN where a modality is missing."""
    d = predictor.data
    return {m: np.where(d.mask[rows, i, None], x[rows], np.nan) for i, (m, x) in enumerate(d.features.items())}


@pytest.fixture(scope="module")
def predictor(settings, tmp_path_factory):
    return predictor_of(tmp_path_factory.mktemp("cell"), data__setting="inductive")


@pytest.fixture(scope="module")
def folder(predictor, tmp_path_factory):
    return predictor.export(tmp_path_factory.mktemp("exported") / "program")


def test_it_says_what_the_predictor_says_for_any_number_of_nodes_and_edges(predictor, folder):
    exported = load_exported(folder)
    for rows, edges in ((np.arange(5), EDGES), (np.arange(5), None), (np.arange(7, 9), [("a", "b")])):
        x, ids = some(predictor, rows), IDS[: len(rows)]
        wanted, found = predictor(x, ids=ids, edges=edges), exported(x, ids=ids, edges=edges)
        np.testing.assert_allclose(found.each, wanted.each, rtol=0, atol=ROUNDING)
        assert found.frame()["id"].tolist() == ids and found.seeds == wanted.seeds == (0, 1)
        assert found.frame()["prediction"].tolist() == wanted.frame()["prediction"].tolist()
    with pytest.raises(ValueError, match="edges of 'planted': row 0 names 'z'"):
        exported(some(predictor, np.arange(2)), edges=[("z", 0)])


def test_attention_over_all_nodes_is_for_any_number_of_them(tmp_path):
    own = dict(model__fusion__name="npt", model__fusion__options=dict(depth=2, heads=1), seeds=1)
    predictor = predictor_of(tmp_path / "cell", training__epochs=1, **own)
    exported = load_exported(predictor.export(tmp_path / "program", platforms=("cpu",)))
    for rows in (np.arange(5), np.arange(7, 9)):
        x, ids = some(predictor, rows), IDS[: len(rows)]
        wanted, found = predictor(x, ids=ids, edges=[("a", 0)]), exported(x, ids=ids, edges=[("a", 0)])
        np.testing.assert_allclose(found.each, wanted.each, rtol=0, atol=10 * ROUNDING)


def test_it_is_for_all_platforms_and_calls_no_kernel_of_one(predictor, folder, monkeypatch):
    exported = load_exported(folder)
    assert exported.program.platforms == tuple(exported.manifest["platforms"]) == ("cpu", "cuda", "tpu")
    text = exported.program.mlir_module()
    called = set(re.findall(r"custom_call @([^(\s]+)", text))
    assert called and called <= {"shape_assertion", "stablehlo.dynamic_reduce_window"}
    assert export.custom_calls(text) == called
    monkeypatch.setattr(export, "plain_xla", contextlib.nullcontext)  # as it is traced to be run here
    with pytest.raises(ValueError, match=r"the program calls .*csr.*a mechanism of the cell|custom call"):
        predictor.export(folder.parent / "own", platforms=("cpu",))
    assert not (folder.parent / "own").exists()


def test_the_program_runs_without_this_package(predictor, folder):
    """By JAX alone, on the dictionary that the manifest describes."""
    x = some(predictor, np.arange(2))
    code = f"""
import json, pathlib, sys
import numpy as np
import jax.export
folder = pathlib.Path({str(folder)!r})
about = json.loads((folder / "manifest.json").read_text())
program = jax.export.deserialize(bytearray((folder / about["program"]).read_bytes()))
x = {{m: np.array(v, np.float32) for m, v in json.loads(sys.stdin.read()).items()}}
ends = dict(senders=np.array([60, 0], np.int32), receivers=np.array([0, 60], np.int32))
said = program.call(dict(x=x, mask=np.array({predictor.data.mask[:2].tolist()}), edges=dict(planted=ends)))
assert "fusion_jax" not in sys.modules and "flax" not in sys.modules
print(json.dumps(np.asarray(said["prediction"]).tolist()))
"""
    given = json.dumps({m: np.nan_to_num(v).tolist() for m, v in x.items()})
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True)
    wanted = predictor(x, ids=["a", "b"], edges=[("a", 0)])
    np.testing.assert_allclose(json.loads(done.stdout), wanted.each, rtol=0, atol=ROUNDING)


def test_two_files_and_what_stands_in_them(predictor, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "program.bin"]
    about = json.loads((folder / "manifest.json").read_text())
    assert about["arguments"]["x"] == {m: ["float32", "(n, 9)"] for m in ("m0", "m1", "m2")}
    assert about["arguments"]["edges"]["planted"]["senders"] == ["int32", "(e,)"]
    assert about["results"] == {"prediction": ["float32", "(2, n, 3)"]}
    assert about["environment"]["versions"]["jax"] and about["cell"] == predictor.cell.identity
    program = folder / "program.bin"
    content = program.read_bytes()
    try:
        program.write_bytes(content[:-1] + b"x")
        with pytest.raises(ValueError, match=r"program.bin is damaged"):
            load_exported(folder)
    finally:
        program.write_bytes(content)


def test_a_program_of_fixed_size_has_room_for_fewer(predictor, tmp_path):
    exported = load_exported(predictor.export(tmp_path / "fixed", platforms=("cpu",), nodes=6, edges=12))
    x = some(predictor, np.arange(5))
    wanted, found = predictor(x, ids=IDS, edges=EDGES), exported(x, ids=IDS, edges=EDGES)
    np.testing.assert_allclose(found.each, wanted.each, rtol=0, atol=ROUNDING)
    assert export.custom_calls(exported.program.mlir_module()) == set()
    with pytest.raises(ValueError, match="7 nodes: the program was exported for 6"):
        exported(some(predictor, np.arange(7)))
    many = [(i, k) for i in IDS for k in range(3)]
    with pytest.raises(ValueError, match="30 edges: the program was exported for 12"):
        exported(x, ids=IDS, edges=many)


def test_values_have_their_units_and_models_without_a_graph_no_old_nodes(tmp_path):
    options = dict(data__name="synthetic_values", data__options=dict(nodes=60), model__layer__name="none")
    predictor = predictor_of(tmp_path / "cell", **options, model__fusion__name="mean")
    exported = load_exported(predictor.export(tmp_path / "program", platforms=("cpu", "tpu")))
    x = some(predictor, np.arange(4))
    wanted = predictor(x, ids=IDS[:4]).each
    np.testing.assert_allclose(exported(x, ids=IDS[:4]).each, wanted, rtol=2e-6, atol=ROUNDING * np.abs(wanted).max())
    assert "edges" not in exported.manifest["arguments"]
    far = [Units(unit.shift + 1e9, unit.scale) for unit in predictor.cell.prepared.units]
    prepared = dataclasses.replace(predictor.cell.prepared, units=tuple(far))
    predictor.cell = dataclasses.replace(predictor.cell, prepared=prepared)
    exported = load_exported(predictor.export(tmp_path / "far", platforms=("cpu",)))
    found, scale = exported(x, ids=IDS[:4]).each, np.array([unit.scale for unit in far])[:, None]
    assert found.dtype == np.float64
    np.testing.assert_allclose((found - 1e9) / scale, wanted / scale, rtol=0, atol=20 * ROUNDING)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: [], "manifest.json: a list; expected the fields"),
        (lambda about: about | {"version": 9}, "manifest.json, field 'version': 9; expected 2"),
        (lambda about: {k: v for k, v in about.items() if k != "target"}, "manifest.json: no field 'target'"),
        (lambda about: about | {"classes": ["x", "y", "z"]}, "manifest.json is damaged: the sha256 of its fields"),
    ],
)
def test_a_manifest_that_is_not_what_was_written_is_named(folder, tmp_path, change, message):
    other = shutil.copytree(folder, tmp_path / "other")
    path = other / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=re.escape(message)):
        load_exported(other)


def test_graphs_are_predicted_from_their_nodes(tmp_path):
    options = dict(data__name="synthetic_graphs", data__options=dict(graphs=30), model__fusion__name="mean")
    predictor = predictor_of(tmp_path / "cell", **options)
    x = some(predictor, np.arange(7))
    given = dict(
        ids=list("abcdefg"), graphs=["u", "v", "u", "v", "v", "u", "v"], edges=[("a", "c"), ("b", "e"), ("e", "g")]
    )
    wanted = predictor(x, **given)
    for fixed in ({}, dict(nodes=9, edges=8)):
        exported = load_exported(predictor.export(tmp_path / f"program{len(fixed)}", platforms=("cpu",), **fixed))
        found = exported(x, **given)
        assert found.ids.tolist() == ["u", "v"]
        np.testing.assert_allclose(found.each, wanted.each, rtol=0, atol=5 * ROUNDING)


def test_what_cannot_be_exported_is_named(tmp_path, predictor):
    for changes, message in (
        (dict(data__name="synthetic_links", data__options=dict(nodes=60)), "it predicts links"),
        (dict(data__modalities=("structure",)), "modality 'structure' encodes the whole graph"),
    ):
        own = predictor_of(tmp_path / message[:9], model__fusion__name="mean", training__epochs=1, **changes)
        with pytest.raises(ValueError, match=f"cannot be exported: {message}"):
            own.export(tmp_path / "none")
    with pytest.raises(ValueError, match="platforms: 'abacus'; expected some of cpu, cuda, tpu, rocm"):
        predictor.export(tmp_path / "none", platforms=("abacus",))
    assert not (tmp_path / "none").exists()


def test_how_unsure_a_model_is_comes_with_what_it_says(tmp_path):
    predictor = predictor_of(tmp_path / "cell", model__fusion__name="mefn", model__placement="decision", seeds=1)
    stored, again = predictor(), predictor.computed()
    np.testing.assert_allclose(stored.uncertainty, again.uncertainty, rtol=0, atol=ROUNDING)
    x = some(predictor, np.arange(3))
    exported = load_exported(predictor.export(tmp_path / "program", platforms=("cpu",)))
    wanted, found = predictor(x, edges=[("60", 0)]), exported(x, edges=[("60", 0)])
    assert found.frame()["uncertainty"].between(0, 1).all() and found.uncertainty.shape == (1, 3)
    np.testing.assert_allclose(found.uncertainty, wanted.uncertainty, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found.each, wanted.each, rtol=0, atol=ROUNDING)
