"""Attention factorised over spans: a few positions directly, all others through summaries of the spans they lie in.

Reference: Ren et al., "Combiner: Full Attention Transformer with Sparse Computation Cost", NeurIPS 2021; code
google-research/google-research, folder `combiner/jax/model/layer.py`, commit 4c42994, and
`combiner/tf/approx_attention.py` for the form that looks both ways. Golden `combiner`.

Positions stand in spans, [..., S, B, H, d]: S spans of B places. Queries are scaled by 1 / sqrt(d) already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.nn.attention import attend, masked_softmax
from fusion_jax.nn.init import LECUN_NORMAL
from fusion_jax.nn.norm import layer_norm
from fusion_jax.records import Array


class Spans(NamedTuple):
    """Summaries of spans.

    Attributes:
        key: [..., S, H, d], the largest of the span's keys, channel by channel.
        value: [..., S, H, e], the expectation of its values under the largest of its scaled queries.
        weights: [..., S, H, B], of that expectation.
    """

    key: Array
    value: Array
    weights: Array


class Attended(NamedTuple):
    """What a form of attention returns.

    Attributes:
        out: as the values.
        weights: the joint softmax, H before its last axis: direct keys, then spans (levels in `logn`).
        seen: bool, as `weights` with one head, what a query may see.
        spans: the summaries (one a level in `logn`); None in `axial`.
    """

    out: Array
    weights: Array
    seen: Array
    spans: Spans | tuple[Spans, ...] | None = None


def summaries(
    q: Array,  # [..., S, B, H, d]
    k: Array,  # [..., S, B, H, d]
    v: Array,  # [..., S, B, H, e]
    there: Array | None = None,  # bool [..., S, B]; all if None
    *,
    rate: float = 0.0,
    key: Array | None = None,
) -> Spans:
    """kappa = max_j k_j, rho = max_j q_j, nu = sum_j softmax_j(rho . k_j) v_j over the span; 0 of an empty one.

    The maximum is of raw keys and of scaled queries, so that rho . k_j is scaled once. Dropout is on these weights.
    """
    there = jnp.ones(k.shape[:-2], bool) if there is None else there
    held, some = there[..., None, None], there.any(-1)[..., None, None]

    def largest(x):
        return jnp.where(some, jnp.where(held, x, -jnp.inf).max(-3), 0)

    value, weights = attend(largest(q)[..., None, :, :], k, v, there, scale=1.0, rate=rate, key=key)
    return Spans(largest(k), value[..., 0, :, :], weights[..., 0, :])


def joint(q: Array, k: Array, v: Array, spans: Spans, near: Array, far: Array) -> Attended:
    """One softmax over the places of the query's own span and over all spans.

    Args:
        q, k, v: [..., S, B, H, d], k and v finite.
        near: bool [..., S, B, B] (sizes of 1 allowed), the places of its span that a query sees.
        far: bool [..., S, S], the spans that queries of a span see.
    Returns:
        out [..., S, B, H, e] and weights [..., S, B, H, B + S].
    """
    logits = (
        jnp.einsum("...qhd,...khd->...qhk", q, k),
        jnp.einsum("...sqhd,...thd->...sqht", q, spans.key),
    )
    masks = near[..., :, None, :], far[..., :, None, None, :]
    seen = _masks(masks, logits)
    weights = masked_softmax(jnp.concatenate(logits, -1), seen)
    direct, indirect = jnp.split(weights, [k.shape[-3]], axis=-1)
    out = jnp.einsum("...qhk,...khd->...qhd", direct, v) + jnp.einsum("...sqht,...thd->...sqhd", indirect, spans.value)
    return Attended(out, weights, seen, spans)


def _masks(masks: Sequence[Array], logits: Sequence[Array]) -> Array:
    """The masks of several logits [..., H, .] side by side, of one head."""
    shapes = ((*x.shape[:-2], 1, x.shape[-1]) for x in logits)
    return jnp.concatenate([jnp.broadcast_to(m, shape) for m, shape in zip(masks, shapes, strict=True)], -1)


def bidirectional(
    q: Array,  # [..., S, B, H, d]
    k: Array,  # [..., S, B, H, d]
    v: Array,  # [..., S, B, H, e]
    there: Array,  # bool [..., S, B]
    *,
    own_summary: bool = False,
    rate: float = 0.0,
    key: Array | None = None,
) -> Attended:
    """The places of a query's own span, and the summaries of the others that are not empty (of its own too)."""
    k, v = (jnp.where(there[..., None, None], x, 0) for x in (k, v))
    square = *there.shape[:-1], there.shape[-2]
    far = jnp.broadcast_to(there.any(-1)[..., None, :], square)
    if not own_summary:
        far = far & ~jnp.broadcast_to(np.eye(square[-1], dtype=bool), square)
    return joint(q, k, v, summaries(q, k, v, there, rate=rate, key=key), there[..., None, :], far)


def _split(x: Array, size: int, axis: int = -3) -> Array:
    """[..., L, H, d] -> [..., L // size, size, H, d]; what is behind the last full span is left out."""
    count = x.shape[axis] // size
    kept = jax.lax.slice_in_dim(x, 0, count * size, axis=axis)
    return kept.reshape(*x.shape[:-3], count, size, *x.shape[-2:])


def fixed(q: Array, k: Array, v: Array, size: int) -> Attended:
    """Causal: the places up to the query's in its span of `size`, and the summaries of the spans before.

    q, k, v [..., L, H, d], L a multiple of size -> out [..., L, H, e], weights [..., L, H, size + S].

    Raises:
        ValueError: size does not divide L.
    """
    length = q.shape[-3]
    if length % size:
        raise ValueError(f"combiner: spans of size={size} do not divide a length of {length}")
    parts = [_split(x, size) for x in (q, k, v)]
    near, far = np.tri(size, dtype=bool)[None], np.tri(length // size, k=-1, dtype=bool)
    *held, spans = joint(*parts, summaries(*parts), near, far)
    return Attended(*(x.reshape(*q.shape[:-3], length, *x.shape[-2:]) for x in held), spans)


def logn(q: Array, k: Array, v: Array, levels: int | None = None) -> Attended:
    """Causal: position i itself and, for every set bit l of i, the 2^l positions ending where the higher bits of i end.

    q, k, v [..., L, H, d] -> out [..., L, H, e], weights [..., L, H, 1 + levels], spans a level.

    Args:
        levels: number of bits; those of L - 1 if None. The reference has ceil(log2(L - 1)), one less where
            L = 2^m + 1: the last position then sees nothing but itself.
    """
    length = q.shape[-3]
    levels = (length - 1).bit_length() if levels is None else levels
    position = np.arange(length)
    logits, seen, values, spans = [(q * k).sum(-1)], [np.ones(length, bool)], [v], []
    for level in range(levels):
        size = 2**level
        summary = summaries(*(_split(x, size) for x in (q, k, v)))
        before = [_shifted(x, size, length) for x in (summary.key, summary.value)]
        logits.append((q * before[0]).sum(-1))
        seen.append(position >> level & 1 == 1)
        values.append(before[1])
        spans.append(summary)
    logits, seen = jnp.stack(logits, -1), np.stack(seen, -1)[:, None]
    seen = jnp.broadcast_to(seen, (*logits.shape[:-2], 1, seen.shape[-1]))
    weights = masked_softmax(logits, seen)
    out = sum(weights[..., i, None] * value for i, value in enumerate(values))
    return Attended(out, weights, seen, tuple(spans))


def _shifted(x: Array, size: int, length: int) -> Array:
    """What spans of `size` hold, x [..., S, H, d], at the positions of the span behind each; 0 in the first span."""
    held = jnp.repeat(x, size, axis=-3)[..., : max(length - size, 0), :, :]
    first = length - held.shape[-3]
    return jnp.pad(held, [(0, 0)] * (x.ndim - 3) + [(first, 0), (0, 0), (0, 0)])


class RowKey(nnx.Module):
    """kappa = W_k LN(W_y y + x): the key of what a position sees of its row, y [..., H, d], x [..., D]."""

    def __init__(self, dim: int, heads: int, *, kernel_init=LECUN_NORMAL, rngs: nnx.Rngs):
        def linear():
            return nnx.Linear(dim, dim, use_bias=False, kernel_init=kernel_init, rngs=rngs)

        self.summary, self.norm, self.key = linear(), layer_norm(dim, epsilon=1e-6, rngs=rngs), linear()
        self.heads = heads

    def __call__(self, y: Array, x: Array) -> Array:
        y = self.norm(self.summary(y.reshape(*x.shape[:-1], -1)) + x)
        return self.key(y).reshape(*x.shape[:-1], self.heads, -1)


def axial(q: Array, k: Array, v: Array, row_key: Callable[[Array], Array]) -> Attended:
    """Causal, rows of a grid as spans: a query's row up to itself, and its column in the rows before through rows.

    y_rc is what (r, c) sees of its whole row; a query at (r, c) sees the y_r'c of r' < r by the keys row_key(y).

    q, k, v [..., R, C, H, d] -> out [..., R, C, H, e], weights [..., R, C, H, C + R].
    """
    y, _ = attend(q, k, v, scale=1.0)
    rows, columns = q.shape[-4:-2]
    logits = (
        jnp.einsum("...qhd,...khd->...qhk", q, k),
        jnp.einsum("...rchd,...tchd->...rcht", q, row_key(y)),
    )
    masks = np.tri(columns, dtype=bool)[:, None], np.tri(rows, k=-1, dtype=bool)[:, None, None]
    seen = _masks(masks, logits)
    weights = masked_softmax(jnp.concatenate(logits, -1), seen)
    direct, indirect = jnp.split(weights, [columns], axis=-1)
    out = jnp.einsum("...qhk,...khd->...qhd", direct, v) + jnp.einsum("...rcht,...tchd->...rchd", indirect, y)
    return Attended(out, weights, seen)
