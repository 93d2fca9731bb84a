"""Runs or resumes a study: every cell of its `sweep(add)`, finished ones skipped, failing ones recorded.

    python -m experiments.sweep --config=configs/ablations/quickstart.py --workdir=results/quickstart
    python -m experiments.sweep --config=... --workdir=... --dry_run           # list the cells, look at the data
    python -m experiments.sweep --config=... --workdir=... --config.seeds=20   # the ten missing seeds only
    python -m experiments.sweep --config=... --workdir=... --until_decided     # more seeds where they are needed

Ends with the answer and the tables that `python -m experiments.report` prints, written to the folder `report` of the
workdir.

The same command may run several times at once, on machines that share the folder too: each cell is trained by one of
them, and one that is killed loses its cell to another, which goes on from its save. One that ends while others train
says so, and reports what is there; the report of the last is whole. Another study is refused as long as they run, and
--until_decided wants the folder for itself.

Exit status: 0 when every cell is finished, or another process trains it; 1 when some failed; 130 after Ctrl-C and 75
after SIGTERM, which save what trains at the end of its chunk of epochs: the same command goes on. A second Ctrl-C ends
at once.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from fusion_jax import study
from fusion_jax.results import report
from fusion_jax.results.claims import resolved
from fusion_jax.results.joint import Joint
from fusion_jax.results.lock import briefly, exclusive
from fusion_jax.results.store import Store
from fusion_jax.run import signals
from fusion_jax.run.display.base import described, named
from fusion_jax.run.engines.base import Outcome
from fusion_jax.run.sweep import load_all, plain_cell, run
from fusion_jax.run.until import LIMIT, Look, run_until_decided
from fusion_jax.study import Cell, Tuning
from fusion_jax.study.claim_files import measured_of
from fusion_jax.training.compilation import check_platform, use_cache
from fusion_jax.training.stopping import Stopped

from . import arguments, listening, pod

FLAGS = flags.FLAGS


def told(look: Look) -> str:
    """One line on a look at the results so far, with --until_decided."""
    count = len(look.decided) + len(look.undecided)
    return f"{look.seeds} seeds: {len(look.decided)} of {count} decided"


def main(argv):
    del argv
    pod.run(sweep)


def sweep(tune: Callable[[Any], Tuning] | None = None, by: Sequence[str] = ()) -> None:
    """Runs the study.

    Args:
        tune: how it is tuned, made from its own `tune` or None; as it says itself if not given.
        by: the flags that say so, which are a mistake where no cell is tuned by them.
    """
    console = listening.console()
    failed, lost, others = 0, [], []
    try:
        path = str(FLAGS["config"].config_filename)
        file, argument = study.split(path)
        source = study.load(file)
        with study.mistakes_in(file):
            own = getattr(source, "sweep", None)
            tuned = getattr(source, "tune", None)
            tuned = tune(tuned) if tune else tuned
            cells = study.expand(FLAGS.config, own, argument or "", tuned)
            by_all = study.set_by_all(own, argument or "") if own else ()
            claims = study.claims_of(source, file, argument or "")
            measured = measured_of(source, file, [cell.label for cell in cells])
        doubts = [f"{flag} does nothing: every cell of {file} sets it itself" for flag in arguments.set_in_vain(by_all)]
        if by and not any(tuned_by(cell, tuned) for cell in cells):
            raise ValueError(
                f"{', '.join(by)}: every cell of {file} says itself how it is tuned, add(..., tune=); change it "
                "there, or leave the flags out"
            )
        doubts += [f"{file} has no sweep(add): one cell"] if own is None else []
        doubts += study.alike(cells)
        if FLAGS.dry_run:
            resolved(claims, cells, file, measured)
            datasets = load_all(cells)
            for cell in cells:
                console.print(f"{described(cell)} seeds={cell.seeds}", highlight=False, markup=False)
            for doubt in doubts:
                arguments.warn(doubt)
            for data in datasets.values():
                if isinstance(data, Exception):
                    raise data
                arguments.show_conversion(data)
            return
        check_platform()
        use_cache()
        store, engine = Store(FLAGS.workdir, create=True), FLAGS.engine or "threads"
        engine_options = arguments.engine_options(engine, FLAGS.engine_option)
        say = functools.partial(console.print, highlight=False, markup=False)
        held = exclusive(store.root, "--until_decided looks at all cells, which one process does alone")
        place = held if FLAGS.until_decided else Joint(store.root)
        heard = listening.listening(console, store)
        with signals.obeyed(say) as received, place as joint, heard as listeners:
            before = rows_of(store)

            def begin(cells: int, waiting: int) -> None:
                gone = before.keys() - rows_of(store).keys()
                if gone:
                    named = ", ".join(dict.fromkeys(before[i]["label"] for i in before if i in gone))
                    asked = {plain_cell(entry["config"]) for entry in rows_of(store).values()}
                    same = sum(plain_cell(before[i]["config"]) in asked for i in gone)
                    why = f" ({same} of the same config: their data, or a mechanism, have changed)" if same else ""
                    doubts.append(
                        f"{len(gone)} of {len(before)} rows that {os.fspath(store.root)} had are not of this study, "
                        f"and leave its tables: {named}{why}; what they stored stays, and comes back with their own "
                        "study"
                    )
                while doubts:
                    arguments.warn(doubts.pop(0))
                listeners.begin(cells, waiting)

            def done(outcome: Outcome, problem: str) -> None:
                if isinstance(outcome.job.data, Exception):
                    lost.append(outcome.error)
                listeners.done(outcome, problem)

            def looked(look: Look) -> None:
                console.print(told(look), highlight=False, markup=False)

            more = dict(limit=FLAGS.max_seeds, looked=looked) if FLAGS.until_decided else {}
            failed = (run_until_decided if FLAGS.until_decided else run)(
                cells,
                store,
                path,
                published=study.published(source),
                claims=claims,
                measured=measured,
                engine=engine,
                workers=FLAGS.jobs,
                engine_options=engine_options,
                loaded=arguments.show_conversion,
                begin=begin,
                progress=listeners.progress,
                done=done,
                joint=joint,
                elsewhere=others.extend,
                **more,
            )
            listeners.end()
            with briefly(store.root):  # of two that end together the one that writes last has seen all
                written = report.written(store)
            print(written.printed, flush=True)
            if others:
                arguments.warn(told_of(others))
            for error, count in collections.Counter(lost).items():
                arguments.warn(f"the data set of {count} failed cells cannot be loaded: {error}")
    except (ValueError, OSError, ImportError) as error:
        arguments.fail(error)
    except Stopped:
        sys.exit(received.status)
    except KeyboardInterrupt:
        sys.stdout.flush()
        os._exit(signals.INTERRUPTED)  # a compiled program cannot be interrupted: what it wrote is whole
    sys.exit(1 if failed else 0)


def told_of(others: Sequence[Outcome]) -> str:
    """One line on the cells that other processes train still."""
    rows = ", ".join(f"{named(outcome.job.cell)} ({outcome.held})" for outcome in others)
    return f"{len(others)} cells are not in this report, since other processes train them: {rows}"


def tuned_by(cell: Cell, given: Tuning) -> bool:
    """Whether a cell is tuned by that one, and not by one of its own."""
    own = cell.tuning
    return own is not None and own == dataclasses.replace(given, space={k: given.space.get(k) for k in own.space})


def rows_of(store: Store) -> dict[str, dict[str, Any]]:
    """{identity: what the study says of it} of the cells in the tables of a folder."""
    there = (store.root / "study.json").exists()
    return {cell["id"]: cell for cell in store.read_study()["cells"]} if there else {}


def define() -> None:
    """The flags."""
    arguments.define_study("the study file, FILE or FILE:argument")
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    flags.DEFINE_bool("dry_run", False, "load the data, list the cells and stop")
    shown = "cells at a time; by default two on a CPU, one elsewhere, as many as there is room for on a cluster"
    flags.DEFINE_integer("jobs", None, shown, lower_bound=1)
    listening.define()
    pod.define()
    flags.DEFINE_string("engine", "", "what runs the cells, a file of fusion_jax/run/engines; by default threads")
    flags.DEFINE_multi_string("engine_option", [], "NAME=VALUE, an option of the engine; may be given several times")
    flags.DEFINE_bool(
        "until_decided", False, "add seeds until every claim, or comparison with the baseline, is decided"
    )
    flags.DEFINE_integer("max_seeds", LIMIT, "with --until_decided, the most seeds a cell gets", lower_bound=2)


if __name__ == "__main__":
    define()
    arguments.run(main)
