"""The seed axis: one seed after another or all at once, laid out over the devices as the mesh axis `seed`."""

from __future__ import annotations

from collections.abc import Callable
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


def map_seeds(fn: Callable, axis: str) -> Callable:
    """fn(*args of one seed) lifted to a leading seed axis, by "vmap" or by "map" (one seed after another)."""
    axis = suited(axis)
    if axis == "vmap":
        return jax.vmap(fn)
    if axis == "map":
        return lambda *args: jax.lax.map(lambda t: fn(*t), args)
    raise ValueError(f"training.seed_axis={axis!r}; expected 'auto', 'vmap' or 'map'")


def suited(axis: str) -> str:
    """The axis that is taken: of "auto" the one that the backend runs faster."""
    if axis != "auto":
        return axis
    return "map" if jax.default_backend() == "cpu" and jax.local_device_count() == 1 else "vmap"


def counted(axis: str, seeds: int) -> int:
    """How many seeds the compiler counts in a program: the body of a loop once, of a batch all that one device has."""
    mesh = seed_mesh(seeds)
    return 1 if suited(axis) == "map" else seeds // (1 if mesh is None else mesh.size)
