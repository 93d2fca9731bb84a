"""Equal size: the width at which a model has as many parameters as a reference row.

A comparison at unequal size answers little: a fusion with ten times the parameters of the baseline differs from
it by more than the way it fuses.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from fusion_jax.plan import ModelPlan, Named, SizePlan

TOLERANCE = 0.10
WIDEST = 1024
FITS = 6  # widths that are looked for on a curve before the interval is halved


def count_parameters(build: Callable[[jax.Array], nnx.Module]) -> int:
    """Number of trained parameters of the model `build(key)` returns; nothing is computed."""
    model = nnx.eval_shape(build, jax.random.key(0))
    return sum(int(np.prod(p.shape)) for p in jax.tree.leaves(nnx.state(model, nnx.Param)))


def nearest_width(
    count: Callable[[int], int | None], budget: int, *, start: int = 32, widest: int = WIDEST
) -> tuple[int, int]:
    """The width D with the parameter count nearest to `budget`, and that count.

    `count(D)` rises with D and is None where the mechanism does not exist at that width (heads that do not
    divide it); for a width that does not exist stands the next one that does. Most counts are nearly a + b D^2: the
    search goes where that curve through the last two widths meets the budget, and halves the interval where it has
    gone so a few times in vain.

    Args:
        start: the width to look at first.
    Raises:
        ValueError: there is no width up to `widest` at which the mechanism exists.
    """
    count = functools.cache(count)  # each call traces a model

    def exists(widths) -> int | None:
        return next((d for d in widths if count(d) is not None), None)

    low, high = 1, widest + 1  # the smallest width with at least the budget is in between
    seen: list[tuple[int, int]] = [(0, 0)]
    while low < high:
        found = _meets(seen, budget, start) if len(seen) <= FITS else (low + high) // 2
        middle = min(max(found, low), high - 1)
        width = exists(range(middle, high))
        if width is None or count(width) >= budget:
            high = middle
        else:
            low = width + 1
        seen += [(width, count(width))] if width is not None else []
    sides = (exists(range(low - 1, 0, -1)), exists(range(low, widest + 1)))
    found = [d for d in sides if d is not None]
    if not found:
        raise ValueError("no width at which the mechanism exists")
    best = min(found, key=lambda d: abs(count(d) - budget))
    return best, count(best)


def _meets(seen: list[tuple[int, int]], budget: int, start: int) -> int:
    """The width, rounded up, at which a + b D^2 through the last two of the points (D, n) is the budget."""
    if len(seen) < 2:
        return start
    (d0, n0), (d1, n1) = seen[-2:]
    if d0 == d1 or n0 == n1:
        return d1
    square = d0**2 + (budget - n0) * (d1**2 - d0**2) / (n1 - n0)
    return math.ceil(math.sqrt(max(square, 1)))


def sized(plan: ModelPlan, size: SizePlan, build: Callable[[ModelPlan, jax.Array], nnx.Module]) -> ModelPlan:
    """The plan with the width D at which its model has the size that is asked for; as it is where none is.

    With `size.like` that is the model with that fusion (its default options) at the plan's own D, placed before the
    graph layers, all else equal; with `size.parameters` it is that number.

    Args:
        build: (plan, key) -> model.
    Raises:
        ValueError: no width comes within 10 % of the budget; names the nearest.
    """
    if not size.like and not size.parameters:
        return plan
    budget, key = size.parameters, "size.parameters"
    if size.like:
        like = dataclasses.replace(plan, fusion=Named(size.like), placement="before")
        budget, key = count_parameters(functools.partial(build, like)), "size.like"

    def at(dim: int) -> ModelPlan:
        return dataclasses.replace(plan, dim=dim)

    def count(dim: int) -> int | None:
        try:
            return count_parameters(functools.partial(build, at(dim)))
        except ValueError:  # heads do not divide this width
            return None

    dim, found = nearest_width(count, budget, start=plan.dim)
    if abs(found - budget) > TOLERANCE * budget:
        raise ValueError(
            f"{key}: {plan.fusion.name!r} has {found:,} parameters at D={dim}, the nearest to {budget:,}; expected "
            f"within {TOLERANCE:.0%}"
        )
    return at(dim)
