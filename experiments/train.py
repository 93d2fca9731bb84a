"""Trains one cell, all of its seeds in one compiled program, and stores it.

    python -m experiments.train --config=configs/base.py --workdir=results/one [--config.model.dim=32 ...]
    python -m experiments.train --config=configs/base.py:fusion=gmu,placement=after --workdir=results/one

What happens in order stands in `fusion_jax/run/cell.py`. Seeds that are stored already are not trained again.
"""

from __future__ import annotations

import sys

import numpy as np
from absl import flags
from rich.console import Console

from fusion_jax import study
from fusion_jax.data import load as load_data
from fusion_jax.results.lock import exclusive
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.run.engines.base import Job, Outcome, told
from fusion_jax.run.listeners import Listener
from fusion_jax.study import defaults
from fusion_jax.training.compilation import check_platform, use_cache

from . import arguments, listening

FLAGS = flags.FLAGS


class Epochs(Listener):
    """One line on standard error a chunk: how far training is, and the mean losses of the seeds that still train."""

    def __init__(self, console: Console):
        del console

    def progress(self, progress):
        if not progress.epoch:
            return
        last = {name: values[:, -1] for name, values in progress.history.items()}
        training = ~np.isnan(last["train_loss"])
        losses = [
            f"{word} loss {last[name][training].mean():.4f}"
            for word, name in (("training", "train_loss"), ("validation", "val_loss"))
            if np.isfinite(last[name][training]).any()
        ]
        count = f"{training.sum()} of {len(training)} seeds train"
        print(f"epoch {progress.epoch}: {', '.join([count, *losses])}", file=sys.stderr, flush=True)


def main(argv):
    del argv
    try:
        cell = study.resolve(FLAGS.config)
        check_platform()
        use_cache()
        data = load_data(cell.plan.data.name, **cell.plan.data.options)
        arguments.show_conversion(data)
        store = Store(FLAGS.workdir, create=True)
        identity = cell.identity(data)
        listed = store.listed(identity, cell, "experiments.train")
        with exclusive(store.root), listed, listening.listening(listening.console(), store, plain=Epochs) as listeners:
            job = Job(identity, cell, store, data, tell=listeners.progress)
            done = run_cell(cell, store, data, told(job), identity)
            listeners.done(Outcome(job, done))
        table = store.table(done["identity"], "metrics")
        diverged = store.diverged(done["identity"])
    except (ValueError, OSError, ImportError) as error:
        arguments.fail(error)
    except FloatingPointError as error:
        arguments.fail(error, status=1)
    wide = table[table.part == "test"].pivot(index="seed", columns="metric", values="value")
    file, _ = study.split(str(FLAGS["config"].config_filename))
    base = " (what the study's cells start from; experiments.sweep runs the cells)"
    print(f"{cell.label}{base if hasattr(study.load(file), 'sweep') else ''}: {store.cell(done['identity'])}")
    for seed, (epoch, cause) in diverged.items():
        print(f"seed {seed} diverged at epoch {epoch}: {cause}")
    print(wide.describe().loc[["mean", "std"]].to_string(float_format="%.4f"))


if __name__ == "__main__":
    arguments.define_study("the study file, FILE or FILE:argument; the defaults of every key if none")
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    listening.define()
    arguments.run(main, default=defaults.__file__)
