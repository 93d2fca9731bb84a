"""Not at random: what is lost depends on what is to be predicted."""

from __future__ import annotations

import numpy as np

from fusion_jax.data.missing._propensity import STRENGTH, probability
from fusion_jax.data.missing.base import Nodes


def label(nodes: Nodes, rng: np.random.Generator, *, rate: float = 0.3, strength: float = STRENGTH) -> np.ndarray:
    """Modality m of node n is lost with probability sigmoid(a_m + strength z_nm), on the average over the nodes `rate`.

    Of classes z_nm is the standardised place of the node's class in an order of the classes, drawn for each modality;
    of values it is the standardised value, its sign drawn for each modality. Of a node that is not labelled it is the
    mean.

    Raises:
        ValueError: the target is of something else than nodes, or of another kind.
    """
    target, (n, m) = nodes.target, nodes.mask.shape
    if target.level != "node" or target.kind not in ("classes", "values"):
        raise ValueError(
            f"missing 'label': data set {nodes.name!r} predicts {target.words}, expected classes or values of nodes"
        )
    uniform, gone = rng.random((n, m)), np.zeros((n, m), bool)
    known = np.ones(n, bool) if nodes.labelled is None else nodes.labelled
    for column in range(m):
        score = np.where(known, _score(target, rng), np.nan)
        p = probability(np.where(known, score, np.nanmean(score)), rate, strength)
        gone[:, column] = uniform[:, column] < p
    return gone


def _score(target, rng: np.random.Generator) -> np.ndarray:
    """float64 [N], before it is standardised."""
    if target.kind == "classes":
        return rng.permutation(target.num_outputs).astype(float)[np.maximum(target.labels, 0)]
    values = np.asarray(target.values, np.float64).reshape(len(target), -1)
    return rng.choice([-1.0, 1.0]) * values.mean(1)
