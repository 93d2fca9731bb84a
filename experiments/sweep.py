"""Runs or resumes a study: every cell of its `sweep(add)`, finished ones skipped, failing ones recorded.

    python -m experiments.sweep --config=configs/ablations/quickstart.py --workdir=results/quickstart
    python -m experiments.sweep --config=... --workdir=... --dry_run           # list the cells
    python -m experiments.sweep --config=... --workdir=... --config.seeds=10   # the five missing seeds only

Ends with the table that `python -m experiments.report` prints, written to the folder `report` of the workdir.
Exit status: 0 when every cell is finished, 1 when some failed, 130 after Ctrl-C (finished cells stay).
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from absl import flags
from rich.console import Console

from experiments import arguments
from experiments.train import run_cell
from fusion_jax import study
from fusion_jax.data import Dataset, loader_of
from fusion_jax.data import load as load_data
from fusion_jax.folders import Damaged
from fusion_jax.results import report
from fusion_jax.results.lock import exclusive
from fusion_jax.results.store import Store
from fusion_jax.study import Cell
from fusion_jax.training.compilation import check_platform, use_cache
from fusion_jax.training.prepare import split_of

FLAGS = flags.FLAGS


def data_key(cell: Cell) -> str:
    return repr((cell.config["data"]["name"], sorted(cell.config["data"]["options"].items())))


def load_all(cells: list[Cell]) -> dict[str, Dataset | Exception]:
    """Every data set the cells name, loaded once; or why it cannot be, which fails its cells and no others."""
    found: dict[str, Dataset | Exception] = {}
    for cell in cells:
        key, part = data_key(cell), cell.config["data"]
        if key not in found:
            loader_of(part["name"], part["options"])  # an unknown name is a mistake in the study, no failure
            try:
                found[key] = load_data(part["name"], **part["options"])
            except (OSError, ImportError, ValueError) as error:
                found[key] = error
    return found


def identify(
    cells: list[Cell], datasets: Mapping[str, Dataset | Exception], there: Sequence[Mapping] = ()
) -> list[tuple[str, Cell]]:
    """Every cell with its identity; cells that come to be the same on their data set once, under the first's label.

    A cell whose data set cannot be loaded keeps the identity it has among the cells that are `there`, in the study of
    the folder.
    """
    known = {plain_cell(entry["config"]): entry["id"] for entry in there}
    unique: dict[str, Cell] = {}
    for cell in cells:
        data = datasets[data_key(cell)]
        if isinstance(data, Exception):
            identity = known.get(plain_cell(cell.config)) or cell.identity("not loaded")
        else:
            identity = cell.identity(data)
        unique.setdefault(identity, cell)
    return list(unique.items())


def plain_cell(config: Mapping) -> str:
    """The config as it is written, but for how many seeds are wanted and the label."""
    return json.dumps({k: v for k, v in config.items() if k not in ("seeds", "label")}, sort_keys=True)


def trouble(identity: str, cell: Cell, store: Store, data: Dataset | Exception) -> Exception | None:
    """What of the stored cell cannot be read; None where nothing is wrong with it.

    Raises:
        ValueError: stored seeds were trained on another split than the data set draws now.
    """
    try:
        done = store.finished_seeds(identity)
        if done and not isinstance(data, Exception):
            store.check_splits(identity, {seed: split_of(cell.config, data, seed) for seed in done})
        return None
    except Damaged as error:
        return Damaged(f"{error}; to train the cell again remove {os.fspath(store.cell(identity))}")


def run_loaded(cell: Cell, store: Store, data: Dataset | Exception, broken: Exception | None):
    for error in (broken, data):
        if isinstance(error, Exception):
            raise error
    return run_cell(cell, store, data)


def run(
    cells: list[Cell], store: Store, source: str, *, published: Sequence[dict] = (), jobs: int = 1, console: Console
) -> int:
    """Runs the cells, `jobs` at a time; returns how many failed. `published` rows are kept for the report.

    Compilation and small steps leave cores idle, so that on a CPU two cells at a time finish sooner.
    """
    datasets = load_all(cells)
    there = store.read_study()["cells"] if (store.root / "study.json").exists() else []
    identified = identify(cells, datasets, there)
    broken = {i: trouble(i, c, store, datasets[data_key(c)]) for i, c in identified}
    store.write_study(identified, source, published)
    waiting = [(i, c) for i, c in identified if broken[i] or set(range(c.seeds)) - set(store.finished_seeds(i))]
    console.print(f"{len(identified)} cells, {len(identified) - len(waiting)} finished before")
    start, failed, done = time.perf_counter(), 0, 0
    running: dict[Future, tuple[str, Cell]] = {}
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        queue = iter(waiting)
        while True:
            while len(running) < jobs and (job := next(queue, None)):
                future = pool.submit(run_loaded, job[1], store, datasets[data_key(job[1])], broken[job[0]])
                running[future] = job
            if not running:
                break
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                identity, cell = running.pop(future)
                done += 1
                failed += not report_one(future, identity, cell, store, f"[{done:>3}/{len(waiting)}]", console)
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        whole = len(identified) - len(waiting) + done - failed
        console.print(f"interrupted; {whole} of {len(identified)} cells are finished and stay, run again to go on")
        sys.stdout.flush()
        os._exit(130)  # the compiled program of a running cell cannot be interrupted: what it wrote is whole
    pool.shutdown()
    if waiting:
        console.print(f"{done - failed} cells trained, {failed} failed, {time.perf_counter() - start:.0f} s")
    return failed


def placement_of(cell: Cell) -> str:
    """Where fusion stands; "-" for a control, which has none."""
    return cell.config["model"]["placement"] if not cell.config["control"]["name"] else "-"


def report_one(future: Future, identity: str, cell: Cell, store: Store, count: str, console: Console) -> bool:
    """Prints one line on a finished cell, or records its failure. Returns whether it succeeded."""
    name = f"{count} {cell.label:<34} {placement_of(cell):<11} {cell.config['data']['name']:<10}"
    error = future.exception()
    if error is None:
        table = store.table(identity, "metrics")
        metric = next(m for m in ("accuracy", "c_index", "rmse") if m in set(table.metric))
        values = table[(table.part == "test") & (table.metric == metric)].value
        spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
        lost = f"  ({len(gone)} of {cell.seeds} seeds diverged)" if (gone := store.diverged(identity)) else ""
        line = f"{name} {metric} {values.mean():.3f}{spread}  {future.result()['seconds']:5.1f} s{lost}"
        console.print(line, highlight=False, markup=False)
        return True
    trace = "".join(traceback.format_exception(error))
    console.print(f"{name} FAILED {type(error).__name__}: {error}", style="red", highlight=False, markup=False)
    try:
        store.write_failure(identity, cell, f"{type(error).__name__}: {error}", trace)
    except OSError as problem:
        console.print(f"and its failure could not be recorded: {problem}", style="red", markup=False)
    return False


def main(argv):
    del argv
    console = Console(width=None if sys.stdout.isatty() else 200)
    try:
        path = str(flags.FLAGS["config"].config_filename)
        file, argument = study.split(path)
        source = study.load(file)
        with study.mistakes_in(file):
            cells = study.expand(FLAGS.config, getattr(source, "sweep", None), argument or "")
        if FLAGS.dry_run:
            for cell in cells:
                loader_of(cell.config["data"]["name"], cell.config["data"]["options"])
                where = f"{placement_of(cell):<11} {cell.config['data']['name']:<10}"
                console.print(f"{cell.label:<34} {where} seeds={cell.seeds}", highlight=False, markup=False)
            return
        check_platform()
        use_cache()
        store = Store(FLAGS.workdir, create=True)
        with exclusive(store.root):
            published, jobs = study.published(source), FLAGS.jobs or default_jobs()
            failed = run(cells, store, path, published=published, jobs=jobs, console=console)
            print(report.write(store))
    except (ValueError, OSError) as error:
        arguments.fail(error)
    sys.exit(1 if failed else 0)


def default_jobs() -> int:
    """Two on a CPU with two cores or more; one where an accelerator does the work."""
    return 2 if check_platform() == "cpu" and (os.cpu_count() or 1) > 1 else 1


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path.cwd()))
    arguments.define_study("the study file, FILE or FILE:argument")
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    flags.DEFINE_bool("dry_run", False, "list the cells and stop")
    flags.DEFINE_integer("jobs", None, "cells at a time; by default two on a CPU, one elsewhere", lower_bound=1)
    arguments.run(main)
