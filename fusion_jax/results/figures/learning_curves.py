"""Learning curves: the mean over seeds with a band of one standard deviation, of the best rows and the baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_jax import metrics, tasks
from fusion_jax.results.figures import elided, marks_every, new_figure, style, wrapped
from fusion_jax.results.rendering.table import Table, mean, name
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from fusion_jax.tasks.base import Task

SHOWN = 6  # rows of a panel
PANELS = ("train_loss", "val_score")


def figure(store: Store, made: Sequence[Table]):
    """For each data set the loss and the validation score along the epochs; None where no history is stored."""
    groups = [(table, rows) for table in made if (rows := shown(store, table))]
    if not groups:
        return None
    fig, axes = new_figure(10.5, 3.1 * len(groups), len(groups), 2)
    for pair, (table, rows) in zip(axes, groups, strict=True):
        for ax, column in zip(pair, PANELS, strict=True):
            told = Told(store, rows) if column == "val_score" else None
            for i, row in enumerate(rows):
                _draw(ax, *curve(store, row, column, told), i, name(row))
            ax.set_xlabel("epoch", fontsize="small")
            ax.set_ylabel(f"validation {told.what}" if told else "training loss", fontsize="small")
            ax.tick_params(labelsize="small")
            ax.spines[["top", "right"]].set_visible(False)
        pair[0].set_title(elided(table.rows[0].data, 60), fontsize="small", loc="left")
        pair[1].legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def shown(store: Store, table: Table) -> list[Row]:
    """The rows with a history: the best by the metric that ranks, and the baseline, at most `SHOWN` in all."""
    scored = [row for row in table.rows if row.cell and np.isfinite(mean(row, table.lead))]
    able = [row for row in scored if store.has(row.cell, "history.parquet")]
    ranked = sorted(able, key=lambda row: -metrics.sign(table.lead) * mean(row, table.lead))
    bases = [r for r in able if any(r is c.b for c in table.compared.get(table.lead, {}).values())][:1]
    best = [row for row in ranked if not any(row is b for b in bases)][: SHOWN - len(bases)]
    return [row for row in able if any(row is r for r in [*bases, *best])]


class Told:
    """Selection scores as their task tells them: of classes the share of right rows, which are what is counted.

    Where rows of one panel select by different things, or the number of their validation rows is not stored, scores
    stay as they are.

    Attributes:
        what: the scores are, "accuracy" or "loss"; "score, as it selects" of those that stay as they are.
    """

    def __init__(self, store: Store, rows: Sequence[Row]):
        selects = {store.config(row.cell)["training"]["select"] for row in rows}
        known = {"score": tasks.of(rows[0].task), "loss": Task()}
        self.task = known.get(selects.pop()) if len(selects) == 1 else None
        self.rows = {row.cell: _looked_at(store, row) for row in rows}
        if any(set(row.seeds) - self.rows[row.cell].keys() for row in rows):
            self.task = None
        self.what = self.task.validation(0.0, 1)[0] if self.task else "score, as it selects"

    def __call__(self, row: Row, seeds: np.ndarray, scores: np.ndarray) -> np.ndarray:
        if self.task is None:
            return scores
        own = self.rows[row.cell]
        return np.array([self.task.validation(float(v), own[s])[1] for s, v in zip(seeds, scores, strict=True)])


def _looked_at(store: Store, row: Row) -> dict[int, int]:
    """{seed: by how many rows its epochs are selected}: under protocol `paper` test rows; {} where none are stored."""
    if not store.has(row.cell, "predictions.parquet"):
        return {}
    part = "test" if row.protocol == "paper" else "val"
    found = (columns["seed"][columns["part"] == part] for columns in store.columns(row.cell, "predictions"))
    return {int(seed): int(n) for own in found for seed, n in zip(*np.unique(own, return_counts=True), strict=True)}


def curve(store: Store, row: Row, column: str, told: Told | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs that half of the seeds reach, the mean over those that do, their sample deviation (0 of one).

    Where most have stopped, a mean would be of the few whose validation goes on rising.

    Args:
        told: how values are told; None for as they are.
    """
    table = store.table(row.cell, "history").dropna(subset=[column])
    table = table[table.seed.isin(row.seeds)]
    if told is not None:
        table = table.assign(**{column: told(row, table.seed.to_numpy(), table[column].to_numpy())})
    by_epoch = table.groupby("epoch")[column]
    often = (by_epoch.count() >= len(row.seeds) / 2).to_numpy()
    values, spread = by_epoch.mean()[often], by_epoch.std(ddof=1).fillna(0)[often]
    return values.index.to_numpy(), values.to_numpy(), spread.to_numpy()


def _draw(ax, epochs: np.ndarray, values: np.ndarray, spread: np.ndarray, i: int, label: str) -> None:
    how = style(i)
    ax.plot(epochs, values, label=wrapped(elided(label, 60), 36), markevery=marks_every(len(epochs)), **how)
    ax.fill_between(epochs, values - spread, values + spread, color=how["color"], alpha=0.15, lw=0)
