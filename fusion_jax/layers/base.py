"""The contract of a graph layer."""

from __future__ import annotations

from typing import ClassVar

from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.alignment import Alignment, Map, States, no_rule
from fusion_jax.nn.presence import reached
from fusion_jax.records import EVALUATION, Array, Attention, Context, Info


class GraphLayer(nnx.Module):
    """One round of message passing, without activation or dropout around it (the model adds those).

    A subclass defines `info`, `__init__(self, dim, out=None, *, <options>, rngs)` and `__call__`; `dim` is the width
    of what goes in and `out` of what comes out, `dim` too if None. To run one layer over M streams with weights of
    their own, the model builds M of them.

    Attributes:
        info: the entry in the catalogue.
        whole_block: whether the layer is a whole block, with its own activation and dropout: the model adds none.
        needs: of this instance, where its options make it another than `info.needs`; else None.
        structures: what it reads of the graph beside its edges, made once on the host; set by the constructor.
        parted: whether it may run on nodes that lie on several devices: it looks at other nodes through `nn.segment`
            and `nn.presence` alone, and draws by `nn.dropout`. What is declared is tested.
        local: whether a node gets what its own x and those of its senders say, all sums over edges taken by
            `nn.segment`, so that it can be computed of some nodes, or of sampled senders, by themselves. What is
            declared is tested.
        reads_strength: whether a sender's weight depends on what that sender receives itself (`Graph.strength`).
    """

    info: ClassVar[Info]
    parted: ClassVar[bool] = False
    whole_block: ClassVar[bool] = False
    needs: tuple[str, ...] | None = None
    structures: tuple = ()
    local: ClassVar[bool] = False
    reads_strength: bool = False

    def __call__(self, x: Array, graph: Graph, present: Array | None = None, context: Context = EVALUATION) -> Array:
        """x [N, D], edges of `graph` -> [N, D'], D' = `out`.

        Args:
            present: bool [N], nodes that have something in x. Another one is no sender, no key and no count: given
                the structures of the whole edge set, what a present node gets in one round is what it would get in
                the graph of the present nodes alone, and what stands in the rows of the others, NaN included, has no
                influence. They still receive, and send in the next round of a layer of several. None: all are present.
            context: randomness, epoch and what else it may know; the default is evaluation.
        """
        raise NotImplementedError

    def attention(self, x: Array, graph: Graph, present: Array | None, context: Context) -> tuple[Attention, ...]:
        """What the layer attends to when it is called with the same arguments."""
        del x, graph, present, context
        return ()

    def losses(self, x: Array, graph: Graph, present: Array | None, context: Context) -> dict[str, Array]:
        """Named scalars added to the training loss, of a call with the same arguments."""
        del x, graph, present, context
        return {}

    def reached(self, present: Array, graph: Graph) -> Array:
        """bool [N, ...]: who has something behind the layer, of those `present` bool [N, ...] before it.

        They themselves and all that receive from one of them; a layer that passes nothing on says otherwise.
        """
        return reached(present, graph)

    def align(self, anchor: GraphLayer, walk: Alignment, t_in: Map, states: States) -> Map:
        """Takes this layer's neurons to the anchor's, in place; returns the map of what it returns (`nn.alignment`).

        Sums over edges commute with a map of features: most layers are one set of neurons, which several kernels may
        lead to.

        Args:
            t_in: of the features it is given.
        Raises:
            ValueError: the mechanism does not say how; names those that do.
        """
        del anchor, t_in, states
        raise no_rule(walk, "layer", GraphLayer, self)
