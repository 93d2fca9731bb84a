"""The contract of a graph layer."""

from __future__ import annotations

from typing import ClassVar

from flax import nnx

from fusion_jax.types import Array, Graph, Info


class GraphLayer(nnx.Module):
    """One round of message passing, without activation or dropout around it (the model adds those).

    A subclass defines `info`, `__init__(self, dim, out=None, *, <options>, rngs)` and `__call__`; `dim` is the width
    of what goes in and `out` of what comes out, `dim` too if None. To run one layer over M streams with weights of
    their own, the model builds M of them.
    """

    info: ClassVar[Info]

    def __call__(self, x: Array, graph: Graph, *, key: Array | None = None) -> Array:
        """x [N, D], edges of `graph` -> [N, D]; `key` is the randomness of training, None in evaluation."""
        raise NotImplementedError
