"""Merging: one network from the seeds of finished cells. One mechanism a file; `merge` runs any, and measures.

Everything is measured on the rows that are test rows of every merged network. Where networks had splits of their own, a
test row of one has trained another, and a merged predictor knows more labels than each network: the table says how many
rows' labels have trained or selected a predictor, and the note what that means. The anchor is the seed with the best
validation score. Merged networks are also finetuned for a few epochs on the anchor's training rows.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from etils import epath
from flax import nnx

from fusion_jax import metrics, zoo
from fusion_jax.merging import base
from fusion_jax.model import Model
from fusion_jax.results import answers
from fusion_jax.results.answers import Report
from fusion_jax.results.figures import new_figure
from fusion_jax.results.recorded import scores
from fusion_jax.results.restore import Restored, restore
from fusion_jax.results.store import Store
from fusion_jax.run.model import train_model
from fusion_jax.training.compilation import own_settings
from fusion_jax.training.prepare import prepare

__all__ = ["MERGINGS", "merge", "merge_stored"]

MERGINGS = ("ensemble", "average", "ot_fusion")
Options = Mapping[str, Mapping[str, Any]]  # {merging: its options}


def merge_stored(
    store: Store,
    cells: Sequence[str] = (),
    mergings: Sequence[str] = MERGINGS,
    options: Options | None = None,
    *,
    epochs: int = 50,
    rate: float = 1.0,
) -> tuple[Report, epath.Path]:
    """`merge` of stored cells, and the folder it is written to: `merge` in the first one's (`merge-<others>`).

    The folder holds table.csv, table.md, figure.png and merge.json.

    Args:
        cells: identities; the store's only finished cell if none is named.
    Raises:
        ImportError: matplotlib or what a merging needs is not installed. ValueError: as `merge`, or no such cell.
    """
    restored = [restore(store, identity) for identity in cells or [None]]
    first, *others = (cell.identity for cell in restored)
    report = merge(restored, mergings, options, epochs=epochs, rate=rate)
    folder = store.cell(first) / "-".join(["merge", *others])
    about = dict(cells=[first, *others], mergings=mergings, options=options or {}, epochs=epochs, rate=rate)
    answers.write(folder, report, about, "table.md", "merge.json")
    return report, folder


@own_settings()
def merge(
    cells: Sequence[Restored],
    mergings: Sequence[str] = MERGINGS,
    options: Options | None = None,
    *,
    epochs: int = 50,
    rate: float = 1.0,
) -> Report:
    """Merges all seeds of the cells in every way named, and measures.

    The report's table has a row a predictor: name, kind ("network", "mean" or "merged"), passes (networks run for a
    prediction), labels (rows whose labels trained or selected it), and the metrics of the task. Facts: anchor (the
    network that the others were brought to) and rows (how many were measured on).

    Args:
        epochs: of finetuning; 0 for none.
        rate: factor of the cell's learning rate in finetuning.
    Raises:
        ValueError: an unknown merging or option, one network only, networks of different shape, too few common test
            rows, a cell that a merging has no rule for.
    """
    options = dict(options or {})
    for name in (*mergings, *options):
        zoo.check_options("merging", name, dict(options.get(name, {})))
    parents, anchor = base.parents_of(cells)
    rows = base.common_test_rows(parents)
    own_labels = [np.union1d(p.split.train, p.split.val) for p in parents]
    together = len(functools.reduce(np.union1d, own_labels))
    networks = [(p.name, 1, len(known), p.prediction) for p, known in zip(parents, own_labels, strict=True)]
    merged = []
    for name in mergings:
        done, shown = zoo.get("merging", name)(parents, anchor, **options.get(name, {})), zoo.short(name)
        merged.append((shown, 1 if done.model is not None else len(parents), together, done.prediction))
        if done.model is not None and epochs:
            cell, i = [(c, i) for c in cells for i in range(len(c.seeds))][anchor]
            merged.append((f"{shown}, finetuned", 1, together, _finetuned(cell, i, done.model, epochs, rate)))
    lines = [
        dict(name=name, kind=kind, passes=passes, labels=known, **measured(cells[0], prediction, rows))
        for kind, group in (("network", networks), ("merged", merged))
        for name, passes, known, prediction in group
    ]
    table = pd.DataFrame(lines)
    numbers = [c for c in table.columns if c not in ("name", "kind", "passes")]
    own = table[table.kind == "network"]
    mean = pd.DataFrame([dict(name="mean of the networks", kind="mean", passes=1, **own[numbers].mean())])
    table = pd.concat([own, mean, table[table.kind == "merged"]], ignore_index=True)
    labels = label_note(list(map(len, own_labels)), together, any(c.plan.protocol == "paper" for c in cells))
    note = (
        f"{labels} Measured on the {len(rows)} rows that are test rows of every network; {parents[anchor].name} "
        f"(anchor) is the best by validation."
    )
    return Report(
        tables={"table": table},
        sentence=_sentence(table, cells[0].primary, len(rows)),
        figures={"figure": functools.partial(_figure, table, cells[0].primary, len(rows))},
        note=note,
        facts=dict(anchor=parents[anchor].name, rows=len(rows)),
    )


def measured(cell: Restored, prediction: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """{metric: value} of the cell's task, of predictions [N, C] on some rows."""
    return scores(prediction, cell.data.target, rows)


def _finetuned(cell: Restored, i: int, model: Model, epochs: int, rate: float) -> np.ndarray:
    """Predictions [N, C] after training `model` on the i-th seed's rows, at `rate` times the cell's learning rate."""
    plan = dataclasses.replace(
        cell.plan,
        training=dataclasses.replace(cell.plan.training, epochs=epochs, patience=epochs, chunk=epochs),
        optimizer=dataclasses.replace(cell.plan.optimizer, learning_rate=rate * cell.plan.optimizer.learning_rate),
    )
    prepared = prepare(plan.data, cell.data, (cell.seeds[i],), **plan.preparing)
    return train_model(plan, cell.data, prepared, build=lambda key: nnx.clone(model)).prediction[0]


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


def _sentence(table: pd.DataFrame, metric: str, rows: int) -> str:
    """The merged predictor with the best score, beside the mean of the networks."""
    networks, merged = table[table.kind == "network"], table[table.kind == "merged"]
    best = merged.loc[(metrics.sign(metric) * merged[metric]).idxmax()]
    passes = "one pass" if best.passes == 1 else f"{best.passes} passes"
    return (
        f"The best predictor merged from {len(networks)} networks is {best['name']!r} ({passes}): {metric} "
        f"{best[metric]:.3f} on {rows} test rows, where the networks have {networks[metric].mean():.3f} on average."
    )


def _figure(table: pd.DataFrame, metric: str, rows: int):
    """The networks as small dots on their mean's line, every merged predictor below it."""
    merged = table[table.kind == "merged"]
    fig, axes = new_figure(6, 1.2 + 0.35 * (len(merged) + 1))
    own = table[table.kind == "network"][metric]
    axes.scatter(own, np.zeros(len(own)), s=18, color="0.6", label="networks")
    axes.axvline(own.mean(), color="0.7", lw=1, label="their mean")
    axes.scatter(merged[metric], np.arange(1, len(merged) + 1), s=36, color="C0")
    axes.set_yticks(range(len(merged) + 1), ["networks", *merged.name])
    axes.invert_yaxis()
    axes.set_xlabel(f"{metric} on {rows} test rows")
    return fig
