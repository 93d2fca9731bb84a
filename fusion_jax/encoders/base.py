"""The contract of an encoder."""

from __future__ import annotations

from typing import ClassVar

from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.alignment import Alignment, Map, States, no_rule, overriding
from fusion_jax.records import EVALUATION, Array, Attention, Context, Info, Tokens


class Encoder(nnx.Module):
    """Maps the raw features of one modality to the common width D.

    A subclass defines `info`, `__init__(self, in_dim, dim, *, <options>, rngs)` and `__call__`, and `losses` if
    it learns from something beside the task.

    Attributes:
        info: the entry in the catalogue.
        needs: of this instance, where its options make it another than `info.needs`; else None.
        structures: what it reads of the graph beside its edges, made once on the host; set by the constructor.
        reads_sparse: whether x may be `nn.sparse_rows.SparseRows`, of features most of which are 0, of which x W is
            all that is asked; a class's own, or set by the constructor.
        parted: whether it may run on nodes that lie on several devices: it looks at each by itself, and draws by
            `nn.dropout`.
    """

    info: ClassVar[Info]
    parted: ClassVar[bool] = False
    needs: tuple[str, ...] | None = None
    structures: tuple = ()
    reads_sparse: bool = False

    @staticmethod
    def width(in_dim: int, dim: int) -> int:
        """Width of what the encoder returns for d_m = `in_dim`: D, unless an encoder says otherwise."""
        del in_dim
        return dim

    def __call__(
        self, x: Array, graph: Graph | None = None, present: Array | None = None, context: Context = EVALUATION
    ) -> Array:
        """x [N, d_m] -> [N, D].

        Args:
            x: 0 where the node lacks the modality.
            graph: the modality's edge set, for encoders that read edges or times.
            present: bool [N], nodes that have the modality, all if None. Where messages pass, another one is no
                sender, no key and no count, as in a graph layer.
            context: randomness, epoch and what else it may know; the default is evaluation.
        """
        raise NotImplementedError

    def reached(self, present: Array, graph: Graph | None) -> Array:
        """bool [N]: who has something of the modality behind the encoder; an encoder that passes messages says more."""
        del graph
        return present

    def attention(
        self, x: Array, graph: Graph | None, present: Array | None, context: Context
    ) -> tuple[Attention, ...]:
        """What the encoder attends to when it is called with the same arguments."""
        del x, graph, present, context
        return ()

    def states(self, x: Array, graph: Graph | None, present: Array | None, context: Context) -> tuple[Tokens, ...]:
        """Further sets of vectors it shows when it is called with the same arguments, randomness included."""
        del x, graph, present, context
        return ()

    def losses(self, x: Array, present: Array, context: Context) -> dict[str, Array]:
        """Named scalars added to the training loss; x [N, d_m], 0 where the node lacks it, present bool [N]."""
        del x, present, context
        return {}

    def align(self, anchor: Encoder, walk: Alignment, states: States) -> Map:
        """Takes this encoder's neurons to the anchor's, in place, and returns the map of what it returns.

        Raw features are the same in both networks. See `nn.alignment`.

        Raises:
            ValueError: the mechanism does not say how; names those that do.
        """
        del anchor, states
        raise no_rule(walk, "encoder", Encoder, self)

    def in_units_of(self, factor: Array, offset: Array) -> None:
        """Becomes, in place, the same function of features x' in other units: x = factor x' + offset, each [d_m].

        Raises:
            ValueError: the encoder cannot (`nn.alignment.change_units` does it for one that begins with a linear
                layer); names those that can.
        """
        del factor, offset
        able = " and ".join(map(repr, overriding("encoder", Encoder, "in_units_of")))
        raise ValueError(
            f"seeds with scalers of their own (data.scale, split varies) can be merged with the encoders {able}, not "
            f"{type(self).__name__!r}; train with --config.data.scale=none"
        )
