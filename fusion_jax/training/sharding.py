"""The seed axis: seeds laid over the devices, and gone through by each device for itself, as suits the backend.

The devices may be those of several JAX processes (`run.pod`): each then holds the rows of its own devices, and all of
them come to the host of each where the host looks.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

SEED, ALL = PartitionSpec("seed"), PartitionSpec()


@dataclasses.dataclass(frozen=True)
class Seats:
    """Where the seeds of a training lie: rows, as many on each device, and a seed in each.

    Every device has its share of the seeds, one more or less than another has. One that has less repeats its last:
    such a row is idle, and nothing of it leaves the training.

    Attributes:
        rows: int [R], the seed of each row, device after device.
        own: int [S], the row of each seed.
        mesh: the devices as the axis `seed`; None where it is one.
    """

    rows: np.ndarray
    own: np.ndarray
    mesh: Mesh | None

    @property
    def idle(self) -> np.ndarray:
        """bool [R], rows that repeat a seed."""
        idle = np.ones(len(self.rows), bool)
        idle[self.own] = False
        return idle

    @property
    def each(self) -> int:
        """The rows of one device."""
        return len(self.rows) // (1 if self.mesh is None else self.mesh.size)

    def taken(self, tree: Any) -> Any:
        """Leaves of seeds, [S, ...], as those of rows, [R, ...]."""
        return jax.tree.map(lambda a: a[self.rows], tree) if self.idle.any() else tree

    @property
    def abroad(self) -> bool:
        """Whether some of the devices are another process's."""
        return self.mesh is not None and any(d.process_index != jax.process_index() for d in self.mesh.devices)

    def laid(self, tree: Any) -> Any:
        """Leaves of rows, on their devices; unchanged on one device."""
        return self._put(tree, SEED)

    def everywhere(self, tree: Any) -> Any:
        """What all seeds share, on every device; unchanged on one device."""
        return self._put(tree, ALL)

    def _put(self, tree: Any, spec: PartitionSpec) -> Any:
        if self.mesh is None:
            return tree
        to = NamedSharding(self.mesh, spec)
        return jax.tree.map(lambda a: _global(a, to), tree) if self.abroad else jax.device_put(tree, to)

    def here(self, tree: Any) -> Any:
        """Leaves of rows with all rows in this process; unchanged where they are. Every process asks at a time."""
        if not self.abroad:
            return tree
        return jax.tree.map(lambda a: a.addressable_data(0), _gathered(NamedSharding(self.mesh, ALL))(tree))

    def of_seeds(self, tree: Any) -> Any:
        """Leaves of seeds, of those of rows; on the host where some are idle, or lie in another process."""
        if not (self.abroad or self.idle.any()):
            return tree
        return jax.tree.map(lambda a: np.asarray(a)[self.own], self.here(tree))

    def mapped(self, fn: Callable, axis: str) -> Callable:
        """fn(shared, *args of one seed) lifted to rows, which each device goes through for itself.

        Args:
            axis: "vmap", or "map" (one after another), or "auto", which is what the backend runs faster.
        """

        def run(shared: Any, *args: Any) -> Any:
            return by_seed(functools.partial(fn, shared), axis)(*args)

        if self.mesh is None:
            return run

        def on_each(shared: Any, *args: Any) -> Any:
            # left to itself the compiler would gather what lies on the devices, where it goes through rows in a loop
            specs = ALL, *[SEED] * len(args)
            return jax.shard_map(run, mesh=self.mesh, in_specs=specs, out_specs=SEED, check_vma=False)(shared, *args)

        return on_each

    def in_turn(self, axis: str) -> bool:
        """Whether the host goes through the seeds (`training.turns`): on one CPU, where they would stand in a loop."""
        return self.mesh is None and suited(axis) == "map" and jax.default_backend() == "cpu"

    def counted(self, axis: str) -> int:
        """How many seeds the compiler counts in a program: the body of a loop once, of a batch a device's rows."""
        return 1 if suited(axis) == "map" else self.each


def seats(seeds: int, devices: Sequence[jax.Device] | None = None) -> Seats:
    """Seats of so many seeds on those devices, this process's if None; where there are fewer seeds, on as many."""
    found = list(jax.local_devices() if devices is None else devices)[:seeds]
    shares, each = np.array_split(np.arange(seeds), len(found)), -(-seeds // len(found))
    rows = np.concatenate([np.pad(share, (0, each - len(share)), mode="edge") for share in shares])
    own = np.concatenate([d * each + np.arange(len(share)) for d, share in enumerate(shares)])
    return Seats(rows, own, Mesh(np.array(found), ("seed",)) if len(found) > 1 else None)


def _global(leaf: Any, to: NamedSharding) -> jax.Array:
    """An array that every process has, as one over the devices of all: each lays down what is its own."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_global(jax.random.key_data(leaf), to), impl=jax.random.key_impl(leaf))
    held = np.asarray(leaf)
    return jax.make_array_from_callback(held.shape, to, lambda part: held[part])


@functools.cache
def _gathered(to: NamedSharding) -> Callable[[Any], Any]:
    return jax.jit(lambda tree: tree, out_shardings=to)


def by_seed(fn: Callable, axis: str) -> Callable:
    """fn(*args of one seed) lifted to the leading axis of its arguments; `axis` as in `Seats.mapped`."""
    axis = suited(axis)
    if axis not in ("vmap", "map"):
        raise ValueError(f"training.seed_axis={axis!r}; expected 'auto', 'vmap' or 'map'")
    if axis == "vmap":
        return jax.vmap(fn)
    return lambda *args: jax.lax.map(lambda own: fn(*own), args)


def spread(model: nnx.Module) -> bool:
    """Whether a model lies over several devices by itself (`shards` of one of its parts): its seeds do not then."""
    return any(getattr(part, "shards", 1) > 1 for _, part in nnx.iter_modules(model))


def suited(axis: str) -> str:
    """The axis that is taken: of "auto" the one that the backend runs faster."""
    return axis if axis != "auto" else "map" if jax.default_backend() == "cpu" else "vmap"
