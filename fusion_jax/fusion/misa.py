"""Every modality in a private and a shared part: the shared ones alike, private ones unlike, all fused by attention.

Reference: Hazarika, Zimmermann, Poria, "MISA: Modality-Invariant and -Specific Representations for Multimodal Sentiment
Analysis", ACM Multimedia 2020; code of the authors, declare-lab/MISA at ec42fadd (`src/models.py`, `src/solver.py`,
`src/utils/functions.py`; MIT). Golden `misa`, three modalities, with the networks in front of the projections taken
out.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.init import stack
from fusion_jax.nn.mlp import MLP
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.transformer import EncoderLayer
from fusion_jax.records import Array, Attention, Fused, Info, Tokens


class MISA(Fusion):
    """out = W_2 relu(W_1 [h_1; ...; h_2M] + w_1) + w_2, h = transformer layer([p_1; ...; p_M; s_1; ...; s_M]).

    u_m = LN_m(relu(U_m x_m)), p_m = sigmoid(P_m u_m) private, s_m = sigmoid(S u_m) shared (one S); all with biases.
    A missing modality is no key of the attention, stands as zeros in front of W_1, and enters no loss.

    Losses, of the nodes that have what is compared:
    "similarity" * mean over pairs of modalities of sum_k |c_k(s_i) - c_k(s_j)|, c_1 the mean over nodes and c_k the
    k-th central moment (CMD);
    "difference" * sum over (p_m, s_m) and (p_i, p_j) of the mean square of A^T B, rows of A and B the two parts of a
    node, centred over the nodes and brought to length 1 (which gets no gradient);
    "reconstruction" * mean over modalities of the mean square of u_m - (R_m (p_m + s_m) + r_m).

    Trains at learning rates up to about 3e-3 (1e-4 in the code); at 1e-2, Adam drives the layers behind the parts to a
    constant `out` within its first steps.

    The states "private" and "shared" are [N, M, width]; attention "fusion" [N, H, 2M, 2M] is that of the layer, the
    private parts first.

    Args:
        width: of all parts, D if None (128 in the code).
        heads: H, divides the width.
        hidden: width of the layer's feed-forward part, 4 times that of the parts if None (the code leaves PyTorch's
            2048, 16 times).
        similarity, difference, reconstruction: weights of the losses, 0 for none.
        moments: of CMD, at least 1.
        batch: nodes that "difference" counts as. A^T B is a sum over nodes, 64 of them on MOSI: over a whole graph the
            loss would grow with the square of its size.
        rate: dropout between W_1 and W_2.
        transformer_rate: dropout in the transformer layer.
        out_dim: width of `out`, D if None.
    Raises:
        ValueError: heads do not divide the width; no moment or no batch; a negative weight.
    """

    info = Info(
        "Hazarika et al., MISA: Modality-Invariant and -Specific Representations for Multimodal Sentiment Analysis",
        2020,
        pinned="authors' code",
        golden="misa",
        cost="O(N M^2 D^2)",
    )
    placements = ("before", "after")  # not "decision": heads do not divide the number of classes

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        width: int | None = None,
        heads: int = 2,
        hidden: int | None = None,
        similarity: float = 1.0,
        difference: float = 0.3,
        reconstruction: float = 1.0,
        moments: int = 5,
        batch: int = 64,
        rate: float = 0.5,
        transformer_rate: float = 0.1,
        out_dim: int | None = None,
        rngs: nnx.Rngs,
    ):
        width = dim if width is None else width
        check_heads("misa", width, heads)
        if moments < 1 or batch < 1:
            raise ValueError(f"fusion 'misa': moments={moments}, batch={batch}; expected at least 1")
        self.weights = dict(similarity=similarity, difference=difference, reconstruction=reconstruction)
        for name, weight in self.weights.items():
            if weight < 0:
                raise ValueError(f"fusion 'misa': {name}={weight}; expected a weight of at least 0")

        def linears(i):
            return stack(lambda r: nnx.Linear(i, width, rngs=r), modalities, rngs)

        self.project, self.norm = linears(dim), stack(lambda r: layer_norm(width, rngs=r), modalities, rngs)
        self.private, self.shared, self.recon = linears(width), nnx.Linear(width, width, rngs=rngs), linears(width)
        hidden = 4 * width if hidden is None else hidden
        self.transformer = EncoderLayer(width, heads, hidden, rate=transformer_rate, rngs=rngs)
        out = dim if out_dim is None else out_dim
        self.fusion = MLP(2 * modalities * width, modalities * width, out, rate=rate, rngs=rngs)
        self.moments, self.batch = moments, batch

    def parts(self, x: Array) -> tuple[Array, Array, Array]:
        """u, p and s of x [N, M, D], [N, M, width] each."""
        u = each(self.norm, jax.nn.relu(each(self.project, x)))
        return u, jax.nn.sigmoid(each(self.private, u)), jax.nn.sigmoid(self.shared(u))

    def losses(self, u: Array, p: Array, s: Array, mask: Array) -> dict[str, Array]:
        """The three without their weights, of u, p and s [N, M, width] under mask [N, M]."""
        pairs = list(itertools.combinations(range(mask.shape[1]), 2))
        found = dict(
            difference=sum(difference(p[:, m], s[:, m], mask[:, m], self.batch) for m in range(mask.shape[1]))
            + sum(difference(p[:, i], p[:, j], mask[:, i] & mask[:, j], self.batch) for i, j in pairs),
            reconstruction=reconstruction(u - each(self.recon, p + s), mask),
        )
        return found | (dict(similarity=similarity(s, mask, self.moments, pairs)) if pairs else {})

    def nodes(self, x, mask, graph, context):
        del graph
        first, second = split_key(context.key, 2)
        u, p, s = self.parts(jnp.where(mask[..., None], x, 0))
        there = jnp.concatenate([mask, mask], axis=1)
        h, weights = self.transformer.shown(jnp.concatenate([p, s], axis=1), there, key=first)
        h = jnp.where(there[..., None], h, 0)
        out = self.fusion(h.reshape(h.shape[0], -1), key=second)
        seen = Attention(
            "fusion", weights, ("node", "head", "part", "part"), "part", "part", valid=there[:, None, None]
        )
        states = tuple(
            Tokens(name, jnp.where(mask[..., None], part, 0), mask, "modality")
            for name, part in (("private", p), ("shared", s))
        )
        losses = {k: self.weights[k] * v for k, v in self.losses(u, p, s, mask).items() if self.weights[k]}
        return Fused(out, attention=(seen,), losses=losses, states=states)


def each(modules: nnx.Module, x: Array) -> Array:
    """M stacked modules, each on its own of x [N, M, ...]."""
    return jax.vmap(lambda module, x: module(x), (0, 1), 1)(modules, x)


def mean_rows(x: Array, rows: Array) -> Array:
    """Mean of x [N, ...] over the nodes where rows [N, 1 or more axes] is true; 0 without any."""
    return jnp.where(rows, x, 0).sum(0) / jnp.maximum(rows.sum(0), 1).astype(x.dtype)


def length(x: Array) -> Array:
    """|x| over the last axis; at 0 its gradient is 0."""
    square = (x**2).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def similarity(s: Array, mask: Array, moments: int, pairs: list[tuple[int, int]]) -> Array:
    """CMD of s [N, M, W], the mean over the pairs of modalities that are both somewhere."""
    rows = mask[..., None]
    mean = mean_rows(s, rows)
    found = [mean] + [mean_rows((s - mean) ** k, rows) for k in range(2, moments + 1)]
    found = jnp.stack(found, axis=1)  # [M, K, W]
    gaps = jnp.stack([length(found[i] - found[j]).sum() for i, j in pairs])
    somewhere = mask.any(0)
    return mean_rows(gaps, jnp.stack([somewhere[i] & somewhere[j] for i, j in pairs]))


def difference(a: Array, b: Array, rows: Array, batch: int) -> Array:
    """Mean square of A^T B as if it were a sum over `batch` nodes; a and b [N, W], of the nodes in rows [N]."""

    def unit(x):
        x = jnp.where(rows[:, None], x - mean_rows(x, rows[:, None]), 0)
        return x / (jax.lax.stop_gradient(length(x))[:, None] + 1e-6)

    scale = batch / jnp.maximum(rows.sum(), 1).astype(a.dtype)
    return ((unit(a).T @ unit(b) * scale) ** 2).mean()


def reconstruction(error: Array, mask: Array) -> Array:
    """Mean of the squares of error [N, M, W] over nodes and width, then over the modalities that are somewhere."""
    return mean_rows(mean_rows((error**2).mean(-1), mask), mask.any(0))
