"""Learning curves: the mean over seeds with a band of one standard deviation, of the best rows and the baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_jax import metrics
from fusion_jax.results.figures import elided, marks_every, new_figure, style, wrapped
from fusion_jax.results.rendering.table import Table, mean, name
from fusion_jax.results.store import Store
from fusion_jax.results.tables import Row

SHOWN = 6  # rows of a panel
PANELS = (("train_loss", "training loss"), ("val_score", "validation score, as it selects"))


def figure(store: Store, made: Sequence[Table]):
    """For each data set the loss and the validation score along the epochs; None where no history is stored."""
    groups = [(table, rows) for table in made if (rows := shown(store, table))]
    if not groups:
        return None
    fig, axes = new_figure(10.5, 3.1 * len(groups), len(groups), 2)
    for pair, (table, rows) in zip(axes, groups, strict=True):
        for ax, (column, label) in zip(pair, PANELS, strict=True):
            for i, row in enumerate(rows):
                _draw(ax, *curve(store, row, column), i, name(row))
            ax.set_xlabel("epoch", fontsize="small")
            ax.set_ylabel(label, fontsize="small")
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


def curve(store: Store, row: Row, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs that half of the seeds reach, the mean over those that do, their sample deviation (0 of one).

    Where most have stopped, a mean would be of the few whose validation goes on rising.
    """
    table = store.table(row.cell, "history").dropna(subset=[column])
    by_epoch = table[table.seed.isin(row.seeds)].groupby("epoch")[column]
    often = (by_epoch.count() >= len(row.seeds) / 2).to_numpy()
    values, spread = by_epoch.mean()[often], by_epoch.std(ddof=1).fillna(0)[often]
    return values.index.to_numpy(), values.to_numpy(), spread.to_numpy()


def _draw(ax, epochs: np.ndarray, values: np.ndarray, spread: np.ndarray, i: int, label: str) -> None:
    how = style(i)
    ax.plot(epochs, values, label=wrapped(elided(label, 60), 36), markevery=marks_every(len(epochs)), **how)
    ax.fill_between(epochs, values - spread, values + spread, color=how["color"], alpha=0.15, lw=0)
