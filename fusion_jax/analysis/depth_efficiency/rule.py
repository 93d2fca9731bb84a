"""The closed forms of depth against width: the theory's threshold, the paper's fit, counts of parameters.

Reference: Levine et al., "Limits to Depth Efficiencies of Self-Attention", NeurIPS 2020 (arXiv 2006.12467). Golden
`depth-efficiency/closed_forms`, computed independently.

L is the depth, d the width, N = 12 L d^2 the parameters of the blocks (embeddings and head are no part of it).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

A, B = 5.039, 0.0555  # ln d = A + B L at the transition, natural logarithm; stated to +- 0.030 and +- 0.0013


def theory_depth(width):
    """log_3 d: the depth up to which deepening is worth more than widening, in theory."""
    return np.log(width) / np.log(3)


def transition_width(depth, a: float = A, b: float = B):
    """exp(a + b L): the width from which on a network of depth L gains by being deeper."""
    return np.exp(a + b * np.asarray(depth, float))


def transition_depth(width, a: float = A, b: float = B):
    """(ln d - a) / b, the inverse of `transition_width`; negative for widths below those of the fit."""
    return (np.log(width) - a) / b


def block_parameters(depth, width):
    """12 L d^2."""
    return 12 * np.asarray(depth, float) * np.asarray(width, float) ** 2


def transition_parameters(depth, a: float = A, b: float = B):
    """12 L exp(2 a + 2 b L)."""
    return block_parameters(depth, transition_width(depth, a, b))


def best_depth(parameters, a: float = A, b: float = B):
    """The real L with `transition_parameters` of it = N."""
    grown = 2 * b * np.asarray(parameters, float) / (12 * math.exp(2 * a))
    return np.real(special.lambertw(grown)) / (2 * b)


def width_within(parameters: float, depth: int, heads: int = 1) -> int:
    """The largest multiple of the number of heads with 12 L d^2 <= N.

    Raises:
        ValueError: there is none.
    """
    width = math.isqrt(int(parameters) // (12 * depth)) // heads * heads
    if width < 1:
        raise ValueError(
            f"depth_efficiency: {parameters:g} parameters are too few for {depth} layers of {heads} heads; expected at "
            f"least {12 * depth * heads**2}"
        )
    return width
