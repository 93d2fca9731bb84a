"""Trains one cell on devices of a host that are forced to be many, and compares with one device.

    python -m experiments.stress_devices --workdir=/tmp/devices
    python -m experiments.stress_devices --workdir=/tmp/devices --devices=4 --seeds=3 --seeds=7 --epochs=60

Every training is a process of its own. Prints a line a training: how many seeds, on how many devices the leaves of its
state lie and how many rows each has, seconds to compile and to train, and by how much at most its predictions, losses
and parameters differ from those of the same seeds on one device. Then the most seeds are trained once more, interrupted
twice: on all devices, on one, on half of them. All by `lax.map`, what a CPU takes by itself, and by `vmap` (whose
rounding differs: 1e-3). Nothing here is random but the trainings, whose seeds are 0, 1, ... Exit status 1 where numbers
differ by more than 1e-5, or a device is left out.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from absl import flags

from . import arguments

FLAGS = flags.FLAGS
TRAINING = """
import json, sys
import jax, numpy as np
from fusion_jax import study
from fusion_jax.data import load
from fusion_jax.run.model import train_model
from fusion_jax.study import defaults
from fusion_jax.training import stopping
from fusion_jax.training.checkpoint import Partial
from fusion_jax.training.prepare import prepare
from fusion_jax.training.sharding import Seats

out, seeds, axis, epochs, saves, stop = sys.argv[1], *json.loads(sys.argv[2])
config = defaults.get_config()
config.data.name, config.data.options = "synthetic", dict(nodes=300, modalities=3, classes=3, dim=12)
config.model.fusion.name, config.model.dim = "gmu", 16
config.training.epochs = config.training.patience = epochs
config.training.chunk, config.training.seed_axis = epochs // 3, axis
plan = study.resolve(config).plan
data = load(plan.data.name, **plan.data.options)

class Saved(Partial):
    def at_border(self, state, history):
        if stop:
            stopping.ask()
        super().at_border(state, history)

places, told = [], Seats.of_seeds
def of_seeds(self, state):
    lie = [[s.data.shape[0] for s in leaf.addressable_shards] for leaf in jax.tree.leaves(state)]
    places.extend([len(one), max(one)] for one in lie)
    return told(self, state)
Seats.of_seeds = of_seeds

try:
    trained = train_model(plan, data, prepare(plan.data, data, range(seeds), **plan.preparing), Saved(saves, 1e6))
except stopping.Stopped:
    print(json.dumps(dict(places=places)))
    raise SystemExit
leaves = {f"parameter {i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves((trained.params, trained.rest)))}
np.savez(out, best=trained.best_epoch, prediction=trained.prediction, **trained.history, **leaves)
print(json.dumps(dict(places=places, **trained.cost)))
"""


def train(name: str, devices: int, seeds: int, axis: str, saves: str = "none", stop: bool = False) -> dict:
    """What the process says of its training: places (devices and rows of every leaf at every border) and cost."""
    forced = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    workdir = pathlib.Path(FLAGS.workdir)
    told = json.dumps([seeds, axis, FLAGS.epochs, str(workdir / saves), stop])
    line = [sys.executable, "-c", TRAINING, str(workdir / f"{name}.npz"), told]
    env = {**os.environ, "XLA_FLAGS": forced.strip(), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(line, env=env, capture_output=True, text=True)
    if done.returncode:
        arguments.fail(ValueError(f"{name} ended with status {done.returncode}: {done.stderr[-2000:]}"), 1)
    return json.loads(done.stdout)


def apart(name: str, seeds: int) -> float:
    """The largest difference between a training and the same seeds on one device; inf where other epochs are best."""
    one, other = (np.load(pathlib.Path(FLAGS.workdir) / f"{n}.npz") for n in ("one", name))
    if not np.array_equal(one["best"][:seeds], other["best"]):
        return np.inf
    pairs = [(one[k][:seeds], other[k]) for k in one.files]
    if any(not np.array_equal(np.isnan(a), np.isnan(b)) for a, b in pairs):
        return np.inf
    return max(float(np.nanmax(np.abs(a - b), initial=0)) for a, b in pairs)


def main(argv):
    del argv
    workdir, most, wrong = pathlib.Path(FLAGS.workdir), max(FLAGS.seeds), 0
    if workdir.exists() and any(workdir.iterdir()):
        arguments.fail(ValueError(f"--workdir={workdir} holds something; name a new folder"))
    workdir.mkdir(parents=True, exist_ok=True)
    cost = train("one", 1, most, "map")
    print(f"{most} seeds, 1 device, map: {cost['compile_seconds']:.1f} + {cost['train_seconds']:.1f} s", flush=True)
    for axis, allowed in (("auto", 1e-5), ("vmap", 1e-3)):
        for seeds in FLAGS.seeds:
            name = f"{axis}-{seeds}"
            cost, wanted = train(name, FLAGS.devices, seeds, axis), min(seeds, FLAGS.devices)
            places, by = {tuple(place) for place in cost["places"]}, apart(name, seeds)
            fine = by <= allowed and {devices for devices, _ in places} == {wanted}
            wrong += not fine
            print(
                f"{seeds} seeds, {axis}: (devices, rows) of every leaf {sorted(places)}, {cost['compile_seconds']:.1f} "
                f"+ {cost['train_seconds']:.1f} s, {'bitwise equal' if by == 0 else f'{by:.2g} apart'}"
                f"{'' if fine else ', WRONG'}",
                flush=True,
            )
    trained_on = (FLAGS.devices, 1, max(FLAGS.devices // 2, 1))
    for number, devices in enumerate(trained_on):
        train("resumed", devices, most, "auto", "saves", stop=number < 2)
    by = apart("resumed", most)
    wrong += by > 1e-5
    print(f"resumed on {' -> '.join(map(str, trained_on))}: {'bitwise equal' if by == 0 else f'{by:.2g} apart'}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "a new folder", required=True)
    flags.DEFINE_integer("devices", 8, "how many the host is forced to have", lower_bound=2)
    flags.DEFINE_multi_integer("seeds", [3, 5, 8, 11], "numbers of seeds", lower_bound=1)
    flags.DEFINE_integer("epochs", 30, "of every training, in three chunks", lower_bound=3)
    arguments.run(main)
