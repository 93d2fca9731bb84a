"""Several processes at one study: is each trial trained once, and are the results those of one process?

    python -m experiments.stress_processes [--processes=2,4] [--kills=0] [--seed=0] [--no_locks]

A study of 12 cells with 3 seeds each (6 models, 6 controls, on planted nodes) is run by one process, then by as many at
once as asked for, each time in a new folder. With --kills so many of them are killed (SIGKILL), when numbers of trials
have been trained that are drawn from --seed, and one more process trains what they left. With --no_locks the processes
find a file system without locks. At last one value of one cell is changed and the study run again. Of every run a line
is printed: seconds, how many trials were trained by how many processes, which of them more than once, and how many
Parquet files have other bytes than those of the one process. Exit status 1 where a trial was trained twice, is missing,
or came out otherwise.
"""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from fusion_jax.results.store import Store

ROOT = pathlib.Path(__file__).resolve().parents[1]
CELLS, SEEDS = 12, 3

STUDY = """
from fusion_jax.study import defaults

def get_config(arg=""):
    config = defaults.get_config()
    config.data.name, config.seeds = "synthetic", SEEDS
    config.data.options = dict(nodes=120, modalities=2, dim=12)
    config.model.dim, config.model.layers = 8, 1
    config.training.epochs, config.training.chunk = 40, 20
    return config

def sweep(add, arg=""):
    for fusion in ("mean", "gmu"):
        for rate in (0.003, 0.01, 0.02 if arg and fusion == "gmu" else 0.03):
            add({"model.fusion.name": fusion, "optimizer.learning_rate": rate}, label=f"{fusion} {rate}")
    for seed in range(3):
        for name in ("label_propagation", "logistic_regression"):
            options = dict(nodes=120, modalities=2, dim=12, seed=seed)
            add({"control.name": name, "data.options": options}, label=f"{name} {seed}")
"""

WORKER = """
import errno, fcntl, os, runpy, warnings
from fusion_jax.run.engines import base

real = base.run_cell

def run_cell(*args, **how):
    done = real(*args, **how)
    with open(os.environ["TRIALS"], "a") as file:
        file.write("".join(f"{done['identity']} {seed} {os.getpid()}\\n" for seed in done["seeds"]))
    return done

def refuse(*args):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

base.run_cell = run_cell
if "NO_LOCKS" in os.environ:
    fcntl.flock = refuse
    warnings.filterwarnings("ignore", ".*lies on a file system without locks")
runpy.run_module("experiments.sweep", run_name="__main__", alter_sys=True)
"""


class Run:
    """A study in a folder of its own, and the trials that were trained there."""

    def __init__(self, study: str, workdir: pathlib.Path):
        self.study, self.workdir, self.trials = study, workdir, workdir.with_suffix(".trials")
        self.trials.touch()

    def begin(self) -> subprocess.Popen:
        """One more process."""
        flags = f"--config={self.study}", f"--workdir={self.workdir}", "--jobs=1", "--display=none"
        env = {**os.environ, "TRIALS": str(self.trials)}
        return subprocess.Popen([sys.executable, "-c", WORKER, *flags], cwd=ROOT, env=env, stdout=subprocess.DEVNULL)

    def trained(self) -> list[tuple[str, ...]]:
        """(cell, seed, process) of every trial, as often as it was trained."""
        return [tuple(line.split()) for line in self.trials.read_text().splitlines()]

    def results(self) -> dict[str, bytes]:
        """The Parquet files of the cells."""
        cells = self.workdir / "cells"
        return {str(path.relative_to(cells)): path.read_bytes() for path in cells.rglob("*.parquet")}

    def finished(self) -> int:
        """How many cells of the study have all of their seeds."""
        store = Store(self.workdir)
        return sum(len(store.finished_seeds(cell["id"])) == SEEDS for cell in store.read_study()["cells"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="2,4", help="how many at once, one run each")
    parser.add_argument("--kills", type=int, default=0, help="how many of them are killed, fewer than there are")
    parser.add_argument("--seed", type=int, default=0, help="of when they are killed")
    parser.add_argument("--no_locks", action="store_true", help="as on a file system without locks")
    args = parser.parse_args()
    if args.no_locks:
        os.environ["NO_LOCKS"] = "1"
    draw = random.Random(args.seed)
    print(f"seed {args.seed}", flush=True)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="stress-") as folder:
        place = pathlib.Path(folder)
        study = place / "study.py"
        study.write_text(STUDY.replace("SEEDS", str(SEEDS)))
        one = Run(str(study), place / "one")
        seconds = timed(one, 1, 0, draw)
        expected = one.results()
        wrong += said("1 process", one, seconds, expected)
        for count in map(int, args.processes.split(",")):
            run = Run(str(study), place / f"of_{count}")
            seconds = timed(run, count, args.kills, draw)
            wrong += said(f"{count} processes", run, seconds, expected)
        before = len(one.trained())
        one.study = f"{study}:changed"
        one.begin().wait()
        new = {cell for cell, *_ in one.trained()[before:]}
        print(f"one value changed: {len(one.trained()) - before} trials of {len(new)} cells trained")
        wrong += len(one.trained()) - before != SEEDS or len(new) != 1
    return int(wrong > 0)


def timed(run: Run, count: int, kills: int, draw: random.Random) -> float:
    """Runs the study by so many processes, and by one more where some are killed. Returns the seconds."""
    start = time.perf_counter()
    processes = [run.begin() for _ in range(count)]
    for process in processes[: min(kills, count - 1)]:
        after = draw.randint(0, CELLS * SEEDS // 2)
        while len(run.trained()) < after and process.poll() is None:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 2))
        process.kill()
        print(f"killed one of {count} behind {len(run.trained())} trials", flush=True)
    for process in processes:
        if process.wait() not in (0, -signal.SIGKILL):
            raise SystemExit(f"a process ended with status {process.returncode}")
    if kills and count > 1:
        run.begin().wait()
    return time.perf_counter() - start


def said(what: str, run: Run, seconds: float, expected: dict[str, bytes]) -> bool:
    """Prints the line of a run; whether something is wrong with it."""
    trained, found = run.trained(), run.results()
    twice = [trial for trial, n in collections.Counter(trial[:2] for trial in trained).items() if n > 1]
    other = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    shares = sorted(collections.Counter(process for *_, process in trained).values(), reverse=True)
    print(
        f"{what}: {seconds:.0f} s, {run.finished()} of {CELLS} cells finished, {len(trained)} trials trained "
        f"({' + '.join(map(str, shares))}), {len(twice)} more than once; {len(other)} of {len(expected)} Parquet files "
        "differ",
        flush=True,
    )
    return bool(twice or other or run.finished() != CELLS)


if __name__ == "__main__":
    sys.exit(main())
