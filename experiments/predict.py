"""Predicts for new nodes by a finished cell, without its data set.

    python -m experiments.predict --workdir=results/mine --cell=3f0c --folder=NEW --out=predictions.csv

NEW holds a table a modality, named as in training, with a column of ids, and `edges.csv` with the ids of joined nodes,
new or old (`fusion_jax/data/making/arriving.py`). A line a node: its id, the prediction of all seeds together, a
probability a class or the spread over the seeds; on standard error how many there are, the share of every class and the
mean confidence. Without --folder: the nodes that the cell had, as it predicted them.
"""

from __future__ import annotations

import sys

from absl import flags
from etils import epath

from fusion_jax import folders
from fusion_jax.data.making import arriving
from fusion_jax.results.predictor import Predictor
from fusion_jax.results.store import write_bytes
from fusion_jax.training.compilation import check_platform, use_cache

from . import arguments

FLAGS = flags.FLAGS


def main(argv):
    del argv
    use_cache()
    try:
        check_platform()
        predictor = Predictor.load(FLAGS.workdir, FLAGS.cell or None, FLAGS.seed)
    except (ValueError, OSError, ImportError) as error:
        arguments.fail(error, lines=True)
    try:
        new = {}
        if FLAGS.folder:
            options = predictor.cell.plan.data.options
            header = options.get("header") if FLAGS.header is None else FLAGS.header
            x, edges = arriving.from_folder(FLAGS.folder, options.get("id"), header=header, known=predictor.ids)
            alone = len(edges) == 1 and not edges.keys() & predictor.data.graphs.keys()
            new = dict(x=x, edges=next(iter(edges.values())) if alone else edges)
        said = predictor(**new)
        table = said.frame()
        if FLAGS.out:
            write_bytes(epath.Path(folders.expand(FLAGS.out)), table.to_csv(index=False).encode())
    except (ValueError, OSError, ImportError) as error:
        arguments.fail(error)
    print(said.summary(), file=sys.stderr)
    print(f"written: {FLAGS.out}, {len(table)} rows" if FLAGS.out else table.to_csv(index=False), end="\n")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    flags.DEFINE_string(
        "cell", "", "identity of a finished cell, or how it starts; the folder's only one if none is named"
    )
    flags.DEFINE_integer("seed", None, "which seed's model; all of them, and their mean, if none is named")
    flags.DEFINE_string("folder", "", "tables of the new nodes")
    flags.DEFINE_bool(
        "header", None, "whether the first lines of these tables name columns; as in training if not said"
    )
    flags.DEFINE_string("out", "", "CSV file to write; printed if none is named")
    arguments.run(main)
