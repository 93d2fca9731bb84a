"""The report of a study, from its stored results; nothing is trained.

    python -m experiments.report --workdir=results/quickstart
    python -m experiments.report --workdir=results/quickstart --baseline=gmu --metrics=accuracy,auc --percent
    python -m experiments.report --workdir=results/quickstart --figures   # all of them (needs matplotlib)

    python -m experiments.report --workdir=results/quickstart --serve     # the page, while the study runs too

prints the answer in a sentence, the grid, where the page is and the long tables, and writes them into the study's
folder `report`: index.html, a page that needs only a browser, table.md, table.tex (booktabs, tabularx), table.csv and
table.json; of classification calibration.md and calibration.csv too, with a figure anyway where a model states its own
uncertainty.
"""

from __future__ import annotations

from absl import flags

from fusion_jax.results import compare, report, serve
from fusion_jax.results.store import Store

from . import arguments

FLAGS = flags.FLAGS


def main(argv):
    del argv
    options = dict(baseline=FLAGS.baseline, metrics=FLAGS.metrics, percent=FLAGS.percent)
    try:
        store = Store(FLAGS.workdir)
        if FLAGS.serve:
            serve.serve(store, FLAGS.port, lambda address: print(f"{address} (Ctrl-C ends it)", flush=True))
            return
        made = report.written(store, figures=FLAGS.figures, **options)
    except (OSError, ValueError, ImportError) as error:
        arguments.fail(error)
    except KeyboardInterrupt:
        return
    print(made.json if FLAGS.json else made.printed)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    flags.DEFINE_bool("figures", None, "draw all figures; --nofigures for none; by default those drawn in a moment")
    flags.DEFINE_string("baseline", compare.BASELINE, "label of the row that others are compared with")
    flags.DEFINE_list("metrics", None, "columns of the LaTeX tables; by default the metric that ranks")
    flags.DEFINE_bool("percent", False, "LaTeX tables tell metrics between 0 and 1 in percent")
    flags.DEFINE_bool("json", False, "print what table.json holds")
    flags.DEFINE_bool("serve", False, "serve the page to this machine, and follow the study; writes nothing")
    flags.DEFINE_integer("port", 0, "where --serve listens on 127.0.0.1; 0 for any that is free", lower_bound=0)
    arguments.run(main)
