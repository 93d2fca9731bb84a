"""Seeds over devices: the leading axis of every per-seed array is laid out over the mesh axis `seed`."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def seed_mesh(seeds: int) -> Mesh | None:
    """A mesh over the largest number of devices that divides the number of seeds; None if that is one."""
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if seeds % n == 0)
    return None if count == 1 else Mesh(np.array(devices[:count]), ("seed",))


def shard_seeds(tree: Any) -> Any:
    """Every leaf [S, ...] laid over the devices along its seed axis; unchanged on one device."""
    leaves = jax.tree.leaves(tree)
    mesh = seed_mesh(leaves[0].shape[0])
    if mesh is None:
        return tree
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec("seed")))
