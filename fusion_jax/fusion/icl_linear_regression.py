"""Heads of full width by which a node reads its neighbours: what learns linear regression from examples around it.

Reference: He, Pan, Chen, Yang, "In-Context Linear Regression Demystified", ICML 2025 (arXiv 2503.12734); code
XintianPan/ICL_linear, commit 87ed34f (`src/models.py`). Golden `icl-linear-regression`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.presence import reached, sending, zero_absent
from fusion_jax.nn.segment import at_receivers, edge_attend, edge_dot, propagate, segment_softmax
from fusion_jax.nn.within_graph import blocks
from fusion_jax.records import Array, Attention, Fused, Info

INITIAL = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's: +- 1 / sqrt(fan in)


class Heads(nnx.Module):
    """sum_h O_h V_h Z softmax((K_h Z)^T Q_h z / sqrt(E)): H heads that are each as wide as the token, E; no bias.

    Args:
        width: E.
        heads: H.
        out: the width of O_h [out, E].
        twice: a softmax over all nodes of the graph comes before the one over the edges.
    """

    def __init__(self, width: int, heads: int, out: int, *, twice: bool = False, rngs: nnx.Rngs):
        def linear(inner: int, outer: int) -> nnx.Linear:
            return nnx.Linear(inner, outer, use_bias=False, kernel_init=INITIAL, rngs=rngs)

        self.query, self.key, self.value = (linear(width, heads * width) for _ in range(3))
        self.out = linear(heads * width, out)
        self.heads, self.twice = heads, twice

    def __call__(self, z: Array, graph: Graph, there: Array) -> tuple[Array, Array]:
        """z [N, E], there bool [N] -> [N, out] and the weights [edges, H]."""
        q, k, v = (f(z).reshape(len(z), self.heads, -1) for f in (self.query, self.key, self.value))
        seen = sending(there, graph)
        if self.twice:
            weights = segment_softmax(self._over_all(q, k, graph, there), graph, seen)
            read = propagate(v, graph, weights)
        else:
            read, weights = edge_attend(q, k, v, graph, seen)
        return self.out(read.reshape(len(z), -1)), weights

    def _over_all(self, q: Array, k: Array, graph: Graph, there: Array) -> Array:
        """[edges, H]: the weight an edge has in a softmax over all nodes of its graph."""
        scale = 1 / math.sqrt(q.shape[-1])
        rows = blocks(graph, len(q))
        logits = scale * jnp.einsum("gthd,glhd->gthl", rows.gather(q), rows.gather(k))
        valid = rows.gather(there)[:, None, None]
        top = jax.lax.stop_gradient(jnp.where(valid, logits, -jnp.inf).max(-1, keepdims=True))
        top = jnp.where(jnp.isfinite(top), top, 0)
        total = jnp.where(valid, jnp.exp(jnp.where(valid, logits - top, 0)), 0).sum(-1, keepdims=True)
        top, total = (rows.scatter(a)[..., 0] for a in (top, jnp.where(total > 0, total, 1)))
        own = scale * edge_dot(q, k, graph) - at_receivers(top, graph)
        own = jnp.where(there[graph.senders][:, None], own, -jnp.inf)
        return jnp.exp(own) / at_receivers(total, graph)

    def patterns(self) -> tuple[Array, Array]:
        """KQ [H, E, E], with which a query z scores a key z' by z KQ_h z' / sqrt(E), and OV [H, E, out]: what of z' a
        head adds."""
        e = self.query.in_features
        q, k, v = (f.kernel[...].reshape(e, self.heads, e) for f in (self.query, self.key, self.value))
        o = self.out.kernel[...].reshape(self.heads, e, -1)
        return jnp.einsum("ahc,bhc->hab", q, k), jnp.einsum("ahc,hco->hao", v, o)


class IclLinearRegression(Fusion):
    """z_i = [x_i1; ...; x_iM] (0 where missing); out_i = sum_h O_h V_h Z softmax((K_h Z)^T Q_h z_i / sqrt(E)).

    The columns of Z are the tokens of the senders of i, which does not see itself; Q, K, V are [E, E] in every head,
    E is the width of a token; there is no bias, residual or norm. With several layers (the authors' stack) a node sees
    itself too, every O_h is [E, E], and a linear map without bias follows the last.

    A node that hears nobody has out = 0. Nodes without any modality are no keys. That a modality is missing is told by
    its zeros alone: the paper's 0 in the place of the query's label.

    Ours: neighbours in the place of a sequence. The paper's model is this with the encoder `padded`,
    `widths=(d, 1)`, `predicts` and model.head "fusion" on data set `icl_linear_regression`; its stack reads that set's
    edges `causal`.

    Attention "neighbours" [edges, L, H] is along the edges, with several layers along `graph.looped`.

    Args:
        heads: H; the paper has 1, 2, 4 and 8.
        layers: L.
        widths: so many of the first columns of each modality are in the token; () for all D.
        twice: as in the authors' code of several layers, where a softmax over all nodes of the graph comes first, and
            another of its values, not of the logits, over those that may be seen.
        predicts: out is the prediction [N, C], for model.head "fusion"; else it is [N, D].
        outputs: C.
    Raises:
        ValueError: an option out of its range, widths that are not one a modality.
    """

    info = Info(
        "He et al., In-Context Linear Regression Demystified: Training Dynamics and Mechanistic Interpretability of "
        "Multi-Head Softmax Attention",
        2025,
        pinned="authors' code",
        golden="icl-linear-regression",
        cost="O(N H M^2 D^2 + E H M D)",
        needs=("graph", "outputs"),
    )

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        heads: int = 2,
        layers: int = 1,
        widths: tuple[int, ...] = (),
        twice: bool = False,
        predicts: bool = False,
        outputs: int,
        rngs: nnx.Rngs,
    ):
        for name, value in dict(heads=heads, layers=layers).items():
            _expect(type(value) is int and value >= 1, f"{name}={value!r}", "a whole number, at least 1")
        widths = tuple(widths) or (dim,) * modalities
        fits = len(widths) == modalities and all(type(w) is int and 1 <= w <= dim for w in widths)
        _expect(fits, f"widths={widths}", f"M={modalities} whole numbers from 1 to D={dim}, or ()")
        _expect(layers > 1 or not twice, f"twice={twice!r} with layers=1", "layers of 2 or more: one has one softmax")
        width, out = sum(widths), outputs if predicts else dim
        last = out if layers == 1 else width
        self.blocks = nnx.List([Heads(width, heads, last, twice=twice, rngs=rngs) for _ in range(layers)])
        self.last = None if layers == 1 else nnx.Linear(width, out, use_bias=False, kernel_init=INITIAL, rngs=rngs)
        self.widths, self.predicts = widths, predicts

    def nodes(self, x, mask, graph, context):
        del context
        there = mask.any(1) if graph.present is None else mask.any(1) & graph.present
        seen = graph if self.last is None else graph.looped
        z = zero_absent(jnp.concatenate([x[:, m, :w] for m, w in enumerate(self.widths)], axis=1), there)
        weights = []
        for block in self.blocks:
            z, weight = block(z, seen, there)
            weights.append(weight)
        out = z if self.last is None else self.last(z)
        valid = sending(there, seen)[:, None, None]
        shown = Attention(
            "neighbours",
            jnp.stack(weights, axis=1),
            ("edge", "layer", "head"),
            "node",
            "node",
            seen.senders,
            seen.receivers,
            valid=valid,
        )
        out = zero_absent(out, self.reached(mask, graph))
        return Fused(out, attention=(shown,), prediction=out if self.predicts else None)

    def reached(self, mask, graph):
        there = mask.any(1) if graph.present is None else mask.any(1) & graph.present
        heard = reached(there, graph)
        return heard if graph.present is None else heard & graph.present


def _expect(holds: bool, found: str, expected: str) -> None:
    if not holds:
        raise ValueError(f"fusion 'icl_linear_regression': {found}; expected {expected}")
