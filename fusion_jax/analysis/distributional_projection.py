"""Whether a trained attention's scores are the co-occurrence of what the modalities say, projected to each node.

Reference: Mehta, "Self-Attention as Distributional Projection: A Unified Interpretation of Transformer Architecture",
2025 (arXiv 2511.13780; no experiments, no code). Golden `distributional-projection`.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from scipy import stats

from fusion_jax.analysis.base import Report
from fusion_jax.model import Model
from fusion_jax.model.given import given
from fusion_jax.nn.projection import (
    ABSENT,
    Symbols,
    at_pairs,
    centroids,
    counts_of_graph,
    directed_factors,
    inverse,
    maps_of,
    symmetric_factors,
)
from fusion_jax.records import Attention, Info
from fusion_jax.results.figures import new_figure, style
from fusion_jax.results.restore import Restored
from fusion_jax.training.compilation import own_settings

INFO = Info(
    "Mehta, Self-Attention as Distributional Projection: A Unified Interpretation of Transformer Architecture",
    2025,
    pinned="independent",
    golden="distributional-projection",
    cost="O(N M prototypes d + V^3)",
)
OF = "cell"
CHECKED_WITH = {"model.fusion.name": "self_attention"}
SHUFFLES = 20
NOTE = (
    "A symbol is a prototype of a modality, by k-means on the features of training nodes; S counts symbols that meet "
    "in a training node (weight 1) or across an edge between two (1/2), D those of sender and receiver, both as "
    "log(1 + count). A constant added to the scores of a query changes nothing: scores and predictions are compared "
    "without their means over the keys that the query sees. explained is the share of the scores' variance in a linear "
    "fit; chance is the largest absolute rank correlation of {shuffles} matrices whose symbols are shuffled within "
    "their modalities. Distances of W_Q W_K^T from pinv(C) F pinv(C)^T, F the relation at the rank of the maps and C "
    "the mean state of each symbol before the fusion, are relative to the latter's norm; a layer behind the first sees "
    "other states than C. Symbols, windows and both comparisons are ours. Of one seed."
)


@own_settings()
def distributional_projection(cell: Restored, place: int, *, prototypes: int = 32) -> Report:
    """Correlation of every head's scores with M = Q S Q^T of the same nodes, and of W_Q W_K^T with its prediction.

    The table "scores" has a row an attention, layer, head, relation ("symmetric" S, "directed" D where there are edges)
    and part ("train", the nodes that S was counted on, or "others"): pairs, spearman, explained and chance. The table
    "maps" has a row a pair of query and key maps, layer and relation: distance (relative, Frobenius) and cosine.

    Args:
        place: which stored seed.
        prototypes: of a modality, at most.
    Raises:
        ValueError: prototypes below 1; rows that are no nodes; a model without fusion, or a fusion that shows no
            attention from modalities to modalities.
    """
    if prototypes < 1:
        raise ValueError(f"distributional_projection: prototypes={prototypes}, expected at least 1")
    if cell.data.target.level != "node":
        raise ValueError(f"distributional_projection looks at nodes; this cell predicts {cell.data.target.words}")
    model, name = cell.models[place], cell.plan.model.fusion.name
    if not isinstance(model, Model):
        raise ValueError(
            f"distributional_projection looks at a plain model, not one of scheme {cell.plan.scheme.name!r}"
        )
    batch = cell.batch(place)
    states, output = given(model, batch, cell.context(place))
    attentions = [a for a in output.attention if a.name.startswith("fusion") and over_modalities(a)]
    if not attentions:
        shown = ", ".join(sorted(a.name for a in output.attention)) or "none"
        raise ValueError(
            f"distributional_projection: fusion {name!r} of this cell shows no attention from modalities to "
            f"modalities; it shows: {shown}"
        )
    rows = np.sort(cell.prepared.splits[place].train)
    features, mask = {k: np.asarray(x) for k, x in batch.features.items()}, np.asarray(batch.mask)
    known = Symbols.fit(features, mask, rows, prototypes)
    symbols = known.read(features, mask)
    counted = np.isin(np.arange(len(mask)), rows)
    own = np.where(counted[:, None], symbols, ABSENT)
    relations = {k: np.log1p(v) for k, v in counts_of_graph(own, known.size, batch.graph)._asdict().items() if v.any()}
    if not relations:
        raise ValueError("distributional_projection: no two symbols of training nodes meet: a node has one modality")
    parts = dict(train=counted, others=~counted & mask.any(1))
    scores = pd.DataFrame(
        [
            row
            for attention in attentions
            for relation, matrix in relations.items()
            for part, nodes in parts.items()
            for row in _score_rows(attention, relation, matrix, part, symbols, nodes, known)
        ]
    )
    centres = [centroids(own, np.asarray(x), known.size) for x in states]
    maps = pd.DataFrame(
        [
            row
            for i, (fusion, c) in enumerate(zip(model.fusions, centres, strict=True), 1)
            for relation, matrix in relations.items()
            for row in _map_rows(f"fusion {i}", fusion, c, relation, matrix)
        ],
        columns=["maps", "layer", "relation", "rank", "distance", "cosine"],
    )
    tables = {"scores": scores} | ({"maps": maps} if len(maps) else {})
    best = most_followed(scores)
    lean = {} if best is None else {"rank correlation with co-occurrence": {cell.seeds[place]: float(best.spearman)}}
    facts = dict(symbols=known.size)
    figures = {"scores": functools.partial(_figure, scores)}
    return Report(
        tables, sentence(scores, best), figures, columns=lean, note=NOTE.format(shuffles=SHUFFLES), facts=facts
    )


def over_modalities(attention: Attention) -> bool:
    """Whether it is from the modalities of a node to its modalities, as a softmax weighs them."""
    return attention.axes[:1] == ("node",) and attention.axes[-2:] == ("modality", "modality") and attention.normalised


def centred_pairs(weights: np.ndarray, symbols: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and M at the pairs (query, key) of all nodes, each less its mean over the keys that the query sees.

    A score is the logarithm of its weight, which is it but for a constant of the query. A pair counts where both have a
    symbol and the key has a weight, and a query where it has two such keys.

    Args:
        weights: [N, M, M]; symbols int [N, M]; matrix [V, V].
    Returns:
        two arrays [pairs].
    """
    there = (weights > 0) & (symbols != ABSENT)[:, :, None] & (symbols != ABSENT)[:, None, :]
    there &= there.sum(-1, keepdims=True) > 1
    m = at_pairs(matrix, symbols)  # what ABSENT reads is not there
    scores = np.log(np.where(there, weights, 1.0))
    count = np.maximum(there.sum(-1, keepdims=True), 1)
    return tuple((x - np.where(there, x, 0).sum(-1, keepdims=True) / count)[there] for x in (scores, m))


def correlations(scores: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Spearman's coefficient, and the share of variance that a line explains; NaN where either is constant.

    Means that were taken off leave equal values apart by rounding, and it must not rank them: ties are of ranks of
    values in steps of 1e-12 of the largest.
    """
    if len(scores) < 3 or np.ptp(scores) < 1e-12 or np.ptp(predicted) < 1e-12:
        return float("nan"), float("nan")
    unit = 1e-12 * np.abs([scores, predicted]).max(1, keepdims=True)
    rho = stats.spearmanr(*np.rint([scores, predicted] / unit)).statistic
    return float(rho), float(np.corrcoef(scores, predicted)[0, 1] ** 2)


def shuffled(matrix: np.ndarray, known: Symbols, rng: np.random.Generator) -> np.ndarray:
    """The matrix with its symbols in another order within every modality."""
    order, first = [], 0
    for own in known.prototypes.values():
        order.append(first + rng.permutation(len(own)))
        first += len(own)
    order = np.concatenate(order)
    return matrix[np.ix_(order, order)]


def _score_rows(
    attention: Attention, relation: str, matrix: np.ndarray, part: str, symbols: np.ndarray, nodes: np.ndarray, known
) -> list[dict]:
    """A row a layer and head."""
    axes, weights = list(attention.axes), np.asarray(attention.weights, np.float64)
    if "head" in axes:
        weights = np.moveaxis(weights, axes.index("head"), -3)
    else:
        weights = weights[..., None, :, :]
    m, heads = weights.shape[-1], weights.shape[-3]
    layers = weights.reshape(len(weights), -1, heads, m, m)[nodes]
    own, rows = symbols[nodes], []
    for layer in range(layers.shape[1]):
        for head in range(heads):
            pairs = centred_pairs(layers[:, layer, head], own, matrix)
            rho, share = correlations(*pairs)
            rng, chance = np.random.default_rng(0), float("nan")
            if np.isfinite(rho):
                others = (shuffled(matrix, known, rng) for _ in range(SHUFFLES))
                found = [correlations(*centred_pairs(layers[:, layer, head], own, other))[0] for other in others]
                chance = float(np.nanmax(np.abs(found))) if np.isfinite(found).any() else float("nan")
            place = dict(attention=attention.name, layer=layer, head=head, relation=relation, part=part)
            rows.append(place | dict(pairs=len(pairs[0]), spearman=rho, explained=share, chance=chance))
    return rows


def _map_rows(name: str, fusion, c: np.ndarray, relation: str, matrix: np.ndarray) -> list[dict]:
    """A row a pair of maps and layer; all heads together."""
    rows, back = [], inverse(c)
    for maps in (found for found in maps_of(fusion) if found.module.query.in_features == c.shape[1]):
        for layer, (w_q, w_k) in enumerate(zip(*maps.kernels, strict=True)):
            rank = min(w_q.shape[1], len(matrix))
            if relation == "directed":
                left, right = directed_factors(matrix, rank)
            else:
                g, sign = symmetric_factors(matrix, rank)
                left, right = g, g * sign
            product, predicted = w_q @ w_k.T, back @ left @ (back @ right).T
            norms = np.linalg.norm(product), np.linalg.norm(predicted)
            said = [float("nan")] * 2
            if min(norms) > 0:
                distance = np.linalg.norm(product - predicted) / norms[1]
                said = [float(distance), float((product * predicted).sum() / (norms[0] * norms[1]))]
            place = dict(maps=f"{name}: {maps.name}", layer=layer, relation=relation, rank=rank)
            rows.append(place | dict(zip(("distance", "cosine"), said, strict=True)))
    return rows


def most_followed(scores: pd.DataFrame) -> pd.Series | None:
    """The head that follows S or D the most on nodes that these were not counted on, of those beyond chance if any is.

    None where none can be told.
    """
    own = _told(scores)
    beyond = own[own.spearman.abs() > own.chance]
    own = own if beyond.empty else beyond
    return None if own.empty else own.loc[own.spearman.abs().idxmax()]


def _told(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[(scores.part == "others") & scores.spearman.notna()]


def sentence(scores: pd.DataFrame, best: pd.Series | None) -> str:
    """What the table says of the head `most_followed` names."""
    if best is None:
        return "On nodes beyond training no score of a head varies with a co-occurrence that could predict it."
    heads = len(scores.drop_duplicates(["attention", "layer", "head"]))
    where = "within nodes" if best.relation == "symmetric" else "across edges"
    head = f"head {best['head']} of layer {best['layer']} of {best['attention']!r}"
    reached = (
        f"on nodes beyond training their rank correlation with how often symbols meet {where} is {best.spearman:.3f}"
    )
    if not abs(best.spearman) > best.chance:
        denied = "The one head does not score" if heads == 1 else f"None of {heads} heads scores"
        return (
            f"{denied} modalities by how often their symbols meet more than chance would: those of {head} are the "
            f"nearest, {reached}, and shuffled symbols reach {best.chance:.3f}."
        )
    told = _told(scores)
    beyond = int((told.spearman.abs() > told.chance).sum())
    return (
        f"The scores of {head}{'' if heads == 1 else f', of {heads} heads the most,'} follow how often symbols meet: "
        f"{reached}, beyond the {best.chance:.3f} of shuffled symbols, and a line in it explains {best.explained:.1%} "
        f"of their variance. Of {len(told)} comparisons of a head with a relation {beyond} "
        f"{'goes' if beyond == 1 else 'go'} beyond shuffled symbols; by chance one in {SHUFFLES + 1} would."
    )


def _figure(scores: pd.DataFrame):
    """Rank correlation of every head with S and D, beside what shuffled symbols reach."""
    fig, ax = new_figure(5, 3.5)
    own = scores[scores.part == "others"]
    for i, (relation, rows) in enumerate(own.groupby("relation", sort=False)):
        at = np.arange(len(rows)) + 0.2 * i
        looks = style(i) | dict(ls="", ms=6)
        ax.plot(at, rows.spearman, label=relation, **looks)
        ax.vlines(at, -rows.chance, rows.chance, color=looks["color"], alpha=0.4, lw=4)
        ax.set_xticks(np.arange(len(rows)), [f"{r.layer}.{r.head}" for r in rows.itertuples()], fontsize="small")
        ax.set_xlim(-0.6, len(rows) - 0.2)  # with one head matplotlib would choose limits of a few hundredths
    ax.axhline(0, color="0.6", lw=0.8)
    ax.set_xlabel("layer.head (bars: shuffled symbols)")
    ax.set_ylabel("rank correlation with the scores")
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
