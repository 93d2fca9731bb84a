"""Equal size: the width at which a model has as many parameters as a reference row.

A comparison at unequal size answers little: a fusion with ten times the parameters of the baseline differs from
it by more than the way it fuses.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

TOLERANCE = 0.10
WIDEST = 1024


def count_parameters(build: Callable[[jax.Array], nnx.Module]) -> int:
    """Number of trained parameters of the model `build(key)` returns; nothing is computed."""
    model = nnx.eval_shape(build, jax.random.key(0))
    return sum(int(np.prod(p.shape)) for p in jax.tree.leaves(nnx.state(model, nnx.Param)))


def nearest_width(count: Callable[[int], int | None], budget: int, *, widest: int = WIDEST) -> tuple[int, int]:
    """The width D with the parameter count nearest to `budget`, and that count.

    `count(D)` rises with D and is None where the mechanism does not exist at that width (heads that do not
    divide it). The search halves the interval; for a width that does not exist stands the next one that does.

    Raises:
        ValueError: there is no width up to `widest` at which the mechanism exists.
    """
    count = functools.cache(count)  # each call traces a model

    def exists(widths) -> int | None:
        return next((d for d in widths if count(d) is not None), None)

    low, high = 1, widest + 1  # the smallest width with at least the budget is in between
    while low < high:
        middle = (low + high) // 2
        width = exists(range(middle, high))
        if width is None or count(width) >= budget:
            high = middle
        else:
            low = width + 1
    sides = (exists(range(low - 1, 0, -1)), exists(range(low, widest + 1)))
    found = [d for d in sides if d is not None]
    if not found:
        raise ValueError("no width at which the mechanism exists")
    best = min(found, key=lambda d: abs(count(d) - budget))
    return best, count(best)


def match_width(
    config: Mapping[str, Any], build: Callable[[Mapping[str, Any]], Callable[[jax.Array], nnx.Module]]
) -> dict[str, Any]:
    """The config with `model.dim` set so that its model is as large as the one `match_params` names.

    The budget is the model with the fusion `match_params` (its default options) at the config's own D, placed
    before the graph layers, all else equal.

    Args:
        build: config -> (key -> model).
    Raises:
        ValueError: no width comes within 10 % of the budget; names the nearest.
    """
    reference = copy.deepcopy(dict(config))
    reference["model"] |= dict(fusion=dict(name=config["match_params"], options={}), placement="before")
    budget = count_parameters(build(reference))

    def at(dim: int) -> dict[str, Any]:
        changed = copy.deepcopy(dict(config))
        changed["model"]["dim"] = dim
        return changed

    def count(dim: int) -> int | None:
        try:
            return count_parameters(build(at(dim)))
        except ValueError:  # heads do not divide this width
            return None

    dim, found = nearest_width(count, budget)
    if abs(found - budget) > TOLERANCE * budget:
        raise ValueError(
            f"match_params: {config['model']['fusion']['name']!r} has {found:,} parameters at D={dim}, the nearest to "
            f"{budget:,}; expected within {TOLERANCE:.0%}"
        )
    return at(dim)
