"""Curves of a score against what is taken away or disturbed, a panel a kind of level."""

from __future__ import annotations

import pandas as pd

from fusion_jax import metrics
from fusion_jax.results.figures import new_figure

STYLES = ("-", "--", "-.", ":")
MARKERS = "os^Dv*Px"


def curves(table: pd.DataFrame, metric: str):
    """A line a curve with its interval: mechanisms, single modalities, noise in features, noise in edges."""
    noise = table.mechanism.str.endswith(" noise")
    features = table.mechanism == "feature noise"
    panels = {
        "missing rate": table[~noise & (table.modality == "")],
        "missing rate of one modality": table[~noise & (table.modality != "")],
        "noise, standard deviations": table[features],
        "share of edges led astray": table[noise & ~features],
    }
    shown = {label: own for label, own in panels.items() if len(own)}
    fig, axes = new_figure(3.2 * len(shown), 3.2, 1, len(shown))
    low, high = table.value.min(), table.value.max()
    room = max(0.3 * (high - low), 0.02)  # bands of few seeds would leave the curves no height
    for ax, (label, own) in zip(axes[0], shown.items(), strict=True):
        for k, ((mechanism, modality), line) in enumerate(own.groupby(["mechanism", "modality"], sort=False)):
            style = dict(color=f"C{k}", ls=STYLES[k % len(STYLES)], marker=MARKERS[k % len(MARKERS)], ms=4)
            ax.plot(line.level, line.value, label=modality or mechanism, **style)
            ax.fill_between(line.level, line.low, line.high, color=f"C{k}", alpha=0.12, lw=0)
        ax.set_xlabel(label)
        ax.set_ylim(low - room, high + room)
        ax.legend(fontsize="x-small")
    axes[0][0].set_ylabel(metrics.heading(metric))
    return fig
