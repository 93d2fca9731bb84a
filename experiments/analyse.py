"""Which concepts a trained model leans on, layer by layer (GCAV), from a finished cell, without retraining.

    python -m experiments.analyse --workdir=results/quickstart --cell=3f0c... --concept=missing:pixels,degree
    python -m experiments.analyse --workdir=results/one --concept=label:3 --target=8

A concept is a set of nodes given by a rule: missing:<modality>, degree (top decile), label:<class>. Writes
analyse/<class>/table.csv, summary.csv, table.md, figure.png and analyse.json into the cell's folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags
from etils import epath

from fusion_jax.analysis.gcav import RANDOM, Concepts, gcav
from fusion_jax.results.figures import new_figure, save_figure
from fusion_jax.results.restore import Restored, restore
from fusion_jax.results.store import Store, replacing, write_bytes, write_json
from fusion_jax.training.compilation import check_platform, use_cache
from fusion_jax.zoo import nearest

from . import arguments

FLAGS = flags.FLAGS


def place_of(cell: Restored, seed: int | None) -> int:
    """Where a stored seed stands; the one with the best validation score if None.

    Raises:
        ValueError: the cell has no such seed.
    """
    if seed is None:
        return max(range(len(cell.seeds)), key=cell.validation_score)
    if seed not in cell.seeds:
        raise ValueError(
            f"cell {cell.identity} has no seed {seed}{nearest(str(seed), map(str, cell.seeds))}; "
            f"finished: {', '.join(map(str, cell.seeds))}"
        )
    return cell.seeds.index(seed)


def markdown(result: Concepts) -> str:
    """The summary, then a line a concept and layer."""
    lines = ["| concept | score | mean | std over layers | CV | range ratio |", "|" + " --- |" * 6]
    for row in result.summary.itertuples():
        lines.append(
            f"| {row.concept} | {row.score.upper()} | {row.mean:.3f} | {row.std:.3f} | {row.cv:.3f} "
            f"| {row.range_ratio:.3f} |"
        )
    lines += ["", "| concept | layer | TCAV | p | TGCAV | p | classifier's accuracy |", "|" + " --- |" * 7]
    for row in result.table.itertuples():
        p = ["-" if np.isnan(v) else f"{v:.3f}" for v in (row.p_tcav, row.p_tgcav)]
        lines.append(
            f"| {row.concept} | {row.layer} | {row.tcav:.3f} ± {row.tcav_std:.3f} | {p[0]} "
            f"| {row.tgcav:.3f} ± {row.tgcav_std:.3f} | {p[1]} | {row.cav_accuracy:.3f} |"
        )
    note = (
        f"Class {result.target}, {result.examples} nodes: the share of them for which the concept speaks for the class "
        "(mean ± deviation over repeats; p of a t-test against random concepts). An accuracy near that of guessing "
        "means that the layer does not know the concept. The repeats of TGCAV share one alignment and one fusion, so "
        "that they are not independent and its p is too small."
    )
    if result.left_out:
        note += f" Left out, the class does not depend on them: {', '.join(result.left_out)}."
    return "\n".join(lines) + f"\n\n{note}\n"


def figure(result: Concepts):
    """Scores over the layers, a colour a concept: TCAV dashed, TGCAV solid."""
    layers = list(dict.fromkeys(result.table.layer))
    fig, axes = new_figure(2 + 0.8 * len(layers), 3.6)
    for i, (name, group) in enumerate(result.table.groupby("concept", sort=False)):
        colour = "0.6" if name == RANDOM else f"C{i}"
        for score, style in (("tcav", "--"), ("tgcav", "-")):
            axes.errorbar(
                range(len(layers)),
                group[score],
                group[f"{score}_std"],
                color=colour,
                ls=style,
                marker="o",
                ms=3,
                capsize=2,
                label=f"{name}, {score.upper()}",
            )
    axes.set_xticks(range(len(layers)), layers, rotation=30, ha="right")
    axes.set_ylim(-0.05, 1.05)
    axes.set_ylabel(f"speaks for class {result.target}")
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def write(folder: epath.Path, result: Concepts, about: Mapping[str, Any]) -> str:
    """All files of the result, which appear together; returns the tables in Markdown."""
    text = markdown(result)
    with replacing(folder) as temporary:
        write_bytes(temporary / "table.csv", result.table.to_csv(index=False).encode())
        write_bytes(temporary / "summary.csv", result.summary.to_csv(index=False).encode())
        write_bytes(temporary / "table.md", text.encode())
        write_json(temporary / "analyse.json", dict(about, target=result.target, examples=result.examples))
        save_figure(temporary / "figure.png", figure(result))
    return text


def main(argv):
    del argv
    use_cache()
    try:
        check_platform()
        store = Store(FLAGS.workdir)
        cell = restore(store, FLAGS.cell or None)
        place = place_of(cell, FLAGS.seed)
        options = {n: FLAGS[n].value for n in ("target", "repeats", "examples", "epochs", "steps", "fusion_epochs")}
        result = gcav(cell, place, FLAGS.concept, **options)
        folder = store.cell(cell.identity) / "analyse" / f"class-{result.target}".replace("/", "-")
        folder.parent.mkdir(exist_ok=True)
        print(write(folder, result, dict(options, concepts=FLAGS.concept, seed=cell.seeds[place])))
    except (ValueError, OSError, ImportError) as error:
        arguments.fail(error)
    print(f"written: {os.fspath(folder)}/table.csv, summary.csv, table.md, figure.png, analyse.json")


def define_flags():
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    flags.DEFINE_string("cell", "", "identity of a finished cell; the folder's only one if none is named")
    flags.DEFINE_list("concept", None, "rules: missing:<modality>, degree, label:<class>", required=True)
    flags.DEFINE_string("target", "", "the class, by name or number; the one with most nodes if none is named")
    flags.DEFINE_integer("seed", None, "which seed's model; the one with the best validation score if none is named")
    flags.DEFINE_integer("repeats", 10, "concept vectors a layer")
    flags.DEFINE_integer("examples", 100, "nodes of the class, and of a concept, at most", lower_bound=10)
    flags.DEFINE_integer("epochs", 30, "of the autoencoders", lower_bound=1)
    flags.DEFINE_integer("steps", 1000, "of the alignment", lower_bound=1)
    flags.DEFINE_integer("fusion_epochs", 30, "of the fusion", lower_bound=1)


if __name__ == "__main__":
    define_flags()
    arguments.run(main)
