"""What a function reads of its arguments, by tracing it: whether anything that comes out depends on what goes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.interpreters.partial_eval import dce_jaxpr


def reads(function: Callable[..., Any], *args: Any) -> tuple[bool, ...]:
    """Of every argument, whether a number that the function returns depends on a number in it.

    The traced program is cut down to what its results need (JAX's own elimination of dead code, through loops,
    branches and inner programs); an argument is read where a part of it is left.
    """
    traced = jax.make_jaxpr(function)(*args)
    _, used = dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    found, start = [], 0
    for arg in args:
        count = len(jax.tree.leaves(arg))
        found.append(any(used[start : start + count]))
        start += count
    return tuple(found)
