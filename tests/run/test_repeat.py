"""A finished cell that is trained again is bitwise the same, or what differs is named; the stored one is only read."""

import numpy as np
import pytest

import fusion_jax as fj
from fusion_jax.results import environment
from fusion_jax.results.store import Store, read_json
from fusion_jax.run import repeat as repeats
from fusion_jax.run.cell import run_cell
from fusion_jax.training import checkpoint, stopping
from tests import studies, tiny


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    """A folder with a cell in two parts (seeds 0 and 1, then 2) and a control; and their identities."""
    store, data = Store(tmp_path_factory.mktemp("repeat"), create=True), tiny.dataset()
    cell, control = tiny.cell(seeds=3, model__rate=0.2), tiny.cell(control__name="logistic_regression")
    listed = [(one.identity(data), one) for one in (cell, control)]
    store.write_study(listed, "test")
    run_cell(cell, store, data, only=(0, 1))
    run_cell(cell, store, data)
    run_cell(control, store, data)
    return store, [identity for identity, _ in listed]


def test_only_some_of_the_missing_seeds(trained):
    store, (cell, _) = trained
    assert [seeds for _, seeds in store.parts(cell)] == [[0, 1], [2]]


def test_the_same_bits(trained, tmp_path):
    store, (cell, control) = trained
    before = studies.state(store.root)
    found = repeats.repeat(store, cell[:6], tmp_path / "model")
    assert found.equal and found.seeds == (0, 1, 2) and found.identity == cell
    parameters = sum(np.size(x) for x in checkpoint.flat(_weights(store, cell, 0)).values()) // 2 * 3
    assert found.compared["parameters"] == parameters > 0
    assert found.compared["predictions"] == 3 * 60 * 2 and found.compared["history"] == 3 * 6 * 3
    assert "3 seeds: bitwise equal" in found.text
    assert repeats.repeat(store, control, tmp_path / "control").compared.keys() == {"metrics", "predictions"}
    assert studies.state(store.root) == before
    with pytest.raises(ValueError, match="part-0 is there already"):
        repeats.repeat(store, cell, tmp_path / "model")


def _weights(store, identity, part):
    saved = checkpoint.restore(store.parts(identity)[part][0] / "checkpoint")
    return {name: saved[name] for name in ("params", "rest")}


@pytest.fixture
def otherwise(monkeypatch):
    """change(tables, saved): what a repetition stores is changed so before it is compared."""

    def patch(change):
        def run(cell, store, data, progress, identity, only):
            done = run_cell(cell, store, data, progress, identity, only)
            [(part, seeds)] = store.parts(identity)
            tables = {name: store.table(identity, name) for name in ("metrics", "predictions", "history")}
            tables["predictions"].prediction = [x.copy() for x in tables["predictions"].prediction]
            saved = {"checkpoint": checkpoint.restore(part / "checkpoint")}
            change(tables, saved)
            store.write_part(identity, cell, tuple(seeds), tables, store.costs(identity)[0], saved)
            return done

        monkeypatch.setattr(repeats, "run_cell", run)

    return patch


def test_what_differs_is_named(trained, tmp_path, otherwise):
    store, (cell, _) = trained

    def change(tables, saved):
        del saved
        if len(tables["predictions"]) == 60:  # the part of seed 2
            tables["predictions"].prediction[7][1] += np.float32(0.25)
            tables["history"].loc[4:, "val_loss"] += 0.5

    otherwise(change)
    found = repeats.repeat(store, cell, tmp_path)
    assert not found.equal and [one.what for one in found.apart] == ["predictions", "history"]
    prediction, history = found.apart
    assert prediction.count == 1 and prediction.most == pytest.approx(0.25) and prediction.of == 3 * 60 * 2
    assert prediction.first.startswith("prediction of seed 2, row 7, part ")
    assert history.count == 2 and history.most == pytest.approx(0.5)
    assert history.first.startswith("val_loss of seed 2, epoch 4: ")
    assert "not equal\npredictions: 1 of 360 numbers differ, by 0.25 at most; the first: prediction" in found.text


def test_a_last_bit_and_a_nan_count(trained, tmp_path, otherwise):
    store, (cell, _) = trained

    def change(tables, saved):
        table = tables["predictions"]
        if len(table) == 60:
            x = table.prediction[0]
            x[0] = np.nextafter(x[0], np.float32(np.inf))
            table.prediction[1][0] = np.nan
        kernel = saved["checkpoint"]["params"]["layers"]["0"]["linear"]["kernel"]
        kernel[0, 0, 0] = np.nextafter(kernel[0, 0, 0], np.float32(np.inf))

    otherwise(change)
    found = repeats.repeat(store, cell, tmp_path)
    by = {one.what: one for one in found.apart}
    assert by["predictions"].count == 2 and np.isnan(by["predictions"].most)
    assert by["parameters"].count == 2 and 0 < by["parameters"].most < 1e-6  # one a part
    assert by["parameters"].first.endswith("now") and "kernel" in by["parameters"].first


def test_other_forms_are_named(trained, tmp_path, otherwise):
    store, (cell, _) = trained

    def change(tables, saved):
        del saved
        tables["history"] = tables["history"].iloc[:-1]

    otherwise(change)
    found = repeats.repeat(store, cell, tmp_path)
    assert {one.what for one in found.apart} == {"history"}
    assert "seed: int64 [12] then, int64 [11] now" in found.text


def test_what_has_changed_since_is_named(trained, monkeypatch):
    store, (cell, _) = trained
    now = environment.environment()
    assert set(repeats.changed(store.environments(cell))) <= {"git_dirty"}
    other = {**now, "devices": ["TPU v5e"], "versions": {**now["versions"], "jax": "0.1"}, "git_dirty": False}
    monkeypatch.setattr(repeats, "environment", lambda: {**now, "git_dirty": False})
    assert repeats.changed([other]) == {
        "devices": (["TPU v5e"], now["devices"]),
        "versions.jax": ("0.1", now["versions"]["jax"]),
    }
    assert repeats.changed([{**now, "git_dirty": True}]) == {"git_dirty": (True, False)}
    older = {k: v for k, v in now.items() if k != "flags"} | dict(git_dirty=False, claims_sha256="")
    assert repeats.changed([older]) == {}
    flagged = {**now, "git_dirty": False, "flags": {**now["flags"], "XLA_FLAGS": "--one"}}
    assert repeats.changed([flagged]) == {"flags.XLA_FLAGS": ("--one", now["flags"]["XLA_FLAGS"])}


def test_what_an_attempt_before_it_was_made_with_is_kept_and_named(tmp_path):
    data, cell = tiny.dataset(), tiny.cell(training__checkpoint_seconds=0.0)
    store, now = Store(tmp_path / "r", create=True), environment.environment()
    identity, stopped = cell.identity(data), dict(now, versions={**now["versions"], "jax": "0.1"})

    def stop(history):
        del history
        stopping.ask()

    with pytest.MonkeyPatch.context() as patch, pytest.raises(stopping.Stopped):
        patch.setattr("fusion_jax.run.cell.environment", lambda: stopped)
        run_cell(cell, store, data, stop)
    stopping.forget()
    with pytest.warns(UserWarning, match=f"was made with versions.jax '0.1', now '{now['versions']['jax']}': training"):
        run_cell(cell, store, data)
    (cost,) = store.costs(identity)
    assert cost["earlier"] == [stopped]
    found = repeats.repeat(store, identity, tmp_path / "again")
    assert found.equal and found.changed["versions.jax"] == ("0.1", now["versions"]["jax"])


def test_data_that_lay_in_memory(settings, tmp_path):
    data = tiny.dataset()
    small = {"model.dim": 8, "training.epochs": 3, "training.seed_axis": "map", "model.layers": 1}
    study = fj.ablate(data, ["mean"], ["before"], seeds=2, workdir=tmp_path / "r", controls=False, config=small, jobs=1)
    identity = study.store.read_study()["cells"][-1]["id"]
    assert repeats.repeat(study.store, identity, tmp_path / "again").equal
    small |= {"protocol": "paper"}
    study = fj.ablate(data, ["mean"], ["before"], seeds=1, workdir=tmp_path / "p", controls=False, config=small, jobs=1)
    identity = study.store.read_study()["cells"][-1]["id"]
    with pytest.raises(ValueError, match="lay in memory and is kept without its validation rows"):
        repeats.repeat(study.store, identity, tmp_path / "paper")
    assert repeats.repeat(study.store, identity, tmp_path / "paper", data=data).equal


def test_the_command(trained, tmp_path, otherwise):
    store, (cell, control) = trained
    status, out = tiny.command("experiments.train", f"--from={store.root}/cells/{cell[:5]}")
    assert status == 0 and f"({cell}), 3 seeds: bitwise equal" in out
    status, out = tiny.command("experiments.train", f"--from={store.root}/cells/{cell}", "--config.seeds=3")
    assert status == 2 and out == "error: --from repeats a cell as it is stored: leave --config.seeds out\n"
    status, out = tiny.command("experiments.train", f"--from={store.root}")
    assert status == 2 and "expected the folder of a cell, RESULTS/cells/ID" in out
    status, out = tiny.command("experiments.train", f"--from={store.root}/cells/nothing")
    assert status == 2 and "has no finished cell 'nothing'" in out
    kept = tmp_path / "kept"
    otherwise(lambda tables, saved: tables["metrics"].update({"value": tables["metrics"]["value"] + 1}))
    status, out = tiny.command("experiments.train", f"--from={store.root}/cells/{cell}", f"--workdir={kept}")
    assert status == 1 and "not equal" in out
    assert read_json(kept / "part-1" / "cells" / cell / "record.json")["seeds"] == [2]
