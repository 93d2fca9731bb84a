"""The store: all of a part or nothing, whatever interrupts it."""

import errno
import json

import numpy as np
import pandas as pd
import pytest
from etils.epath import gpath

from fusion_jax.data.base import Split
from fusion_jax.data.fingerprint import split_digest
from fusion_jax.folders import Damaged, digests, files
from fusion_jax.results import store as module
from fusion_jax.results.store import Store, read_json, replacing, write_bytes, write_json
from fusion_jax.study import SCHEMA, Cell
from tests import tiny

CELL = Cell(tiny.cell().config, "a row", 2)
ID = "0123456789abcdef"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", create=True)


def tables(seeds, value=0.5):
    rows = [(s, part, "accuracy", value + s / 10) for s in seeds for part in ("train", "val", "test")]
    metrics = pd.DataFrame(rows, columns=["seed", "part", "metric", "value"])
    scores = [np.float32([s, 1]) for s in seeds for _ in range(2)]
    predictions = pd.DataFrame(dict(seed=np.repeat(seeds, 2), row=[0, 1] * len(seeds), prediction=scores))
    return dict(metrics=metrics, predictions=predictions)


def write(store, seeds, **kwargs):
    store.write_part(ID, CELL, seeds, tables(seeds), dict(seconds=np.float32(1.5), seeds=len(seeds)), **kwargs)


def contents(folder):
    """Everything below a folder, hidden files too."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            found |= {f"{path.name}/{k}": v for k, v in contents(path).items()}
        else:
            found[path.name] = path.read_bytes()
    return found


def test_what_is_written_comes_back(store):
    write(store, (0, 1), saved=dict(checkpoint=dict(params={"w": np.arange(6.0).reshape(2, 3)})))
    write(store, (2,))
    assert store.finished_seeds(ID) == (0, 1, 2)
    assert [(p.name, seeds) for p, seeds in store.parts(ID)] == [("seeds-0000-0001", [0, 1]), ("seeds-0002-0002", [2])]
    table = store.table(ID, "metrics")
    assert table[table.part == "test"].set_index("seed").value.to_dict() == {0: 0.5, 1: 0.6, 2: 0.7}
    np.testing.assert_array_equal(np.stack(store.table(ID, "predictions").prediction)[-1], [2, 1])
    assert [c["seconds"] for c in store.costs(ID)] == [1.5, 1.5]
    assert store.config(ID) == CELL.config
    environment = read_json(store.cell(ID) / "seeds-0002-0002" / "environment.json")
    assert environment["versions"]["jax"] and {"git_revision", "git_dirty", "devices", "python"} <= set(environment)
    from fusion_jax.training.checkpoint import restore

    saved = restore(store.cell(ID) / "seeds-0000-0001" / "checkpoint")
    np.testing.assert_array_equal(saved["params"]["w"], np.arange(6.0).reshape(2, 3))


def test_a_cell_without_a_record_is_not_finished(store):
    assert store.finished_seeds(ID) == ()
    store.cell(ID).mkdir(parents=True)
    assert store.finished_seeds(ID) == ()


@pytest.mark.parametrize(
    "change, said",
    [
        (dict(seeds=5), "seeds 5 of seeds-0000-0001; expected a list of whole numbers from 0 to 9999"),
        (dict(seeds=["a"]), "seeds ..a.. of"),
        (dict(seeds=[True]), "seeds .True. of"),
        (dict(seeds=[float("nan")]), "seeds .nan. of"),
        (dict(seeds=[0, 10**30]), "seeds .0, 10000.*0000. of"),
        (dict(seeds=[-1]), "seeds .-1. of"),
        (dict(sha256=[]), "sha256 of seeds-0000-0001; expected one for each of its files"),
        (dict(sha256=None), "sha256 of seeds-0000-0001"),
        (dict(part="../seeds-0000-0001"), "part '../seeds-0000-0001'; expected the name of a folder beside it"),
    ],
)
def test_a_record_without_its_digest_is_held_to_what_a_record_is(store, change, said):
    """Older revisions wrote none."""
    write(store, (0, 1))
    path = store.cell(ID) / "record.json"
    held = read_json(path)
    assert store.finished_seeds(ID) == (0, 1)
    write_json(path, {**held, "label": "another"})
    with pytest.raises(Damaged, match="record.json is damaged: it is not what was written, by its own digest"):
        store.finished_seeds(ID)
    del held["sha256"]
    write_json(path, held)
    assert store.finished_seeds(ID) == (0, 1)
    write_json(path, {**held, "parts": [held["parts"][0] | change]})
    with pytest.raises(Damaged, match=f"record.json: {said}"):
        store.finished_seeds(ID)


def test_what_the_record_does_not_name_is_not_read(store):
    write(store, (0, 1))
    write(store, (0, 1))
    (part,) = store.parts(ID)
    record = read_json(store.cell(ID) / "record.json")
    del record["sha256"], record["parts"][0]["sha256"]["metrics.parquet"]
    write_json(store.cell(ID) / "record.json", record)
    assert not store.has(ID, "metrics.parquet") and store.has(ID, "cost.json")
    with pytest.raises(Damaged, match="metrics.parquet is damaged"):
        store.table(ID, "metrics")


def test_nested_lists_without_end_are_no_record(store):
    write(store, (0, 1))
    (store.cell(ID) / "record.json").write_text("[" * 200_000)
    with pytest.raises(Damaged, match="record.json is not valid JSON"):
        store.finished_seeds(ID)


def test_a_file_is_replaced_as_a_whole_or_stays(store, monkeypatch):
    path = store.root / "a.json"
    write_bytes(path, b"before")

    def lost(self, target):
        raise OSError(errno.EIO, "lost")

    monkeypatch.setattr(gpath.PosixGPath, "replace", lost)
    with pytest.raises(OSError, match="lost"):
        write_bytes(path, b"after")
    assert path.read_bytes() == b"before" and not [p for p in store.root.iterdir() if p.name.startswith(".tmp-")]


def test_success_removes_the_failure(store):
    store.write_failure(ID, CELL, "ValueError: no", "Traceback ...")
    assert store.failure(ID)["error"] == "ValueError: no" and store.failure(ID)["traceback"] == "Traceback ..."
    assert store.finished_seeds(ID) == ()
    write(store, (0,))
    assert store.failure(ID) is None


def disk_full_at(monkeypatch, name, *, after=0):
    """From the `after`-th write of a file whose name contains `name` on, the disk is full."""
    write_file, count = gpath.PosixGPath.write_bytes, [0]

    def full(self, data):
        if name in self.name:
            count[0] += 1
            if count[0] > after:
                write_file(self, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
        return write_file(self, data)

    monkeypatch.setattr(gpath.PosixGPath, "write_bytes", full)


@pytest.mark.parametrize(
    "file", ["metrics.parquet", "predictions.parquet", "cost.json", "environment.json", "config.json", "record.json"]
)
def test_a_full_disk_leaves_what_was_there_and_nothing_half_written(store, monkeypatch, file):
    write(store, (0, 1))
    before = contents(store.root)
    disk_full_at(monkeypatch, file)
    with pytest.raises(OSError, match="No space left on device") as error:
        write(store, (2,))
    assert error.value.errno == errno.ENOSPC and file in str(error.value.filename)
    monkeypatch.undo()
    after = contents(store.root)
    assert {k: after[k] for k in before} == before
    assert store.finished_seeds(ID) == (0, 1)
    new = {k.partition(ID + "/")[2] for k in set(after) - set(before)}
    if file in ("config.json", "record.json"):  # the part is whole, only not recorded
        assert all(k.startswith("seeds-0002-0002/") for k in new)
        assert len(pd.read_parquet(store.cell(ID) / "seeds-0002-0002" / "metrics.parquet")) == 3
    else:
        assert new == set()
    write(store, (2,))
    assert store.finished_seeds(ID) == (0, 1, 2) and len(store.parts(ID)) == 2


def test_what_killed_runs_leave_behind_goes_with_the_next_success(store):
    junk = store.cell(ID) / ".tmp-seeds-0000-0001-deadbeef"
    junk.mkdir(parents=True)
    (junk / "metrics.parquet").write_text("half")
    (store.cell(ID) / ".tmp-record.json-deadbeef").write_text("{")
    (store.cell(ID) / ".partial-0000-0004").mkdir()
    write(store, (0, 1))
    assert {p.name for p in store.cell(ID).iterdir()} == {"config.json", "record.json", "seeds-0000-0001"}


def test_a_part_that_was_written_but_not_recorded_is_replaced(store):
    stale = store.cell(ID) / "seeds-0000-0001"
    stale.mkdir(parents=True)
    (stale / "old.txt").write_text("old")
    write(store, (0, 1))
    assert not (stale / "old.txt").exists() and len(store.table(ID, "metrics")) == 6


def test_replacing_shows_nothing_until_it_is_whole(tmp_path):
    target = gpath.PosixGPath(tmp_path) / "part"
    with replacing(target) as temporary:
        (temporary / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    with pytest.raises(KeyboardInterrupt), replacing(target) as temporary:
        (temporary / "a").write_text("2")
        raise KeyboardInterrupt
    assert (target / "a").read_text() == "1" and [p.name for p in tmp_path.iterdir()] == ["part"]


def test_a_file_is_replaced_whole(tmp_path, monkeypatch):
    path = gpath.PosixGPath(tmp_path) / "study.json"
    write_json(path, {"a": np.int64(1), "b": np.arange(2)})
    assert json.loads(path.read_text()) == {"a": 1, "b": [0, 1]}
    disk_full_at(monkeypatch, "study.json")
    with pytest.raises(OSError):
        write_bytes(path, b"x" * 1000)
    assert json.loads(path.read_text()) == {"a": 1, "b": [0, 1]}
    assert [p.name for p in tmp_path.iterdir()] == ["study.json"]
    with pytest.raises(TypeError, match="cannot store a set"):
        write_json(path, {1, 2})


def test_a_broken_file_is_named(store):
    write(store, (0,))
    (store.cell(ID) / "record.json").write_text('{"seeds": [')
    with pytest.raises(ValueError, match=r"record\.json is not valid JSON"):
        store.finished_seeds(ID)


@pytest.mark.parametrize("place", ["file/results", "file"])
def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path, place):
    (tmp_path / "file").write_text("I am a file")
    with pytest.raises(OSError, match="cannot write results to .*file"):
        Store(tmp_path / place, create=True)
    assert (tmp_path / "file").read_text() == "I am a file"


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(gpath.PosixGPath, "write_text", refuse)  # tests may run as root, whom no mode bit stops
    with pytest.raises(OSError, match="cannot write results to .*Permission denied"):
        Store(tmp_path, create=True)


def test_a_folder_without_a_study_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no study"):
        Store(tmp_path).read_study()
    assert list(tmp_path.iterdir()) == [], "reading must not write"


def test_the_study_lists_its_cells_in_order(store):
    other = Cell(tiny.cell(model__dim=9).config, "another", 5)
    store.write_study([("b", other), ("a", CELL)], "configs/x.py")
    study = store.read_study()
    assert study["source"] == "configs/x.py"
    assert [(c["id"], c["label"], c["seeds"], c["config"]) for c in study["cells"]] == [
        ("b", "another", 5, other.config),
        ("a", "a row", 2, CELL.config),
    ]


def test_a_cell_joins_a_study_of_its_own_schema_only(store):
    for identity in ("a", "b"):
        with store.listed(identity, CELL, "configs/x.py"):
            pass
    study = store.read_study()
    assert [c["id"] for c in study["cells"]] == ["a", "b"] and study["schema"] == SCHEMA == 2
    del study["schema"]  # as schema 1 wrote it
    write_json(store.root / "study.json", study)
    with pytest.raises(ValueError, match=r"study.json lists cells of schema 1, this revision trains cells of schema 2"):
        with store.listed("c", CELL, "configs/x.py"):
            pytest.fail("a cell of another schema was begun")
    assert [c["id"] for c in store.read_study()["cells"]] == ["a", "b"], "it is read as it is"
    write(store, (0,))
    assert read_json(store.cell(ID) / "record.json")["schema"] == SCHEMA


def test_splits_of_stored_seeds_are_compared(store):
    rows = np.arange(3)
    split, other = Split(rows, rows + 3, rows + 6), Split(rows + 3, rows, rows + 6)
    store.check_splits(ID, {})
    cost = dict(seconds=1.0, seeds=2, splits={"0": split_digest(split), "1": split_digest(other)})
    store.write_part(ID, CELL, (0, 1), tables((0, 1)), cost)
    store.check_splits(ID, {0: split, 1: other})
    with pytest.raises(ValueError, match=f"cell {ID} in .*, seed 1: its split is not the one it was trained on"):
        store.check_splits(ID, {0: split, 1: split})
    store.write_part(ID, CELL, (2,), tables((2,)), dict(seconds=1.0, seeds=1))
    with pytest.raises(ValueError, match="seed 2: .*stored none"):
        store.check_splits(ID, {2: split})


def test_object_storage_paths_stay_what_they_are():
    assert str(Store("gs://bucket/study").cell(ID)) == f"gs://bucket/study/cells/{ID}"
    assert module.Store("relative").root.name == "relative"


@pytest.mark.parametrize("file", ["metrics.parquet", "predictions.parquet", "cost.json"])
def test_a_file_that_is_not_what_was_written_is_named(store, file):
    write(store, (0, 1))
    path = store.cell(ID) / "seeds-0000-0001" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    read = (lambda: store.costs(ID)) if file == "cost.json" else lambda: store.table(ID, file.partition(".")[0])
    with pytest.raises(ValueError, match=f"{file} is damaged: it is not what was written"):
        read()
    path.unlink()
    with pytest.raises(ValueError, match=f"{file} is missing"):
        read()


def test_a_damaged_checkpoint_of_a_finished_cell_is_an_error_that_names_the_file(store):
    from fusion_jax.training.checkpoint import restore

    write(store, (0,), saved=dict(checkpoint=dict(params={"w": np.arange(6.0)})))
    checkpoint = store.cell(ID) / "seeds-0000-0000" / "checkpoint"
    path = max(files(checkpoint).values(), key=lambda p: p.stat().length)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
        restore(checkpoint)


def test_the_record_has_the_digest_of_every_file(store):
    write(store, (0,), saved=dict(checkpoint=dict(params={"w": np.arange(6.0)})))
    written = read_json(store.cell(ID) / "record.json")["parts"][0]["sha256"]
    assert written == digests(store.cell(ID) / "seeds-0000-0000")
    assert {"cost.json", "metrics.parquet", "checkpoint/manifest.json"} <= set(written)


def test_a_record_without_digests_is_read(store):
    """As older revisions wrote them."""
    write(store, (0,))
    record = read_json(store.cell(ID) / "record.json")
    del record["parts"][0]["sha256"], record["sha256"]
    write_json(store.cell(ID) / "record.json", record)
    assert len(store.table(ID, "metrics")) == 3 and len(store.costs(ID)) == 1


def test_what_another_run_left_is_not_removed(tmp_path):
    """As a pattern, the name of the second folder is the first."""
    stores = [Store(tmp_path / name, create=True) for name in ("run1", "run[1]")]
    save = stores[0].cell(ID) / ".partial-0000-0001-none" / "step-00000003"
    save.mkdir(parents=True)
    write(stores[1], (0, 1))
    assert save.exists() and stores[1].finished_seeds(ID) == (0, 1)


def test_a_tilde_is_the_home_folder_and_every_other_character_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert Store("~/results", create=True).root == gpath.PosixGPath(tmp_path) / "home" / "results"
    Store("a ~ $HOME {x}", create=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a ~ $HOME {x}", "home"]
    with pytest.raises(ValueError, match="'~nobody-of-that-name/results': no home folder"):
        Store("~nobody-of-that-name/results", create=True)


def test_the_seeds_of_a_record_are_those_of_its_parts(store):
    write(store, (0, 1))
    record = read_json(store.cell(ID) / "record.json")
    del record["sha256"]  # as older revisions wrote it
    write_json(store.cell(ID) / "record.json", {**record, "seeds": [0]})
    assert store.finished_seeds(ID) == (0, 1)


@pytest.mark.parametrize("key", ["label", "schema", "seeds", "parts", "sha256"])
def test_a_record_that_is_not_the_one_that_was_written_is_named(store, key):
    write(store, (0, 1))
    path = store.cell(ID) / "record.json"
    record = read_json(path)
    changed = {"label": "b", "schema": 99, "seeds": [0], "sha256": "0" * 64}
    changed["parts"] = [{**record["parts"][0], "seeds": [0, 2]}]
    write_json(path, {**record, key: changed[key]})
    for ask in (store.finished_seeds, lambda cell: store.table(cell, "metrics"), store.record):
        with pytest.raises(Damaged, match="record.json is damaged: it is not what was written"):
            ask(ID)
    write_json(path, dict(reversed(record.items())))
    assert store.finished_seeds(ID) == (0, 1)


def test_a_file_that_was_written_and_is_lost_is_an_error_and_not_a_cell_without(store):
    write(store, (0,))
    assert store.has(ID, "metrics.parquet") and not store.has(ID, "checkpoint.parquet")
    (store.parts(ID)[0][0] / "metrics.parquet").unlink()
    assert store.has(ID, "metrics.parquet")
    with pytest.raises(Damaged, match="metrics.parquet is missing"):
        store.table(ID, "metrics")


@pytest.mark.parametrize("part", ["../../../elsewhere", "/etc", "..", ""])
def test_a_part_that_leads_out_of_its_cell_is_refused(store, part):
    write(store, (0,))
    path = store.cell(ID) / "record.json"
    record = read_json(path)
    record["parts"][0]["part"] = part
    write_json(path, record)
    with pytest.raises(Damaged, match="record.json: part .*; expected the name of a folder beside it"):
        store.table(ID, "metrics")


@pytest.mark.parametrize("place", ["cells", f"cells/{ID}"])
def test_nothing_is_written_through_a_link(tmp_path, place):
    """It may lead to somebody else's results."""
    foreign, root = tmp_path / "foreign", tmp_path / "r"
    foreign.mkdir()
    (root / place).parent.mkdir(parents=True)
    (root / place).symlink_to(foreign)
    with pytest.raises(OSError, match="is a link, expected a folder"):
        write(Store(root, create=True), (0,))
    with pytest.raises(OSError, match="is a link, expected a folder"):
        Store(root, create=True).write_failure(ID, CELL, "no", "no")
    assert not list(foreign.iterdir())
