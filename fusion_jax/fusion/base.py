"""The contract of a fusion, and its lift from one node to all.

A mechanism that treats each node by itself writes `node` for ONE node, x [M, D] and mask [M], as its paper
does; `Fusion.__call__` lifts it with `jax.vmap`. A mechanism that looks across nodes or edges writes `nodes`,
the full form. Nothing else is needed: the file's name is the mechanism's name.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.nn.alignment import Alignment, Map, States, no_rule
from fusion_jax.nn.numbered import for_rows, of_one_node
from fusion_jax.records import EVALUATION, Array, Context, Fused, Info, check_needs, needs_of


class Fusion(nnx.Module):
    """Fuses the modalities of every node.

    A subclass defines `info`, the constructor `__init__(self, modalities, dim, *, <options>, rngs)` and one
    of `node` and `nodes`. Every option has a default, the paper's. `modalities` is M, `dim` is D; `out` has
    width D too (with the option `out_dim`, where a mechanism has it, the width that says; models leave it alone).
    One that needs "outputs" is given `outputs=C`, the number of the model's outputs, beside its options; one that needs
    "targets" `targets=(C1, C2, ...)`, those of each target, of which there may be one.

    Attributes:
        info: the entry in the catalogue.
        placements: of "before", "after", "interleaved", "decision": where the mechanism can stand.
            "interleaved" needs tokens [N, M, D] in what it returns.
        loss: name of the loss it is trained with unless the config names one; None for the task's own.
        needs: of this instance, where its options make it another than `info.needs`; else None.
        symmetries: of "nodes" (permuting the nodes, and the edges with them, permutes what it returns) and
            "modalities" (permuting the modalities, and their edge sets with them, leaves `out` as it is); an instance
            whose options make it another says so. What is declared is tested.
        reads_mask: whether what it computes depends on the mask; False of one to which a missing modality is the zeros
            in its slot and nothing else. What is declared is tested.
        structures: what it reads of the graph beside its edges, made once on the host; set by the constructor.
    Raises:
        ValueError: the published form does not exist for so many modalities (`info.modalities`).
    """

    info: ClassVar[Info]
    placements: ClassVar[tuple[str, ...]] = ("before", "after", "decision")
    loss: ClassVar[str | None] = None
    needs: tuple[str, ...] | None = None
    symmetries: tuple[str, ...] = ("nodes",)
    reads_mask: bool = True
    structures: tuple = ()

    def __new__(cls, modalities: int = 0, *args: Any, **kwargs: Any):
        if modalities and cls.info.modalities and modalities not in cls.info.modalities:
            name, allowed = zoo.name_of(cls), cls.info.modalities
            raise ValueError(f"fusion {name!r} is published for M in {allowed} modalities, got M={modalities}")
        return super().__new__(cls)

    def node(self, x: Array, mask: Array, context: Context) -> Fused:
        """One node: x [M, D] (0 where missing), mask bool [M] -> Fused without the node axis."""
        raise TypeError(f"{type(self).__name__} defines neither node nor nodes")

    def nodes(self, x: Array, mask: Array, graph: Graph | None, context: Context) -> Fused:
        """All nodes: x [N, M, D] (0 where missing), mask bool [N, M] -> Fused."""
        del graph  # a fusion that treats each node by itself does not look at the edges

        def one(x, mask, key):
            return self.node(x, mask, dataclasses.replace(context, key=key))

        keys = None
        if context.key is not None:
            keys = for_rows(lambda count: jax.random.split(context.key, count), x.shape[0])
        with of_one_node():
            fused = jax.vmap(one, (0, 0, None if keys is None else 0))(x, mask, keys)
        _check_type(self, "node", fused)
        there = mask.any(1)  # who has nothing, as rows of padding do, has no say in a mean over nodes

        def mean(values: Array) -> Array:
            values = jnp.broadcast_to(values, there.shape)
            return jnp.where(there, values, 0).sum() / jnp.maximum(there.sum(), 1).astype(values.dtype)

        return dataclasses.replace(
            fused,
            attention=tuple(dataclasses.replace(a, axes=("node", *a.axes)) for a in fused.attention),
            losses={k: mean(v) for k, v in fused.losses.items()},
            heads=tuple(dataclasses.replace(h, weight=mean(h.weight)) for h in fused.heads),
        )

    def __call__(self, x: Array, mask: Array, graph: Graph | None = None, context: Context = EVALUATION) -> Fused:
        """Fuses x [N, M, D] under mask bool [N, M].

        A masked slot is set to 0 first, so whatever stands there, NaN included, reaches neither output nor
        gradient; tokens of missing modalities come back as 0.

        Args:
            x: float [N, M, D].
            mask: true where the node has the modality.
            graph: the edge set, for mechanisms that need "graph".
            context: randomness, epoch and what else it may know; the default is evaluation.
        Raises:
            ValueError: something that it needs is not there, or what it returns is no `Fused` or has another shape than
                it is to have.
        """
        check_needs(f"fusion {zoo.name_of(self)!r}", needs_of(self), graph, context)
        fused = self.nodes(jnp.where(mask[..., None], x, 0), mask, graph, context)
        _check_type(self, "nodes", fused)
        _check_axes(self, "out", fused.out, "[N, D]", x.shape[:1])
        if fused.tokens is None:
            return fused
        _check_axes(self, "tokens", fused.tokens, "[N, M, D]", x.shape[:2])
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

    def reached(self, mask: Array, graph: Graph | None) -> Array:
        """bool [N]: who has something in the fused stream, of modalities that are there as mask bool [N, M] says.

        Those that have a modality; a fusion that brings nodes something from others says more.
        """
        del graph
        return mask.any(1)

    def begin(self, x: Array, mask: Array, graph: Graph | None, context: Context) -> None:
        """Called once a seed before training, with what the first call would see.

        May set variables of the mechanism that are not parameters (no `nnx.Param`), and does nothing otherwise.
        """


def _check_type(fusion: Fusion, method: str, found: Any) -> None:
    if not isinstance(found, Fused):
        what = "an array" if isinstance(found, jax.Array) else type(found).__name__
        raise ValueError(f"fusion {zoo.name_of(fusion)!r}: {method} returned {what}, expected Fused: return Fused(out)")


def _check_axes(fusion: Fusion, field: str, found: Array, axes: str, sizes: tuple[int, ...]) -> None:
    """Its axes but the last, which options of some mechanisms choose; a model looks at that one."""
    if jnp.ndim(found) != len(sizes) + 1 or jnp.shape(found)[:-1] != sizes:
        names = " and ".join(f"{name}={size}" for name, size in zip("NM", sizes, strict=False))
        raise ValueError(
            f"fusion {zoo.name_of(fusion)!r}: {field} has the shape {jnp.shape(found)}, expected {axes} with {names}"
        )


def check_heads(name: str, dim: int, heads: int):
    """Raises ValueError unless the heads divide the width."""
    if dim % heads:
        raise ValueError(f"fusion {name!r}: heads={heads} does not divide the width D={dim}")
