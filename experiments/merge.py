"""Merges the seeds of finished cells into one network, plainly, as an ensemble and by optimal transport, and measures.

    python -m experiments.merge --workdir=results/one                      # the folder's only cell
    python -m experiments.merge --workdir=results/quickstart --cell=3f0c   # how its identity starts
    python -m experiments.merge --workdir=... --cell=3f0c,a91b             # the seeds of two cells of one shape
    python -m experiments.merge --workdir=... --merging=ot_fusion --option=ot_fusion.solver=emd

Writes merge/table.csv, table.md, figure.png and merge.json into the (first) cell's folder; what they say stands in
`fusion_jax/merging/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import flags

from fusion_jax import merging, zoo
from fusion_jax.results.store import Store
from fusion_jax.training.compilation import check_platform, use_cache

from . import arguments

FLAGS = flags.FLAGS


def options(given: list[str], mergings: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """{merging: its options} of texts "merging.option=value"; the path of a file may stand for the merging.

    Args:
        mergings: those that are asked for: one by its path has its options under the file's name, too.
    """
    paths = {zoo.short(name): name for name in mergings if zoo.is_path(name)}
    texts: dict[str, list[str]] = {}
    for text in given:
        name, is_set, _ = text.partition("=")
        merging, _, option = name.rpartition(".")
        if not is_set or not merging:
            raise ValueError(f"--option={text}: expected MERGING.NAME=VALUE")
        texts.setdefault(paths.get(merging, merging), []).append(option + text.removeprefix(name))
    return {merging: arguments.options("merging", merging, own) for merging, own in texts.items()}


def main(argv):
    del argv
    use_cache()
    try:
        check_platform()
        asked = dict(
            mergings=FLAGS.merging, options=options(FLAGS.option, FLAGS.merging), epochs=FLAGS.epochs, rate=FLAGS.rate
        )
        report, folder = merging.merge_stored(Store(FLAGS.workdir), FLAGS.cell, **asked)
    except (ValueError, OSError, ImportError) as error:
        arguments.fail(error)
    arguments.show(report, folder, FLAGS.json)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    flags.DEFINE_list(
        "cell", [], "identities of finished cells, or how they start; the folder's only one if none is named"
    )
    flags.DEFINE_list("merging", list(merging.MERGINGS), "names of mergings, or paths of files")
    flags.DEFINE_multi_string("option", [], "MERGING.NAME=VALUE, an option of a merging; may be given several times")
    flags.DEFINE_integer("epochs", 50, "of finetuning a merged network; 0 for none", lower_bound=0)
    flags.DEFINE_float("rate", 1.0, "finetuning's factor of the cell's learning rate", lower_bound=0)
    flags.DEFINE_bool("json", False, "print the report as JSON")
    arguments.run(main)
