"""Runs for W&B: a folder a trial in the results folder, read back with its own reader."""

import json
import struct
import sys

import pytest

from fusion_jax import zoo
from fusion_jax.results.store import Store
from fusion_jax.run.engines.base import Job, run_job
from fusion_jax.run.listeners import Listeners
from tests import tiny

pytestmark = pytest.mark.xdist_group("writers")


BLOCK, HEADER = 32768, 7  # of LevelDB's log format, whose first block here begins with 7 bytes that name it


def records(path):
    """What an offline run holds: its records in order."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="W&B's records")
    data, at, whole, found = path.read_bytes(), 7, b"", []
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # no header fits: the block is filled up
            at += BLOCK - at % BLOCK
            continue
        length, part = struct.unpack("<HB", data[at + 4 : at + HEADER])
        whole += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if part in (1, 4):  # whole, or the last part
            found.append(pb.Record.FromString(whole))
            whole = b""
    return found


def test_an_offline_run_a_trial(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="W&B is an extra")
    monkeypatch.setenv("HOME", str(tmp_path))
    data, cell, store = tiny.dataset(), tiny.cell(), Store(tmp_path / "r", create=True)
    listeners = Listeners([zoo.get("writer", "wandb")("offline", store.root)])
    job = Job(cell.identity(data), cell, store, data, tell=listeners.progress)
    listeners.done(run_job(job))
    assert len(listeners.listeners) == 1, "it has not failed"
    listeners.close()
    files = list((tmp_path / "r" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    history, names = store.table(job.identity, "history"), set()
    for path in files:
        held = records(path)
        (run,) = [r.run for r in held if r.WhichOneof("record_type") == "run"]
        names.add(run.display_name)
        assert run.run_group == f"synthetic-mean-before-{job.identity[:8]}" and run.project == "fusion_jax"
        config = {item.key: json.loads(item.value_json) for item in run.config.update if item.key}
        assert config["model.fusion.name"] == "mean" and config["seed"] in (0, 1)
        rows = [r.history for r in held if r.WhichOneof("record_type") == "history"]
        losses = [
            json.loads(item.value_json)
            for row in rows
            for item in row.item
            if (item.key or "/".join(item.nested_key)) == "train_loss"
        ]
        assert losses == pytest.approx(history[history.seed == config["seed"]].train_loss.tolist(), rel=1e-6)
    assert names == {"mean, seed 0", "mean, seed 1"}


def test_only_offline(tmp_path):
    with pytest.raises(ValueError, match="--wandb='online', expected 'offline'"):
        zoo.get("writer", "wandb")("online", tmp_path)


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"pip install 'fusion_jax\[wandb\]'"):
        zoo.get("writer", "wandb")("offline", tmp_path)
