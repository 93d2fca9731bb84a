"""Asks an analysis of a finished cell or of a whole study, without training anything.

    python -m experiments.analyse --workdir=results/quickstart --analysis=cost_against_score
    python -m experiments.analyse --workdir=results/quickstart --cell=3f0c --analysis=gcav \\
        --option concepts=missing:m1,degree --option target=1

`fusion-jax zoo --kind=analysis` lists the analyses and their options. Writes analyses/<name>/ with the tables (CSV),
the figures, report.md and analysis.json into the folder of the cell, or of the study where the analysis is of one.
"""

from __future__ import annotations

from absl import flags

from fusion_jax import analysis, zoo
from fusion_jax.results.store import Store
from fusion_jax.training.compilation import check_platform, use_cache

from . import arguments

FLAGS = flags.FLAGS


def main(argv):
    del argv
    use_cache()
    try:
        if not FLAGS.analysis:
            raise ValueError(f"--analysis=NAME is missing; there are: {', '.join(zoo.names('analysis'))}")
        check_platform()
        options = arguments.options("analysis", FLAGS.analysis, FLAGS.option)
        which = dict(cell=FLAGS.cell or None, seed=FLAGS.seed)
        report, folder = analysis.analyse(Store(FLAGS.workdir), FLAGS.analysis, options, **which)
    except (ValueError, OSError, ImportError) as error:
        arguments.fail(error, lines=True)
    arguments.show(report, folder, FLAGS.json)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    flags.DEFINE_string("analysis", None, "name of the analysis, or path of a file")
    flags.DEFINE_string(
        "cell", "", "identity of a finished cell, or how it starts; the folder's only one if none is named"
    )
    flags.DEFINE_integer("seed", None, "whose model; the best by validation score if none is named, or all")
    flags.DEFINE_multi_string("option", [], "NAME=VALUE, an option of the analysis; may be given several times")
    flags.DEFINE_bool("json", False, "print the report as JSON")
    arguments.run(main)
