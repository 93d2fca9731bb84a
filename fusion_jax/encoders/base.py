"""The contract of an encoder."""

from __future__ import annotations

from typing import ClassVar

from flax import nnx

from fusion_jax.types import Array, Graph, Info


class Encoder(nnx.Module):
    """Maps the raw features of one modality to the common width D.

    A subclass defines `info`, `__init__(self, in_dim, dim, *, <options>, rngs)` and `__call__`, and `losses` if
    it learns from something beside the task.
    """

    info: ClassVar[Info]

    def __call__(self, x: Array, graph: Graph | None = None, *, key: Array | None = None) -> Array:
        """x [N, d_m] -> [N, D]; `graph` is the modality's edge set, for encoders that read edges or times."""
        raise NotImplementedError

    def losses(self, x: Array, present: Array, *, key: Array | None = None) -> dict[str, Array]:
        """Named scalars added to the training loss; x [N, d_m], 0 where the node lacks it, present bool [N]."""
        del x, present, key
        return {}
