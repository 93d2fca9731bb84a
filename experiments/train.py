"""Trains one cell, all of its seeds in one compiled program, and stores it.

    python -m experiments.train --config=configs/base.py --workdir=results/one [--config.model.dim=32 ...]
    python -m experiments.train --config=configs/base.py:fusion=gmu,placement=after --workdir=results/one

    python -m experiments.train --from=results/quickstart/cells/3f0c     # the same cell once more: bitwise equal?

What happens in order stands in `fusion_jax/run/cell.py`. Seeds that are stored already are not trained again.
Ctrl-C (exit status 130) and SIGTERM (75) save at the end of the chunk of epochs: the same command goes on.

With --from a finished cell is trained again from what its folder says, in a temporary folder or in --workdir, and
compared number by number with what is stored; what differs is named, and which versions, flags or devices have changed
since. Exit status 0 where it is bitwise equal, 1 where it is not. The stored cell is only read.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from absl import flags
from etils import epath
from rich.console import Console

from fusion_jax import folders, study
from fusion_jax.data import load as load_data
from fusion_jax.results.lock import exclusive
from fusion_jax.results.store import Store
from fusion_jax.run import signals
from fusion_jax.run.cell import run_cell
from fusion_jax.run.engines.base import Job, Outcome, told
from fusion_jax.run.listeners import Listener
from fusion_jax.run.repeat import repeat
from fusion_jax.study import defaults
from fusion_jax.training.compilation import check_platform, use_cache
from fusion_jax.training.stopping import Stopped

from . import arguments, listening, pod

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


def repeated(cell: str) -> int:
    """Repeats the cell of that folder and says what came of it: the exit status."""
    folder = epath.Path(folders.expand(cell))
    if folder.parent.name != "cells":
        raise ValueError(f"--from={cell}: expected the folder of a cell, RESULTS/cells/ID")
    check_platform()
    use_cache()
    store, console = Store(folder.parent.parent), listening.console()
    with contextlib.ExitStack() as stack:
        if FLAGS.workdir:
            place = Store(FLAGS.workdir, create=True).root
            stack.enter_context(exclusive(place))
        else:
            place = epath.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fusion_jax-")))
        received = stack.enter_context(signals.obeyed(console.print))
        pool = ThreadPoolExecutor(1)  # signals arrive here, whatever the compiled program does
        try:
            found = pool.submit(repeat, store, folder.name, place).result()
        except Stopped:
            return received.status
    print(found.text)
    return 0 if found.equal else 1


def main(argv):
    del argv
    pod.run(train)


def train() -> None:
    """Trains the cell, or repeats one."""
    try:
        if FLAGS["from"].value:
            if said := arguments.named(defaults.__file__):
                raise ValueError(f"--from repeats a cell as it is stored: leave {said[0]} out")
            sys.exit(repeated(FLAGS["from"].value))
        if not FLAGS.workdir:
            raise ValueError("flag --workdir=RESULTS is missing, the results folder")
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
    flags.DEFINE_string("workdir", None, "the results folder; with --from where the repetition is kept, if anywhere")
    flags.DEFINE_string("from", "", "a finished cell, RESULTS/cells/ID, to be trained again and compared")
    listening.define()
    pod.define()
    arguments.run(main, default=defaults.__file__)
