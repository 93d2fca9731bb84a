"""Attention of all positions to all others over several devices: keys and values go around a ring, scores never move.

Reference: He and Kabic, "A Unified View of Long-Sequence Models towards Million-Scale Dependencies", 2023, which states
the update of `nn.running_softmax`. The order in which devices see the shards is ours: the paper's was not to be read.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from fusion_jax.nn.running_softmax import Running, absorb, finish, heads_first, start
from fusion_jax.records import Array

AXIS = "nodes"


def ring_mesh(who: str, shards: int) -> Mesh:
    """The first `shards` devices as the mesh axis "nodes".

    Raises:
        ValueError: there are not so many, or fewer than one; begins with `who`.
    """
    devices = jax.local_devices()  # where JAX runs in several processes, one trains such a model by itself
    if not 1 <= shards <= len(devices):
        raise ValueError(f"{who}: shards={shards}, expected 1 to {len(devices)}, the number of devices here")
    return Mesh(np.array(devices[:shards]), (AXIS,))


def revolve(
    q: Array,  # [H, T, d]
    k: Array,  # [H, T, d]
    v: Array,  # [H, T, e]
    valid: Array,  # bool [T]
    group: Array,  # int [T]
    *,
    shards: int,
    axis: str = AXIS,
    block: int = 256,
) -> tuple[Running, Running]:
    """What one device does: in step t device p absorbs shard (p + t) mod P, then hands on what it holds.

    Runs under any transformation that binds `axis` to P = `shards` devices: `jax.shard_map`, or `jax.vmap` on one.

    Args:
        k, v: finite where not valid.
        group: whose keys a query sees.
        block: how many keys are absorbed at a time; a device holds O(H T block) scores.
    Returns:
        The state behind the last step, and those behind each, [P, ...].
    """
    size = min(block, k.shape[1])
    behind = -k.shape[1] % size

    def more(state, keys):
        k, v, valid, group_k = keys
        return absorb(state, q, k, v, (group[:, None] == group_k[None]) & valid[None]), None

    def step(carry, _):
        state, held = carry
        state, _ = jax.lax.scan(jax.checkpoint(more), state, _blocks(held, size, behind))
        held = jax.tree.map(lambda a: jax.lax.ppermute(a, axis, [(p, (p - 1) % shards) for p in range(shards)]), held)
        return (state, held), state

    (last, _), states = jax.lax.scan(jax.checkpoint(step), (start(q, v), (k, v, valid, group)), length=shards)
    return last, states


def _blocks(held: tuple[Array, ...], size: int, behind: int) -> tuple[Array, ...]:
    """A shard's keys, values, mask and groups in blocks [count, ...]; what fills the last one is not valid."""
    k, v, valid, group = held

    def parts(a: Array) -> Array:
        a = jnp.pad(a, ((0, 0), (0, behind), (0, 0)))
        return jnp.moveaxis(a.reshape(a.shape[0], -1, size, a.shape[-1]), 1, 0)

    flat = (jnp.pad(a, (0, behind)).reshape(-1, size) for a in (valid, group))
    return parts(k), parts(v), *flat


def attend_ring(
    q: Array,  # [T, H, d]
    k: Array,  # [T, H, d]
    v: Array,  # [T, H, e]
    valid: Array,  # bool [T]
    group: Array | None = None,  # int [T]
    *,
    mesh: Mesh,
    together: int = 1,
    block: int = 256,
) -> Array:
    """`nn.running_softmax.attend_all` over the devices of `ring_mesh`, with which it agrees; groups in any order.

    Every device keeps T / P positions, their queries, keys and values; T is filled up with positions that are not
    valid. Gradients are those of reverse mode through the steps.

    Args:
        together: how many positions in a row, as the modalities of a node, stay on one device.
    """
    length, shards = q.shape[0], mesh.shape[AXIS]
    behind = -length % (shards * together)
    group = jnp.zeros(length, jnp.int32) if group is None else group.astype(jnp.int32)
    q, k, v = (
        jnp.pad(a, ((0, 0), (0, behind), (0, 0)))
        for a in (heads_first(q), heads_first(k, valid), heads_first(v, valid))
    )
    wide, flat = PartitionSpec(None, AXIS, None), PartitionSpec(AXIS)

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(wide, wide, wide, flat, flat), out_specs=wide, check_vma=False
    )
    def run(q, k, v, valid, group):
        return finish(revolve(q, k, v, valid, group, shards=shards, block=block)[0])

    out = run(q, k, v, jnp.pad(valid, (0, behind)), jnp.pad(group, (0, behind)))
    return jnp.moveaxis(out, 0, 1)[:length].astype(v.dtype)
