"""Saves: one at a time in a process, in a folder of any name, and used only as they were written."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from fusion_jax.folders import Damaged, files
from fusion_jax.training import checkpoint, stopping
from fusion_jax.training.checkpoint import Partial

NAMES = ["run [1]", "run[ab]", "run *", "run?", "{a,b}", "ünïcode ü", "~run", "$HOME", "100%20", "a#b", "[!a]", "a\\b"]


def tree(i):
    return dict(params=dict(w=np.full((2, 3), i, np.float32), layers={"0": np.arange(4) + i}), step=np.array(i))


def same(found, i):
    assert np.array_equal(found["params"]["w"], tree(i)["params"]["w"]) and int(found["step"]) == i
    assert np.array_equal(found["params"]["layers"]["0"], np.arange(4) + i)


def test_two_threads_save_and_restore_at_a_time(tmp_path, monkeypatch):
    """Orbax is entered by one of them at a time: whether two would harm each other is a matter of luck."""
    errors, start, inside, most = [], threading.Barrier(2), [], []
    usual = checkpoint.ocp.StandardCheckpointer

    class Watched:
        def __init__(self, **options):
            inside.append(self)
            most.append(len(inside))
            time.sleep(0.02)  # long enough for another to come in
            self.own = usual(**options)

        def __enter__(self):
            return self.own

        def __exit__(self, *error):
            self.own.close()
            inside.remove(self)

    monkeypatch.setattr(checkpoint.ocp, "StandardCheckpointer", Watched)

    def work(thread):
        try:
            start.wait()
            for i in range(8):
                path = epath.Path(tmp_path) / f"{thread}-{i}"
                checkpoint.save(path, tree(100 * thread + i))
                same(checkpoint.restore(path), 100 * thread + i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(t,), daemon=True) for t in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(most) == 32 and set(most) == {1}


PROCESS = """
import sys
import numpy as np
from etils import epath
from fusion_jax.training import checkpoint
for i in range(5):
    path = epath.Path(sys.argv[1]) / str(i)
    checkpoint.save(path, {"a": np.full(3, i)})
    assert (checkpoint.restore(path)["a"] == i).all()
"""


def test_two_processes_save_at_a_time(tmp_path):
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path / name)], stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert sorted(os.listdir(tmp_path / "one")) == sorted(os.listdir(tmp_path / "two")) == list("01234")


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_any_name(tmp_path, name):
    place = epath.Path(tmp_path) / name
    checkpoint.save(place / "checkpoint", tree(3))
    same(checkpoint.restore(place / "checkpoint"), 3)
    assert os.listdir(tmp_path) == [name] and os.listdir(tmp_path / name) == ["checkpoint"]


def test_a_save_of_another_folder_is_neither_taken_nor_removed(tmp_path):
    """As a pattern, the second name is the first."""
    states = {}
    for i, name in enumerate(("run1", "run[1]", "run?")):
        place, states[name] = epath.Path(tmp_path) / name, {"a": jnp.full(2, float(i))}
        assert Partial(place, 0.0).restore(states[name]) is None
        for epochs in (4, 8):
            Partial(place, 0.0).at_border(states[name], [{"train_loss": np.zeros((1, epochs))}])
    for name, state in states.items():
        assert os.listdir(tmp_path / name) == ["step-00000008"], "who goes on from no save has given the others up"
        found, history = Partial(epath.Path(tmp_path) / name, 0.0).restore(state)
        assert np.array_equal(found["a"], state["a"]) and history[0]["train_loss"].shape == (1, 8)


def test_the_last_two_saves_are_kept(tmp_path):
    folder, state = epath.Path(tmp_path) / "partial", {"a": jnp.zeros(2)}

    def save(partial, *steps):
        for epochs in steps:
            partial.at_border(state, [{"train_loss": np.zeros((1, epochs))}])
        return sorted(int(name.removeprefix("step-")) for name in os.listdir(folder))

    assert save(Partial(folder, 0.0), 2, 4, 6) == [4, 6]
    again = Partial(folder, 0.0)
    assert again.restore(state)[1][0]["train_loss"].shape == (1, 6)
    assert save(again, 8) == [6, 8], "the one that it went on from, too"
    assert save(again, 10) == [8, 10]


def test_a_temporary_folder_with_brackets_in_its_name(tmp_path, monkeypatch):
    (tmp_path / "tmp[1]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp[1]"))
    checkpoint.save(epath.Path(tmp_path) / "save", tree(1))
    same(checkpoint.restore(epath.Path(tmp_path) / "save"), 1)
    assert os.listdir(tmp_path / "tmp[1]") == []


def test_what_is_there_is_not_written_over(tmp_path):
    path = epath.Path(tmp_path) / "save"
    checkpoint.save(path, tree(1))
    with pytest.raises(ValueError, match="save is there already"):
        checkpoint.save(path, tree(2))
    same(checkpoint.restore(path), 1)
    assert os.listdir(tmp_path) == ["save"]


def test_a_save_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(type(epath.Path(tmp_path)), "rename", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(epath.Path(tmp_path) / "save", tree(1))
    assert os.listdir(tmp_path) == []


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1
    path.write_bytes(bytes(content))


def test_a_flipped_byte_is_found_in_every_file(tmp_path):
    path = epath.Path(tmp_path) / "save"
    checkpoint.save(path, tree(1))
    names = list(files(path))
    assert len(names) > 4 and checkpoint.MANIFEST in names
    for name in names:
        content = (path / name).read_bytes()
        for at in (0, len(content) // 2, -1):
            flip(path / name, at)
            with pytest.raises(Damaged, match="save/.* is (damaged|missing)" if name == checkpoint.MANIFEST else name):
                checkpoint.restore(path)
            (path / name).write_bytes(content)
        (path / name).unlink()
        with pytest.raises(Damaged, match=f"{name} is missing"):
            checkpoint.restore(path)
        (path / name).write_bytes(content)
    same(checkpoint.restore(path), 1)


def test_every_byte_of_the_list_of_files_counts(tmp_path):
    path = epath.Path(tmp_path) / "save"
    checkpoint.save(path, dict(a=np.zeros(1)))
    manifest = path / checkpoint.MANIFEST
    content = manifest.read_bytes()
    for at in range(0, len(content), 7):
        flip(manifest, at)
        with pytest.raises(Damaged):
            checkpoint.restore(path)
        manifest.write_bytes(content)
    manifest.write_text(json.dumps(json.loads(content)))
    with pytest.raises(Damaged, match="manifest.json is damaged"):
        checkpoint.restore(path)
    for name in ("../outside", str(tmp_path / "outside"), "a/../../outside"):
        manifest.write_text(json.dumps({name: "0"}, indent=1))
        with pytest.raises(Damaged, match="manifest.json is damaged"):
            checkpoint.restore(path)


@pytest.mark.parametrize("before", [True, False], ids=["the one before is taken", "there is none before"])
def test_a_damaged_save_of_an_interrupted_cell_is_named_and_set_aside(tmp_path, before):
    folder = epath.Path(tmp_path) / "partial"
    partial, state = Partial(folder, 0.0), {"a": jnp.zeros(2)}
    if before:
        partial.at_border({"a": jnp.ones(2)}, [{"train_loss": np.zeros((1, 3))}])
    partial.at_border({"a": jnp.full(2, 2.0)}, [{"train_loss": np.zeros((1, 6))}])
    damaged = folder / "step-00000006"
    flip(next(p for name, p in files(damaged).items() if "ocdbt" in name and p.read_bytes()), 5)
    with pytest.warns(UserWarning, match="step-00000006/.* is damaged.*set aside as damaged-step-00000006"):
        found = Partial(folder, 0.0).restore(state)
    if before:
        np.testing.assert_array_equal(found[0]["a"], [1, 1])
    else:
        assert found is None
    assert not damaged.exists() and (folder / "damaged-step-00000006").exists()
    partial.clear()
    assert not folder.exists()


def test_the_seconds_of_attempts_before_are_counted_and_a_save_of_another_version_is_named(tmp_path):
    folder, state = epath.Path(tmp_path) / "partial", {"a": jnp.zeros(2)}
    partial = Partial(folder, 0.0)
    partial.before = 1000.0
    partial.at_border(state, [{"train_loss": np.zeros((1, 3))}])
    again = Partial(folder, 0.0)
    assert again.restore(state) is not None and 1000 <= again.before < 1100
    again.at_border(state, [{"train_loss": np.zeros((1, 6))}])
    later = Partial(folder, 0.0)
    assert later.restore(state) is not None and again.before <= later.before < 1100
    for other in ({"a": jnp.zeros(3)}, {"b": jnp.zeros(2)}, {"a": jnp.zeros(2), "b": jnp.zeros(2)}):
        with pytest.raises(ValueError, match="step-00000006 is of another version .delete it to start anew"):
            Partial(folder, 0.0).restore(other)


def test_when_and_what_a_border_saves(tmp_path):
    """As often as it may, and what was asked to stop at once: the whole history, of all chunks."""
    folder, state = epath.Path(tmp_path) / "partial", {"a": jnp.zeros(2)}
    partial = Partial(folder, 1000.0)
    chunks = [{"train_loss": np.full((1, 2), float(i))} for i in range(4)]

    def saves(count):
        partial.at_border(state, chunks[:count])
        return sorted(os.listdir(folder)) if folder.exists() else []

    assert saves(1) == []
    partial.last -= 1001
    assert saves(2) == ["step-00000004"]
    assert saves(3) == ["step-00000004"]
    stopping.ask()
    try:
        with pytest.raises(stopping.Stopped):
            partial.at_border(state, chunks)
    finally:
        stopping.forget()
    (folder / "step-old").mkdir()
    _, history = Partial(folder, 0.0).restore(state)
    np.testing.assert_array_equal(history[0]["train_loss"], [[0, 0, 1, 1, 2, 2, 3, 3]])
    Partial(folder, 0.0).at_border(state, [{"train_loss": np.zeros((1, 9))}])
    assert sorted(os.listdir(folder)) == ["step-00000009", "step-old"], "what is no save is left alone"


def test_a_save_that_is_damaged_a_second_time_takes_the_place_of_the_first(tmp_path):
    folder, state = epath.Path(tmp_path) / "partial", {"a": jnp.zeros(2)}
    for content in (b"first", b"second"):
        Partial(folder, 0.0).at_border(state, [{"train_loss": np.zeros((1, 3))}])
        (folder / "step-00000003" / checkpoint.MANIFEST).write_bytes(content)
        with pytest.warns(UserWarning, match="set aside as damaged-step-00000003"):
            assert Partial(folder, 0.0).restore(state) is None
        assert os.listdir(folder) == ["damaged-step-00000003"]
    assert (folder / "damaged-step-00000003" / checkpoint.MANIFEST).read_bytes() == b"second"


def test_progress_is_told_at_every_border(tmp_path):
    seen = []
    partial = Partial(epath.Path(tmp_path) / "partial", 1e6, seen.append)
    partial.at_border({}, [{"train_loss": np.zeros((1, 3))}])
    assert len(seen) == 1 and not (tmp_path / "partial").exists()


def test_a_save_made_with_something_else_is_gone_on_from_and_says_so(tmp_path):
    folder, state = epath.Path(tmp_path) / "partial", {"a": jnp.zeros(2)}
    one = dict(versions=dict(jax="1", flax="2"), devices=["cpu"])
    two = dict(versions=dict(jax="3", flax="2"), devices=["cpu", "cpu"])

    def go_on(made_with, epochs):
        partial = Partial(folder, 0.0, made_with=made_with)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            partial.restore(state)
        partial.at_border(state, [{"train_loss": np.zeros((1, epochs))}])
        return partial.earlier, [str(one.message) for one in told]

    assert go_on(one, 1) == go_on(one, 2) == ([], [])
    earlier, (said,) = go_on(two, 3)
    assert earlier == [one] and "step-00000002 was made with versions.jax '1', now '3', devices" in said
    assert "flax" not in said
    assert go_on(two, 4) == ([one], []), "it is kept, and said once"
    assert go_on(one, 5)[0] == [two]
    assert go_on({}, 6)[0] == [two, one], "and where nothing is known of the present one"
