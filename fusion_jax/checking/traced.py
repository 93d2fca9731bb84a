"""What a function reads of its arguments, by tracing it: whether anything that comes out depends on what goes in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
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


def in_words(traced: Any) -> tuple:
    """A traced program as it is printed, and the numbers that stand in it and in the programs in it.

    Programs of equal words compute the same; where functions lie in memory is left out. One that calls back into Python
    equals none, not even itself.
    """
    numbers, own = [], []

    def look(part: Any) -> None:
        numbers.extend(_bits(c) for c in getattr(part, "consts", ()))
        written = [v.val for equation in part.eqns for v in equation.invars if hasattr(v, "val")]
        numbers.extend(_bits(c) for c in written if np.shape(c))  # scalars are printed in full
        for equation in part.eqns:
            if "callback" in equation.primitive.name:
                own.append(object())
            for inner in jax.tree.leaves(list(equation.params.values())):
                if hasattr(inner, "eqns"):
                    look(inner)

    look(traced)
    return re.sub(r"0x[0-9a-f]+", "0x", str(traced)), numbers, own


def _bits(number: Any) -> tuple:
    if jax.dtypes.issubdtype(number.dtype, jax.dtypes.prng_key):
        number = jax.random.key_data(number)
    return str(number.dtype), np.shape(number), np.asarray(number).tobytes()
