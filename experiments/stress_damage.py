"""Damages every file of a study, one after another, and says whether somebody notices: truncated, a byte flipped, gone.

    python -m experiments.stress_damage --workdir=/tmp/damage              # every file, some minutes
    python -m experiments.stress_damage --workdir=/tmp/damage --only=record

Trains a small study with a model, a control and an interrupted model, copies it for every damage, then reads the copy
as a user does (report; of every finished cell its tables, models, snapshots and predictor) and goes on with it as a
user does (the sweep). A line a file: what each damage led to. "named": an error or a warning names the file, nothing is
computed from it; "kept": the numbers that come out are those of the undamaged study, bit for bit, the file's part in
them made anew or not needed; "WRONG": other numbers, or an error that names no file. Exit status 1 where one is wrong.
The place that is flipped is drawn with --seed.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import warnings
from collections.abc import Iterator

import numpy as np
from absl import flags

from fusion_jax import folders
from fusion_jax.results import report
from fusion_jax.results.predictor import Predictor
from fusion_jax.results.restore import finished, predict, restore, snapshots
from fusion_jax.results.store import Store
from fusion_jax.run.sweep import run
from fusion_jax.study import Cell, defaults, resolve, set_key
from fusion_jax.training import stopping
from fusion_jax.training.compilation import use_cache

from . import arguments

FLAGS = flags.FLAGS
KINDS = ("truncated", "flipped", "gone")
SMALL = {
    "data.name": "synthetic",
    "data.options": dict(nodes=60, modalities=2, classes=2, dim=6),
    "seeds": 2,
    "model.dim": 8,
    "model.layers": 1,
    "training.epochs": 12,
    "training.chunk": 3,
    "training.snapshots": 2,
    "training.checkpoint_seconds": 0.0,
}


def cell(**changes: object) -> Cell:
    config = defaults.get_config()
    for key, value in {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}}.items():
        set_key(config, key, value)
    return resolve(config)


def cells() -> list[Cell]:
    return [
        cell(model__fusion__name="mean"),
        cell(control__name="logistic_regression"),
        cell(model__fusion__name="gmu"),
    ]


def sweep(store: Store, stop_at: int | None = None) -> list[str]:
    """Runs or resumes the study; what failed. With `stop_at` the last cell is stopped behind that epoch."""
    failed = []

    def progress(now):
        if stop_at is not None and now.cell.plan.model.fusion.name == "gmu" and now.epoch >= stop_at:
            stopping.ask()

    try:
        run(
            cells(),
            store,
            "stress",
            progress=progress,
            done=lambda outcome, problem: failed.append(f"{outcome.error}{problem}") if not outcome.result else None,
        )
    except stopping.Stopped:
        pass
    finally:
        stopping.forget()
    return failed


def read(store: Store) -> dict[str, bytes]:
    """What a user reads of it: {what: its bytes}."""
    report.make(store)  # what it says depends on how long training took
    found = {}
    for identity in finished(store):
        for name in ("metrics", "predictions", "history"):
            if store.has(identity, f"{name}.parquet"):
                for columns in store.columns(identity, name):
                    found |= {f"{identity} {name} {k}": v.astype(str).tobytes() for k, v in columns.items()}
        if store.has(identity, "history.parquet"):
            restored, predictor = restore(store, identity), Predictor.load(store.root, identity)
            found[f"{identity} predictor"] = np.asarray(predictor().each).tobytes()
            for i, seed in enumerate(restored.seeds):
                found[f"{identity} seed {seed}"] = np.asarray(restored.prediction(i)).tobytes()
            for epoch, models in snapshots(store, restored).items():
                shown = predict(models[0], restored.batch(0), restored.context(0))
                found[f"{identity} epoch {epoch}"] = shown.tobytes()
    return found


def damaged(content: bytes, kind: str, rng: np.random.Generator) -> bytes | None:
    if kind == "gone":
        return None
    if kind == "truncated":
        return content[: len(content) // 2]
    place = int(rng.integers(len(content)))
    return content[:place] + bytes([content[place] ^ (1 << int(rng.integers(8)))]) + content[place + 1 :]


def places(root: pathlib.Path, only: str) -> Iterator[str]:
    """Every file that holds something, but what a report writes anew; a lock's content is nobody's."""
    for name, path in folders.files(root).items():
        if path.stat().st_size and not name.startswith("report/") and name != ".lock" and only in name:
            yield name


def outcome(root: pathlib.Path, name: str, expected: dict[str, bytes]) -> str:
    """What the damage led to, in reading and in going on."""
    said = []
    lists = name.endswith("manifest.json")  # of digests: with a flipped one the other file is named
    own = [name, os.path.dirname(name)] if "checkpoint" in name or "step-" in name or lists else [name]
    for step in ("read", "go on", "read again"):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                failed = sweep(Store(root)) if step == "go on" else []
                found = read(Store(root)) if step != "go on" else {}
            except Exception as error:
                failed, found = [f"{type(error).__name__}: {error}"], {}
        texts = [*failed, *(str(one.message) for one in told)]
        if any(str(root / part) in text for part in own for text in texts) or any(name in text for text in texts):
            said.append("named")
        elif failed:
            said.append(f"WRONG ({step}: {failed[0][:150]})")
        elif step == "read again" and found != expected:
            other = [key for key in expected if found.get(key) != expected[key]]
            said.append(f"WRONG ({len(other)} others: {', '.join(other[:2])})")
        elif step == "read" and (other := [k for k in found if found[k] != expected[k]]):
            said.append(f"WRONG (read: {', '.join(other[:2])})")
        else:
            said.append("kept")
    wrong = [one for one in said if one.startswith("WRONG")]
    return wrong[0] if wrong else "named" if "named" in said else "kept"


def main(argv):
    del argv
    use_cache()
    workdir = pathlib.Path(FLAGS.workdir)
    if workdir.exists() and any(workdir.iterdir()):
        arguments.fail(ValueError(f"--workdir={workdir} holds something; name a new folder"))
    base, copy, whole = workdir / "base", workdir / "copy", workdir / "whole"
    sweep(Store(base, create=True), stop_at=6)
    shutil.copytree(base, whole)
    sweep(Store(whole))
    expected = read(Store(whole))
    rng, wrong = np.random.default_rng(FLAGS.seed), 0
    print(f"seed of what is flipped: {FLAGS.seed}")
    for name in places(base, FLAGS.only):
        results = []
        for kind in KINDS:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(base, copy)
            content = damaged((copy / name).read_bytes(), kind, rng)
            (copy / name).unlink()
            if content is not None:
                (copy / name).write_bytes(content)
            results.append(outcome(copy, name, expected))
        wrong += sum(one.startswith("WRONG") for one in results)
        print(f"{name}: {'; '.join(f'{kind} {one}' for kind, one in zip(KINDS, results, strict=True))}", flush=True)
    print(f"{wrong} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "a new folder", required=True)
    flags.DEFINE_string("only", "", "only files whose path has that text")
    flags.DEFINE_integer("seed", 0, "of the bytes and bits that are flipped")
    arguments.run(main)
