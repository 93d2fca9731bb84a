"""The contract of a fusion, and its lift from one node to all.

A mechanism that treats each node by itself writes `node` for ONE node, x [M, D] and mask [M], as its paper
does; `Fusion.__call__` lifts it with `jax.vmap`. A mechanism that looks across nodes or edges writes `nodes`,
the full form. Nothing else is needed: the file's name is the mechanism's name.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.alignment import Alignment, Map, States, no_rule
from fusion_jax.records import Array, Fused, Info


class Fusion(nnx.Module):
    """Fuses the modalities of every node.

    A subclass defines `info`, the constructor `__init__(self, modalities, dim, *, <options>, rngs)` and one
    of `node` and `nodes`. Every option has a default, the paper's. `modalities` is M, `dim` is D; `out` has
    width D too (with the option `out_dim`, where a mechanism has it, the width that says; models leave it alone).

    Attributes:
        info: the entry in the catalogue.
        placements: of "before", "after", "interleaved", "decision": where the mechanism can stand.
            "interleaved" needs tokens [N, M, D] in what it returns.
        loss: name of the loss it is trained with unless the config names one; None for the task's own.
    """

    info: ClassVar[Info]
    placements: ClassVar[tuple[str, ...]] = ("before", "after", "decision")
    loss: ClassVar[str | None] = None

    def node(self, x: Array, mask: Array, *, key: Array | None = None) -> Fused:
        """One node: x [M, D] (0 where missing), mask bool [M] -> Fused without the node axis."""
        raise TypeError(f"{type(self).__name__} defines neither node nor nodes")

    def nodes(self, x: Array, mask: Array, graph: Graph | None = None, *, key: Array | None = None) -> Fused:
        """All nodes: x [N, M, D] (0 where missing), mask bool [N, M] -> Fused."""
        del graph  # a fusion that treats each node by itself does not look at the edges
        if key is None:
            fused = jax.vmap(lambda a, b: self.node(a, b))(x, mask)
        else:
            keys = jax.random.split(key, x.shape[0])
            fused = jax.vmap(lambda a, b, k: self.node(a, b, key=k))(x, mask, keys)
        return dataclasses.replace(fused, losses={k: v.mean() for k, v in fused.losses.items()})

    def __call__(self, x: Array, mask: Array, graph: Graph | None = None, *, key: Array | None = None) -> Fused:
        """Fuses x [N, M, D] under mask bool [N, M].

        A masked slot is set to 0 first, so whatever stands there, NaN included, reaches neither output nor
        gradient; tokens of missing modalities come back as 0.

        Args:
            x: float [N, M, D].
            mask: true where the node has the modality.
            graph: the edge set, for mechanisms whose `info.needs` has "graph".
            key: randomness of training (dropout, sampling); None means evaluation.
        """
        if "graph" in self.info.needs and graph is None:
            raise ValueError(f"fusion {type(self).__name__} looks across edges: it needs a graph")
        if "views" in self.info.needs and not graph.views:
            name = type(self).__name__
            raise ValueError(f"fusion {name} needs one edge set a modality beside the shared one: set data.views")
        fused = self.nodes(jnp.where(mask[..., None], x, 0), mask, graph, key=key)
        if fused.tokens is None:
            return fused
        return dataclasses.replace(fused, tokens=jnp.where(mask[..., None], fused.tokens, 0))

    def align(self, anchor: Fusion, walk: Alignment, maps: list[Map], states: States) -> Map:
        """Takes this fusion's neurons to the anchor's, in place, and returns the map of `out` (`nn.alignment`).

        Args:
            maps: one a modality, of the features it is given.
        Raises:
            ValueError: the mechanism does not say how; names those that do.
        """
        del anchor, maps, states
        raise no_rule(walk, "fusion", Fusion, self)


def check_modalities(name: str, modalities: int, allowed: tuple[int, ...]):
    """Raises ValueError where the published form does not exist for this number of modalities."""
    if modalities not in allowed:
        raise ValueError(f"fusion {name!r} is published for M in {allowed} modalities, got M={modalities}")


def check_heads(name: str, dim: int, heads: int):
    """Raises ValueError unless the heads divide the width."""
    if dim % heads:
        raise ValueError(f"fusion {name!r}: heads={heads} does not divide the width D={dim}")
