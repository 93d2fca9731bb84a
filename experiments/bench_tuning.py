"""What a tuning grid costs as one program, and as one program a trial.

    python -m experiments.bench_tuning --trials=16

Trains the same trials both ways, on the tuning seeds of the default budget, and prints seconds; nothing is stored.
"""

from __future__ import annotations

import time

import numpy as np
from absl import app, flags

from fusion_jax import study
from fusion_jax.data import load
from fusion_jax.run.tuning import try_out
from fusion_jax.study import defaults, tuning
from fusion_jax.training.compilation import own_settings
from fusion_jax.training.numbers import in_space

FLAGS = flags.FLAGS
NODES = dict(modalities=2, classes=3, redundant=0.2, unique=0.2, synergy=0.7, missing=0.1, nodes=600)
CELL = {"data.name": "synthetic", "data.options": NODES, "model.dim": 32, "model.fusion.name": "gmu"}


def variants(count: int) -> list[study.Cell]:
    """Cells at random points of the default space."""
    config, draw = defaults.get_config(), np.random.default_rng(0)
    config.training.epochs = FLAGS.epochs
    for key, value in CELL.items():
        study.set_key(config, key, value)
    base, found = study.resolve(config), []
    for _ in range(count):
        rate, decay = (float(np.exp(draw.uniform(*np.log(tuning.SPACE[key][:2])))) for key in KEYS)
        dropout = float(draw.choice(tuning.SPACE["model.rate"]))
        found.append(study.with_values(base, dict(zip((*KEYS, "model.rate"), (rate, decay, dropout), strict=True))))
    return found


KEYS = ("optimizer.learning_rate", "optimizer.options.weight_decay")


def main(argv):
    del argv
    cells, data, seeds = variants(FLAGS.trials), load("synthetic", **NODES), tuning.tune().seeds
    plans, seconds, scores = [cell.plan for cell in cells], {}, {}
    with own_settings():
        try_out(plans[:1], data, seeds[:1], ())  # initial values and data take their time once
        for name, told in (("one program", in_space(tuning.SPACE)), ("one program a trial", ())):
            start = time.perf_counter()
            found = try_out(plans, data, seeds, told)
            seconds[name] = time.perf_counter() - start
            scores[name] = [np.mean([score for score, _ in tried.by_seed.values()]) for tried in found]
            print(f"{name:<20} {seconds[name]:7.1f} s")
    gap = np.abs(np.subtract(*scores.values())).max()
    print(
        f"{FLAGS.trials} trials x {len(seeds)} seeds: {np.divide(*reversed(seconds.values())):.1f} times faster; "
        f"largest difference of a validation score {gap:.2g}"
    )


if __name__ == "__main__":
    flags.DEFINE_integer("trials", 16, "points of the default space")
    flags.DEFINE_integer("epochs", 60, "epochs of a trial")
    app.run(main)
