"""The contract of an analysis: a finished cell or a finished study -> a `Report`: tables, figures, one sentence.

An analysis is a function in the file of its name, which says what it is of:

    OF = "cell"     name(cell, place, *, <options>) -> Report; `cell` is a `results.restore.Restored`, `place` the
                    position of one of its seeds
    OF = "study"    name(store, *, <options>) -> Report; `store` is the study's `results.store.Store`

    SEEDS = "all"       optional, of a cell: all seeds are looked at, `place` is not, and naming a seed is an error

    CHECKED_WITH = {"model.fusion.name": "visor"}    optional: keys of a cell it looks at, if it is not for every cell;
                                                     of an analysis of a study a tuple of them, a cell each

Every option is a keyword with a default. An analysis trains nothing of what it reads, changes none of its files, and
gives the same tables when it is asked again. What it cannot look at it refuses by name (ValueError).
`fusion_jax.analysis.analyse` asks one and writes what it finds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fusion_jax.records import Attention, Output
from fusion_jax.results import paired
from fusion_jax.results.answers import Report
from fusion_jax.results.restore import Restored

__all__ = ["SUBJECTS", "Report", "Shown", "among_modalities", "over_seeds", "told_by_edges"]

SUBJECTS = ("cell", "study")
LAYERS = ("layer", "block")  # axes of an attention that count what runs one after another


class Shown(NamedTuple):
    """An attention of a fusion among the modalities of a node, in float64."""

    name: str
    weights: np.ndarray  # [N, L, H, M, M], query x key
    tokens: np.ndarray  # bool [N, M], those that are there


def over_seeds(each: np.ndarray) -> dict[str, float]:
    """value, low and high of numbers [S], one a seed: their mean and its 95 % interval of Student's t; NaN for the ends
    where one seed tells nothing of others. Equal numbers have an interval of no width."""
    found = paired.estimate(np.asarray(each, np.float64))
    same = len(each) > 1 and np.isnan(found.error)
    low, high = (found.mean, found.mean) if same else found.interval()
    return dict(value=found.mean, low=low, high=high)


def told_by_edges(cell: Restored) -> str:
    """A sentence for a note where taking a modality away does not take away what the edges tell of it; else ""."""
    part = cell.plan.data
    names = dict.fromkeys((part.graph or cell.data.default_graph, *part.views, *part.test_views))
    if not (made := [name for name in names if name in cell.data.made]):
        return ""
    return (
        f" Edges made from features ({', '.join(made)}) stay as they are: what they tell of a modality is the graph's."
    )


def among_modalities(cell: Restored, place: int, asker: str) -> list[Shown]:
    """The attentions among modalities of one seed's fusions in evaluation, in the order in which they run.

    Raises:
        ValueError: there is none; in the name of the analysis that asks, with what is shown instead.
    """
    output = cell.output(place)
    found = [a for a in output.attention if a.name.startswith("fusion") and _is_among_modalities(a)]
    if not found:
        shown = ", ".join(f"{a.name!r} ({' x '.join(a.axes)})" for a in output.attention) or "none"
        raise ValueError(
            f"{asker} looks at attentions of modalities among each other; fusion {cell.plan.model.fusion.name!r} of "
            f"this cell shows none: {shown} (self_attention and deconstructing_attention have some)"
        )
    return [_shown(a, output) for a in found]


def _is_among_modalities(attention: Attention) -> bool:
    ends = attention.axes[0], *attention.axes[-2:]
    return attention.normalised and attention.queries == "modality" and ends == ("node", "modality", "modality")


def _shown(attention: Attention, output: Output) -> Shown:
    weights, axes = np.asarray(attention.weights, np.float64), attention.axes
    tokens = np.asarray(output.present)
    if attention.valid is not None:
        tokens = np.broadcast_to(attention.valid, weights.shape).any(tuple(range(1, len(axes) - 1)))
    layer = next((axes.index(name) for name in LAYERS if name in axes), None)
    weights = weights[:, None] if layer is None else np.moveaxis(weights, layer, 1)
    n, layers, *_, m = weights.shape
    return Shown(attention.name, weights.reshape(n, layers, -1, m, m), tokens)
