"""What the graphs of many nodes and heads say together: tables, sentence and figure of `causal_attention`."""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fusion_jax.analysis.base import Report
from fusion_jax.analysis.causal_attention.explanation import Set, proposals
from fusion_jax.analysis.causal_attention.pag import MARKS, PAG
from fusion_jax.results.figures import new_figure

ALL = "all"
NOTE = (
    "There is a graph a node and head, of the attention among the modalities that are there; shares are of the graphs "
    "in which both modalities are. A row of table marks tells the mark at `to` of the edge from-to: an arrow says that "
    "`to` does not cause `from`, a tail that it does, a circle that both may be. Tests take alpha={alpha:g} and "
    "{samples} samples. No token of these models is the target (ours): a graph proposes every modality by itself, and "
    "with the sets around it. An explanation masks modalities of one node and leaves it one at least; other nodes keep "
    "theirs. All is of one seed's model, and describes its attention, not the data."
)
SINGULAR = " Graphs left out, as rows of their attention are copies of each other: {singular}."


class Found(NamedTuple):
    """The graph of one node and head."""

    tokens: np.ndarray  # int, the modalities that are there: what the graph's variables are
    r: np.ndarray  # their correlations
    graph: PAG


Graphs = list[list[Found | None]]  # of every node those of its heads, None where there is none


class Explained(NamedTuple):
    """What explains the class of one node.

    Attributes:
        smallest: the smallest sets whose masking flips it, () where none does.
        found: of every head, whether its graph proposes one of that size that flips it.
        tried: sets that the heads propose up to the one of that size that flips it; NaN where they propose none.
        exhaustive: all sets up to the first that flips it, the smallest first; NaN where none does.
        ranked: whether that many modalities of most attention flip it.
    """

    smallest: tuple[Set, ...]
    found: tuple[bool, ...]
    tried: float
    exhaustive: float
    ranked: bool


def explained(received: np.ndarray, flips: dict[Set, bool], graphs: list[Found | None]) -> Explained:
    """Of one node: the attention that modalities receive [M], what flips its class, and the graphs of its heads."""
    size = min((len(s) for s, flipped in flips.items() if flipped), default=0)
    if not size:
        return Explained((), (False,) * len(graphs), np.nan, np.nan, False)
    smallest = tuple(s for s, flipped in flips.items() if flipped and len(s) == size)
    each = [_proposed(one, flips, size) for one in graphs]
    union = list(dict.fromkeys(itertools.chain.from_iterable(each)))
    order = sorted(union, key=len)
    tried = next((i + 1 for i, s in enumerate(order) if s in smallest), np.nan)
    exhaustive = next(i + 1 for i, s in enumerate(flips) if s in smallest)
    own = sorted({m for s in flips for m in s}, key=lambda m: -received[m])
    found = tuple(any(s in smallest for s in sets) for sets in each)
    return Explained(smallest, found, tried, exhaustive, flips[tuple(sorted(own[:size]))])


def _proposed(one: Found | None, flips: dict[Set, bool], largest: int) -> list[Set]:
    """The sets a graph proposes, of the modalities that the node has itself, up to a size."""
    if one is None:
        return []
    sets = itertools.chain.from_iterable(proposals(one.graph, size) for size in range(1, largest + 1))
    named = (tuple(int(one.tokens[i]) for i in s) for s in sets)
    return [s for s in named if s in flips]


def report(
    graphs: Graphs, explanations: list[Explained], names: list[str], classes: list[str], facts: dict[str, Any]
) -> Report:
    """The report of `causal_attention`, whose docstring describes the tables.

    Args:
        graphs, explanations, classes: of every node looked at.
        facts: the attention's name, alpha and samples.
    """
    heads = _heads(graphs, explanations)
    edges = _edges(graphs, names)
    tables = dict(
        edges=edges,
        explanations=_by_class(explanations, classes),
        modalities=_modalities(explanations, names),
        heads=heads,
        marks=_marks(graphs, names, classes),
    )
    lost = int(heads.singular.sum())
    note = NOTE.format(**facts) + SINGULAR.format(singular=lost) * (lost > 0)
    figure = functools.partial(_figure, edges, names)
    facts = dict(facts, nodes=len(graphs), singular=lost)
    return Report(tables, _sentence(tables, len(graphs)), {"edges": figure}, note=note, facts=facts)


def _of_head(graphs: Graphs, head: int) -> list[Found]:
    return [each[head] for each in graphs if each[head] is not None]


def _edges(graphs: Graphs, names: list[str]) -> pd.DataFrame:
    rows = []
    for head in range(len(graphs[0])):
        for a, b in itertools.combinations(range(len(names)), 2):
            both = [(g, *_places(g, a, b)) for g in _of_head(graphs, head) if a in g.tokens and b in g.tokens]
            row = dict(head=head, a=names[a], b=names[b], nodes=len(both))
            row["joined"] = _mean([g.graph.joined(i, j) for g, i, j in both])
            rows.append(row | dict(correlation=_mean([g.r[i, j] for g, i, j in both])))
    return pd.DataFrame(rows)


def _marks(graphs: Graphs, names: list[str], classes: list[str]) -> pd.DataFrame:
    rows = []
    for name in sorted(set(classes)):
        own = [g for g, c in zip(graphs, classes, strict=True) if c == name]
        for head in range(len(graphs[0])):
            for a, b in itertools.permutations(range(len(names)), 2):
                both = [g for g in _of_head(own, head) if a in g.tokens and b in g.tokens]
                marks = [g.graph.marks[i][j] for g in both for i, j in [_places(g, a, b)]]
                row = {"class": name, "head": head, "from": names[a], "to": names[b], "nodes": len(both)}
                rows.append(row | {word: _mean([m == k for m in marks]) for k, word in enumerate(MARKS)})
    return pd.DataFrame(rows)


def _places(found: Found, *modalities: int) -> tuple[int, ...]:
    return tuple(int(np.flatnonzero(found.tokens == m)[0]) for m in modalities)


def _heads(graphs: Graphs, explanations: list[Explained]) -> pd.DataFrame:
    rows = []
    for head in range(len(graphs[0])):
        own = _of_head(graphs, head)
        edges = [(g.graph.array() > 0).sum() / 2 for g in own]
        row = dict(head=head, graphs=len(own), singular=len(graphs) - len(own), edges=_mean(edges))
        rows.append(row | dict(found=_mean([e.found[head] for e in explanations if e.smallest])))
    return pd.DataFrame(rows)


def _by_class(explanations: list[Explained], classes: list[str]) -> pd.DataFrame:
    rows = []
    for name in [ALL, *sorted(set(classes))]:
        own = [e for e, c in zip(explanations, classes, strict=True) if name in (ALL, c)]
        some = [e for e in own if e.smallest]
        row = {"class": name, "nodes": len(own), "flips": _mean([bool(e.smallest) for e in own])}
        row |= dict(size=_mean([len(e.smallest[0]) for e in some]), found=_mean([any(e.found) for e in some]))
        proposed = [e for e in some if any(e.found)]  # both ways of searching are compared on the same nodes
        row |= {name: _mean([getattr(e, name) for e in proposed]) for name in ("tried", "exhaustive")}
        row["ranked"] = _mean([e.ranked for e in some])
        rows.append(row)
    return pd.DataFrame(rows)


def _modalities(explanations: list[Explained], names: list[str]) -> pd.DataFrame:
    sets = [s for e in explanations for s in e.smallest]
    return pd.DataFrame([dict(modality=n, explains=_mean([m in s for s in sets])) for m, n in enumerate(names)])


def _mean(values: list) -> float:
    """Of those that are numbers; NaN where there are none."""
    kept = np.array(values, float)
    kept = kept[~np.isnan(kept)]
    return float(kept.mean()) if len(kept) else np.nan


def _sentence(tables: dict[str, pd.DataFrame], nodes: int) -> str:
    edges, found = tables["edges"].dropna(), tables["explanations"].iloc[0]
    if not len(edges):
        start = f"None of the attentions of {nodes} test nodes has a graph"
    else:
        most = edges.loc[edges.joined.idxmax()]
        joined = np.average(edges.joined, weights=edges.nodes)
        start = (
            f"In the attention of {nodes} test nodes {joined:.0%} of the pairs of modalities depend on each other "
            f"whatever is given (an edge), most often {most.a} and {most.b} ({most.joined:.0%}, head {most['head']})"
        )
    if not found.flips:
        return f"{start}; no masking of modalities changes the predicted class of any of them."
    flipped = round(found.flips * nodes)
    proposed = round(found.found * flipped)
    start += (
        f"; masking some modalities changes the predicted class of {flipped} of the {nodes}, the fewest that do are "
        f"{found['size']:.1f} on average, and the graphs propose a set as small for {proposed} of these {flipped}"
    )
    if not proposed:
        return f"{start}."
    gain = "" if found.tried < found.exhaustive else ": the graphs save nothing"
    return (
        f"{start}, after {found.tried:.1f} sets on average, where going through all sets by size finds one after "
        f"{found.exhaustive:.1f}{gain}."
    )


def _figure(edges: pd.DataFrame, names: list[str]):
    """The share of graphs in which two modalities are joined, a panel a head."""
    heads = sorted(edges["head"].unique())
    fig, axes = new_figure(1 + 2.4 * len(heads), 3, rows=1, columns=len(heads))
    for ax, (head, rows) in zip(axes[0], edges.groupby("head"), strict=True):
        share = np.full((len(names), len(names)), np.nan)
        for row in rows.itertuples():
            i, j = names.index(row.a), names.index(row.b)
            share[i, j] = share[j, i] = row.joined
        image = ax.imshow(share, vmin=0, vmax=1, cmap="Greys")
        for i, j in itertools.permutations(range(len(names)), 2):
            if not np.isnan(share[i, j]):
                ax.text(j, i, f"{share[i, j]:.2f}", ha="center", va="center", color="w" if share[i, j] > 0.5 else "k")
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize="small")
        ax.set_yticks(range(len(names)), names, fontsize="small")
        ax.set_title(f"head {head}", fontsize="small")
    fig.colorbar(image, ax=axes[0].tolist(), label="share of graphs with an edge")
    return fig
