"""Reads a node's attention among its modalities as a causal graph, and finds the fewest modalities its class hangs on.

Reference: Rohekar, Gurwicz and Nisimov, "Causal Interpretation of Self-Attention in Pre-Trained Transformers", NeurIPS
2023 (ABCD, CLEANN; arXiv 2310.20307); code IntelLabs/causality-lab at 812235d. Golden `causal-attention`.
"""

from __future__ import annotations

import numpy as np

from fusion_jax.analysis.base import Report, among_modalities
from fusion_jax.analysis.causal_attention import tables
from fusion_jax.analysis.causal_attention.discovery import discover
from fusion_jax.analysis.causal_attention.independence import correlation, covariance
from fusion_jax.analysis.causal_attention.masking import flips
from fusion_jax.analysis.causal_attention.tables import Found
from fusion_jax.analysis.gcav.concepts import known_labels
from fusion_jax.records import Info
from fusion_jax.results.restore import Restored
from fusion_jax.training.compilation import own_settings

INFO = Info(
    "Rohekar et al., Causal Interpretation of Self-Attention in Pre-Trained Transformers",
    2023,
    pinned="authors' code",
    golden="causal-attention",
    cost="O(nodes 2^M) forward passes, and a search a node and head",
)
OF = "cell"
CHECKED_WITH = {"model.fusion.name": "deconstructing_attention", "model.fusion.options": dict(layers=1, heads=2)}
MOST = 8  # modalities: all sets of them are masked once


@own_settings()
def causal_attention(
    cell: Restored, place: int, *, alpha: float = 0.01, samples: int = 0, nodes: int = 100, seed: int = 0
) -> Report:
    """Causal graphs of the attention of test nodes, and the smallest sets of modalities whose masking flips the class.

        C = A A^T, R_ij = C_ij / sqrt(C_ii C_jj); ICD with Fisher's test of partial correlations of R

    A [M, M] is one head's attention in the last layer of the last fusion, of one node, rows are queries. Heads and
    nodes are never averaged before the test.

    Tables: "edges" has a row a head and pair: nodes, joined (share of graphs with an edge), correlation (mean of R).
    "marks" has a row a class, head and ordered pair: nodes and the shares none, circle, arrow, tail. "heads": graphs,
    singular (graphs that cannot be made), edges (mean number), found. "explanations" has a row a class, and one of all:
    nodes, flips (share for which masking some set flips the class), size (mean, of the smallest such sets), found
    (share of those whose graphs propose a set as small), tried (of these, mean number of proposed sets tried until
    then), exhaustive (of the same nodes, by going through all sets), ranked (share of those that flip for which the
    modalities of most attention are a set as small).
    "modalities": explains, the share of the smallest sets in which a modality is.

    Args:
        place: which stored seed.
        alpha: two modalities are independent where p > alpha.
        samples: S of the test; the model's width D if 0, as in the paper (its hidden size).
        nodes: test nodes at most that have two modalities or more, drawn by `seed`.
    Raises:
        ValueError: a bad option; another task than classes of nodes; no attention among modalities; more than 8
            modalities, or too few samples for them; no test node with two modalities.
    """
    names, samples = list(cell.prepared.batch.names), samples or cell.plan.model.dim
    _check(cell, alpha, samples, nodes, seed, len(names))
    name, weights, there = among_modalities(cell, place, "causal_attention")[-1]
    weights = weights[:, -1]  # [N, H, M, M], of the last layer
    labels, test = known_labels(cell), np.asarray(cell.prepared.splits[place].test)
    able = test[(np.asarray(cell.batch(place).mask)[test].sum(1) > 1) & (there[test].sum(1) > 1)]
    if not len(able):
        raise ValueError("causal_attention: no test node of this cell has two modalities")
    chosen = np.sort(np.random.default_rng(seed).permutation(able)[:nodes])
    graphs = [[_graph(a, np.flatnonzero(there[v]), alpha, samples) for a in weights[v]] for v in chosen]
    taken = [received(weights[v], there[v]) for v in chosen]
    looked = taken, flips(cell, place, chosen), graphs
    explained = [tables.explained(*of) for of in zip(*looked, strict=True)]
    known = list(cell.data.class_names) or [str(c) for c in range(cell.data.target.num_outputs)]
    classes = [known[label] if label >= 0 else "-" for label in labels[chosen]]
    facts = dict(attention=name, alpha=alpha, samples=samples)
    return tables.report(graphs, explained, names, classes, facts)


def _check(cell: Restored, alpha: float, samples: int, nodes: int, seed: int, m: int) -> None:
    if cell.data.target.words != "classes of nodes":
        raise ValueError(f"causal_attention looks at the classes of nodes; this cell predicts {cell.data.target.words}")
    if not 0 < alpha < 1:
        raise ValueError(f"causal_attention: alpha={alpha}, expected a number between 0 and 1")
    if nodes < 1:
        raise ValueError(f"causal_attention: nodes={nodes}, expected at least 1")
    if seed < 0:
        raise ValueError(f"causal_attention: seed={seed}, expected at least 0")
    if not 2 <= m <= MOST:
        raise ValueError(f"causal_attention: {m} modalities, expected 2 to {MOST}: every set of them is masked once")
    if samples < m + 2:
        raise ValueError(
            f"causal_attention: samples={samples} (the model's width, if 0 is given) leave no degree of freedom for "
            f"{m} modalities; expected at least {m + 2}"
        )


def received(attention: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """[M], the mean of [H, M, M] over heads and the queries that are there: rows of others are no attention."""
    return attention[:, tokens].mean((0, 1))


def _graph(attention: np.ndarray, tokens: np.ndarray, alpha: float, samples: int) -> Found | None:
    """Of one head [M, M], among the tokens that are there; None where rows are copies of each other."""
    r = correlation(covariance(attention[np.ix_(tokens, tokens)]))
    try:
        return Found(tokens, r, discover(r, samples=samples, alpha=alpha))
    except np.linalg.LinAlgError:
        return None
