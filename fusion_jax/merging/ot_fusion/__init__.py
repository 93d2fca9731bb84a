"""Merges networks in weight space after matching their neurons by optimal transport, layer by layer.

Reference: Imfeld, Graldi, Giordano, Hofmann, Anagnostidis, Singh, "Transformer Fusion with Optimal Transport",
ICLR 2024; code graldij/transformer-fusion, commit 204ae23. Golden `ot-fusion`. The rules are in `rules.py`, the way
through a model in `walk.py`; what happens inside a mechanism it says itself (its `align`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_jax.merging.base import Merged, Parent, averaged, check_same_shape, merged
from fusion_jax.merging.ot_fusion.rules import Rules
from fusion_jax.merging.ot_fusion.walk import Walk, align
from fusion_jax.records import Info

INFO = Info(
    "Imfeld et al., Transformer Fusion with Optimal Transport",
    2024,
    pinned="authors' code",
    golden="ot-fusion",
    cost="O(D^3 log D) a layer and network, on the host",
)


def ot_fusion(
    parents: Sequence[Parent],
    anchor: int,
    *,
    cost: str = "acts",
    solver: str = "sinkhorn",
    reg: float | None = None,
    residual: str = "mean",
    qk: str = "separate",
    heads: str = "reference",
    samples: int = 200,
    probe_seed: int = 0,
) -> Merged:
    """W = mean over the networks of T_in^T W_s T_out, with T the transport maps to the anchor's neurons.

    All networks are aligned to the same anchor and averaged, which is to fold them in one by one with weights
    1/2, 1/3, ... (the paper merges two). Activations are probed at training nodes of the anchor, at pairs of
    node and modality that are there.

    Args:
        cost: "acts" or "wts", what neurons are compared by.
        solver: "sinkhorn" or "emd".
        reg: > 0, entropic weight of Sinkhorn for costs in [0, 1]; None: 0.08 (acts), 0.06 (wts).
        residual: "mean", "no_resid", "only_resid", "weighted_scalar" or "weighted_matrix", at residual joins.
        qk: "separate", "eq_t_map" or "joint", maps of queries and keys.
        heads: "reference" (heads are ignored) or "blocks" (whole heads are matched, then neurons within).
        samples: activations compared at most, >= 2.
        probe_seed: of their choice.
    Raises:
        ImportError: POT is not installed.
        ValueError: networks of different shape; a placement or mechanism without a rule, by name; an unknown option.
    """
    rules = Rules(cost, solver, reg, residual, qk, heads)
    check_same_shape(parents)
    target = parents[anchor]
    nodes = np.zeros(len(target.seen.mask), bool)
    nodes[_nodes_of(target)] = True
    walk = Walk(rules, target.seen, nodes, samples, probe_seed)
    models = [p.model if i == anchor else align(p.model, target.model, walk) for i, p in enumerate(parents)]
    return merged(averaged(models), parents, anchor)


def _nodes_of(parent: Parent) -> np.ndarray:
    """The nodes of the training rows: themselves, or all nodes of the training graphs."""
    rows, n = parent.split.train, len(parent.seen.mask)
    if len(parent.prediction) == n:
        return rows
    return np.flatnonzero(np.isin(np.asarray(parent.seen.graph.graph_ids), rows))
