"""The contract of a readout."""

from __future__ import annotations

from typing import ClassVar

from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.records import EVALUATION, Array, Context, Info, Read


class Readout(nnx.Module):
    """Reduces the states of the fused stream at every depth to what the head reads.

    A subclass defines `info`, `level`, `__init__(self, dim, layers, *, <options>, rngs)` and `__call__`;
    `layers` is L, the number of stored states (graph layers + 1, or 1 where fusion comes last).

    Attributes:
        info: the entry in the catalogue.
        level: "node" (returns [N, D]) or "graph" (returns [G, D]).
        last_only: it reads the last state only, and is given no other: those may have other widths.
        needs: of this instance, where its options make it another than `info.needs`; else None.
        structures: what it reads of the graph beside its edges, made once on the host; set by the constructor.
    """

    info: ClassVar[Info]
    level: ClassVar[str] = "node"
    last_only: ClassVar[bool] = False
    needs: tuple[str, ...] | None = None
    structures: tuple = ()

    def __call__(self, history: Array, graph: Graph | None, context: Context = EVALUATION) -> Read:
        """history [N, L, D], last state last."""
        raise NotImplementedError
