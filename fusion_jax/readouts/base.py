"""The contract of a readout."""

from __future__ import annotations

from typing import ClassVar

from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.alignment import Alignment, Map, States, no_rule
from fusion_jax.records import EVALUATION, Array, Context, Info, Read


class Readout(nnx.Module):
    """Reduces the states of the fused stream at every depth to what the head reads.

    A subclass defines `info`, `level`, `__init__(self, dim, layers, *, <options>, rngs)` and `__call__`;
    `layers` is L, the number of stored states (graph layers + 1, or 1 where fusion comes last). One that needs
    "outputs" is given `outputs=C`, the number of the model's outputs, beside its options.

    Attributes:
        info: the entry in the catalogue.
        level: "node" (returns [N, D]), "graph" (returns [G, D]) or "link" (returns [R, D], of `graph.pairs`).
        last_only: it reads the last state only, and is given no other: those may have other widths.
        needs: of this instance, where its options make it another than `info.needs`; else None.
        structures: what it reads of the graph beside its edges, made once on the host; set by the constructor.
        parted: whether it may run on nodes that lie on several devices: it looks at each by itself.
    """

    info: ClassVar[Info]
    parted: ClassVar[bool] = False
    level: ClassVar[str] = "node"
    last_only: ClassVar[bool] = False
    needs: tuple[str, ...] | None = None
    structures: tuple = ()

    @classmethod
    def width(cls, dim: int) -> int:
        """The width of what it returns: D, unless it says otherwise."""
        return dim

    def __call__(self, history: Array, graph: Graph | None, context: Context = EVALUATION) -> Read:
        """history [N, L, D], last state last."""
        raise NotImplementedError

    def align(self, anchor: Readout, walk: Alignment, maps: list[Map], states: States) -> Map:
        """Takes this readout's neurons to the anchor's, in place, and returns the map of what it returns.

        Args:
            maps: of the states it is given, in their order. See `nn.alignment`.
        Raises:
            ValueError: the mechanism does not say how; names those that do.
        """
        del anchor, maps, states
        raise no_rule(walk, "readout", Readout, self)
