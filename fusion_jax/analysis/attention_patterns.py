"""Indicators of the attentions that a finished cell shows: how concentrated, how diverse, where they look.

Reference: Xue, Moosavi and Aletras, "Deconstructing Attention", 2025 (arXiv 2510.11602), section 4.4; golden
`deconstructing-attention/variants` ("ind"), computed independently from the equations.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import pandas as pd

from fusion_jax.analysis.base import Report
from fusion_jax.mixers.base import PAPER
from fusion_jax.records import Attention, Info
from fusion_jax.results.figures import new_figure
from fusion_jax.results.restore import Restored
from fusion_jax.training.compilation import own_settings

INFO = Info(PAPER, 2025, golden="deconstructing-attention", cost="O(N L H Q K)")
OF = "cell"
CHECKED_WITH = {"model.fusion.name": "node_token", "model.fusion.options": dict(blocks=2, heads=2)}
DISTANCES = 4  # of the local focus, from 0 on
NOTE = (
    "All are means over the nodes of the batch that have something to look at, of one seed. Layers and heads count "
    "from 0 (`model.mixer.layers` counts attentions from 1). Where a row is one query (a token that reads the "
    "modalities) no query is at a distance from a key, and there is no local focus. In the paper's figures entropy, "
    "concentration and diversity are scaled to [0, 1] and local focus is doubled; here all are as defined. Diversity "
    "is over the heads of a layer, the standard deviation that of a population."
)


class Indicators(NamedTuple):
    """What is said of matrices A [..., H, Q, K]."""

    entropy: np.ndarray  # [..., H], -sum a log a over the whole matrix
    concentration: np.ndarray  # [..., H], the Frobenius norm
    head_diversity: np.ndarray  # [...], the mean over entries of the standard deviation over heads
    sink: np.ndarray  # [..., H], the mean over queries of the weight of the first key
    local_focus: np.ndarray  # [..., H, DISTANCES], the mean weight at distance n = t - l; NaN where there is none


def indicators(a: np.ndarray, *, causal: bool = False) -> Indicators:
    """The indicators of matrices [..., H, Q, K].

    Args:
        causal: a query sees keys up to its own place: entries are those of the lower triangle, Q = K, as in the paper
            (2 / (L (L + 1)) times a sum over it). Else (ours) all entries count, and distance is |t - l|.
    Raises:
        ValueError: causal, and the matrices are not square.
    """
    a = np.asarray(a)
    queries, keys = a.shape[-2:]
    if causal and queries != keys:
        raise ValueError(f"attention_patterns: a causal attention of {queries} queries and {keys} keys; expected equal")
    entropy = -np.where(a > 0, a * np.log(np.where(a > 0, a, 1)), 0).sum((-2, -1))
    spread = a.std(axis=-3)
    asks, asked = np.arange(queries)[:, None], np.arange(keys)
    entries = (asked <= asks) if causal else np.ones((queries, keys), bool)
    apart = asks - asked if causal else abs(asks - asked)
    focus = []
    for n in range(DISTANCES):
        at = apart == n
        there = queries == keys and at.any()
        focus.append(a[..., at].mean(-1) if there else np.full(a.shape[:-2], np.nan, a.dtype))
    return Indicators(
        entropy, np.sqrt((a**2).sum((-2, -1))), spread[..., entries].mean(-1), a[..., 0].mean(-1), np.stack(focus, -1)
    )


@own_settings()
def attention_patterns(cell: Restored, place: int) -> Report:
    """Indicators of every attention over tokens that one seed of a cell shows, one row for each layer and head.

    The table "patterns" has the columns attention, layer (what other axes count, 0 where there is none), head, queries,
    keys, entropy, concentration, uniform_entropy (what the entropy would be if all weights of what a node has were
    equal), head_diversity (of the layer, alike in its heads), sink and local_focus_0 ... 3. For
    a model in which nothing is mixed by position (modalities have no order) sink and local focus are of the order in
    which the data set names its modalities.

    Args:
        place: which stored seed.
    Raises:
        ValueError: the cell shows no attention over tokens.
    """
    output = cell.output(place)
    found = [row for attention in output.attention for row in _rows(attention)]
    if not found:
        shown = ", ".join(sorted(a.name for a in output.attention)) or "none"
        raise ValueError(
            f"attention_patterns: fusion {cell.plan.model.fusion.name!r} of this cell shows no attention over tokens; "
            f"it shows: {shown}"
        )
    table = pd.DataFrame(found)
    return Report({"patterns": table}, _sentence(table), {"patterns": functools.partial(_figure, table)}, note=NOTE)


def _rows(attention: Attention) -> list[dict]:
    """The rows of one attention; none of what is along edges, or of one number a node."""
    axes, weights = list(attention.axes), np.asarray(attention.weights, np.float64)
    if "node" not in axes or axes[0] != "node" or "edge" in axes or len(axes) < 2 or axes[-1] != attention.keys:
        return []
    single = attention.queries == "node" or axes[-2] != attention.queries
    if single:  # one query a node
        weights, axes = weights[..., None, :], [*axes[:-1], "query", axes[-1]]
    heads = "head" in axes[1:-2]
    if heads:
        weights = np.moveaxis(weights, axes.index("head"), -3)
    else:
        weights = weights[..., None, :, :]
    n, (h, q, k) = len(weights), weights.shape[-3:]
    layers = weights.reshape(n, -1, h, q, k)
    there = layers.sum((-2, -1)).min((1, 2)) > 0
    if not there.any():
        return []
    said = indicators(layers[there])
    means = Indicators(*(value.mean(0) for value in said))
    uniform = float(_of_uniform(layers[there]).mean())
    rows = []
    for layer in range(layers.shape[1]):
        for head in range(h):
            row = dict(attention=attention.name, layer=layer, head=head, queries=q, keys=k)
            row |= {name: float(getattr(means, name)[layer, head]) for name in ("entropy", "concentration")}
            row |= dict(uniform_entropy=uniform)
            row |= dict(head_diversity=float(means.head_diversity[layer]), sink=float(means.sink[layer, head]))
            focus = means.local_focus[layer, head]
            rows.append(row | {f"local_focus_{i}": float(focus[i]) for i in range(DISTANCES)})
    return rows


def _of_uniform(layers: np.ndarray) -> np.ndarray:
    """[N], the entropy of uniform weights: ln of the keys that a node has, once a query that it has.

    What a node lacks has no weight in any head of any layer, [N, L, H, Q, K].
    """
    keys, queries = (layers.sum(axes) > 0 for axes in ((1, 2, 3), (1, 2, 4)))
    return queries.sum(1) * np.log(np.maximum(keys.sum(1), 1))


def _sentence(table: pd.DataFrame) -> str:
    least = table.loc[table.entropy.idxmin()]
    return (
        f"Of {len(table)} heads the most concentrated is head {least['head']} of layer {least['layer']} of "
        f"{least['attention']!r}: the entropies of its queries sum to {least.entropy:.3f} "
        f"({least.uniform_entropy:.3f} if all weights were equal)."
    )


def _figure(table: pd.DataFrame):
    """Entropy of every head, as a share of that of uniform weights."""
    fig, ax = new_figure(5, 3.5)
    share = table.entropy / np.maximum(table.uniform_entropy, 1e-12)
    ax.bar(np.arange(len(table)), share, color="C0")
    ax.set_xticks(np.arange(len(table)), [f"{r.layer}.{r.head}" for r in table.itertuples()], fontsize="small")
    ax.set_xlabel("layer.head")
    ax.set_ylabel("entropy / entropy of uniform weights")
    return fig
