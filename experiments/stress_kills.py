"""Kills a study again and again at random moments, and compares what comes out with an undisturbed run.

    python -m experiments.stress_kills --workdir=/tmp/kills                       # 50 times SIGKILL
    python -m experiments.stress_kills --workdir=/tmp/kills --signal=TERM --times=10
    python -m experiments.stress_kills --workdir=/tmp/kills --signal=INT --times=10

The study has four models and a control, two cells at a time, and saves at every chunk of epochs. When one is finished
before the wanted number of kills is reached another begins in a new folder. Prints the seed of the moments, a line a
kill (how long the process had run, whether it was inside a save, its exit status and how long it took to end) and
whether every Parquet file and every parameter is bitwise that of the undisturbed run. Exit status 1 where one is not.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from absl import flags

from fusion_jax.results.store import Store
from fusion_jax.training import checkpoint

from . import arguments

FLAGS = flags.FLAGS
STUDY = """
from fusion_jax.study import defaults

def get_config(arg=""):
    config = defaults.get_config(arg)
    config.data.name = "synthetic"
    config.data.options = dict(nodes=300, modalities=3, classes=3, dim=12)
    config.seeds = 3
    config.model.dim = 16
    config.training.epochs = config.training.patience = 150
    config.training.chunk = 5
    config.training.checkpoint_seconds = 0.0
    return config

def sweep(add):
    for fusion in ("concat_mlp", "mean", "gmu", "self_attention"):
        add({"model.fusion.name": fusion, "model.rate": 0.2})
    add({"control.name": "logistic_regression"})
"""


def start(study: pathlib.Path, workdir: pathlib.Path) -> subprocess.Popen:
    args = (f"--config={study}", f"--workdir={workdir}", "--jobs=2", "--display=none")
    line = [sys.executable, "-c", _ATTENTIVE, *args]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


# what is started in the background has Ctrl-C switched off, as that has
_ATTENTIVE = """import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("experiments.sweep", run_name="__main__", alter_sys=True)
"""


def begun_saves(workdir: pathlib.Path) -> set[str]:
    """Those that are being written, or that a killed process has left so."""
    return {str(path) for path in workdir.glob("cells/*/.partial-*/.tmp-*")}


def content(workdir: pathlib.Path) -> dict[str, bytes]:
    """Every Parquet file, and every leaf of every checkpoint."""
    found = {str(p.relative_to(workdir)): p.read_bytes() for p in workdir.glob("cells/*/seeds-*/*.parquet")}
    for path in workdir.glob("cells/*/seeds-*/checkpoint"):
        leaves = checkpoint.flat(checkpoint.restore(path))
        found |= {f"{path.relative_to(workdir)} {name}": np.asarray(x).tobytes() for name, x in leaves.items()}
    return found


def finished(workdir: pathlib.Path) -> bool:
    if not (workdir / "study.json").exists():
        return False
    store = Store(workdir)
    return all(len(store.finished_seeds(c["id"])) == c["seeds"] for c in store.read_study()["cells"])


def main(argv):
    del argv
    workdir = pathlib.Path(FLAGS.workdir)
    if workdir.exists() and any(workdir.iterdir()):
        arguments.fail(ValueError(f"--workdir={workdir} holds something; name a new folder"))
    workdir.mkdir(parents=True, exist_ok=True)
    study, sent = workdir / "study.py", getattr(signal, f"SIG{FLAGS.signal}")
    study.write_text(STUDY)
    for name in ("whole", "timed"):  # the second one's programs are compiled already, as those of all that follow
        begun = time.monotonic()
        if status := start(study, workdir / name).wait():
            arguments.fail(ValueError(f"the undisturbed run ended with status {status}"), 1)
        took = time.monotonic() - begun
    expected, rng = content(workdir / "whole"), np.random.default_rng(FLAGS.seed)
    print(f"seed {FLAGS.seed}; undisturbed {took:.1f} s, {len(expected)} files and leaves", flush=True)
    kills, folder, wrong, inside = 0, 0, 0, 0
    while kills < FLAGS.times:
        place = workdir / f"killed-{folder}"
        while not finished(place):
            left = begun_saves(place)
            process, wait = start(study, place), float(rng.uniform(FLAGS.earliest, took))
            try:
                process.wait(wait)
                continue
            except subprocess.TimeoutExpired:
                pass
            if kills >= FLAGS.times:
                process.wait()
                continue
            saving = bool(begun_saves(place) - left)
            begun = time.monotonic()
            os.kill(process.pid, sent)
            status = process.wait()
            kills, inside = kills + 1, inside + saving
            ended = time.monotonic() - begun
            where = "inside a save" if saving else ""
            print(f"{kills}: {wait:.1f} s, status {status}, ended in {ended:.2f} s {where}", flush=True)
        found = content(place)
        other = [name for name in expected if found.get(name) != expected[name]] + sorted(set(found) - set(expected))
        wrong += len(other)
        print(f"{place.name}: {f'{len(other)} others, {other[:3]}' if other else 'bitwise equal'}", flush=True)
        folder += 1
    print(f"{kills} times SIG{FLAGS.signal}, {inside} inside a save, {folder} studies: {wrong} files or leaves differ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "a new folder", required=True)
    flags.DEFINE_enum("signal", "KILL", ["KILL", "TERM", "INT"], "what is sent")
    flags.DEFINE_integer("times", 50, "how often", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "of the moments")
    flags.DEFINE_float("earliest", 1.0, "seconds that a process has at least")
    arguments.run(main)
