"""Attention of all positions to all others that never holds their scores: keys come block by block.

Reference: He and Kabic, "A Unified View of Long-Sequence Models towards Million-Scale Dependencies", 2023 (the update,
which is also that of Rabe and Staats 2021 and of Dao et al. 2022). `nn.ring_attention` runs it over devices.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fusion_jax.records import Array

FLOOR = -1e30  # the maximum over no key: -inf would make exp(m - m') NaN where neither has seen one


class Running(NamedTuple):
    """A softmax on its way through the keys, of T queries and H heads.

    Attributes:
        m: [H, T], the largest score yet, `FLOOR` before the first key.
        l: [H, T], sum of exp(score - m).
        o: [H, T, e], sum of exp(score - m) value.
    """

    m: Array
    l: Array
    o: Array


def start(q: Array, v: Array) -> Running:
    """Before the first key; q [H, T, d], v [H, L, e]. In float32 at least: sums over many keys are not for bfloat16."""
    held = wide(q)
    return Running(
        jnp.full(q.shape[:-1], FLOOR, held),
        jnp.zeros(q.shape[:-1], held),
        jnp.zeros((*q.shape[:-1], v.shape[-1]), held),
    )


def wide(x: Array):
    """The dtype in which is summed what is given in that of x."""
    return x.dtype if x.dtype.itemsize >= 4 else jnp.dtype(jnp.float32)


def scores(q: Array, k: Array) -> Array:
    """q k^T / sqrt(d): [H, T, d], [H, L, d] -> [H, T, L]; divided first, see `nn.mixing.softmax_of_products`."""
    return jnp.einsum("htd,hld->htl", q / math.sqrt(q.shape[-1]), k, preferred_element_type=wide(q))


def absorb(state: Running, q: Array, k: Array, v: Array, seen: Array) -> Running:
    """m' = max(m, max s), c = exp(m - m'), l' = c l + sum exp(s - m'), o' = c o + exp(s - m') v over the keys seen.

    Args:
        k, v: [H, L, d] and [H, L, e], finite where no query sees them too.
        seen: bool [T, L]; a query that sees none of these keys keeps its state as it is.
    """
    s = jnp.where(seen, scores(q, k), FLOOR)
    # The result does not depend on m: nothing is lost where its gradient is left out.
    m = jax.lax.stop_gradient(jnp.maximum(state.m, s.max(-1)))
    kept = jnp.exp(jax.lax.stop_gradient(state.m) - m)
    p = jnp.where(seen, jnp.exp(s - m[..., None]), 0)
    added = jnp.einsum("htl,hle->hte", p, v.astype(p.dtype))
    return Running(m, kept * state.l + p.sum(-1), kept[..., None] * state.o + added)


def finish(state: Running) -> Array:
    """o / l [H, T, e], 0 of a query that has seen no key."""
    return state.o / jnp.where(state.l > 0, state.l, 1)[..., None]


def heads_first(x: Array, valid: Array | None = None) -> Array:
    """[T, H, d] -> [H, T, d], 0 where `valid` bool [T] is false: its NaN must not spread."""
    return jnp.moveaxis(x if valid is None else jnp.where(valid[:, None, None], x, 0), 1, 0)


def attend_all(
    q: Array,  # [T, H, d]
    k: Array,  # [T, H, d]
    v: Array,  # [T, H, e]
    valid: Array,  # bool [T]
    group: Array | None = None,  # int [T]
    *,
    block: int = 256,
) -> Array:
    """softmax(q k^T / sqrt(d)) v over the valid positions of one's own group, [T, H, e]; 0 where there is none.

    Memory is O(T (d + e) + H block^2) in the gradient too, for which scores are computed once more; first derivatives
    in reverse mode only. Time is O(T^2), of groups the sum over them, each rounded up to blocks.

    Args:
        valid: positions that may be seen; all ask.
        group: non-decreasing, such as the graph of each node; one group if None.
        block: how many queries and keys are at work at a time.
    """
    length = q.shape[0]
    count = -(-length // block)
    size = -(-length // max(count, 1))
    behind = count * size - length
    group = jnp.zeros(length, jnp.int32) if group is None else group.astype(jnp.int32)

    def parts(a: Array) -> Array:  # [H, T, d] -> [count, H, size, d]
        a = jnp.pad(a, ((0, 0), (0, behind), (0, 0)))
        return jnp.moveaxis(a.reshape(a.shape[0], count, size, -1), 1, 0)

    valid_parts = jnp.pad(valid, (0, behind)).reshape(count, size)
    group_parts = jnp.pad(group, (0, behind), mode="edge").reshape(count, size)
    args = (parts(heads_first(q)), parts(heads_first(k, valid)), parts(heads_first(v, valid)))
    out = _attend(*args, valid_parts, group_parts)  # [count, H, size, e]
    out = jnp.moveaxis(out, 1, 2).reshape(count * size, *v.shape[1:])[:length]
    return out.astype(v.dtype)


def _near(group: Array) -> tuple[Array, Array]:
    """For each block the first block that shares a group with it, and the one behind the last."""
    flat, size = group.reshape(-1), group.shape[1]
    first = jnp.searchsorted(flat, group[:, 0], side="left") // size
    last = (jnp.searchsorted(flat, group[:, -1], side="right") + size - 1) // size
    return first.astype(jnp.int32), last.astype(jnp.int32)


def _forward(q, k, v, valid, group):
    """Output [count, H, size, e] and log of the sum of exp(score) [count, H, size], FLOOR over no key."""

    def one(of):
        q, group_q, first, last = of

        def more(j, state):
            seen = (group_q[:, None] == group[j][None]) & valid[j][None]
            return absorb(state, q, k[j], v[j], seen)

        state = jax.lax.fori_loop(first, last, more, start(q, v[0]))
        lse = state.m + jnp.log(jnp.where(state.l > 0, state.l, 1))
        return finish(state), lse

    return jax.lax.map(one, (q, group, *_near(group)))


@jax.custom_vjp
def _attend(q, k, v, valid, group):
    return _forward(q, k, v, valid, group)[0]


def _attend_fwd(q, k, v, valid, group):
    out, lse = _forward(q, k, v, valid, group)
    return out, (q, k, v, valid, group, out, lse)


def _attend_bwd(saved, g):
    """Reverse mode of softmax(s) v from log-sum-exps: ds = p (g v^T - g . out)."""
    q, k, v, valid, group, out, lse = saved
    held, scale = wide(q), 1 / math.sqrt(q.shape[-1])
    g = g.astype(held)
    along = (g * out).sum(-1)  # [count, H, size]
    product = functools.partial(jnp.einsum, preferred_element_type=held)

    def one(dq, of):
        k, v, valid, group_k, first, last = of

        def more(i, found):
            dq, dk, dv = found
            seen = (group[i][:, None] == group_k[None]) & valid[None]
            p = jnp.where(seen, jnp.exp(jnp.where(seen, scores(q[i], k) - lse[i][..., None], 0)), 0)
            dp = product("hte,hle->htl", g[i], v.astype(held))
            ds = p * (dp - along[i][..., None]) * scale
            dq_i = dq[i] + product("htl,hld->htd", ds, k.astype(held))
            dq = jax.lax.dynamic_update_index_in_dim(dq, dq_i, i, 0)
            dk = dk + product("htl,htd->hld", ds, q[i].astype(held))
            return dq, dk, dv + product("htl,hte->hle", p, g[i])

        zeros = jnp.zeros(k.shape, held), jnp.zeros(v.shape, held)
        dq, dk, dv = jax.lax.fori_loop(first, last, more, (dq, *zeros))
        return dq, (dk, dv)

    dq, (dk, dv) = jax.lax.scan(one, jnp.zeros(q.shape, held), (k, v, valid, group, *_near(group)))
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None, None


_attend.defvjp(_attend_fwd, _attend_bwd)
