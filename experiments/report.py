"""Tables of a study, from its stored results; nothing is trained.

    python -m experiments.report --workdir=results/quickstart
    python -m experiments.report --workdir=results/quickstart --figures   # calibration.png too (needs matplotlib)

writes report/table.md, report/table.tex and report/table.csv into the study's folder and prints the first; of
classification report/calibration.md and report/calibration.csv too, with the figure anyway where a model states its
own uncertainty.
"""

from __future__ import annotations

import os

from absl import flags

from fusion_jax.results import report
from fusion_jax.results.store import Store

from . import arguments

FLAGS = flags.FLAGS


def main(argv):
    del argv
    try:
        store = Store(FLAGS.workdir)
        text = report.write(store, figures=FLAGS.figures)
        print(text)
    except (OSError, ValueError, ImportError) as error:
        arguments.fail(error)
    folder = store.root / "report"
    known = ("table.md", "table.tex", "table.csv", "calibration.md", "calibration.csv", "calibration.png")
    if (folder / "table.md").exists() and (folder / "table.md").read_bytes() == text.encode():
        print(f"written: {os.fspath(folder)}/{', '.join(name for name in known if (folder / name).exists())}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    flags.DEFINE_bool("figures", False, "draw calibration.png whether or not a model states an uncertainty")
    arguments.run(main)
