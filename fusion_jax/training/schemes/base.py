"""The contract of a training scheme."""

from __future__ import annotations

from typing import ClassVar

from fusion_jax.types import Array, Batch, Info


class Scheme:
    """Changes how a model is trained, not what it is.

    A subclass defines `info`, keyword options in `__init__`, and any of the hooks below; each hook's default
    does nothing.
    """

    info: ClassVar[Info]

    def transform(self, batch: Batch, key: Array) -> Batch:
        """What a training step sees instead of `batch`; evaluation always sees the batch itself."""
        del key
        return batch
