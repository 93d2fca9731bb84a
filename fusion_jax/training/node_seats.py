"""The node axis: all seeds of a training on all devices, each of which has its share of the nodes.

The counterpart of `sharding.Seats`, asked the same by `loop`. Everything outside of a compiled program, the saves of a
training included, has the nodes in the data set's order; inside, they have the rows of a `node_layout.Layout`. So what
was saved goes on with another number of devices, or with none of this.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fusion_jax import tasks
from fusion_jax.parted import AXIS
from fusion_jax.records import Batch, Target
from fusion_jax.training.node_layout import Layout, layout, node_mesh
from fusion_jax.training.parting import parted
from fusion_jax.training.sharding import by_seed, suited
from fusion_jax.training.state import State
from fusion_jax.training.trial import Trial

ROWS = {State: ("best_prediction", "best_uncertainty"), Trial: ("train_weight", "val_weight")}  # [S, N, ...] of these


@dataclasses.dataclass(frozen=True)
class NodeSeats:
    """Seeds that have the devices together.

    Attributes:
        seeds: S.
        where: the row of each node.
        mesh: the devices as the axis "nodes".
    """

    seeds: int
    where: Layout
    mesh: Mesh

    @property
    def own(self) -> np.ndarray:
        """int [S], the row of each seed."""
        return np.arange(self.seeds)

    @property
    def idle(self) -> np.ndarray:
        """bool [S], rows that repeat a seed: none."""
        return np.zeros(self.seeds, bool)

    @property
    def each(self) -> int:
        """The seeds of one device: all."""
        return self.seeds

    def taken(self, tree: Any) -> Any:
        """Leaves of seeds as those of rows of seeds: the same."""
        return tree

    def laid(self, tree: Any) -> Any:
        """Records of seeds on the devices: what has a row a node lies where the node does, all else on each."""
        return jax.tree.map(self._laid, tree, is_leaf=_is_record)

    def _laid(self, record: Any) -> Any:
        if isinstance(record, Target):
            seen = np.ones(self.where.nodes, bool)
            # a row of no node has what the task shows of a row that is hidden, so that its loss is finite
            shown = jax.tree.map(lambda a: self.where.of_rows(a, axis=1), record)
            hide, there = tasks.of(record).hide_unseen, jnp.asarray(self.where.of_rows(seen))
            return jax.device_put(jax.vmap(lambda target: hide(target, there))(shown), self._along)
        held = {name: self.where.of_rows(getattr(record, name), axis=1) for name in _rows_of(record)}
        return _joined(jax.device_put(_without(record, held), self._everywhere), jax.device_put(held, self._along))

    def everywhere(self, tree: Any) -> Any:
        """What all seeds share: of a batch every device has its nodes, of all else everything."""
        if not isinstance(tree, Batch):
            return jax.device_put(tree, self._everywhere)
        to = NamedSharding(self.mesh, PartitionSpec(AXIS))
        features, mask = jax.tree.map(lambda a: jax.device_put(self.where.of_rows(a), to), (tree.features, tree.mask))
        return Batch(features, mask, parted(tree.graph, self.where, self.mesh), tree.names)

    def here(self, tree: Any) -> Any:
        """Records of seeds on this process's first device, nodes in their own order."""
        return jax.device_put(jax.tree.map(self._here, tree, is_leaf=_is_record), jax.local_devices()[0])

    def _here(self, record: Any) -> Any:
        if isinstance(record, Target):
            return jax.tree.map(lambda a: np.asarray(a)[:, self.where.row], record)
        return _joined(
            record, {name: np.asarray(getattr(record, name))[:, self.where.row] for name in _rows_of(record)}
        )

    def of_seeds(self, tree: Any) -> Any:
        """As `here`."""
        return self.here(tree)

    def mapped(self, fn: Callable, axis: str) -> Callable:
        """fn(shared, *args of one seed) lifted to seeds (`sharding.by_seed`); what comes out lies as what goes in."""

        def run(shared: Any, *args: Any) -> Any:
            found = by_seed(functools.partial(fn, shared), axis)(*args)
            return jax.tree.map(self._kept, found, is_leaf=_is_record)

        return run

    def _kept(self, record: Any) -> Any:
        held = {name: getattr(record, name) for name in _rows_of(record)}
        others = _constrained(_without(record, held), self._everywhere)
        return _joined(others, _constrained(held, self._along))

    def in_turn(self, axis: str) -> bool:
        """Whether the host goes through the seeds: it does not, as each has all devices."""
        del axis
        return False

    def counted(self, axis: str) -> int:
        """How many seeds the compiler counts in a program."""
        return 1 if suited(axis) == "map" else self.seeds

    @property
    def _along(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(None, AXIS))

    @property
    def _everywhere(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())


def _constrained(tree: Any, to: NamedSharding) -> Any:
    return jax.tree.map(lambda a: jax.lax.with_sharding_constraint(a, to), tree)


def _without(record: Any, held: dict[str, Any]) -> Any:
    """The record without some of its fields."""
    return _joined(record, dict.fromkeys(held))


def _joined(record: Any, held: dict[str, Any]) -> Any:
    return dataclasses.replace(record, **held) if held else record


def _is_record(tree: Any) -> bool:
    return isinstance(tree, State | Trial | Target)


def _rows_of(record: Any) -> tuple[str, ...]:
    return ROWS.get(type(record), ())


def beside(devices: int) -> contextlib.AbstractContextManager[None]:
    """Inside, arrays are made in the host's memory where a cell has so many devices for its nodes: one of them might
    not hold all. Nothing changes with 0, or where JAX has no CPU beside the accelerators."""
    if not devices:
        return contextlib.nullcontext()
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        return contextlib.nullcontext()


def node_seats(seeds: int, batch: Batch, devices: int) -> NodeSeats:
    """Seats of so many seeds, the nodes of the batch over the first so many devices of this process.

    Raises:
        ValueError: there are not so many.
    """
    mesh = node_mesh(devices)
    return NodeSeats(seeds, layout(batch.graph, devices), mesh)
