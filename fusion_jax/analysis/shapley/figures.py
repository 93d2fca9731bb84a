"""Shapley values as bars, interactions as a square of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fusion_jax import metrics
from fusion_jax.results.figures import new_figure


def values(table: pd.DataFrame, metric: str):
    """A bar a player with its interval, of the metric."""
    own = table[(table.of == metric) & ~table.player.isin(["nothing", "everything"])]
    fig, ax = new_figure(4.5, 0.6 + 0.4 * len(own))
    reach = np.nan_to_num(np.stack([own.value - own.low, own.high - own.value]))
    ax.barh(own.player, own.value, xerr=reach, color="C0", capsize=3)
    ax.axvline(0, color="black", lw=0.8)
    ax.invert_yaxis()
    ax.set_xlabel(f"Shapley value, {metrics.heading(metric)}")
    return fig


def interactions(table: pd.DataFrame, metric: str, players: Sequence[str]):
    """The interaction index of every pair, of the metric."""
    own, square = table[table.of == metric], np.full((len(players), len(players)), np.nan)
    for line in own.itertuples():
        i, j = players.index(line.player), players.index(line.other)
        square[i, j] = square[j, i] = line.value
    size = 1.5 + 0.6 * len(players)
    fig, ax = new_figure(size + 0.8, size)
    most = np.nanmax(np.abs(square)) or 1.0
    image = ax.imshow(square, cmap="RdBu", vmin=-most, vmax=most)
    for i, j in zip(*np.nonzero(~np.isnan(square)), strict=True):
        strong = abs(square[i, j]) > 0.6 * most
        ax.text(
            j, i, f"{square[i, j]:+.2f}", ha="center", va="center", color="white" if strong else "black", fontsize=8
        )
    ax.set_xticks(range(len(players)), players, rotation=45, ha="right")
    ax.set_yticks(range(len(players)), players)
    fig.colorbar(image, ax=ax, label=f"interaction, {metrics.heading(metric)}")
    return fig
