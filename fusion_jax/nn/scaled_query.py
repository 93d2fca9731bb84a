"""What the forum thread's mechanisms share: the scale of the logits, and one query over modalities."""

from __future__ import annotations

import math

from fusion_jax.nn.attention import attend
from fusion_jax.records import Array, Attention


def factor(name: str, scale: str, dim: int, width: int) -> float:
    """What multiplies the logits q . k of width p over inputs of width D.

    sqrt_p is 1 / sqrt(p), which keeps the variance of the logits at that of their terms (Vaswani 2017);
    sqrt_D is 1 / sqrt(D), as the thread writes; none is 1.

    Raises:
        ValueError: unknown scale.
    """
    factors = {"sqrt_p": 1 / math.sqrt(width), "sqrt_D": 1 / math.sqrt(dim), "none": 1.0}
    check_choice(name, "scale", scale, factors)
    return factors[scale]


def check_choice(name: str, option: str, value: str, choices):
    """Raises ValueError where a fusion's option is none of its choices."""
    if value not in choices:
        raise ValueError(f"fusion {name!r}: {option}={value!r} is none of {', '.join(choices)}")


def read(query: Array, keys: Array, values: Array, mask: Array, scale: float) -> tuple[Array, Attention]:
    """One query [p] over keys [M, p] and values [M, e] -> y [e] and weights [M]; both 0 without modality."""
    out, weights = attend(query[None, None], keys[:, None], values[:, None], mask, scale=scale)
    return out[0, 0], Attention("query", weights[0, 0], ("modality",), "node", "modality", valid=mask)
