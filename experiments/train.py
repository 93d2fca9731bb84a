"""Trains one cell, all of its seeds in one compiled program, and stores it.

    python -m experiments.train --config=configs/base.py --workdir=results/one [--config.model.dim=32 ...]
    python -m experiments.train --config=configs/base.py:fusion=gmu,placement=after --workdir=results/one

What happens in order stands in `fusion_jax/run/cell.py`. Seeds that are stored already are not trained again.
Ctrl-C (exit status 130) and SIGTERM (75) save at the end of the chunk of epochs: the same command goes on.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from absl import flags
from rich.console import Console

from fusion_jax import study
from fusion_jax.data import load as load_data
from fusion_jax.results.lock import exclusive
from fusion_jax.results.store import Store
from fusion_jax.run import signals
from fusion_jax.run.cell import run_cell
from fusion_jax.run.engines.base import Job, Outcome, told
from fusion_jax.run.listeners import Listener
from fusion_jax.study import defaults
from fusion_jax.training.compilation import check_platform, use_cache
from fusion_jax.training.stopping import Stopped

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
        console = listening.console()
        heard = listening.listening(console, store, plain=Epochs)
        with signals.obeyed(console.print) as received, exclusive(store.root), listed, heard as listeners:
            job = Job(identity, cell, store, data, tell=listeners.progress)
            pool = ThreadPoolExecutor(1)  # signals arrive here, whatever the compiled program does
            done = pool.submit(run_cell, cell, store, data, told(job), identity).result()
            listeners.done(Outcome(job, done))
        table = store.table(done["identity"], "metrics")
        diverged = store.diverged(done["identity"])
    except (ValueError, OSError, ImportError) as error:
        arguments.fail(error)
    except FloatingPointError as error:
        arguments.fail(error, status=1)
    except Stopped:
        sys.exit(received.status)
    except KeyboardInterrupt:
        sys.stdout.flush()
        os._exit(signals.INTERRUPTED)  # as experiments.sweep
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
