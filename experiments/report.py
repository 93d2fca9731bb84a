"""Tables of a study, from its stored results; nothing is trained.

    python -m experiments.report --workdir=results/quickstart
    python -m experiments.report --workdir=results/quickstart --figures   # calibration.png too (needs matplotlib)

    python -m experiments.report --workdir=results/quickstart --serve     # the page, while the study runs too

writes report/table.md, report/table.tex, report/table.csv and report/index.html, a page that needs only a browser,
into the study's folder and prints the first; of classification report/calibration.md and report/calibration.csv too,
with the figure anyway where a model states its own uncertainty.
"""

from __future__ import annotations

import os

from absl import flags

from fusion_jax.results import report, serve
from fusion_jax.results.store import Store

from . import arguments

FLAGS = flags.FLAGS


def main(argv):
    del argv
    try:
        store = Store(FLAGS.workdir)
        if FLAGS.serve:
            return serve.serve(store, FLAGS.port, lambda address: print(f"{address} (Ctrl-C ends it)", flush=True))
        text = report.write(store, figures=FLAGS.figures)
        print(text)
    except (OSError, ValueError, ImportError) as error:
        arguments.fail(error)
    except KeyboardInterrupt:
        return None
    folder = store.root / "report"
    known = ("table.md", "table.tex", "table.csv", "calibration.md", "calibration.csv", "calibration.png", "index.html")
    if (folder / "table.md").exists() and (folder / "table.md").read_bytes() == text.encode():
        print(f"written: {os.fspath(folder)}/{', '.join(name for name in known if (folder / name).exists())}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    flags.DEFINE_bool("figures", False, "draw calibration.png whether or not a model states an uncertainty")
    flags.DEFINE_bool("serve", False, "serve the page to this machine, and follow the study; writes nothing")
    flags.DEFINE_integer("port", 0, "where --serve listens on 127.0.0.1; 0 for any that is free", lower_bound=0)
    arguments.run(main)
