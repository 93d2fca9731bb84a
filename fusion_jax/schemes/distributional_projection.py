"""Attention starts from the co-occurrence of what the modalities say, in the place of random queries and keys.

Reference: Mehta, "Self-Attention as Distributional Projection: A Unified Interpretation of Transformer Architecture",
2025 (arXiv 2511.13780; no experiments, no code). Golden `distributional-projection`. That a model may start there is
ours, as are the symbols and the windows of a graph (`nn.projection`).
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import tasks, zoo
from fusion_jax.model import Model
from fusion_jax.model.given import given
from fusion_jax.nn.projection import (
    Maps,
    Symbols,
    centroids,
    counts_of_graph,
    directed_factors,
    inverse,
    maps_of,
    symmetric_factors,
)
from fusion_jax.records import Array, Batch, Context, Info, Target
from fusion_jax.schemes.base import Make, Scheme, Stage, TrainingLoss

SMALL = 1e-9  # of the largest component: those below are none


class DistributionalProjection(Scheme):
    """W_Q = C^+ W_q and W_K = C^+ W_k before the first epoch, so that C W_Q W_K^T C^T = F of rank p; then training.

    A symbol is a prototype of a modality (k-means on the features of training nodes), C [V, D] the mean of what the
    fusion is given at its places, and F = W_q W_k^T the logarithm log(1 + count) of how often two symbols meet: D,
    sender and receiver of an edge, or S, in a node or across an edge. Training nodes and the edges between them alone
    are counted. It is exact where the rows of C are linearly independent (V <= D), else the projection: behind a linear
    encoder without bias they are not, as standardised features of a modality average to 0.
    Of H heads the h-th has the components h p / H ... of F in the order of their size: their sum is F. Columns beyond
    the rank of F keep the queries they were drawn with, and keys of 0, which training can move. Biases of queries and
    keys are 0.

    Every attention of the fusions is begun so whose queries and keys are linear maps from the fusion's width D; in
    several layers, each from the same F. What they are divided by (usually sqrt(p / H)) stays.

    Args:
        prototypes: of a modality, at most.
        relation: "directed" for D, or "symmetric" for S.
        values: whether values and output are begun as the identity, as far as their widths go.
    Raises:
        ValueError: an option out of range; rows that are no nodes; a fusion without such an attention; "directed" on
            data without an edge between training nodes.
    """

    info = Info(
        "Mehta, Self-Attention as Distributional Projection: A Unified Interpretation of Transformer Architecture",
        2025,
        pinned="independent",
        golden="distributional-projection",
        cost="O(N M prototypes d + V^3) once",
    )
    checked_with = {"model.fusion.name": "self_attention"}

    def __init__(self, *, prototypes: int = 32, relation: str = "directed", values: bool = True):
        if prototypes < 1:
            raise ValueError(f"scheme 'distributional_projection': prototypes={prototypes}, expected at least 1")
        if relation not in ("directed", "symmetric"):
            raise ValueError(
                f"scheme 'distributional_projection': relation={relation!r}"
                f"{zoo.nearest(relation, ('directed', 'symmetric'))}; expected 'directed' or 'symmetric'"
            )
        self.prototypes, self.relation, self.values = prototypes, relation, values

    def build(self, make: Make, feature_dims: Mapping[str, int], target: Target, key: Array) -> Model:
        if target.level != "node":
            raise ValueError(f"scheme 'distributional_projection' counts in training nodes, got {target.words}")
        model = make(feature_dims, key)
        if not any(maps_of(fusion) for fusion in model.fusions):
            raise ValueError(
                f"scheme 'distributional_projection' begins attentions whose queries and keys are linear maps from the "
                f"fusion's width; fusion {zoo.name_of(model.fusions[-1])!r} has none: such are self_attention, "
                "late_transformer, tabular_ot"
            )
        return model

    def stages(self, epochs: int) -> tuple[Stage, ...]:
        return (Stage(epochs, begin=self.begin),)

    def begin(self, model: Model, batch: Batch, target: Target, weight: Array, loss: TrainingLoss, key: Array) -> None:
        """Counts, factorises, and puts the factors in the place of queries and keys."""
        del loss, key
        rows = np.flatnonzero(np.asarray(weight) > 0)
        features, mask = {k: np.asarray(x) for k, x in batch.features.items()}, np.asarray(batch.mask)
        known = Symbols.fit(features, mask, rows, self.prototypes)
        counted = np.isin(np.arange(len(mask)), rows)
        symbols = known.read(features, mask & counted[:, None])
        counts = counts_of_graph(symbols, known.size, batch.graph)
        relation = np.log1p(getattr(counts, self.relation))
        if not relation.any():
            raise ValueError(
                f"scheme 'distributional_projection': no two symbols of training nodes meet (relation="
                f"{self.relation!r}); without edges between them set relation='symmetric'"
            )
        context = Context(target=tasks.of(target).hide_unseen(target, weight > 0), train=weight > 0)
        states, _ = given(model, batch, context)
        found = [(maps, x) for fusion, x in zip(model.fusions, states, strict=True) for maps in maps_of(fusion)]
        found = [(maps, x) for maps, x in found if maps.module.query.in_features == x.shape[-1]]
        if not found:
            raise ValueError(
                f"scheme 'distributional_projection': no attention of fusion {zoo.name_of(model.fusions[-1])!r} maps "
                "queries and keys from the width of what it is given"
            )
        for maps, x in found:
            set_maps(maps, centroids(symbols, np.asarray(x), known.size), relation, self.relation)
            if self.values:
                set_identity(maps.module)


def components(relation: np.ndarray, kind: str, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """W_q, W_k [V, k] of a relation, k its rank and at most `rank`; W_q W_k^T is its best approximation."""
    if kind == "directed":
        w_q, w_k = directed_factors(relation, rank)
    else:
        g, sign = symmetric_factors(relation, rank)
        w_q, w_k = g, g * sign
    size = (w_q**2).sum(0)
    kept = size > SMALL * size.max(initial=0)
    return w_q[:, kept], w_k[:, kept]


def set_maps(maps: Maps, c: np.ndarray, relation: np.ndarray, kind: str) -> None:
    """Queries and keys with which C W_Q W_K^T C^T is the relation, as far as rank and C allow; biases 0."""
    query, key = maps.module.query, maps.module.key
    width = query.kernel.shape[-1]
    back = inverse(c)
    w_q, w_k = (back @ w for w in components(relation, kind, width))
    k = w_q.shape[1]
    q_kernel, k_kernel = (np.array(part.kernel[...]) for part in (query, key))
    q_kernel[..., :k], k_kernel[..., :k], k_kernel[..., k:] = w_q, w_k, 0
    for part, kernel in ((query, q_kernel), (key, k_kernel)):
        part.kernel.set_value(jnp.asarray(kernel, part.kernel.dtype))
        set_zero(part)


def set_identity(module: nnx.Module) -> None:
    """Values, and the output behind them where there is one, as the identity as far as their widths go; biases 0."""
    for part in (getattr(module, "value", None), getattr(module, "out", None)):
        if isinstance(part, nnx.Linear):
            shape = part.kernel.shape
            eye = jnp.broadcast_to(jnp.eye(*shape[-2:], dtype=part.kernel.dtype), shape)
            part.kernel.set_value(eye)
            set_zero(part)


def set_zero(part: nnx.Linear) -> None:
    """Its bias, where it has one."""
    if part.bias is not None:
        part.bias.set_value(jnp.zeros_like(part.bias[...]))
