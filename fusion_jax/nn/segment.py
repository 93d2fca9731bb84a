"""Message passing: sums, softmaxes and attention over the edges that a node receives.

All message passing of the project goes through this file, so that a faster kernel is a change in one place.
Sums over edges are products with a sparse matrix in CSR form whose rows are receivers: on a CPU that runs the
compiled sparse kernel (7 times a sorted `segment_sum`, measured by `experiments/bench_segment.py`) head by head,
elsewhere one sorted segment sum of all heads. Under `vmap` matrices of many seeds become heads, right-hand sides
columns: no loop. Gradients use the reverse order stored in the graph, so no unsorted scatter is ever made; they are
first derivatives in reverse mode, and JAX refuses others. Where the nodes of a graph are shared out over devices, every
sum runs on each for its own rows (`nn.halo`).
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

from fusion_jax.graphs import Graph
from fusion_jax.nn import mixing
from fusion_jax.nn.dropout import dropout
from fusion_jax.nn.halo import over_parts
from fusion_jax.parted import Order
from fusion_jax.records import Array

UNROLLED = 16  # heads that a program has one product each for; more are a loop
_PLAIN = contextvars.ContextVar("sums over edges are traced without the kernel of one platform", default=False)


@contextlib.contextmanager
def plain_xla() -> Iterator[None]:
    """Inside, sums over edges are traced as sorted segment sums for every platform, without the CPU's own kernel.

    A program that is exported runs elsewhere, with other versions: it has plain XLA operations only.
    """
    before = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(before)


def _sorted_sum(values: Array, cols: Array, ptr: Array, x: Array) -> Array:
    """As `_product`, for every platform."""
    rows = _rows(ptr, cols.shape[0])
    return jax.ops.segment_sum(values[:, :, None] * x[cols], rows, ptr.shape[0] - 1, indices_are_sorted=True)


def _compiled_kernel(values: Array, cols: Array, ptr: Array, x: Array) -> Array:
    """As `_product`, on a CPU: its sparse product knows one matrix at a time."""

    def one(values: Array, x: Array) -> Array:
        return sparse.BCSR((values, cols, ptr), shape=(ptr.shape[0] - 1, x.shape[0])) @ x

    heads = values.shape[1]
    if heads == 1:
        return one(values[:, 0], x[:, 0])[:, None]
    if heads > UNROLLED:
        return jnp.swapaxes(jax.lax.map(lambda a: one(*a), (values.T, jnp.swapaxes(x, 0, 1))), 0, 1)
    return jnp.stack([one(values[:, h], x[:, h]) for h in range(heads)], axis=1)


@jax.custom_batching.custom_vmap
def _product(values: Array, cols: Array, ptr: Array, x: Array) -> Array:
    """y[i, h] = sum over e in ptr[i]:ptr[i+1] of values[e, h] x[cols[e], h].

    values [E, H], x [K, H, F] -> [N, H, F].
    """
    if cols.shape[0] == 0 or 0 in x.shape:
        return jnp.zeros((ptr.shape[0] - 1, *x.shape[1:]), x.dtype)
    return jax.lax.platform_dependent(values, cols, ptr, x, cpu=_compiled_kernel, default=_sorted_sum)


_traced_once = jax.jit(_product)  # a shape: a model calls it dozens of times


def _spmm(values: Array, cols: Array, ptr: Array, x: Array) -> Array:
    return (_sorted_sum if _PLAIN.get() else _traced_once)(values, cols, ptr, x)


@_product.def_vmap
def _product_vmap(size, batched, values, cols, ptr, x):
    if batched[1] or batched[2]:  # graphs of their own, one after another
        pairs = zip((values, cols, ptr, x), batched, strict=True)
        args = tuple(a if b else jnp.broadcast_to(a, (size, *a.shape)) for a, b in pairs)
        return jax.lax.map(lambda t: _spmm(*t), args), True
    if not batched[0]:  # one matrix, many right-hand sides: fold them into columns
        y = _spmm(values, cols, ptr, jnp.moveaxis(x, 0, -1).reshape(*x.shape[1:3], -1))
        return jnp.moveaxis(y.reshape(*y.shape[:2], x.shape[-1], size), -1, 0), True
    x = x if batched[3] else jnp.broadcast_to(x, (size, *x.shape))  # many matrices of one form: fold them into heads
    y = _spmm(*(_into_heads(values), cols, ptr, _into_heads(x)))
    return jnp.moveaxis(y.reshape(y.shape[0], size, -1, y.shape[-1]), 1, 0), True


def _into_heads(a: Array) -> Array:
    """[S, K, H, ...] -> [K, S H, ...]."""
    return jnp.swapaxes(a, 0, 1).reshape(a.shape[1], -1, *a.shape[3:])


def _rows(ptr: Array, num_edges: int) -> Array:
    """The row of every entry of a CSR matrix, int32 [E]."""
    n = ptr.shape[0] - 1
    return jnp.repeat(jnp.arange(n, dtype=ptr.dtype), jnp.diff(ptr), total_repeat_length=num_edges)


def _no_tangent(*arrays):
    return tuple(np.zeros(a.shape, jax.dtypes.float0) for a in arrays)


@jax.custom_vjp
def _weighted_sum(weight, x, senders, receivers, row_ptr, by_sender, sender_ptr):
    """y[i, h] = sum over edges e into i of weight[e, h] x[sender of e, h]; weight [E, H], x [K, H, F]."""
    del receivers, by_sender, sender_ptr
    return _spmm(weight, senders, row_ptr, x)


def _weighted_sum_fwd(weight, x, *order):
    return _weighted_sum(weight, x, *order), (weight, x, order)


def _weighted_sum_bwd(saved, g):
    weight, x, order = saved
    senders, receivers, _, by_sender, sender_ptr = order
    dx = _spmm(weight[by_sender], receivers[by_sender], sender_ptr, g)
    return _edge_dot(g, x, *order), dx, *_no_tangent(*order)


_weighted_sum.defvjp(_weighted_sum_fwd, _weighted_sum_bwd)


@jax.custom_vjp
def _edge_dot(a, b, senders, receivers, row_ptr, by_sender, sender_ptr):
    """a[receiver of e, h] . b[sender of e, h] -> [E, H]; a [N, H, F], b [K, H, F]."""
    del row_ptr, by_sender, sender_ptr
    if _PLAIN.get():
        return _plain_dot(a, b, receivers, senders)
    return jax.lax.platform_dependent(a, b, receivers, senders, cpu=_dot_in_lanes, default=_plain_dot)


def _plain_dot(a: Array, b: Array, rows: Array, cols: Array) -> Array:
    return (a[rows] * b[cols]).sum(-1)


def _dot_in_lanes(a: Array, b: Array, rows: Array, cols: Array) -> Array:
    """The same, with partial sums side by side: a sum over the last axis is one number after another on a CPU, and
    with the two gathers in front of it five to ten times as slow.
    """
    width = a.shape[-1]
    lanes = 16 if width >= 64 else 8 if width >= 8 else 1
    count = width // lanes
    rest = [a[rows, :, f] * b[cols, :, f] for f in range(count * lanes, width)]
    if not count:
        return sum(rest, jnp.zeros((len(rows), a.shape[1]), a.dtype))
    a, b = (x[..., : count * lanes].reshape(len(x), -1, count, lanes) for x in (a, b))
    partial = sum(a[rows, :, k] * b[cols, :, k] for k in range(count))  # [E, H, lanes]
    if lanes == 16:
        found = partial @ jnp.ones(lanes, partial.dtype)
    else:
        found = sum(partial[..., i] for i in range(lanes))
    # The kernel's rows are one entry each, 1 times what was found: nothing is done but that the compiler cannot put
    # these sums into whatever reads them, once for each and each rounded in its own way (logits and their maximum).
    itself = jnp.arange(len(rows) + 1, dtype=rows.dtype)
    ones = jnp.ones((len(rows), 1), a.dtype)
    return _compiled_kernel(ones, itself[:-1], itself, sum(rest, found)[:, None])[:, 0]


def _edge_dot_bwd(saved, g):
    a, b, order = saved
    senders, receivers, row_ptr, by_sender, sender_ptr = order
    da = _spmm(g, senders, row_ptr, b)
    db = _spmm(g[by_sender], receivers[by_sender], sender_ptr, a)
    return da, db, *_no_tangent(*order)


_edge_dot.defvjp(lambda a, b, *order: (_edge_dot(a, b, *order), (a, b, order)), _edge_dot_bwd)


def weighted_rows(
    weight: Array, x: Array, columns: Array, rows: Array, row_ptr: Array, by_column: Array, column_ptr: Array
) -> Array:
    """y[i] = sum over e in row_ptr[i]:row_ptr[i + 1] of weight[e] x[columns[e]], x [K, F] -> [N, F].

    Args:
        weight: [E]. rows: int32 [E], the row of every entry.
        by_column: int32 [E], the entries sorted by column; column_ptr: int32 [K + 1] of that order, for the gradient.
    """
    return _weighted_sum(weight[:, None], x[:, None], columns, rows, row_ptr, by_column, column_ptr)[:, 0]


def flat(x: Array) -> Array:
    """[K, ...] -> [K, F]; -1 for F cannot be worked out where K is 0."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def propagate(x: Array, graph: Graph, weight: Array | None = None) -> Array:
    """y_i = sum over edges e into i of weight_e x_(sender of e).

    Args:
        x: [N, ...].
        weight: [E], 1 if None; or [E, H] with x [N, H, ...], one weight a head.
    Returns:
        [N, ...] as x; 0 at a node that receives nothing.
    """
    weight = jnp.ones(graph.num_edges, x.dtype) if weight is None else weight
    weight = counted(weight, graph)
    heads = weight.shape[1:] or (1,)
    weight = weight.astype(x.dtype).reshape(-1, *heads)
    y = over_parts(lambda order, w, x: _weighted_sum(w, x, *order), graph, (weight,), (_by_head(x, *heads),))
    return y.reshape(graph.num_nodes, *x.shape[1:])


def counted(data: Array, graph: Graph) -> Array:
    """data [E, ...] as often as its edges count (`Graph.stands_for`)."""
    if graph.stands_for is None:
        return data
    often = graph.stands_for.astype(data.dtype).reshape(-1, *[1] * (data.ndim - 1))
    return jnp.where(often > 0, data, 0) * often


def _by_head(x: Array, heads: int) -> Array:
    """[K, ...] or [K, H, ...] -> [K, H, F]; -1 for F cannot be worked out where K is 0."""
    return x.reshape(x.shape[0], heads, math.prod(x.shape[1:]) // heads)


def edge_dot(a: Array, b: Array, graph: Graph) -> Array:
    """a_i . b_j of every edge from j to i, head by head: a, b [N, H, F] -> [E, H]."""
    return over_parts(lambda order, a, b: _edge_dot(a, b, *order), graph, (a,), (b.astype(a.dtype),))


def _summed(x: Array, cols: Array, ptr: Array) -> Array:
    """y[i] = sum over e in ptr[i]:ptr[i+1] of x[cols[e]], x [K, F] -> [N, F]."""
    return _spmm(jnp.ones((cols.shape[0], 1), x.dtype), cols, ptr, x[:, None])[:, 0]


@jax.custom_vjp
def _edge_sum(data, receivers, row_ptr):
    return _summed(data, jnp.arange(data.shape[0], dtype=row_ptr.dtype), row_ptr)


_edge_sum.defvjp(
    lambda data, receivers, row_ptr: (_edge_sum(data, receivers, row_ptr), (receivers, row_ptr)),
    lambda saved, g: (g[saved[0]], *_no_tangent(*saved)),
)


def segment_sum(data: Array, graph: Graph) -> Array:
    """Sum of data [E, ...] over the edges each node receives, [N, ...]."""
    data = counted(data, graph)

    def summed(order: Order, data: Array) -> Array:
        return _edge_sum(data, order.receivers, order.row_ptr)

    return over_parts(summed, graph, (flat(data),)).reshape(graph.num_nodes, *data.shape[1:])


@jax.custom_vjp
def _gather_senders(x, senders, receivers, row_ptr, by_sender, sender_ptr):
    return x[senders]


def _gather_bwd(order, g):
    *_, by_sender, sender_ptr = order
    return _summed(g, by_sender, sender_ptr), *_no_tangent(*order)


_gather_senders.defvjp(lambda x, *order: (_gather_senders(x, *order), order), _gather_bwd)


@jax.custom_vjp
def _gather_receivers(x, receivers, row_ptr):
    return x[receivers]


_gather_receivers.defvjp(
    lambda x, receivers, row_ptr: (x[receivers], (receivers, row_ptr)),
    lambda saved, g: (_edge_sum(g, *saved), *_no_tangent(*saved)),
)


def at_senders(x: Array, graph: Graph) -> Array:
    """x of every edge's sender: [N, ...] -> [E, ...]."""
    sent = over_parts(lambda order, x: _gather_senders(x, *order), graph, (), (flat(x),))
    return sent.reshape(graph.num_edges, *x.shape[1:])


def at_receivers(x: Array, graph: Graph) -> Array:
    """x of every edge's receiver: [N, ...] -> [E, ...]."""

    def gathered(order: Order, x: Array) -> Array:
        return _gather_receivers(x, order.receivers, order.row_ptr)

    return over_parts(gathered, graph, (flat(x),)).reshape(graph.num_edges, *x.shape[1:])


@jax.custom_vjp
def _gather(x, ids, order, ptr):
    del order, ptr
    return x.at[ids].get(mode="fill", fill_value=0)


def _gather_rows_bwd(saved, g):
    ids, order, ptr = saved
    ends = jnp.append(ptr, jnp.asarray(len(order), ptr.dtype))  # a last row for the places that hold nothing
    return _summed(g, order, ends)[:-1], *_no_tangent(ids, order, ptr)


_gather.defvjp(lambda x, *where: (_gather(x, *where), where), _gather_rows_bwd)


def gather(x: Array, ids: Array, order: Array, ptr: Array) -> Array:
    """x[ids] for x [K, ...], 0 where an id is K -> [*ids.shape, ...]. Its gradient is a sum in the order given.

    Args:
        order: int32 [L], the places in `ids` (flattened, L in all) sorted by id.
        ptr: int32 [K + 1]; the places that hold row i are order[ptr[i]:ptr[i + 1]].
    """
    return _gather(flat(x), ids.reshape(-1), order, ptr).reshape(*ids.shape, *x.shape[1:])


def segment_max(data: Array, graph: Graph) -> Array:
    """Largest entry of data [E, ...] over the edges each node receives, [N, ...]; -inf where there is none."""

    def largest(order: Order, data: Array) -> Array:
        return jax.ops.segment_max(data, order.receivers, order.row_ptr.shape[0] - 1, indices_are_sorted=True)

    return over_parts(largest, graph, (data,))


def degree(graph: Graph, dtype=jnp.float32) -> Array:
    """Number of edges each node receives, [N]."""
    if graph.stands_for is not None:
        return segment_sum(jnp.ones(graph.num_edges, dtype), graph)
    return jnp.diff(graph.row_ptr).astype(dtype)


def segment_softmax(logits: Array, graph: Graph, mask: Array | None = None) -> Array:
    """softmax of logits [E, ...] over the edges that share a receiver, [E, ...].

    Args:
        mask: bool [E] (or broadcastable to logits), true where the edge counts. A receiver without such an
            edge has weights 0.
    Returns:
        the weight of each of the edges that an edge stands for, where it stands for several.
    """
    if graph.stands_for is not None:
        here = graph.stands_for > 0
        mask = here if mask is None else mask & here.reshape(-1, *[1] * (mask.ndim - 1))
    if mask is not None:
        mask = mask.reshape(mask.shape + (1,) * (logits.ndim - mask.ndim))
        logits = jnp.where(mask, logits, -jnp.inf)
    top = jax.lax.stop_gradient(segment_max(logits, graph))
    top = at_receivers(jnp.where(jnp.isfinite(top), top, 0), graph)
    if mask is None:
        weights = jnp.exp(logits - top)
    else:
        weights = jnp.where(mask, jnp.exp(jnp.where(mask, logits - top, 0)), 0)
    total = segment_sum(weights, graph)
    return weights / at_receivers(jnp.where(total > 0, total, 1), graph)


@dataclasses.dataclass(frozen=True)
class Senders:
    """A node's senders as its keys, `nn.mixing.Keys`: weights [E, H].

    Attributes:
        mask: bool [E], true where the receiver may see the sender; None where it may always.
    """

    graph: Graph
    mask: Array | None = None

    def pair(self, q: Array, k: Array) -> Array:
        return edge_dot(q, k, self.graph)

    def of_key(self, values: Array) -> Array:
        return at_senders(values, self.graph)

    def own(self, q: Array, k: Array) -> Array | None:
        return q if q.shape == k.shape else None

    def softmax(self, logits: Array) -> Array:
        return segment_softmax(logits, self.graph, self.mask)

    def share(self, values: Array) -> Array:
        values = values if self.mask is None else jnp.where(self.mask[:, None], values, 0)
        total = segment_sum(values, self.graph)
        return values / at_receivers(jnp.where(total == 0, 1, total), self.graph)


def edge_attend(
    q: Array,  # [N, H, d]
    k: Array,  # [N, H, d]
    v: Array,  # [N, H, e]
    graph: Graph,
    mask: Array | None = None,  # bool [E], true where the receiver may see the sender
    *,
    scale: float | None = None,
    bias: Array | None = None,  # [E] or [E, H], added to the logits
    rate: float = 0.0,
    key: Array | None = None,
) -> tuple[Array, Array]:
    """`nn.attention.attend` with a node's senders as its keys: out [N, H, e], weights [E, H].

    A node that sees nobody gets 0. Pass `graph.looped` if a node shall see itself. A mixer may weigh (`nn.mixing`).
    """
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    bias = bias[:, None] if bias is not None and bias.ndim == 1 else bias
    weights = mixing.weigh(Senders(graph, mask), q, k, scale, bias)
    return propagate(v, graph, dropout(weights, rate, key)), weights
