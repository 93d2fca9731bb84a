"""Tables of a study, from its stored results; nothing is trained.

    python -m experiments.report --workdir=results/quickstart

writes report/table.md, report/table.tex and report/table.csv into the study's folder and prints the first.
"""

from __future__ import annotations

import os
import sys

from absl import app, flags

from fusion_jax.results import report
from fusion_jax.results.store import Store

FLAGS = flags.FLAGS


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    store = Store(FLAGS.workdir)
    try:
        print(report.write(store))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"written: {os.fspath(store.root / 'report')}/table.md, table.tex, table.csv")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    app.run(main)
