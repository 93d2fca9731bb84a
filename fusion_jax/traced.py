"""The numbers of a cell that are arguments of its compiled program, not constants in it.

Cells that differ in nothing else share one program, and a whole grid of them is one. Each number is in the form in
which the arithmetic wants it, made on the host, so that it is rounded as a constant is.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rate:
    """A dropout rate in [0, 1).

    Attributes:
        threshold: uint32; 32 random bits at least as large keep an entry, which happens with probability 1 - rate.
        scale: float, 1 / (1 - rate), by which the compiler multiplies where it divides by a constant.
    """

    threshold: Array
    scale: Array

    @classmethod
    def of(cls, rate: float) -> Rate:
        """Raises ValueError where the rate is outside [0, 1)."""
        return cls(threshold_of(rate), np.float32(1) / np.float32(1.0 - rate))


def threshold_of(rate: float) -> np.uint32:
    """The 32 bits that come before a share `rate` of all, rounded to 2^-32.

    Raises:
        ValueError: rate outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout rate {rate}, expected 0 <= rate < 1")
    return np.uint32(min(round(rate * 2**32), 2**32 - 1))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Numbers:
    """What one training is told in numbers; what is None or not there is compiled in, from the plan and the model.

    Attributes:
        learning_rate: of every stage, in their order; ().
        options: {option of the optimiser: value}.
        rate: the model's dropout before graph layers and head.
        extra: {loss: weight}, of the losses that are added to the main one.
        l2: strength s of the L2 term s/2 sum theta^2.
    """

    learning_rate: tuple[Array, ...]
    options: dict[str, Array] = dataclasses.field(default_factory=dict)
    rate: Rate | None = None
    extra: dict[str, Array] = dataclasses.field(default_factory=dict)
    l2: Array | None = None
