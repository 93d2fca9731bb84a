"""One network from the seeds of a finished cell: plain average, ensemble and optimal transport, without retraining.

    python -m experiments.merge --workdir=results/one                      # the folder's only cell
    python -m experiments.merge --workdir=results/quickstart --cell=3f0c...
    python -m experiments.merge --workdir=... --cell=3f0c...,a91b...       # the seeds of two cells of one shape

Writes merge/table.csv, table.md, figure.png and merge.json into the (first) cell's folder. Everything is measured
on the rows that are test rows of every merged network; where networks had splits of their own, a test row of one
has trained another. There a merged predictor knows more labels than each network: the table says how many rows' labels
have trained or selected a predictor, and its note what that means. The anchor is the seed with the best validation
score. Merged networks are also finetuned for a few epochs on the anchor's training rows.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from absl import flags
from etils import epath
from flax import nnx

from fusion_jax import metrics, tasks, zoo
from fusion_jax.merging import base
from fusion_jax.merging.ot_fusion.rules import CHOICES
from fusion_jax.results.figures import new_figure, save_figure
from fusion_jax.results.recorded import scores
from fusion_jax.results.restore import Restored, only_cell, restore
from fusion_jax.results.store import Store, replacing, write_bytes, write_json
from fusion_jax.run.model import train_model
from fusion_jax.training.compilation import check_platform, own_settings, use_cache
from fusion_jax.training.prepare import prepare

from . import arguments

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Result:
    """What merging gave.

    Attributes:
        table: a row a predictor: name, kind ("network", "mean" or "merged"), passes (networks run for a
            prediction), labels (rows whose labels trained or selected it), and the metrics of the task.
        anchor: the network the others were brought to.
        rows: number of rows measured on.
        primary: the metric that ranks.
        note: what a reader has to know of those labels.
    """

    table: pd.DataFrame
    anchor: str
    rows: int
    primary: str
    note: str = ""


def finetune(cell: Restored, i: int, model, epochs: int, rate: float) -> np.ndarray:
    """Predictions [N, C] after training `model` on the i-th seed's rows, at `rate` times the cell's learning rate."""
    whole = cell.plan
    plan = dataclasses.replace(
        whole,
        training=dataclasses.replace(whole.training, epochs=epochs, patience=epochs, chunk=epochs),
        optimizer=dataclasses.replace(whole.optimizer, learning_rate=rate * whole.optimizer.learning_rate),
    )
    ready = prepare(plan.data, cell.data, (cell.seeds[i],), **plan.preparing)
    return train_model(plan, cell.data, ready, build=lambda key: nnx.clone(model)).prediction[0]


@own_settings()
def merge(
    cells: Sequence[Restored],
    mergings: Sequence[str] = ("ensemble", "average", "ot_fusion"),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    epochs: int = 50,
    rate: float = 1.0,
) -> Result:
    """Merges all seeds of the cells in every way named, and measures.

    Args:
        options: {merging: its options}.
        epochs: of finetuning; 0 for none.
        rate: factor of the cell's learning rate in finetuning.
    Raises:
        ValueError: one network only, networks of different shape, too few common test rows, a cell that a
            merging has no rule for.
    """
    parents, anchor = base.parents_of(cells)
    rows = base.unseen_rows(parents)
    target, options = cells[0].data.target, dict(options or {})
    if not tasks.of(target).probabilities:
        options["ensemble"] = {"probabilities": False, **options.get("ensemble", {})}
    own_labels = [np.union1d(p.split.train, p.split.val) for p in parents]
    labels = len(functools.reduce(np.union1d, own_labels))
    networks = [(p.name, 1, len(known), p.prediction) for p, known in zip(parents, own_labels, strict=True)]
    merged = []
    for name in mergings:
        done = zoo.get("merging", name)(parents, anchor, **_checked(name, options.get(name, {})))
        merged.append((name, 1 if done.model is not None else len(parents), labels, done.prediction))
        if done.model is not None and epochs:
            cell, i = [(c, i) for c in cells for i in range(len(c.seeds))][anchor]
            merged.append((f"{name}, finetuned", 1, labels, finetune(cell, i, done.model, epochs, rate)))
    lines = [
        dict(name=name, kind=kind, passes=passes, labels=known, **scores(prediction, target, rows))
        for kind, group in (("network", networks), ("merged", merged))
        for name, passes, known, prediction in group
    ]
    table = pd.DataFrame(lines)
    numbers = [c for c in table.columns if c not in ("name", "kind", "passes")]
    own = table[table.kind == "network"]
    mean = pd.DataFrame([dict(name="mean of the networks", kind="mean", passes=1, **own[numbers].mean())])
    table = pd.concat([own, mean, table[table.kind == "merged"]], ignore_index=True)
    note = label_note([len(known) for known in own_labels], labels, any(c.plan.protocol == "paper" for c in cells))
    return Result(table, parents[anchor].name, len(rows), cells[0].primary, note)


def label_note(own: Sequence[int], together: int, selected_on_test: bool) -> str:
    """What the labels behind a merged predictor mean for its comparison with networks.

    Args:
        own: rows whose labels trained or selected each network; together: of all of them.
        selected_on_test: whether some network's epoch was (protocol `paper`).
    """
    if together > max(own):
        least = f"{min(own)}" if min(own) == max(own) else f"{min(own)} to {max(own)}"
        note = (
            f"A merged predictor has learned from the splits of all networks: from the labels of {together} rows, a "
            f"network from {least}. What it gains may be what those labels are worth."
        )
    else:
        note = f"All networks share one split: no merged predictor knows more labels ({together} rows) than they do."
    if selected_on_test:
        note += " Epochs and anchor were selected on test rows (protocol paper), these among them: the figures flatter."
    return note


def _checked(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    zoo.check_options("merging", name, dict(options))
    return dict(options)


def markdown(result: Result) -> str:
    """The table with the metrics that a report shows."""
    shown = metrics.shown(result.table.columns, "main")
    head = ["predictor", *shown, "passes", "labels"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for _, row in result.table.iterrows():
        name = f"{row['name']} (anchor)" if row["name"] == result.anchor else row["name"]
        cells = [name, *(f"{row[m]:.3f}" for m in shown), str(row.passes), f"{row.labels:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    note = f"On the {result.rows} rows that are test rows of every network. Anchor: the best by validation."
    return "\n".join(lines) + f"\n\n{note} {result.note}\n"


def figure(result: Result):
    """The networks as small dots on their mean's line, every merged predictor below it."""
    table, metric = result.table, result.primary
    merged = table[table.kind == "merged"]
    fig, axes = new_figure(6, 1.2 + 0.35 * (len(merged) + 1))
    own = table[table.kind == "network"][metric]
    axes.scatter(own, np.zeros(len(own)), s=18, color="0.6", label="networks")
    axes.axvline(own.mean(), color="0.7", lw=1, label="their mean")
    axes.scatter(merged[metric], np.arange(1, len(merged) + 1), s=36, color="C0")
    axes.set_yticks(range(len(merged) + 1), ["networks", *merged.name])
    axes.invert_yaxis()
    axes.set_xlabel(f"{metric} on {result.rows} test rows")
    return fig


def write(folder: epath.Path, result: Result, about: Mapping[str, Any]) -> str:
    """All files of the result, which appear together; returns the table in Markdown."""
    text = markdown(result)
    with replacing(folder) as temporary:
        write_bytes(temporary / "table.csv", result.table.to_csv(index=False).encode())
        write_bytes(temporary / "table.md", text.encode())
        write_json(temporary / "merge.json", dict(about, anchor=result.anchor, rows=result.rows, note=result.note))
        save_figure(temporary / "figure.png", figure(result))
    return text


def main(argv):
    del argv
    use_cache()
    rules = {n: FLAGS[n].value for n in (*CHOICES, "reg")}
    try:
        check_platform()
        store = Store(FLAGS.workdir)
        identities = FLAGS.cell or [only_cell(store)]
        cells = [restore(store, i) for i in identities]
        result = merge(cells, FLAGS.merging, dict(ot_fusion=rules), epochs=FLAGS.epochs, rate=FLAGS.rate)
        folder = store.cell(identities[0]) / "-".join(["merge", *identities[1:]])
        about = dict(cells=identities, mergings=FLAGS.merging, epochs=FLAGS.epochs, rate=FLAGS.rate, ot_fusion=rules)
        print(write(folder, result, about))
    except (ValueError, OSError, ImportError) as error:
        arguments.fail(error)
    print(f"written: {os.fspath(folder)}/table.csv, table.md, figure.png, merge.json")


def define_flags():
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    flags.DEFINE_list("cell", [], "identities of finished cells; the folder's only one if none is named")
    flags.DEFINE_list("merging", ["ensemble", "average", "ot_fusion"], "files of fusion_jax/merging")
    flags.DEFINE_integer("epochs", 50, "of finetuning a merged network; 0 for none", lower_bound=0)
    flags.DEFINE_float("rate", 1.0, "finetuning's factor of the cell's learning rate", lower_bound=0)
    defaults = zoo.options("merging", "ot_fusion")
    for name, allowed in CHOICES.items():
        flags.DEFINE_enum(name, defaults[name], allowed, f"ot_fusion's {name}")
    flags.DEFINE_float("reg", defaults["reg"], "ot_fusion's entropic weight; its default depends on the cost")


if __name__ == "__main__":
    define_flags()
    arguments.run(main)
