"""Runs or resumes a study: every cell of its `sweep(add)`, finished ones skipped, failing ones recorded.

    python -m experiments.sweep --config=configs/ablations/quickstart.py --workdir=results/quickstart
    python -m experiments.sweep --config=... --workdir=... --dry_run           # list the cells
    python -m experiments.sweep --config=... --workdir=... --config.seeds=10   # the five missing seeds only

Ends with the table that `python -m experiments.report` prints, written to the folder `report` of the workdir.
Exit status: 0 when every cell is finished, 1 when some failed, 130 after Ctrl-C (finished cells stay).
"""

from __future__ import annotations

import os
import sys
import time

from absl import flags
from rich.console import Console

from fusion_jax import study, zoo
from fusion_jax.data import loader_of
from fusion_jax.results import report
from fusion_jax.results.lock import exclusive
from fusion_jax.results.measured import primary_values
from fusion_jax.results.store import Store
from fusion_jax.run.engines.base import Outcome
from fusion_jax.run.sweep import run
from fusion_jax.study import Cell
from fusion_jax.training.compilation import check_platform, use_cache

from . import arguments

FLAGS = flags.FLAGS


class Progress:
    """One line a finished cell, and what was done in the end."""

    def __init__(self, console: Console):
        self.console, self.start = console, time.perf_counter()
        self.cells = self.waiting = self.done = self.failed = 0

    def begin(self, cells: int, waiting: int) -> None:
        self.cells, self.waiting = cells, waiting
        self.console.print(f"{cells} cells, {cells - waiting} finished before")

    def show(self, outcome: Outcome, problem: str) -> None:
        """One line on a cell, red where it failed, and why its failure could not be recorded."""
        self.done += 1
        name = f"[{self.done:>3}/{self.waiting}] {described(outcome.job.cell)}"
        if outcome.result is None:
            self.failed += 1
            self.console.print(f"{name} FAILED {outcome.error}", style="red", highlight=False, markup=False)
            if problem:
                self.console.print(f"and its failure could not be recorded: {problem}", style="red", markup=False)
            return
        metric, values = primary_values(outcome.job.store, outcome.job.identity)
        spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
        gone = outcome.job.store.diverged(outcome.job.identity)
        lost = f"  ({len(gone)} of {outcome.job.cell.seeds} seeds diverged)" if gone else ""
        chosen = ", ".join(f"{key}={value}" for key, value in outcome.job.cell.tuned.get("chosen", {}).items())
        line = f"{name} {metric} {values.mean():.3f}{spread}  {outcome.result['seconds']:5.1f} s{lost}  {chosen}"
        self.console.print(line.rstrip(), highlight=False, markup=False)

    def interrupted(self) -> None:
        whole = self.cells - self.waiting + self.done - self.failed
        self.console.print(f"interrupted; {whole} of {self.cells} cells are finished and stay, run again to go on")

    def end(self) -> None:
        if self.waiting:
            seconds = time.perf_counter() - self.start
            self.console.print(f"{self.done - self.failed} cells trained, {self.failed} failed, {seconds:.0f} s")


def described(cell: Cell) -> str:
    """Label, placement ("-" for a control, which has none) and data set."""
    placement = "-" if cell.plan.control.name else cell.plan.model.placement
    return f"{cell.label:<34} {placement:<11} {zoo.short(cell.plan.data.name):<10}"


def main(argv):
    del argv
    console = Console(width=None if sys.stdout.isatty() else 200)
    progress = Progress(console)
    try:
        path = str(FLAGS["config"].config_filename)
        file, argument = study.split(path)
        source = study.load(file)
        with study.mistakes_in(file):
            sweep = getattr(source, "sweep", None)
            cells = study.expand(FLAGS.config, sweep, argument or "", getattr(source, "tune", None))
            by_all = study.set_by_all(sweep, argument or "") if sweep else ()
        doubts = [f"{flag} does nothing: every cell of {file} sets it itself" for flag in arguments.set_in_vain(by_all)]
        doubts += [f"{file} has no sweep(add): one cell"] if sweep is None else []
        if FLAGS.dry_run:
            for cell in cells:
                loader_of(cell.plan.data.name, cell.plan.data.options)
                console.print(f"{described(cell)} seeds={cell.seeds}", highlight=False, markup=False)
            for doubt in doubts:
                arguments.warn(doubt)
            return
        check_platform()
        use_cache()
        store, workers = Store(FLAGS.workdir, create=True), FLAGS.jobs or default_jobs()
        with exclusive(store.root):
            before = rows_of(store)

            def begin(cells: int, waiting: int) -> None:
                gone = before.keys() - rows_of(store).keys()
                if gone:
                    named = ", ".join(dict.fromkeys(before[i] for i in before if i in gone))
                    doubts.append(
                        f"{len(gone)} of {len(before)} rows that {os.fspath(store.root)} had are not of this study, "
                        f"and leave its tables: {named}; what they stored stays, and comes back with their own study"
                    )
                for doubt in doubts:
                    arguments.warn(doubt)
                progress.begin(cells, waiting)

            run(
                cells,
                store,
                path,
                published=study.published(source),
                engine=FLAGS.engine or ("threads" if workers > 1 else "serial"),
                workers=workers,
                begin=begin,
                done=progress.show,
            )
            progress.end()
            print(report.write(store))
    except (ValueError, OSError) as error:
        arguments.fail(error)
    except KeyboardInterrupt:
        progress.interrupted()
        sys.stdout.flush()
        os._exit(130)  # the compiled program of a running cell cannot be interrupted: what it wrote is whole
    sys.exit(1 if progress.failed else 0)


def rows_of(store: Store) -> dict[str, str]:
    """{identity: label} of the cells in the tables of a folder."""
    there = (store.root / "study.json").exists()
    return {cell["id"]: cell["label"] for cell in store.read_study()["cells"]} if there else {}


def default_jobs() -> int:
    """Two on a CPU with two cores or more; one where an accelerator does the work."""
    return 2 if check_platform() == "cpu" and (os.cpu_count() or 1) > 1 else 1


if __name__ == "__main__":
    arguments.define_study("the study file, FILE or FILE:argument")
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    flags.DEFINE_bool("dry_run", False, "list the cells and stop")
    flags.DEFINE_integer("jobs", None, "cells at a time; by default two on a CPU, one elsewhere", lower_bound=1)
    flags.DEFINE_string("engine", "", "a file of fusion_jax/run/engines; serial for one cell at a time, else threads")
    arguments.run(main)
