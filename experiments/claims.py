"""Runs or resumes the studies of claims, one a paper, and writes the ledger: which hold, fail, are undecided.

    python -m experiments.claims --workdir=results/claims
    python -m experiments.claims --workdir=results/claims --only=npt,halonet
    python -m experiments.claims --workdir=results/claims --folder=mine/claims   # files of your own
    python -m experiments.claims --workdir=results/claims_quick --argument=quick # does it run? two seeds, few epochs
    python -m experiments.claims --workdir=results/claims --page=configs/claims/README.md

A file is a study with `claims()`, `OF` and `SETTING` (see `fusion_jax/study/claim_files.py`); its claims are hashed
into its folder before anything is trained. The ledger, README.md and ledger.json in the workdir, is written again
whenever a study ends, of all studies that were begun, whatever --only says, and Holm's correction is over their claims.
Several of these commands may run at once, each cell is trained by one of them.
Exit status: 0 when every cell is finished, or another process trains it, 1 when some failed, 130 after Ctrl-C, 75 after
SIGTERM (finished cells stay, and what trains is saved).
"""

from __future__ import annotations

import datetime
import functools
import os
import pathlib
import sys

from absl import flags
from etils import epath

from fusion_jax.folders import Damaged
from fusion_jax.results import ledger
from fusion_jax.results.claims import resolved
from fusion_jax.results.lock import briefly
from fusion_jax.results.rendering import ledger as form
from fusion_jax.results.store import write_bytes
from fusion_jax.run import signals
from fusion_jax.run.ledger import run_studies, stores_of
from fusion_jax.run.workers import default_workers
from fusion_jax.study.claim_files import claim_studies
from fusion_jax.training.compilation import check_platform, use_cache
from fusion_jax.training.stopping import Stopped

from . import arguments, pod

FLAGS = flags.FLAGS


def main(argv):
    del argv
    pod.run(claims)


def claims() -> None:
    """Runs the studies and writes the ledger."""
    failed = 0
    try:
        studies = claim_studies(FLAGS.folder, FLAGS.argument, FLAGS.only or ())
        every = claim_studies(FLAGS.folder, FLAGS.argument)  # the ledger is of all that were begun, whatever is run now
        if FLAGS.dry_run:
            for one in studies:
                resolved(one.claims, one.cells, one.path, one.measured)
                for claim in one.claims:
                    print(f"{one.system}: {claim.claim}")
            return
        check_platform()
        use_cache()
        pathlib.Path(FLAGS.workdir).mkdir(parents=True, exist_ok=True)
        check_pages()

        def done(one, outcome, problem):
            nonlocal failed
            failed += outcome.result is None
            said = problem or outcome.error
            print(f"{one.system}: {outcome.job.cell.label}{f': failed: {said}' if said else ''}", flush=True)

        def elsewhere(one, outcomes):
            for outcome in outcomes:
                print(f"{one.system}: {outcome.job.cell.label}: {outcome.held} trains it", flush=True)

        lost = {}
        workers = FLAGS.jobs or default_workers()
        with signals.obeyed(functools.partial(print, flush=True)) as received:
            for one in () if FLAGS.report else studies:
                how = dict(done=done, elsewhere=elsewhere, engine="threads", workers=workers)
                lost |= run_studies([one], FLAGS.workdir, **how)
                try:
                    written(every)
                except Damaged as error:  # it stops no other study; the last ledger fails by it
                    arguments.warn(f"no ledger after {one.system}: {error}")
        found = written(every)
        for system, why in lost.items():
            arguments.warn(f"{system} was not run: {why}")
        print(found.sentence)
        print(f"written: {', '.join(map(os.fspath, pages()))}")
    except (ValueError, OSError, ImportError) as error:
        arguments.fail(error)
    except Stopped:
        sys.exit(received.status)
    except KeyboardInterrupt:
        sys.stdout.flush()
        os._exit(signals.INTERRUPTED)  # as experiments.sweep
    sys.exit(1 if failed or lost else 0)


def pages() -> list[pathlib.Path]:
    """The files that the ledger is written to for readers."""
    return [pathlib.Path(FLAGS.workdir) / "README.md", *([pathlib.Path(FLAGS.page)] if FLAGS.page else [])]


def check_pages() -> None:
    """Raises ValueError, before hours of training and not behind them, where a page cannot be written."""
    for page in (pathlib.Path(FLAGS.workdir) / "ledger.json", *pages()):
        if page.is_dir() or not page.parent.is_dir():
            what = "a folder" if page.is_dir() else "in no folder that there is"
            raise ValueError(f"the ledger's page {page} is {what}; expected a file in a folder")
        if not os.access(page.parent, os.W_OK):
            raise ValueError(f"the ledger's page {page}: nothing can be written in {page.parent}")


def written(studies) -> ledger.Ledger:
    """The ledger as it is now, written into the workdir, and where --page says."""
    with briefly(epath.Path(FLAGS.workdir)):
        return _written(studies)


def _written(studies) -> ledger.Ledger:
    found = ledger.ledger(studies, stores_of(studies, FLAGS.workdir))
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    quick = "quick" in FLAGS.argument.split(",")
    title = "The ledger of claims" + (", quick: whether it runs, no results" if quick else "")
    folder = pathlib.Path(FLAGS.workdir)
    write_bytes(folder / "ledger.json", form.as_json(found, date=date).encode())
    for page in pages():
        write_bytes(page, form.markdown(found, title=title, date=date, beside=os.fspath(page.parent)).encode())
    return found


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "the results folder, in it one a study", required=True)
    flags.DEFINE_string("folder", "", "where the study files lie; by default those that come along, configs/claims")
    flags.DEFINE_string("argument", "", "the argument of every study, such as quick")
    flags.DEFINE_list("only", None, "the systems that are wanted, by the names of their files")
    flags.DEFINE_string("page", "", "a file that the ledger is written to as well")
    flags.DEFINE_bool("report", False, "write the ledger of what there is; run nothing")
    flags.DEFINE_bool("dry_run", False, "list the claims and stop")
    flags.DEFINE_integer("jobs", None, "cells at a time; by default two on a CPU, one elsewhere", lower_bound=1)
    pod.define()
    arguments.run(main)
