"""Saves from several threads and processes at a time, and healthy sweeps that save at every chunk of epochs.

    python -m experiments.stress_saves --workdir=/tmp/saves                  # 300 saves, then 40 sweeps

Two processes of two threads write checkpoints, read them again and compare bit by bit. Then the study of
`stress_kills`, made small and two cells at a time, is run again and again in new folders: no cell may
fail, and what is stored is bitwise that of the first run. Exit status 1 where something failed or differs.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
from absl import flags
from etils import epath

from fusion_jax.results.store import Store
from fusion_jax.training import checkpoint

from . import arguments
from .stress_kills import STUDY, content

FLAGS = flags.FLAGS
SMALL = (  # the study of stress_kills, over in seconds
    "--config.data.options.nodes=60",
    "--config.seeds=2",
    "--config.training.epochs=12",
    "--config.training.patience=12",
    "--config.training.chunk=2",
)


def save_and_read(folder: pathlib.Path, name: str, saves: int, said: list[str]) -> None:
    """So many saves of one thread; what goes wrong is said."""
    for i in range(saves):
        rng = np.random.default_rng(i)
        w, b = (rng.normal(size=shape).astype(np.float32) for shape in ((17, 5), 3))
        tree = dict(params=dict(w=w, b={"0": b}), step=np.array(i, np.int32))
        path = epath.Path(folder) / f"{name}-{i:04d}"
        try:
            checkpoint.save(path, checkpoint.flat(tree))
            found = checkpoint.restore(path, tree)
            if any(not np.array_equal(a, b) for a, b in zip(*map(_leaves, (found, tree)), strict=True)):
                said.append(f"{path.name} differs")
            path.rmtree()
        except Exception as error:
            said.append(f"{path.name}: {type(error).__name__}: {error}")


def _leaves(tree) -> list[np.ndarray]:
    return list(checkpoint.flat(tree).values())


def worker(folder: str, process: str, threads: str, saves: str) -> None:
    """One of the processes: prints what went wrong."""
    said: list[str] = []
    started = [
        threading.Thread(target=save_and_read, args=(pathlib.Path(folder), f"{process}-{t}", int(saves), said))
        for t in range(int(threads))
    ]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    print(json.dumps(said))


def saved(workdir: pathlib.Path) -> int:
    """All the saves; returns how many went wrong."""
    folder, each = workdir / "saves", -(-FLAGS.saves // (FLAGS.processes * FLAGS.threads))
    folder.mkdir()
    code = "import sys; from experiments.stress_saves import worker; worker(*sys.argv[1:])"
    begun = time.monotonic()
    started = [
        subprocess.Popen([sys.executable, "-c", code, folder, str(p), str(FLAGS.threads), str(each)], stdout=-1)
        for p in range(FLAGS.processes)
    ]
    said = []
    for process in started:
        out, _ = process.communicate()
        said += json.loads(out) if process.returncode == 0 else [f"a process ended with status {process.returncode}"]
    for line in said[:5]:
        print(line, flush=True)
    left = sorted(path.name for path in folder.iterdir())
    number = each * FLAGS.processes * FLAGS.threads
    took = time.monotonic() - begun
    print(
        f"{number} saves by {FLAGS.processes} processes of {FLAGS.threads} threads, each read again, {took:.0f} s: "
        f"{len(said)} went wrong, {len(left)} files are left behind",
        flush=True,
    )
    return len(said) + len(left)


def swept(workdir: pathlib.Path) -> int:
    """All the sweeps; returns how many cells failed or differ."""
    study, expected, wrong, begun = workdir / "study.py", None, 0, time.monotonic()
    study.write_text(STUDY)
    for number in range(FLAGS.sweeps):
        place = workdir / f"sweep-{number}"
        line = [f"--config={study}", f"--workdir={place}", *SMALL, "--jobs=2", "--display=none"]
        done = subprocess.run([sys.executable, "-m", "experiments.sweep", *line], capture_output=True, text=True)
        store = Store(place)
        failed = [cell["label"] for cell in store.read_study()["cells"] if not store.finished_seeds(cell["id"])]
        found = content(place)
        expected = found if expected is None else expected
        other = [name for name in expected if found.get(name) != expected[name]]
        if done.returncode or failed or other:
            wrong += 1
            print(f"{place.name}: status {done.returncode}, failed {failed}, {len(other)} others", flush=True)
    took = time.monotonic() - begun
    print(f"{FLAGS.sweeps} sweeps of 5 cells, two at a time, {took:.0f} s: {wrong} with a failed or another cell")
    return wrong


def main(argv):
    del argv
    workdir = pathlib.Path(FLAGS.workdir)
    if workdir.exists() and any(workdir.iterdir()):
        arguments.fail(ValueError(f"--workdir={workdir} holds something; name a new folder"))
    workdir.mkdir(parents=True, exist_ok=True)
    wrong = saved(workdir) if FLAGS.saves else 0
    wrong += swept(workdir) if FLAGS.sweeps else 0
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "a new folder", required=True)
    flags.DEFINE_integer("saves", 300, "checkpoints of all threads together", lower_bound=0)
    flags.DEFINE_integer("processes", 2, "that save at a time", lower_bound=1)
    flags.DEFINE_integer("threads", 2, "of each that save at a time", lower_bound=1)
    flags.DEFINE_integer("sweeps", 40, "of the study", lower_bound=0)
    arguments.run(main)
